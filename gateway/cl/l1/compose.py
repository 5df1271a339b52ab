"""R2. Which due steps go into which transaction, as a pure function of the frozen view.

Theory: (1) each step is first tried alone by the rules (`books.apply_step` in its own window), so that one that
cannot stand never spoils a batch; (2) an urgent one travels alone: every other channel's output may be spent by that
channel's partner at any moment (an add of one lovelace will do), and would take the claim down with it (V16, V17);
(3) the rest is sorted by deadline, then by what a step brings for the bytes that it costs, and packed until the
ledger's limits are near. The estimate is coarse; a batch that is too big all the same is split (`halves`).
Sharing saves each companion the constant fee, the wallet's witness and the reference script's price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.cl.data.books import Applied, Situation, Verify, apply_step
from gateway.cl.data.codec import encode_datum, encode_redeemer
from gateway.cl.data.types import (
    Close,
    Elapse,
    ElapseEnd,
    EndResolved,
    FreeInClosed,
    FreeInResolved,
    MintRedeemer,
    Respond,
    RespondEnd,
    Step,
)
from gateway.cl.l1.intents import StepChannel
from gateway.cl.l1.protocol import Figures, read_figures
from gateway.cl.l1.validity import choose_window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import ExUnits
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile
from gateway.units import Lovelace, Ms, PosixMs

MOST_STEPS = 40
FILL = Fraction(9, 10)  # of each limit: what is left covers the wallet's inputs and the change
# Measured on one healthy move a step, rounded up (tests/unit/cl_l1/test_compose.py builds what they allow).
BASE_BYTES = 700  # body, wallet inputs, collateral, change, the wallet's witness
STEP_BYTES = 380  # input, key witness, signer hash, spend redeemer, output less its datum
BASE_UNITS = ExUnits(100_000, 40_000_000)
STEP_UNITS = ExUnits(200_000, 85_000_000)
SIGNATURE_UNITS = ExUnits(45_000, 85_000_000)  # a cheque or a snapshot that the step presents
ENTRY_UNITS = ExUnits(30_000, 8_000_000)  # of a list that is presented again
MOST_BONUS_SHARE = 50  # an escalated fee takes at most a fiftieth of what is at stake


@dataclass(frozen=True, slots=True)
class Due:
    """One channel's step. `deadline`: act by; `lost_at`: from then on what it claims is gone (None: nothing is)."""

    step: StepChannel
    deadline: PosixMs
    lost_at: PosixMs | None = None
    not_before: PosixMs | None = None
    usable_until: PosixMs | None = None

    def left(self, now: PosixMs) -> Ms | None:
        return None if self.lost_at is None else self.lost_at - now

    def is_urgent(self, now: PosixMs, margin: Ms) -> bool:
        """Less than the margin is left: from here every try counts."""
        left = self.left(now)
        return left is not None and left < margin

    def is_alarming(self, now: PosixMs, margin: Ms) -> bool:
        """Half the margin is gone, and the step is not on chain yet (W7)."""
        left = self.left(now)
        return left is not None and 2 * left.value < margin.value


@dataclass(frozen=True, slots=True)
class Batch:
    """Steps of one transaction; `bonus` is paid on top of the ledger's least fee."""

    dues: tuple[Due, ...]
    bonus: Lovelace = Lovelace(0)

    @property
    def use_before(self) -> tuple[PosixMs, ...]:
        return tuple(d.usable_until for d in self.dues if d.usable_until is not None)

    @property
    def not_before(self) -> PosixMs | None:
        return max((d.not_before for d in self.dues if d.not_before is not None), default=None)

    def halves(self) -> tuple[Batch, Batch]:
        """Of a batch that was refused: the culprit stands alone after a few splits (V17)."""
        middle = len(self.dues) // 2
        return Batch(self.dues[:middle], self.bonus), Batch(self.dues[middle:], self.bonus)


@dataclass(frozen=True, slots=True)
class Composition:
    batches: tuple[Batch, ...]
    refused: tuple[tuple[Due, Rejection], ...]  # each alone already: the others do not wait for it


@dataclass(frozen=True, slots=True)
class _Weighed:
    due: Due
    bytes: int
    units: ExUnits
    gain: Lovelace  # what leaves the channel towards our wallet


