"""R2. The payee's side of btc_to_cl: a CL node is paid from Bitcoin Lightning through the gateway's hold invoice.

The preimage leaves only against a cheque of the agreed amount with time to claim it on chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.cl.data.types import ChannelId
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Outcome, Wait
from gateway.swap import errors
from gateway.swap import inputs as i
from gateway.swap.effects import CancelCheque, FulfilCheque
from gateway.units import Lovelace, Ms, Msat, PosixMs


@dataclass(frozen=True, slots=True)
class Request:
    preimage: Preimage
    receive: Lovelace
    peer: bytes
    channel: ChannelId
    asked_at: PosixMs


@dataclass(frozen=True, slots=True)
class AwaitingInvoice:
    request: Request


@dataclass(frozen=True, slots=True)
class InvoiceReady:
    """The invoice may be shown to the payer."""

    request: Request
    invoice: str
    bitcoin: Msat
    valid_until: PosixMs


@dataclass(frozen=True, slots=True)
class Fulfilling:
    """The preimage leaves after this is stored; the channel now enforces what we are owed."""

    request: Request
    invoice: str
    bitcoin: Msat
    index: int


@dataclass(frozen=True, slots=True)
class Received:
    request: Request
    invoice: str
    bitcoin: Msat
    proof: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No preimage ever left."""

    request: Request
    code: str
    detail: str


State = AwaitingInvoice | InvoiceReady | Fulfilling | Received | Refused


@dataclass(frozen=True, slots=True)
class InvoiceArrived:
    """As the shell read it: its hash, amount and payee were checked against the request by `fits`."""

    invoice: str
    bitcoin: Msat
    valid_until: PosixMs
    fits: bool


@dataclass(frozen=True, slots=True)
class QuoteDenied:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Requested:
    request: Request


@dataclass(frozen=True, slots=True)
class GotInvoice:
    invoice: str
    bitcoin: Msat
    valid_until: PosixMs


@dataclass(frozen=True, slots=True)
class StartedFulfilling:
    index: int


@dataclass(frozen=True, slots=True)
class WasReceived:
    proof: str


@dataclass(frozen=True, slots=True)
class WasRefused:
    code: str
    detail: str


Event = Requested | GotInvoice | StartedFulfilling | WasReceived | WasRefused
Effect = FulfilCheque | CancelCheque
Input = InvoiceArrived | QuoteDenied | i.ChequeLocked | i.IncomingChequeSettled | i.CancelAsked | i.Tick


@dataclass(frozen=True, slots=True)
class Context:
    now: PosixMs
    least_life: Ms  # a cheque with less left is given back unopened
    patience: Ms
    grace: Ms  # an unpaid invoice is forgotten this long after its end


def evolve(state: State | None, event: Event) -> State:
    """Raises ValueError on an edge that does not exist (a bug of ours)."""
    match state, event:
        case None, Requested(request):
            return AwaitingInvoice(request)
        case AwaitingInvoice(request), GotInvoice(invoice, bitcoin, valid_until):
            return InvoiceReady(request, invoice, bitcoin, valid_until)
        case InvoiceReady(request, invoice, bitcoin, _), StartedFulfilling(index):
            return Fulfilling(request, invoice, bitcoin, index)
        case Fulfilling(request, invoice, bitcoin, _), WasReceived(proof):
            return Received(request, invoice, bitcoin, proof)
        case ((AwaitingInvoice() | InvoiceReady()), WasRefused(code, detail)):
            return Refused(state.request, code, detail)
        case _:
            raise ValueError(f"{type(event).__name__} does not fit {type(state).__name__}")


def decide(state: State, given: Input, context: Context) -> Outcome[Event, Effect]:
    """What follows from `given` in `state`."""
    match state:
        case AwaitingInvoice():
            return _awaiting(state, given, context)
        case InvoiceReady():
            return _ready(state, given, context)
        case Fulfilling():
            return _fulfilling(state, given)
        case Received() | Refused():
            return _ended(given)
    assert_never(state)


def _awaiting(state: AwaitingInvoice, given: Input, context: Context) -> Outcome[Event, Effect]:
    match given:
        case InvoiceArrived(invoice, bitcoin, valid_until, fits):
            if not fits:
                return Continue((WasRefused("swap.quote.mismatch", "the invoice is for something else"),))
            return Continue((GotInvoice(invoice, bitcoin, valid_until),))
        case QuoteDenied(code, detail):
            return Continue((WasRefused(code, detail),))
        case i.ChequeLocked(channel=channel, index=index):
            return Continue((), (CancelCheque(channel, index, errors.CHEQUE_UNEXPECTED.code),))
        case i.CancelAsked():
            return Continue((WasRefused("swap.cancelled", "cancelled before anything was locked"),))
        case i.Tick() if context.now > state.request.asked_at + context.patience:
            return Continue((WasRefused("swap.quote.no_answer", "the gateway did not answer"),))
        case _:
            return Wait("the gateway has not made an invoice yet")


def _ready(state: InvoiceReady, given: Input, context: Context) -> Outcome[Event, Effect]:
    request = state.request
    match given:
        case i.ChequeLocked():
            code = _refusal(request, given, context)
            if code is not None:
                return Continue((), (CancelCheque(given.channel, given.index, code),))
            fulfil = FulfilCheque(given.channel, given.index, request.preimage)
            return Continue((StartedFulfilling(given.index),), (fulfil,))
        case i.CancelAsked():
            return Continue((WasRefused("swap.cancelled", "cancelled by the receiver"),))
        case i.Tick() if context.now > state.valid_until + context.grace:
            return Continue((WasRefused("swap.invoice.expired", "nobody paid the invoice"),))
        case _:
            return Wait("nobody has paid the invoice yet")


def _refusal(request: Request, given: i.ChequeLocked, context: Context) -> str | None:
    if given.channel != request.channel or given.amount < request.receive:
        return errors.CHEQUE_AMOUNT.code
    if given.timeout < context.now + context.least_life:
        return errors.TIMELOCK_TOO_SHORT.code  # it could expire before we have claimed it on chain
    return None


def _fulfilling(state: Fulfilling, given: Input) -> Outcome[Event, Effect]:
    request = state.request
    ours = request.channel, state.index
    match given:
        case i.IncomingChequeSettled(channel, index, proof) if (channel, index) == ours:
            return Continue((WasReceived(proof),))
        case i.ChequeLocked(channel=channel, index=index) if (channel, index) != ours:
            return Continue((), (CancelCheque(channel, index, errors.HASH_IN_USE.code),))
        case i.Tick() | i.ChequeLocked():
            return Continue((), (FulfilCheque(request.channel, state.index, request.preimage),))
        case _:
            return Wait("the gateway owes a squash for the preimage")


def _ended(given: Input) -> Outcome[Event, Effect]:
    match given:
        case i.ChequeLocked(channel=channel, index=index):
            return Continue((), (CancelCheque(channel, index, errors.CHEQUE_UNEXPECTED.code),))
        case _:
            return Wait("it has ended")
