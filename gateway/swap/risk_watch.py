"""R4. Computes the risk of every open swap at each Bitcoin block and tells the swap's machine.

Derived, never stored: both clocks, the swap's own row and the channel give the same number after a restart.
Between blocks time alone raises the risk of a slow payment, so it is computed again after a tenth of a block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.btc.ports import TimeConstants
from gateway.cl.ports import Clock
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile
from gateway.swap import errors
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.ports import ChannelLegs
from gateway.swap.risk import (
    Level,
    Risk,
    blocks_to_cancel,
    claim_comes_late,
    hold_ends_early,
    payment_outlives_cheque,
    settle_comes_late,
)
from gateway.swap.runner import Key, Runner
from gateway.swap.tasks import guarded
from gateway.swap.timelock import Clocks
from gateway.units import PosixMs


class RiskWatch:
    """`risks`: what `swap show` and `status` show; only swaps with a leg locked are in it."""

    def __init__(
        self,
        runner: Runner,
        legs: ChannelLegs,
        clock: Clock,
        profile: NetworkProfile,
        clocks: Callable[[], Awaitable[Clocks]],
        constants: Callable[[], Awaitable[TimeConstants]],
    ) -> None:
        self._runner, self._legs, self._clock, self._profile = runner, legs, clock, profile
        self._clocks, self._constants = clocks, constants
        self._seen: Clocks | None = None
        self._looked = PosixMs(0)
        self.risks: dict[Key, Risk] = {}
        self.gauges: dict[Key, int] = {}  # blocks until LND cancels the held payment

    async def look(self) -> None:
        """Call it often: it works once a block and once in a tenth of a block's time."""
        now, before = self._clock.now(), self._seen
        constants: TimeConstants | None = None
        try:
            clocks = await self._clocks()
            constants = await self._constants()
        except Refused:
            if before is None:
                return  # never heard of a height: nothing can be said
            # LND is away: its last height is the safe one for a payment, and all that is known for a hold
            clocks = Clocks(now, before.height, before.stress)
        fresh = before is None or clocks.height != before.height
        if not fresh and (now - self._looked).value * 10 < self._profile.bitcoin.block_ms:
            return
        self._seen, self._looked = clocks, now
        live = dict(self._runner.live)
        for known in (self.risks, self.gauges):
            for key in set(known) - set(live):
                del known[key]
        for key, state in live.items():
            risk = self._risk(key, state, clocks, constants)
            if risk is None:
                self.risks.pop(key, None)
                continue
            self.risks[key] = risk
            if risk.level is not Level.CALM:
                given = i.RiskSeen(risk, self.gauges.get(key))
                await guarded(key.entity_id, self._tell(key, given))

    async def _tell(self, key: Key, given: i.RiskSeen) -> None:
        await self._runner.feed(key, given)

    def _risk(self, key: Key, state: s.State, clocks: Clocks, constants: TimeConstants | None) -> Risk | None:
        profile = self._profile
        match state:
            case s.OutgoingIntended(
                _, s.ChequeIn() as cheque, s.PaymentOut() as payment
            ) | s.OutgoingInFlight(_, s.ChequeIn() as cheque, s.PaymentOut() as payment, _):
                latest = payment.latest
                if latest.value == 0:  # an older row: sent at this height at the latest
                    latest = clocks.height + payment.cltv_limit
                return payment_outlives_cheque(profile, clocks, latest, cheque.timeout)
            case s.PreimageKnown(_, s.ChequeIn() as cheque) | s.IncomingClaiming(_, s.ChequeIn() as cheque):
                if self._legs.claim_stands(cheque.channel):
                    return None  # what is in a block is followed by the channel itself
                return claim_comes_late(profile, clocks.now, cheque.timeout)
            case s.OutgoingIntended(
                quote, s.HoldIn() as held, s.ChequeOut() as cheque_out
            ) | s.OutgoingInFlight(quote, s.HoldIn() as held, s.ChequeOut() as cheque_out, _):
                if constants is None:
                    return self.risks.get(key)
                self.gauges[key] = blocks_to_cancel(constants, clocks.height, held.expiry).value
                small = quote.bitcoin.value < profile.small_swap_msat
                return hold_ends_early(
                    profile, constants, clocks, held.expiry, cheque_out.timeout, small=small
                )
            case s.PreimageKnown(_, s.HoldIn() as held) | s.IncomingClaiming(_, s.HoldIn() as held):
                if constants is None:
                    return self.risks.get(key)
                self.gauges[key] = blocks_to_cancel(constants, clocks.height, held.expiry).value
                return settle_comes_late(profile, constants, clocks, held.expiry)
            case _:
                return None

    def why_not(self, peer: bytes) -> str:
        """Why no new swap is begun with this peer; empty when one may be."""
        for key, risk in self.risks.items():
            state = self._runner.live.get(key)
            if risk.level is Level.ACT and state is not None and state.quote.peer == peer:
                return f"swap {key.hashlock.hex()} of this peer is at risk: {risk.shown()}"
        return ""

    def refusal(self, peer: bytes) -> Rejection | None:
        """The coded form of `why_not`."""
        why = self.why_not(peer)
        return errors.PEER_AT_RISK(field="peer", got=peer.hex(), detail=why) if why else None

    def worst(self) -> Risk | None:
        return max(self.risks.values(), key=lambda one: one.probability, default=None)
