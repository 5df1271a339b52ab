"""R4. The gateway's swap engine: both directions, look-ups and reconciliation around the pure machines.

Streams are hints. At start and on every tick each live swap looks at LND's own records; a stream only
makes that look come sooner. Quotes are the desk's (gateway.swap.desk).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from gateway.btc.ports import (
    BitcoinLightning,
    HoldInvoice,
    InvoiceCancelled,
    InvoiceNotFound,
    InvoiceSettled,
    TimeConstants,
)
from gateway.cl.data.types import ChannelId
from gateway.cl.ports import Clock
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.prices.model import Market
from gateway.profile import NetworkProfile
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem
from gateway.swap import btc_to_cl, cl_to_btc, errors
from gateway.swap import effects as f
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.desk import IN, OUT, Desk
from gateway.swap.gate import Gate
from gateway.swap.identity import Identity
from gateway.swap.ledger import swap_rows
from gateway.swap.live_blocks import LiveBlocks
from gateway.swap.outgoing import Outgoing
from gateway.swap.ports import ChannelLegs
from gateway.swap.quote import Quote, SwapPolicy
from gateway.swap.risk_watch import RiskWatch
from gateway.swap.runner import Key, Machine, Runner
from gateway.swap.tasks import Tasks, guarded
from gateway.swap.timelock import Clocks
from gateway.swap.transitions import evolve
from gateway.swap.witness import Seen, seen
from gateway.units import BlockHeight, Lovelace, Msat

__all__ = ["IN", "OUT", "Alarm", "EngineOptions", "SwapEngine"]

log = structlog.get_logger("gateway.swap")

Alarm = Callable[[str, str, str], None]  # swap id, code, detail


@dataclass(frozen=True, slots=True)
class EngineOptions:
    tick_s: float = 5.0
    look_s: float = 1.0  # the pause before a lost stream is opened again
    accepted_node: str = ""  # the LND that may take another's place once no swap has a leg


class SwapEngine:
    """One per node with an LND. `start` reconciles; `stop` leaves everything as the store holds it."""

    def __init__(
        self,
        store: Store,
        bitcoin: BitcoinLightning,
        legs: ChannelLegs,
        clock: Clock,
        profile: NetworkProfile,
        policy: SwapPolicy,
        *,
        on_change: Callable[[Key, Any, Any], None],
        on_alarm: Alarm,
        blind: Callable[[], str] = lambda: "",
        market: Callable[[], Market | Rejection] | None = None,
        slot: Callable[[], int] = lambda: 0,
        options: EngineOptions | None = None,
    ) -> None:
        self._slot = slot
        self._store, self._btc, self._legs, self._clock = store, bitcoin, legs, clock
        self._profile, self._policy = profile, policy
        self._on_change, self._on_alarm, self._blind = on_change, on_alarm, blind
        # without a feed the operator's own rate is the market
        self._market = market or (lambda: Market(policy.rate, 0, clock.now(), ("fixed",)))
        self._options = options or EngineOptions()
        self._tasks = Tasks()
        self._watching: set[Key] = set()
        self._constants: TimeConstants | None = None
        self.paused = ""
        machines = (
            Machine(OUT, cl_to_btc.decide, evolve, self._out_context, s.FINAL, swap_rows, self._seen),
            Machine(IN, btc_to_cl.decide, evolve, self._in_context, s.FINAL, swap_rows, self._seen),
        )
        self.runner = Runner(store, machines, self._perform, self._changed)
        self.gate = Gate(store, lambda: self._policy.limits)
        self.blocks = LiveBlocks(store, profile)
        self.risks = RiskWatch(self.runner, legs, clock, profile, self._clocks, self.constants)
        self.identity = Identity(store, bitcoin, self._options.accepted_node, self._any_risk)
        self._outgoing = Outgoing(
            bitcoin, legs, profile, self.identity,
            clocks=self._clocks, constants=self.constants, why_paused=self._why_held, now=clock.now,
        )  # fmt: skip
        self._desk = Desk(
            self.runner, bitcoin, legs, clock, profile, policy,
            gate=self.gate, risks=self.risks, identity=self.identity, tasks=self._tasks, market=self._market,
            clocks=self._clocks, constants=self.constants, why_paused=self._why_paused, invoice=self._invoice_quoted,
        )  # fmt: skip

    def _changed(self, key: Key, state: Any, event: Any) -> None:
        if key.kind == OUT and isinstance(event, e.OutgoingWasIntended):
            self._outgoing.intended(key)
        self.gate.saw(state, event)
        self._on_change(key, state, event)

    def _any_risk(self) -> bool:
        return any(not isinstance(one, (s.Quoted, s.Withdrawing)) for one in self.runner.live.values())

    def _seen(self, given: i.Input, context: Any) -> Seen:
        return seen(given, context, self._slot())

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """After `runner.start`. LND may be away: the swaps stay as they are until it answers."""
        await self.blocks.start()
        for key in list(self.runner.live):
            self._tasks.spawn(key.entity_id, self._tick(key))
        self._tasks.every(self._options.tick_s, "reconcile", self.reconcile)

    async def stop(self) -> None:
        await self._tasks.stop()

    async def reconcile(self) -> None:
        """Every live swap looks again at the records of both networks."""
        for key in list(self.runner.live):
            await guarded(key.entity_id, self._tick(key))
        await guarded("risks", self.risks.look())

    async def _tick(self, key: Key) -> None:
        try:
            await self.runner.feed(key, i.Tick())
        finally:
            if key.kind == IN and key in self.runner.live:
                self._watch(key)

    # -- what decisions see -------------------------------------------------------------------

    async def _clocks(self) -> Clocks:
        info = await self.identity.info()
        if not info.synced:
            raise Refused(errors.PAUSED(detail="the Lightning node is not synced"))
        silence = self._profile.bitcoin_silence
        if silence is not None and self._clock.now() > info.best_header_ms + silence:
            raise Refused(errors.PAUSED(detail=f"no Bitcoin block for {silence.value // 60_000} min"))
        return Clocks(self._clock.now(), info.height, await self.blocks.seen(info))

    async def constants(self) -> TimeConstants:
        """As LND says them now: it may have been updated, or set otherwise, since a moment ago."""
        found = await self._btc.time_constants()
        if found.warning and found != self._constants:
            log.warning("swap.time_constants", warning=found.warning)
        self._constants = found
        return found

    async def _out_context(self, key: Key) -> cl_to_btc.Context:
        return cl_to_btc.Context(self._profile, await self._moment(key), self._why_not(key))

    async def why_paused(self) -> str:
        """For people: why new swaps are refused now, LND's reasons included; empty: they are not."""
        why = self._why_paused()
        market = self._market()
        if not why and isinstance(market, Rejection):
            why = f"{market.code}: {market.spec.meaning}"
        if not why:
            try:
                await self._clocks()
            except Refused as refused:
                why = refused.rejection.detail or refused.rejection.code
        return why

    def _why_paused(self) -> str:
        """New risk only with open eyes, and not while the operator pauses; what is under way goes on."""
        return self.gate.paused or self._why_held()

    def _why_held(self) -> str:
        """What holds back an intended payment too: an operator's pause lets it finish."""
        return self.paused or self._blind()

    def _why_not(self, key: Key) -> str:
        """Why this swap, still a quote, is not begun: the node's reason, or its peer's other swaps."""
        state = self.runner.live.get(key)
        if self._why_paused() or not isinstance(state, s.Quoted):
            return self._why_paused()
        return self.risks.why_not(state.quote.peer)

    async def _in_context(self, key: Key) -> btc_to_cl.Context:
        moment = await self._moment(key)
        state = self.runner.live.get(key) or await self.runner.state_of(key)
        # what is past its risk needs none of them: a preimage does not wait for LND to come back
        constants = await self.constants() if isinstance(state, (s.Quoted, s.IncomingLocked)) else None
        return btc_to_cl.Context(self._profile, moment, constants, key.attempt, self._why_not(key))

    async def _moment(self, key: Key) -> Clocks:
        """Needs LND only where new risk may follow; a swap past that moves on without it."""
        state = self.runner.live.get(key) or await self.runner.state_of(key)
        if isinstance(state, (s.Quoted, s.IncomingLocked)):
            return await self._clocks()
        try:
            return await self._clocks()
        except Refused:
            # without LND the height is unknown: the HTLC's own expiry is the latest that it can be
            expiry = getattr(getattr(state, "incoming", None), "expiry", BlockHeight(0))
            return Clocks(self._clock.now(), expiry, self.blocks.stress)

    # -- quotes -------------------------------------------------------------------------------

    async def quote_out(self, peer: bytes, channel: ChannelId, invoice: str) -> Quote | Rejection:
        """cl_to_btc, see `Desk`."""
        return await self._desk.quote_out(peer, channel, invoice)

    async def quote_in(
        self, peer: bytes, channel: ChannelId, hashlock: Hashlock, receive: Lovelace
    ) -> Quote | Rejection:
        """btc_to_cl, see `Desk`."""
        return await self._desk.quote_in(peer, channel, hashlock, receive)

    async def estimate(self, peer: bytes, channel: ChannelId, wanted: Msat | Lovelace) -> Quote | Rejection:
        """Indicative, see `Desk`."""
        return await self._desk.estimate(peer, channel, wanted)

    # -- what happens -------------------------------------------------------------------------

    async def notify(self, hashlock: Hashlock, given: i.Input) -> bool:
        """A channel's news about a hash; False when no swap of ours ever had it."""
        key = await self.runner.latest(hashlock)
        if key is None or key.kind not in self.runner.kinds:
            return False
        await self.runner.feed(key, given)
        return True

    async def cancel(self, hashlock: Hashlock) -> s.State:
        """Where nothing is locked yet; else raises swap.not_cancellable."""
        key = await self.runner.latest(hashlock)
        if key is None or key.kind not in self.runner.kinds:
            raise Refused(errors.SWAP_UNKNOWN(field="id", got=hashlock.hex()))
        state = await self.runner.state_of(key)
        if not isinstance(state, s.Quoted):
            raise Refused(errors.NOT_CANCELLABLE(field="state", got=type(state).__name__))
        after: s.State = await self.runner.feed(key, i.CancelAsked())
        if isinstance(after, s.Withdrawing):
            with suppress(
                Refused
            ):  # it is withdrawn for good; LND is told of it again until it has cancelled
                await self._perform(key, f.CancelInvoice(hashlock))
            after = await self.runner.state_of(key)
        if not isinstance(after, (s.Withdrawing, s.Refused)):  # a cheque or a payment came first
            raise Refused(errors.NOT_CANCELLABLE(field="state", got=type(after).__name__))
        return after

    def _watch(self, key: Key) -> None:
        """Follows LND's invoice stream as a hint, one watcher a swap."""
        if key in self._watching:
            return
        self._watching.add(key)
        self._tasks.spawn(key.entity_id, self._watch_invoice(key))

    async def _watch_invoice(self, key: Key) -> None:
        try:
            while key in self.runner.live:
                with suppress(Refused):
                    async for state in self._btc.watch_invoice(key.hashlock):
                        await self.runner.feed(key, i.InvoiceAnswer(state))
                        if isinstance(state, (InvoiceSettled, InvoiceCancelled, InvoiceNotFound)):
                            break
                await asyncio.sleep(self._options.look_s)
        finally:
            self._watching.discard(key)

    # -- effects ------------------------------------------------------------------------------

    async def deliver(self, item: OutboxItem) -> None:
        await self.runner.deliver(item)

    async def _perform(self, key: Key, effect: f.Effect) -> None:
        match effect:
            case f.PayInvoice(request):
                await self._outgoing.pay(self.runner, key, request)
            case f.LookUpPayment(hashlock):
                await self._outgoing.look(self.runner, key, hashlock)
            case f.LookUpInvoice(hashlock):
                await self._answer_invoice(key, hashlock)
            case f.MakeInvoice(invoice):
                await self._make_invoice(key, invoice)
            case f.OfferCheque():
                await self._outgoing.offer(self.runner, key, effect)
            case f.FulfilCheque(channel, index, preimage):
                await self._fulfil_cheque(key, channel, index, preimage)
            case f.CancelCheque(channel, index, code):
                await self._cancel_cheque(key, channel, index, code)
            case f.AskExtension(channel, index, timeout):
                await self._legs.ask_extension(channel, index, timeout)
            case f.AskResolution(channel, index):
                await self._legs.ask_resolution(channel, index)
            case f.ClaimOnChain(channel, reason):
                await self._legs.claim_on_chain(channel, reason)
            case f.SettleInvoice(preimage):
                try:
                    await self._btc.settle_invoice(preimage)
                finally:  # what LND cannot settle it may have given up: its record says so, and an alarm rings
                    await self._answer_invoice(key, preimage.hashlock)
            case f.CancelInvoice(hashlock):
                await self._btc.cancel_invoice(hashlock)
                await self._answer_invoice(key, hashlock)
            case f.Alarm(code, detail):
                log.error("swap.alarm", swap=key.entity_id, code=code, detail=detail)
                self._on_alarm(key.hashlock.hex(), code, detail)
            case _:
                assert_never(effect)

    async def _answer_invoice(self, key: Key, hashlock: Hashlock) -> None:
        """Feeds LND's record where it can move the swap; an invoice still open or held says nothing new after it."""
        answer = await self._btc.lookup_invoice(hashlock)
        state = await self.runner.state_of(key)
        moves = isinstance(answer, (InvoiceSettled, InvoiceCancelled, InvoiceNotFound))
        if moves or isinstance(state, s.Quoted):
            await self.runner.feed(key, i.InvoiceAnswer(answer))

    async def _fulfil_cheque(self, key: Key, channel: ChannelId, index: int, preimage: Preimage) -> None:
        gone = await self._legs.fulfil_cheque(channel, index, preimage)
        if gone and self._is_paid_by(key, channel, index):
            await self._perform(key, f.Alarm(errors.CHEQUE_LOST.code, f"the payment succeeded, and {gone}"))

    async def _cancel_cheque(self, key: Key, channel: ChannelId, index: int, code: str) -> None:
        gone = await self._legs.cancel_cheque(channel, index, code)
        if gone and self._is_paid_by(key, channel, index):
            await self.runner.feed(key, i.IncomingChequeReleased(channel, index, gone))

    def _is_paid_by(self, key: Key, channel: ChannelId, index: int) -> bool:
        incoming = getattr(self.runner.live.get(key), "incoming", None)
        return isinstance(incoming, s.ChequeIn) and (incoming.channel, incoming.index) == (channel, index)

    async def _invoice_quoted(self, key: Key, state: s.Quoted) -> s.State:
        context = await self._in_context(key)
        return await self._make_invoice(key, btc_to_cl.invoice_for(state, context))

    async def _make_invoice(self, key: Key, invoice: HoldInvoice) -> s.State:
        text = await self._btc.add_hold_invoice(invoice)
        state: s.State = await self.runner.feed(key, i.InvoiceCreated(text))
        self._watch(key)
        return state
