"""R4. The user's side of swaps: payments of Bitcoin invoices out of a channel, and receipts into one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from gateway.cl.data.types import ChannelId
from gateway.cl.ports import Clock
from gateway.errors import Action, Fault, Refused, Rejection, define
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import NetworkProfile
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem
from gateway.swap import effects as f
from gateway.swap import errors, payee, payer
from gateway.swap import inputs as i
from gateway.swap.ledger import payment_rows, receipt_rows
from gateway.swap.ports import ChannelLegs, ChannelStanding, PeerLink
from gateway.swap.quote import InvoiceFacts, read_invoice
from gateway.swap.runner import Key, Machine, Runner
from gateway.swap.tasks import Tasks, guarded
from gateway.units import Lovelace, Ms, Msat

log = structlog.get_logger("gateway.swap")
PAYMENT, RECEIPT = "payment", "receipt"

NO_CHANNEL = define(
    "swap.no_channel", Fault.LOCAL, Action.REFUSE,
    "no open channel can carry this", "Open a channel to a gateway (gateway channel open), or add funds.", 409,
)  # fmt: skip


def _no_bound(amount: Msat) -> Lovelace | Rejection:
    return errors.PAY_UNBOUNDED(field="most_lovelace")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    tick_s: float = 2.0
    patience: Ms = Ms(30_000)  # for the gateway's answer
    slack: Ms = Ms(5_000)  # on top of the quoted least timeout, for the message to arrive


class SwapClient:
    """Payments and receipts of this node through its peers' gateways."""

    def __init__(
        self,
        store: Store,
        legs: ChannelLegs,
        link: PeerLink,
        clock: Clock,
        profile: NetworkProfile,
        *,
        on_change: Callable[[Key, Any, Any], None],
        bound: Callable[[Msat], Lovelace | Rejection] = _no_bound,
        options: ClientOptions | None = None,
    ) -> None:
        self._legs, self._link, self._clock, self._profile = legs, link, clock, profile
        self._options = options or ClientOptions()
        self._bound = bound
        self._asked: dict[tuple[bytes, Hashlock], asyncio.Future[payer.Offer | Rejection]] = {}
        self._tasks = Tasks()
        machines = (
            Machine(
                PAYMENT,
                payer.decide,
                payer.evolve,
                self._payer_context,
                (payer.Paid, payer.Failed, payer.Refused),
                payment_rows,
            ),
            Machine(
                RECEIPT,
                payee.decide,
                payee.evolve,
                self._payee_context,
                (payee.Received, payee.Refused),
                receipt_rows,
            ),
        )
        self.runner = Runner(store, machines, self._perform, on_change)

    async def start(self) -> None:
        for key in list(self.runner.live):
            self._tasks.spawn(key.entity_id, self._tick(key))
        self._tasks.every(self._options.tick_s, "tick", self._tick_all)

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _tick_all(self) -> None:
        for key in list(self.runner.live):
            await guarded(key.entity_id, self._tick(key))

    async def _tick(self, key: Key) -> None:
        await self._ask(key, await self.runner.feed(key, i.Tick()))

    async def _ask(self, key: Key, state: Any) -> None:
        """Asking is not stored: it binds nobody and is repeated until an answer comes or patience ends."""
        match state:
            case payer.AwaitingQuote(order):
                await self._link.ask_quote(order.peer, order.channel, order.invoice)
            case payee.AwaitingInvoice(request):
                await self._link.ask_invoice(request.peer, request.channel, key.hashlock, request.receive)
            case _:
                return

    async def _payer_context(self, key: Key) -> payer.Context:
        return payer.Context(self._clock.now(), self._options.slack, self._options.patience)

    async def _payee_context(self, key: Key) -> payee.Context:
        least = self._profile.min_cheque_life - self._profile.skew
        return payee.Context(self._clock.now(), least, self._options.patience, self._profile.claim_margin)

    async def _pick(self, channel: ChannelId | None, need: Lovelace, *, sending: bool) -> ChannelStanding:
        """The named channel, or the one with the most room; raises swap.no_channel with what is missing."""
        usable = [s for s in await self._legs.standings() if s.usable and channel in (None, s.channel)]
        room = [(s.local if sending else s.remote, s) for s in usable]
        if not room:
            raise Refused(NO_CHANNEL(field="channel", got="" if channel is None else channel.hex()))
        most, best = max(room, key=lambda pair: pair[0].value)
        if sending and most < need:
            raise Refused(NO_CHANNEL(field="lovelace", got=need.value, allowed=f"<= {most.value}"))
        return best

    async def pay(self, invoice: str, most: Lovelace | None, channel: ChannelId | None) -> Key:
        """Starts a payment, or finds the one that is pending or paid for this hash: never a second one (X6). Without
        `most` this node's own price bounds it: the gateway that quotes is nobody's friend (swap.pay.unbounded)."""
        facts, amount = self._payable(invoice)
        earlier = await self.runner.latest(facts.hashlock)
        if earlier is not None:
            state = await self.runner.state_of(earlier)
            if earlier.kind == PAYMENT and not isinstance(state, (payer.Failed, payer.Refused)):
                return earlier
            if earlier in self.runner.live:
                raise Refused(errors.HASH_IN_USE(field="payment_hash", got=facts.hashlock.hex()))
        bound = self._bound(amount) if most is None else most
        if isinstance(bound, Rejection):
            raise Refused(bound)
        standing = await self._pick(channel, Lovelace(1), sending=True)
        order = payer.Order(
            hashlock=facts.hashlock,
            invoice=facts.text,
            bitcoin=amount,
            peer=standing.peer,
            channel=standing.channel,
            most=min(bound, standing.local),
            longest=self._profile.max_cheque_life,
            asked_at=self._clock.now(),
        )
        key = await self.runner.begin(
            lambda n: Key(PAYMENT, facts.hashlock, n), facts.hashlock, payer.Ordered(order)
        )
        self._tasks.spawn(key.entity_id, self._tick(key))
        return key

    def _payable(self, invoice: str) -> tuple[InvoiceFacts, Msat]:
        """An invoice of this network with an amount and time left, and the amount."""
        facts = read_invoice(invoice)
        if isinstance(facts, Rejection):
            raise Refused(facts)
        if facts.network != self._profile.bitcoin_network:
            raise Refused(
                errors.INVOICE_NETWORK(
                    field="invoice", got=facts.network, allowed=self._profile.bitcoin_network
                )
            )
        if facts.amount is None or not facts.amount:
            raise Refused(errors.INVOICE_AMOUNTLESS(field="amount"))
        if facts.expires_at < self._clock.now():
            raise Refused(errors.INVOICE_EXPIRED(field="expiry", got=facts.expires_at.value))
        return facts, facts.amount

    async def price(self, invoice: str, channel: ChannelId | None) -> tuple[ChannelId, payer.Offer]:
        """What the channel's gateway asks for this payment now; binds nobody. Raises swap.quote.*."""
        facts, amount = self._payable(invoice)
        standing = await self._pick(channel, Lovelace(1), sending=True)
        asked = standing.peer, facts.hashlock
        answer = self._asked.setdefault(asked, asyncio.get_running_loop().create_future())
        end = self._clock.now() + self._options.patience
        try:
            while not answer.done():
                if self._clock.now() > end:
                    raise Refused(errors.QUOTE_NO_ANSWER(field="peer", got=standing.peer.hex()))
                await self._link.ask_quote(standing.peer, standing.channel, facts.text)
                await asyncio.wait({answer}, timeout=self._options.tick_s)
        finally:
            self._asked.pop(asked, None)
        offer = answer.result()
        if isinstance(offer, Rejection):
            raise Refused(offer)
        if offer.bitcoin != amount:
            raise Refused(errors.QUOTE_MISMATCH(field="amount_msat", got=offer.bitcoin.value))
        return standing.channel, offer

    def _priced(self, peer: bytes, hashlock: Hashlock, found: payer.Offer | Rejection) -> None:
        answer = self._asked.get((peer, hashlock))
        if answer is not None and not answer.done():
            answer.set_result(found)

    async def receive(self, amount: Lovelace, channel: ChannelId | None) -> Key:
        """Starts a receipt: a fresh preimage, and an invoice of the gateway for its hash."""
        standing = await self._pick(channel, amount, sending=False)
        preimage = Preimage(secrets.token_bytes(32))
        request = payee.Request(preimage, amount, standing.peer, standing.channel, self._clock.now())
        key = await self.runner.begin(
            lambda n: Key(RECEIPT, preimage.hashlock, n), preimage.hashlock, payee.Requested(request)
        )
        self._tasks.spawn(key.entity_id, self._tick(key))
        return key

    async def quote_arrived(self, peer: bytes, offer: payer.Offer) -> None:
        self._priced(peer, offer.hashlock, offer)
        key = await self.runner.latest(offer.hashlock)
        state = self.runner.live.get(key) if key else None
        if key and isinstance(state, payer.AwaitingQuote) and state.order.peer == peer:
            await self.runner.feed(key, payer.QuoteArrived(offer))

    async def quote_denied(self, peer: bytes, hashlock: Hashlock, code: str, detail: str) -> None:
        self._priced(peer, hashlock, errors.QUOTE_DENIED(field="invoice", detail=f"{code}: {detail}"))
        key = await self.runner.latest(hashlock)
        state = self.runner.live.get(key) if key else None
        if key and isinstance(state, payer.AwaitingQuote) and state.order.peer == peer:
            await self.runner.feed(key, payer.QuoteDenied(code, detail))
        if key and isinstance(state, payee.AwaitingInvoice) and state.request.peer == peer:
            await self.runner.feed(key, payee.QuoteDenied(code, detail))

    async def invoice_arrived(self, peer: bytes, invoice: str, receive: Lovelace) -> None:
        """The gateway's hold invoice for a receipt; taken only when it is for our hash and amount."""
        facts = read_invoice(invoice)
        if isinstance(facts, Rejection):
            log.warning("swap.bad_invoice", code=facts.code)
            return
        key = await self.runner.latest(facts.hashlock)
        state = self.runner.live.get(key) if key else None
        if not (key and isinstance(state, payee.AwaitingInvoice) and state.request.peer == peer):
            return
        fits = (
            receive == state.request.receive
            and facts.network == self._profile.bitcoin_network
            and facts.amount is not None
        )
        amount = facts.amount
        assert amount is not None or not fits
        if amount is not None:
            await self.runner.feed(key, payee.InvoiceArrived(facts.text, amount, facts.expires_at, fits))

    async def notify(self, hashlock: Hashlock, given: i.Input) -> bool:
        """A channel's news about a hash; False when it is none of ours."""
        key = await self.runner.latest(hashlock)
        if key is None or key.kind not in self.runner.kinds:
            return False
        await self.runner.feed(key, given)
        return True

    async def cancel(self, hashlock: Hashlock) -> None:
        key = await self.runner.latest(hashlock)
        if key is None:
            raise Refused(errors.SWAP_UNKNOWN(field="id", got=hashlock.hex()))
        state = await self.runner.state_of(key)
        if not isinstance(state, (payee.AwaitingInvoice, payee.InvoiceReady)):
            raise Refused(errors.NOT_CANCELLABLE(field="state", got=type(state).__name__))
        after = await self.runner.feed(key, i.CancelAsked())
        if not isinstance(after, payee.Refused):  # a cheque came first
            raise Refused(errors.NOT_CANCELLABLE(field="state", got=type(after).__name__))

    async def deliver(self, item: OutboxItem) -> None:
        await self.runner.deliver(item)

    async def _perform(self, key: Key, effect: Any) -> None:
        match effect:
            case f.OfferCheque(channel, reference, hashlock, amount, timeout):
                offer = partial(self._legs.offer_cheque, channel, reference, hashlock, amount, timeout)
                await self.runner.ask(key, payer.ChequeIntended, offer)
            case f.ExtendCheque(channel, index, timeout):
                await self._legs.extend_cheque(channel, index, timeout)
            case f.FulfilCheque(channel, index, preimage):
                await self._legs.fulfil_cheque(channel, index, preimage)
            case f.CancelCheque(channel, index, code):
                await self._legs.cancel_cheque(channel, index, code)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of a payment or receipt")
