"""R2. The validity interval of a transaction (W6): usable needs timeout >= ub, expired timeout <= lb.

Bounds lie on slot borders: lb is rounded up to the slot that first satisfies it, ub is rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.cl.l1.errors import HORIZON, TOO_EARLY, TOO_LATE
from gateway.cl.l1.timeline import first_slot_from, slot_at, start_of
from gateway.cl.ports import ChainParams, Tip
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile
from gateway.units import Ms, PosixMs, Slot

INCLUSION_BLOCKS = 3  # W6: what the mean block gap must fit into what is left


@dataclass(frozen=True, slots=True)
class Window:
    """lb inclusive, ub exclusive, as slots and as the moments that the validator sees."""

    lb_slot: Slot
    ub_slot: Slot
    lb: PosixMs
    ub: PosixMs


def least_window(profile: NetworkProfile) -> Ms:
    """Three blocks in the mean; less is a transaction that most likely expires in the mempool."""
    mean = profile.cardano.slot_ms / profile.cardano.active
    return Ms(-(-INCLUSION_BLOCKS * mean.numerator // mean.denominator))


def horizon(params: ChainParams, tip: Tip, profile: NetworkProfile) -> Slot:
    """The last slot that may be a bound: the end of the known eras and of the forecast (3k/f) from the tip."""
    active = profile.cardano.active
    forecast = 3 * profile.cardano.security_k * active.denominator // active.numerator
    ends = [e.end_slot for e in params.eras[-1:] if e.end_slot is not None]
    return min([Slot(max(tip.point.slot.value, 0) + forecast), *ends])


def choose_window(
    params: ChainParams,
    tip: Tip,
    now: PosixMs,
    profile: NetworkProfile,
    *,
    use_before: Iterable[PosixMs] = (),
    not_before: PosixMs | None = None,
) -> Window | Rejection:
    """`use_before`: timeouts of the cheques whose secrets are used, and other last moments.
    `not_before`: an elapse_after or the timeout of an expired cheque. `now` is the ledger's clock."""
    try:
        return _choose(params, tip, now, profile, tuple(use_before), not_before)
    except Refused as e:
        return e.rejection


def _choose(
    params: ChainParams,
    tip: Tip,
    now: PosixMs,
    profile: NetworkProfile,
    use_before: tuple[PosixMs, ...],
    not_before: PosixMs | None,
) -> Window:
    eras = params.eras
    current = slot_at(eras, now)
    early = PosixMs(max(now.value - profile.skew.value, _first_moment(params).value))
    # Never after the newest block: a clock that runs ahead would make every claim one of the future (W5).
    lb_slot = min(slot_at(eras, early), max(tip.point.slot, Slot(0)))
    if not_before is not None:
        lb_slot = max(lb_slot, first_slot_from(eras, not_before))
    if lb_slot > current:  # a bound in the future is refused by every node until then
        wait = start_of(eras, lb_slot) - now
        raise Refused(
            TOO_EARLY(field="lb", got=now, allowed=f">= {not_before}", retry_after_ms=max(wait.value, 1))
        )
    last = min([now + profile.validity, *use_before])
    if last <= now:
        raise Refused(TOO_LATE(field="ub", got=last, allowed=f"> {now}"))
    ub_slot = slot_at(eras, last)
    ub = start_of(eras, ub_slot)
    if ub_slot > horizon(params, tip, profile):
        raise Refused(HORIZON(field="ub", got=ub_slot, allowed=f"<= {horizon(params, tip, profile)}"))
    if ub < now + least_window(profile):
        raise Refused(TOO_LATE(field="ub", got=ub, allowed=f">= {now + least_window(profile)}"))
    return Window(lb_slot, ub_slot, start_of(eras, lb_slot), ub)


def _first_moment(params: ChainParams) -> PosixMs:
    return min(e.start_ms for e in params.eras)
