"""R2. The payer's side of cl_to_btc: a gateway at the other end of a channel pays a Bitcoin invoice for us.

Paid only with the preimage in hand; failed only when the cheque is proven dead; else pending, however long it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.cl.data.types import ChannelId
from gateway.hashlock import Hashlock, Preimage
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.swap import errors
from gateway.swap import inputs as i
from gateway.swap.effects import ExtendCheque, OfferCheque
from gateway.units import Lovelace, Ms, Msat, PosixMs


@dataclass(frozen=True, slots=True)
class Offer:
    """A gateway's quote as the payer sees it."""

    quote_id: bytes
    hashlock: Hashlock
    bitcoin: Msat
    cardano: Lovelace
    cheque_timeout: PosixMs
    valid_until: PosixMs


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for. `most` caps the price in lovelace; the quote must not be above it."""

    hashlock: Hashlock
    invoice: str
    bitcoin: Msat
    peer: bytes
    channel: ChannelId
    most: Lovelace
    longest: Ms
    asked_at: PosixMs


@dataclass(frozen=True, slots=True)
class AwaitingQuote:
    order: Order


@dataclass(frozen=True, slots=True)
class ChequeIntended:
    """Written before the cheque is asked for: it may exist from here on."""

    order: Order
    offer: Offer
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class ChequeLive:
    order: Order
    offer: Offer
    index: int


@dataclass(frozen=True, slots=True)
class Paid:
    order: Order
    offer: Offer
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class Failed:
    """The cheque is proven dead: nothing was paid."""

    order: Order
    proof: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No cheque was ever signed."""

    order: Order
    code: str
    detail: str


State = AwaitingQuote | ChequeIntended | ChequeLive | Paid | Failed | Refused


@dataclass(frozen=True, slots=True)
class QuoteArrived:
    offer: Offer


@dataclass(frozen=True, slots=True)
class QuoteDenied:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ordered:
    order: Order


@dataclass(frozen=True, slots=True)
class Intended:
    offer: Offer
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class WentLive:
    index: int


@dataclass(frozen=True, slots=True)
class WasPaid:
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class HasFailed:
    proof: str


@dataclass(frozen=True, slots=True)
class WasRefused:
    code: str
    detail: str


Event = Ordered | Intended | WentLive | WasPaid | HasFailed | WasRefused
Input = (
    QuoteArrived
    | QuoteDenied
    | i.ChequeOffered
    | i.ChequeNotOffered
    | i.PreimageSeen
    | i.OutgoingChequeDead
    | i.Tick
)


@dataclass(frozen=True, slots=True)
class Context:
    """`slack` is added to the least timeout, so that the quote still holds when the cheque arrives."""

    now: PosixMs
    slack: Ms
    patience: Ms  # how long to wait for a quote


def evolve(state: State | None, event: Event) -> State:
    """Raises ValueError on an edge that does not exist (a bug of ours)."""
    match state, event:
        case None, Ordered(order):
            return AwaitingQuote(order)
        case AwaitingQuote(order), Intended(offer, timeout):
            return ChequeIntended(order, offer, timeout)
        case AwaitingQuote(order) | ChequeIntended(order, _, _), WasRefused(code, detail):
            return Refused(order, code, detail)
        case ChequeIntended(order, offer, _), WentLive(index):
            return ChequeLive(order, offer, index)
        case ((ChequeIntended(order, offer, _) | ChequeLive(order, offer, _)), WasPaid(preimage)):
            return Paid(order, offer, preimage)
        case ((ChequeIntended(order, _, _) | ChequeLive(order, _, _)), HasFailed(proof)):
            return Failed(order, proof)
        case _:
            raise ValueError(f"{type(event).__name__} does not fit {type(state).__name__}")


