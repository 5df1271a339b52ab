"""R4. Sends what was intended: at most once, and only under the law as it stands at the send.

Between an intent and its send may lie a crash, an LND that is away, and hours. What was not sent yet is judged
again: the time locks, the price, the leg that pays for it, and the node that it goes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.btc.ports import (
    NEVER_SENT,
    BitcoinLightning,
    InvoiceSettled,
    PaymentFailed,
    PaymentRequest,
    PaymentResult,
    TimeConstants,
)
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock
from gateway.profile import NetworkProfile
from gateway.swap import btc_to_cl, cl_to_btc, errors
from gateway.swap import effects as f
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.identity import Identity
from gateway.swap.ports import ChannelLegs
from gateway.swap.quote import Quote
from gateway.swap.runner import Key, Runner
from gateway.swap.timelock import Clocks
from gateway.units import BlockDelta, PosixMs


def _never_sent(why: Rejection) -> i.PaymentAnswer:
    return i.PaymentAnswer(PaymentFailed(NEVER_SENT, f"not sent: {why}"))


class Outgoing:
    """The outgoing legs of both directions. Every method raises `Refused` where it cannot tell: it is asked again."""

    def __init__(
        self,
        bitcoin: BitcoinLightning,
        legs: ChannelLegs,
        profile: NetworkProfile,
        identity: Identity,
        *,
        clocks: Callable[[], Awaitable[Clocks]],
        constants: Callable[[], Awaitable[TimeConstants]],
        why_paused: Callable[[], str],
        now: Callable[[], PosixMs],
    ) -> None:
        self._now = now
        self._btc, self._legs, self._profile, self._identity = bitcoin, legs, profile, identity
        self._clocks, self._constants, self._why_paused = clocks, constants, why_paused
        self._unsent: set[Key] = set()  # intended by this process and not yet handed to LND

    def intended(self, key: Key) -> None:
        """Told by the commit that intends a payment, before anything can look for it or send it."""
        self._unsent.add(key)

    async def pay(self, runner: Runner, key: Key, request: PaymentRequest) -> None:
        """Hands a payment to LND at most once, and only in the process that intended it: afterwards, and after a
        crash, whether it was sent is LND's to say (X5, X6). What fails before the hand-over is delivered again.
        """
        if key in self._unsent:
            try:
                clocks = await self._risk()  # LND counts the limit from its own height at the start
            except Refused:
                state = runner.live.get(key)
                late = None if state is None else self._expired(state.quote)
                if late is None or not isinstance(state, s.OutgoingIntended):
                    raise
                self._unsent.discard(key)
                await runner.feed(key, _never_sent(late))
                return
            held = await self._holds(runner.live.get(key))
            state = runner.live.get(key)
            if key in self._unsent and isinstance(state, s.OutgoingIntended):
                limit = self._payable(state, clocks, held)
                self._unsent.discard(key)  # from here on it may have left
                if isinstance(limit, Rejection):
                    await runner.feed(key, _never_sent(limit))
                else:
                    await runner.feed(
                        key, i.PaymentAnswer(await self._send(replace(request, cltv_limit=limit)))
                    )
                return
        self._unsent.discard(key)
        await self.look(runner, key, request.hashlock)

    async def _send(self, request: PaymentRequest) -> PaymentResult:
        return await self._of_our_node(await self._btc.pay(request))

    async def look(self, runner: Runner, key: Key, hashlock: Hashlock) -> None:
        if key in self._unsent:
            return  # "LND has no record" proves nothing about what we are about to send (X5)
        result = await self._of_our_node(await self._btc.track(hashlock))
        await runner.feed(key, i.PaymentAnswer(result))

    async def _of_our_node(self, result: PaymentResult) -> PaymentResult:
        """A preimage proves itself; that a payment failed is only for the node to say that was to make it."""
        if isinstance(result, PaymentFailed):
            await self._identity.info()
        return result

    async def _risk(self) -> Clocks:
        """Both clocks, where a new risk may be taken now."""
        paused = self._why_paused()
        if paused:
            raise Refused(errors.PAUSED(detail=paused))
        return await self._clocks()

    async def _holds(self, state: s.State | None) -> bool:
        incoming = state.incoming if isinstance(state, s.OutgoingIntended) else None
        return isinstance(incoming, s.ChequeIn) and await self._legs.holds(incoming.channel, incoming.index)

    def _payable(self, state: s.OutgoingIntended, clocks: Clocks, held: bool) -> BlockDelta | Rejection:
        """The time lock that the payment may have now; fails where it must not be sent any more."""
        quote = state.quote
        assert isinstance(state.incoming, s.ChequeIn)
        assert isinstance(state.outgoing, s.PaymentOut)
        if not held:
            return errors.CHEQUE_GONE(field="cheque", got=state.incoming.index)
        late = self._expired(quote)
        if late is not None:
            return late
        limit = cl_to_btc.limit_now(self._profile, clocks, state)
        return limit if isinstance(limit, Rejection) else min(state.outgoing.cltv_limit, limit)

    def _expired(self, quote: Quote) -> Rejection | None:
        """Its price is nobody's any more: a leg that has not left by now never leaves. Needs neither network, so that
        a pause without end holds nobody's funds until the lock ends."""
        if self._now() > quote.valid_until + self._profile.skew:
            return errors.QUOTE_EXPIRED(field="valid_until", got=quote.valid_until.value)
        return None

    async def offer(self, runner: Runner, key: Key, effect: f.OfferCheque) -> None:
        async def answer() -> i.Input:
            index = await self._legs.issued(effect.channel, effect.reference)
            if index is not None:  # signed before a crash: it is owed, whatever has changed since
                return i.ChequeOffered(index)
            return await self._judge(runner, key, effect) or await self._legs.offer_cheque(
                effect.channel, effect.reference, effect.hashlock, effect.amount, effect.timeout
            )

        await runner.ask(key, s.OutgoingIntended, answer)

    async def _judge(self, runner: Runner, key: Key, effect: f.OfferCheque) -> i.Input | None:
        """Why this cheque must not be signed now; nothing signs it afterwards."""
        state = runner.live.get(key)
        assert isinstance(state, s.OutgoingIntended)
        try:
            clocks = await self._risk()
        except Refused:
            late = self._expired(state.quote)
            if late is None:
                raise
            return i.ChequeNotOffered(late.code, str(late))
        context = btc_to_cl.Context(self._profile, clocks, await self._constants(), key.attempt)
        found = await self._btc.lookup_invoice(effect.hashlock)
        if isinstance(found, InvoiceSettled):
            return i.InvoiceAnswer(found)
        refusal = btc_to_cl.offer_refusal(state, found, context, effect.timeout)
        return None if refusal is None else i.ChequeNotOffered(refusal.code, str(refusal))