def compose(view: ChainView, dues: Iterable[Due], profile: NetworkProfile, verify: Verify) -> Composition:
    """Each step is in exactly one batch, or among the refused. Raises `Refused` (cl.l1.params) only."""
    figures, margin = read_figures(view.params), profile.claim_margin
    fit: list[_Weighed] = []
    refused: list[tuple[Due, Rejection]] = []
    for due in dues:
        weighed = _weigh(view, due, profile, verify)
        if isinstance(weighed, _Weighed):
            fit.append(weighed)
        else:
            refused.append((due, weighed))
    fit.sort(key=lambda w: _rank(w, figures))
    urgent = [w for w in fit if w.due.is_urgent(view.now, margin)]
    calm = [w for w in fit if not w.due.is_urgent(view.now, margin)]
    batches = [Batch((w.due,), bonus(w.due, view.now, margin, figures)) for w in urgent]
    return Composition((*batches, *_packed(calm, figures)), tuple(refused))


def bonus(due: Due, now: PosixMs, margin: Ms, figures: Figures) -> Lovelace:
    """Escalates with each quarter of the margin that is gone, within what is at stake (W7)."""
    left = due.left(now)
    if left is None or left >= margin:
        return Lovelace(0)
    quarter = min(4 - 4 * max(left.value, 0) // margin.value, 4)
    stake = max(due.step.channel.total.value, 0) // MOST_BONUS_SHARE
    return Lovelace(min(figures.fee_constant * quarter, stake))


def _weigh(view: ChainView, due: Due, profile: NetworkProfile, verify: Verify) -> _Weighed | Rejection:
    use_before = () if due.usable_until is None else (due.usable_until,)
    window = choose_window(
        view.params, view.tip, view.now, profile, use_before=use_before, not_before=due.not_before
    )
    if isinstance(window, Rejection):
        return window
    step, channel = due.step, due.step.channel
    at = Situation(
        channel.cid, channel.total, (step.signer,), verify, window.lb, window.ub, channel.total + step.add
    )
    try:
        result = apply_step(channel.datum, step.step, at)
    except Refused as refused:
        return refused.rejection
    if isinstance(result, Rejection):
        return result
    size = STEP_BYTES + len(encode_redeemer(MintRedeemer(None, (step.step,))))
    gain = channel.utxo.lovelace
    if isinstance(result, Applied):
        size += len(encode_datum(result.datum))
        gain = channel.total + step.add - result.least
    return _Weighed(due, size, _units(step.step), gain)


def _units(step: Step) -> ExUnits:
    signatures, listed = 1, 0
    match step:
        case Close(_, receipt) | Respond(receipt) | RespondEnd(receipt):
            signatures = len(receipt.cheques) + (receipt.snapshot is not None)
            listed = len(() if isinstance(step, Close) else step.entries or ())
        case Elapse(entries) | ElapseEnd(entries) | FreeInClosed(entries):
            signatures, listed = 0, len(entries or ())
        case FreeInResolved(_, own, _, other) | EndResolved(own, _, other):
            signatures, listed = 0, len(own or ()) + len(other or ())
        case _:
            pass  # one signature of the partner's at most
    return ExUnits(
        STEP_UNITS.mem + signatures * SIGNATURE_UNITS.mem + listed * ENTRY_UNITS.mem,
        STEP_UNITS.steps + signatures * SIGNATURE_UNITS.steps + listed * ENTRY_UNITS.steps,
    )


def _rank(w: _Weighed, figures: Figures) -> tuple[int, Fraction, bytes]:
    cost = figures.fee_coefficient * w.bytes + figures.units_fee(w.units)
    ref = w.due.step.channel.ref
    return w.due.deadline.value, -Fraction(w.gain.value, max(cost, 1)), ref.tx_id + bytes((ref.index % 256,))


def _packed(weighed: Sequence[_Weighed], figures: Figures) -> list[Batch]:
    """In the order of rank; what does not fit into the open transaction begins the next one."""
    batches: list[Batch] = []
    chosen: list[Due] = []
    size, mem, steps = BASE_BYTES, BASE_UNITS.mem, BASE_UNITS.steps
    for w in weighed:
        grown = (size + w.bytes, mem + w.units.mem, steps + w.units.steps)
        limits = (figures.max_tx_size * FILL, figures.max_mem * FILL, figures.max_steps * FILL)
        full = len(chosen) == MOST_STEPS or any(g > m for g, m in zip(grown, limits, strict=True))
        if chosen and full:
            batches.append(Batch(tuple(chosen)))
            chosen = []
            grown = (
                BASE_BYTES + w.bytes,
                BASE_UNITS.mem + w.units.mem,
                BASE_UNITS.steps + w.units.steps,
            )
        chosen.append(w.due)
        size, mem, steps = grown
    return [*batches, Batch(tuple(chosen))] if chosen else batches