def decide(state: State, given: Input, context: Context) -> Outcome[Event, OfferCheque | ExtendCheque]:
    """What follows from `given`; the cheque is intended before it is asked for."""
    match state:
        case AwaitingQuote():
            return _awaiting(state, given, context)
        case ChequeIntended() | ChequeLive():
            return _live(state, given)
        case Paid() | Failed() | Refused():
            return Wait("the payment has ended")
    assert_never(state)


def _awaiting(
    state: AwaitingQuote, given: Input, context: Context
) -> Outcome[Event, OfferCheque | ExtendCheque]:
    order = state.order
    match given:
        case QuoteArrived(offer):
            refusal = _judge(order, offer, context)
            if refusal is not None:
                return Continue((refusal,))
            timeout = offer.cheque_timeout + context.slack
            return Continue((Intended(offer, timeout),), (_offer(order, offer, timeout),))
        case QuoteDenied(code, detail):
            return Continue((WasRefused(code, detail),))
        case i.Tick() if context.now > order.asked_at + context.patience:
            # nothing was signed: giving up the question loses nothing
            return Continue((WasRefused("swap.quote.no_answer", "the gateway did not answer"),))
        case _:
            return Wait("the gateway has not quoted yet")


def _judge(order: Order, offer: Offer, context: Context) -> WasRefused | None:
    if offer.hashlock != order.hashlock or offer.bitcoin != order.bitcoin:
        return WasRefused("swap.quote.mismatch", "the quote is for another invoice")
    if offer.cardano > order.most or offer.cardano.value < 1:
        return WasRefused(
            "swap.quote.too_dear", f"{offer.cardano.value} lovelace asked, at most {order.most.value}"
        )
    if offer.cheque_timeout + context.slack > context.now + order.longest:
        return WasRefused("swap.quote.too_long", "the quote locks the cheque for too long")
    if offer.valid_until < context.now:
        return WasRefused(errors.QUOTE_EXPIRED.code, "the quote came too late")
    return None


def _offer(order: Order, offer: Offer, timeout: PosixMs) -> OfferCheque:
    return OfferCheque(order.channel, offer.quote_id, order.hashlock, offer.cardano, timeout)


def _extend(state: ChequeLive, given: i.ExtensionAsked) -> Outcome[Event, OfferCheque | ExtendCheque]:
    """We are the origin: no leg of ours ends before the cheque, so more time costs nothing but patience. Never past
    what the user agreed to lock, counted from the order: asking again and again moves nothing."""
    order = state.order
    if (given.channel, given.index) != (order.channel, state.index):
        return Wait("that is not this payment's cheque")
    latest = order.asked_at + order.longest
    if given.timeout > latest:
        return Reject(
            errors.EXTENSION_TOO_LONG(
                field="timeout_ms", got=given.timeout.value, allowed=f"<= {latest.value}"
            )
        )
    return Continue((), (ExtendCheque(order.channel, state.index, given.timeout),))


def _live(state: ChequeIntended | ChequeLive, given: Input) -> Outcome[Event, OfferCheque | ExtendCheque]:
    match given:
        case i.ChequeOffered(index) if isinstance(state, ChequeIntended):
            return Continue((WentLive(index),))
        case i.ChequeNotOffered(code, detail) if isinstance(state, ChequeIntended):
            return Continue((WasRefused(code, detail),))
        case i.PreimageSeen(preimage):
            if not preimage.opens(state.order.hashlock):
                return Reject(errors.PREIMAGE_WRONG(field="preimage", got=preimage.hashlock.hex()))
            return Continue((WasPaid(preimage),))
        case i.OutgoingChequeDead(channel, index, proof):
            sent = state.index if isinstance(state, ChequeLive) else index
            if (channel, index) != (state.order.channel, sent):
                return Wait("that is not this payment's cheque")
            return Continue((HasFailed(proof),))
        case i.ExtensionAsked() if isinstance(state, ChequeLive):
            return _extend(state, given)
        case i.Tick() if isinstance(state, ChequeIntended):
            return Continue((), (_offer(state.order, state.offer, state.timeout),))
        case _:
            return Wait("the gateway is paying the invoice")
