"""R4. Swap messages between nodes: the gateway answers questions, the user's side takes the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from functools import partial

import structlog

from gateway.bolt import crypto
from gateway.cl.data.types import ChannelId
from gateway.cl.node.peers import Peers
from gateway.cl.ports import Signer
from gateway.cl.wire import session_messages
from gateway.cl.wire import swap_messages as w
from gateway.cl.wire.codec import Envelope
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock
from gateway.swap import errors
from gateway.swap import state as s
from gateway.swap.client import SwapClient
from gateway.swap.engine import SwapEngine
from gateway.swap.payer import Offer
from gateway.swap.pricing import Fees, payment_adds_up, receipt_adds_up
from gateway.swap.quote import Direction, Quote, read_invoice
from gateway.units import Lovelace

log = structlog.get_logger("gateway.peer_swaps")
ASK_AGAIN_WITHIN_MS = 20_000  # less than the client's own patience
MOST_AT_ONCE, MOST_OF_A_PEER = 64, 16  # questions under way: of all peers together, and of one

_PHASES: dict[type, w.SwapPhase] = {
    s.Quoted: w.SwapPhase.QUOTED,
    s.Withdrawing: w.SwapPhase.RELEASING,
    s.IncomingLocked: w.SwapPhase.LOCKED,
    s.OutgoingIntended: w.SwapPhase.IN_FLIGHT,
    s.OutgoingInFlight: w.SwapPhase.IN_FLIGHT,
    s.PreimageKnown: w.SwapPhase.SETTLING,
    s.IncomingClaiming: w.SwapPhase.SETTLING,
    s.Done: w.SwapPhase.DONE,
    s.Refused: w.SwapPhase.REFUSED,
    s.OutgoingProvenDead: w.SwapPhase.RELEASING,
    s.IncomingReleasing: w.SwapPhase.RELEASING,
    s.Released: w.SwapPhase.RELEASED,
}


class PeerSwaps:
    """Implements swap.ports.PeerLink, and takes the swap messages that peers send."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.peers: Peers | None = None
        self.engine: SwapEngine | None = None
        self.client: SwapClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: Counter[bytes] = Counter()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- asking (PeerLink) ----------------------------------------------------------------------

    async def ask_quote(self, peer: bytes, channel: ChannelId, invoice: str) -> None:
        await self._ask(peer, channel, w.SwapPayRequest(invoice))

    async def ask_invoice(
        self, peer: bytes, channel: ChannelId, hashlock: Hashlock, receive: Lovelace
    ) -> None:
        await self._ask(peer, channel, w.SwapReceiveRequest(hashlock, receive))

    async def _ask(self, peer: bytes, channel: ChannelId, message: object) -> None:
        assert self.peers is not None
        await self.peers.ask(peer, message, channel)

    # -- hearing --------------------------------------------------------------------------------

    async def received(self, peer: bytes, envelope: Envelope) -> None:
        """Answers in a task of its own: a slow LND must not hold the peer's channel messages back, nor may a peer
        that asks without end."""
        if self._asked[peer] >= MOST_OF_A_PEER:
            busy = errors.ASKED_TOO_MUCH(
                field="questions", got=f"{self._asked[peer]} under way", allowed=MOST_OF_A_PEER
            )
            log.warning("peer_swap.dropped", peer=peer.hex(), code=busy.code)
            await self._reply(peer, envelope, session_messages.Warning(busy.code, str(busy)))
            return
        self._asked[peer] += 1
        task = asyncio.create_task(self._handle(peer, envelope))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, peer))

    def _done(self, peer: bytes, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._asked[peer] -= 1
        if not self._asked[peer]:
            del self._asked[peer]

    async def _handle(self, peer: bytes, envelope: Envelope) -> None:
        try:
            async with self._room:
                await self._message(peer, envelope)
        except Refused as refused:
            log.warning("peer_swap.refused", peer=peer.hex(), code=refused.rejection.code)

    async def _message(self, peer: bytes, envelope: Envelope) -> None:
        channel = envelope.channel
        match envelope.message:
            case w.SwapPayRequest(invoice) if channel is not None:
                facts = read_invoice(invoice)
                hashlock = None if isinstance(facts, Rejection) else facts.hashlock
                await self._answer(peer, envelope, hashlock, self._quote_out(peer, channel, invoice))
            case w.SwapReceiveRequest(hashlock, receive) if channel is not None:
                await self._answer(peer, envelope, hashlock, self._quote_in(peer, channel, hashlock, receive))
            case w.SwapStatusRequest(hashlock):
                await self._reply(peer, envelope, await self._status(peer, hashlock))
            case w.SwapQuote() as quote if channel is not None:
                await self._quoted(peer, channel, quote)
            case w.SwapRefused(hashlock, code, field, got, allowed, detail, retry):
                if retry is not None and retry <= ASK_AGAIN_WITHIN_MS:
                    return  # the gateway asks for patience: the client asks again by itself
                if self.client is not None and hashlock is not None:
                    bound = f" (allowed: {allowed})" if allowed else ""
                    words = f"{field}={got}{bound} {detail}" if field else detail
                    await self.client.quote_denied(peer, hashlock, code, words.strip())
            case _:
                log.info("peer_swap.ignored", peer=peer.hex(), message=type(envelope.message).__name__)

    async def _quote_out(self, peer: bytes, channel: ChannelId, invoice: str) -> Quote | Rejection:
        if self.engine is None:
            return errors.PAUSED(detail="this node is no gateway")
        return await self.engine.quote_out(peer, channel, invoice)

    async def _quote_in(
        self, peer: bytes, channel: ChannelId, hashlock: Hashlock, receive: Lovelace
    ) -> Quote | Rejection:
        if self.engine is None:
            return errors.PAUSED(detail="this node is no gateway")
        return await self.engine.quote_in(peer, channel, hashlock, receive)

    async def _answer(
        self,
        peer: bytes,
        envelope: Envelope,
        hashlock: Hashlock | None,
        asking: Awaitable[Quote | Rejection],
    ) -> None:
        try:
            found = await asking
        except Refused as refused:  # LND or the database is away: say so, the peer asks again
            found = refused.rejection
        if isinstance(found, Rejection):
            refusal = w.SwapRefused(
                hashlock,
                found.code,
                found.field,
                found.got,
                found.allowed,
                found.detail,
                found.retry_after_ms,
            )
            await self._reply(peer, envelope, refusal)
            return
        assert envelope.channel is not None
        await self._reply(peer, envelope, await self._sign(envelope.channel, found))

    async def _sign(self, channel: ChannelId, quote: Quote) -> w.SwapQuote:
        def made(signature: bytes) -> w.SwapQuote:
            return w.SwapQuote(
                id=quote.id,
                direction=w.SwapDirection(quote.direction.value),
                hashlock=quote.hashlock,
                bitcoin=quote.bitcoin,
                cardano=quote.cardano,
                rate=quote.rate,
                base_fee=quote.base_fee,
                proportional_fee=quote.proportional_fee,
                routing_budget=quote.routing_budget,
                invoice=quote.invoice,
                cheque_timeout=quote.cheque_timeout,
                valid_until=quote.valid_until,
                eps_denominator=quote.eps.denominator,
                spread_fee=quote.spread_fee,
                inventory_fee=quote.inventory_fee,
                option_fee=quote.option_fee,
                lock_life=quote.lock_life,
                signature=signature,
            )

        digest = w.quote_digest(channel, made(b""))
        return made(await self._signer.sign_invoice(digest))

    async def _reply(self, peer: bytes, envelope: Envelope, message: object) -> None:
        assert self.peers is not None
        await self.peers.send(peer, Envelope(message, envelope.channel, envelope.conversation))

    async def _quoted(self, peer: bytes, channel: ChannelId, quote: w.SwapQuote) -> None:
        """A quote counts only with the gateway's own signature over every field, and when its parts add up."""
        if self.client is None:
            return
        signer = crypto.recover(quote.signature, w.quote_digest(channel, quote))
        if signer != peer:
            await self.client.quote_denied(
                peer, quote.hashlock, "swap.quote.signature", "the quote is not signed by the gateway"
            )
            return
        if not _adds_up(quote):
            await self.client.quote_denied(
                peer,
                quote.hashlock,
                errors.QUOTE_MISMATCH.code,
                "the quote's amounts do not follow from its parts",
            )
            return
        if quote.direction is w.SwapDirection.CL_TO_BTC:
            offer = Offer(
                quote.id,
                quote.hashlock,
                quote.bitcoin,
                quote.cardano,
                quote.cheque_timeout,
                quote.valid_until,
            )
            await self.client.quote_arrived(peer, offer)
        else:
            await self.client.invoice_arrived(peer, quote.invoice, quote.cardano)

    async def _status(self, peer: bytes, hashlock: Hashlock) -> w.SwapStatus:
        if self.engine is None:
            return w.SwapStatus(hashlock, w.SwapPhase.UNKNOWN)
        key = await self.engine.runner.latest(hashlock)
        state = None if key is None else await self.engine.runner.state_of(key)
        if not isinstance(state, s.State) or state.quote.peer != peer:
            return w.SwapStatus(hashlock, w.SwapPhase.UNKNOWN)
        preimage = state.preimage if isinstance(state, s.Done) else None
        code = state.code if isinstance(state, s.Refused) else ""
        return w.SwapStatus(hashlock, _PHASES[type(state)], state.quote.id, code, preimage)


def _adds_up(quote: w.SwapQuote) -> bool:
    """Rate, fees and amounts agree; and a receipt's invoice is for the quoted hash and amount."""
    parts = Fees(
        quote.base_fee, quote.proportional_fee, quote.spread_fee, quote.inventory_fee, quote.option_fee
    )
    if quote.direction is w.SwapDirection.CL_TO_BTC:
        return payment_adds_up(quote.rate, quote.bitcoin, quote.routing_budget, quote.cardano, parts)
    facts = read_invoice(quote.invoice)
    if isinstance(facts, Rejection) or (facts.hashlock, facts.amount) != (quote.hashlock, quote.bitcoin):
        return False
    return receipt_adds_up(quote.rate, quote.bitcoin, quote.cardano, parts)


assert {d.value for d in Direction} == {d.value for d in w.SwapDirection}
