"""R2. btc_to_cl by hold invoice: Bitcoin Lightning pays in and LND holds it, a cheque goes out.

The cheque's timeout is computed from the HTLCs' real expiry when they are accepted. The invoice is
cancelled only once the cheque is proven dead; it is settled with a preimage that is already durable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.btc.ports import (
    HoldInvoice,
    InvoiceAccepted,
    InvoiceCancelled,
    InvoiceNotFound,
    InvoiceOpen,
    InvoiceSettled,
    InvoiceState,
    TimeConstants,
)
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.profile import NetworkProfile
from gateway.swap import effects as f
from gateway.swap import errors
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import Quote
from gateway.swap.risk import Level, Risk
from gateway.swap.timelock import Clocks, cheque_timeout
from gateway.units import PosixMs

Result = Outcome[e.Event, f.Effect]


@dataclass(frozen=True, slots=True)
class Context:
    """The moment of the decision. `attempt` tells attempts of one hash apart."""

    profile: NetworkProfile
    clocks: Clocks
    constants: TimeConstants | None  # None only while LND is away, past IncomingLocked
    attempt: int
    paused: str = ""


def reference(state: s.State, context: Context) -> bytes:
    """The idempotency key of the outgoing cheque: one for each attempt of a hash."""
    return state.quote.hashlock.raw + context.attempt.to_bytes(4, "big")


def decide(state: s.State, given: i.Input, context: Context) -> Result:
    """What follows from `given` in `state`."""
    if isinstance(given, i.InvoiceAnswer) and not _is_ours(state.quote, given.state):
        if isinstance(state, s.Quoted):
            words = (
                "LND had an invoice with this hash before; it is neither paid out, settled nor cancelled here"
            )
            return Continue((e.SwapRefused(errors.FOREIGN_INVOICE.code, words),))
        given = i.InvoiceAnswer(InvoiceNotFound())  # ours is gone, whatever has its hash now
    match state:
        case s.Quoted():
            return _quoted(state, given, context)
        case s.Withdrawing():
            return _withdrawing(state, given)
        case s.IncomingLocked():
            return Wait("the cheque is about to be intended")  # one commit with its intent, as in _accepted
        case s.OutgoingIntended() | s.OutgoingInFlight():
            return _outgoing_live(state, given, context)
        case s.PreimageKnown() | s.IncomingClaiming():
            return _claiming(state, given)
        case s.OutgoingProvenDead() | s.IncomingReleasing():
            return _releasing(state, given)
        case s.Done() | s.Released() | s.Refused():
            return _ended(state, given)
    assert_never(state)


def _memo(quote: Quote) -> str:
    """The mark of an invoice of ours: nobody else knows a quote's id before LND has made its invoice."""
    return f"swap {quote.id.hex()[:16]}"


def _is_ours(quote: Quote, answer: InvoiceState) -> bool:
    return isinstance(answer, InvoiceNotFound) or answer.memo == _memo(quote)


def invoice_for(state: s.Quoted, context: Context) -> HoldInvoice:
    """The hold invoice of a quote: its life nests in the quote's."""
    quote = state.quote
    left = max(1, (quote.valid_until - context.clocks.now).value // 1000)
    return HoldInvoice(
        hashlock=quote.hashlock,
        amount=quote.bitcoin,
        memo=_memo(quote),
        expiry_s=left,
        min_final_cltv=quote.final_cltv,
    )


def _quoted(state: s.Quoted, given: i.Input, context: Context) -> Result:
    quote = state.quote
    match given:
        case i.InvoiceCreated(invoice) if not quote.invoice:
            return Continue((e.InvoiceMade(invoice),), (f.LookUpInvoice(quote.hashlock),))
        case i.InvoiceAnswer(InvoiceAccepted() as held):
            return _accepted(state, held, context)
        case i.InvoiceAnswer(InvoiceCancelled()):
            return Continue((e.SwapRefused("swap.invoice.cancelled", "nobody paid the invoice in time"),))
        case i.InvoiceAnswer(InvoiceSettled()):
            words = "LND settled the invoice before any cheque was signed for it"
            return Continue(
                (e.SwapRefused(errors.HASH_IN_USE.code, words),),
                (f.Alarm(errors.INCOMING_SETTLED.code, words),),
            )
        case i.CancelAsked():
            cancelled = ("swap.cancelled", "cancelled before anything was locked")
            if not quote.invoice:  # nobody has seen an invoice of ours, so nobody can pay one
                return Continue((e.SwapRefused(*cancelled),))
            return _withdraw(quote, *cancelled)
        case i.Tick() if context.clocks.now > quote.valid_until:
            return Continue((), (f.LookUpInvoice(quote.hashlock),))
        case i.InvoiceAnswer(InvoiceOpen()) if context.clocks.now > quote.valid_until:
            return _withdraw(quote, errors.QUOTE_EXPIRED.code, "nobody paid the invoice in time")
        case i.InvoiceAnswer(InvoiceNotFound()) if context.clocks.now > quote.valid_until:
            return Continue((e.SwapRefused(errors.QUOTE_EXPIRED.code, "no invoice was made in time"),))
        case i.Tick():
            if not quote.invoice:
                return Continue((), (f.MakeInvoice(invoice_for(state, context)),))
            return Continue((), (f.LookUpInvoice(quote.hashlock),))
        case _:
            return Wait("nobody has paid the invoice yet")


def _withdraw(quote: Quote, code: str, detail: str) -> Result:
    """Stored before LND cancels: a payment that it accepted a moment ago goes back, and gets no cheque (X4)."""
    return Continue((e.QuoteWithdrawn(code, detail),), (f.CancelInvoice(quote.hashlock),))


def _withdrawing(state: s.Withdrawing, given: i.Input) -> Result:
    lock = state.quote.hashlock
    match given:
        case i.InvoiceAnswer(InvoiceCancelled() | InvoiceNotFound()):
            return Continue((e.SwapRefused(state.code, state.detail),))
        case i.InvoiceAnswer(InvoiceSettled()):
            words = "LND settled the invoice of a quote that was withdrawn"
            return Continue(
                (e.SwapRefused(state.code, words),), (f.Alarm(errors.INCOMING_SETTLED.code, words),)
            )
        case i.Tick() | i.InvoiceAnswer(InvoiceOpen() | InvoiceAccepted()):
            return Continue((), (f.CancelInvoice(lock),))
        case _:
            return Wait("LND is cancelling the invoice")


def _accepted(state: s.Quoted, held: InvoiceAccepted, context: Context) -> Result:
    quote = state.quote
    incoming = s.HoldIn(held.amount, held.expiry)
    locked = e.IncomingWasLocked(incoming)
    timeout = _timeout(quote, held, context)
    if isinstance(timeout, Rejection):
        dead = e.OutgoingProvedDead(f"no cheque was signed: {timeout}")
        return Continue((locked, dead, e.ReleaseStarted()), (f.CancelInvoice(quote.hashlock),))
    outgoing = s.ChequeOut(quote.channel, timeout)
    offer = f.OfferCheque(quote.channel, reference(state, context), quote.hashlock, quote.cardano, timeout)
    return Continue((locked, e.OutgoingWasIntended(outgoing)), (offer,))


def offer_refusal(
    state: s.OutgoingIntended, answer: InvoiceState, context: Context, timeout: PosixMs
) -> Rejection | None:
    """Why a cheque that was intended, and not yet signed, must not be signed now: between intent and signature may
    lie a crash and hours, in which LND gave the payment back, blocks came fast, or the price grew old (X3, X4)."""
    if not isinstance(answer, InvoiceAccepted) or not _is_ours(state.quote, answer):
        return errors.INCOMING_LOST(field="invoice", got=type(answer).__name__)
    latest = _timeout(state.quote, answer, context)
    if isinstance(latest, Rejection):
        return latest
    if timeout > latest:
        return errors.HOLD_TOO_LATE(field="timeout_ms", got=timeout.value, allowed=f"<= {latest.value}")
    return None


def _timeout(quote: Quote, held: InvoiceAccepted, context: Context) -> PosixMs | Rejection:
    """The latest timeout of the cheque for this held payment; fails where none may be signed."""
    profile = context.profile
    if context.clocks.now > quote.valid_until + profile.skew:  # LND's invoice had ended by then: we look late
        return errors.QUOTE_EXPIRED(field="valid_until", got=quote.valid_until.value)
    if held.amount < quote.bitcoin:  # X13: a partial set never counts
        return errors.HOLD_AMOUNT(field="amount_msat", got=held.amount.value, allowed=quote.bitcoin.value)
    if context.paused:
        return errors.PAUSED(detail=context.paused)
    small = quote.bitcoin.value < profile.small_swap_msat
    assert context.constants is not None
    latest = cheque_timeout(profile, context.constants, context.clocks, held.expiry, quote.eps, small=small)
    # no longer than it was priced for: a payer may choose any expiry, and the receiver waits for free (X10)
    timeout = min(latest, context.clocks.now + min(quote.lock_life, profile.max_cheque_life))
    if timeout < context.clocks.now + profile.min_cheque_life:
        return errors.HOLD_TOO_LATE(
            field="expiry_height",
            got=held.expiry.value,
            detail=f"the cheque would live {(timeout - context.clocks.now).value} ms",
        )
    return timeout


def _outgoing_live(
    state: s.OutgoingIntended | s.OutgoingInFlight, given: i.Input, context: Context
) -> Result:
    quote = state.quote
    assert isinstance(state.outgoing, s.ChequeOut)
    match given:
        case i.ChequeOffered(index):
            if isinstance(state, s.OutgoingIntended):
                return Continue((e.OutgoingWasSent(index),))
            return Wait("this cheque is known")
        case i.ChequeNotOffered(code, detail) if isinstance(state, s.OutgoingIntended):
            # the channel proves that it signed nothing for this reference
            dead = e.OutgoingProvedDead(f"no cheque was signed: {code}: {detail}")
            return Continue((dead, e.ReleaseStarted()), (f.CancelInvoice(quote.hashlock),))
        case i.PreimageSeen(preimage):
            if not preimage.opens(quote.hashlock):  # X9
                return Reject(errors.PREIMAGE_WRONG(field="preimage", got=preimage.hashlock.hex()))
            return _learned(preimage)
        case i.InvoiceAnswer(InvoiceSettled(preimage)) if preimage.opens(quote.hashlock):
            return _learned(preimage)  # somebody settled in LND: the money is in, the preimage is out
        case i.OutgoingChequeDead(channel, index, proof):
            # told again after a crash it may be the end of an earlier attempt's cheque: this one can still be claimed
            sent = state.index if isinstance(state, s.OutgoingInFlight) else index
            if (channel, index) != (state.outgoing.channel, sent):
                return Wait("that is not this swap's cheque")
            dead = e.OutgoingProvedDead(proof)
            return Continue((dead, e.ReleaseStarted()), (f.CancelInvoice(quote.hashlock),))
        case i.Tick():
            return Continue((), _again(state, context))
        case i.RiskSeen(risk, blocks):
            return Continue((), _at_risk(state, risk, blocks))
        case i.InvoiceAnswer(InvoiceCancelled() | InvoiceNotFound()):
            # LND gave the incoming leg up while the cheque may be claimed: never follow it (X3, X4)
            return Continue(
                (), (f.Alarm("swap.incoming_lost", "LND cancelled the invoice while its cheque is live"),)
            )
        case i.CancelAsked():
            return Reject(errors.NOT_CANCELLABLE(detail="the receiver holds a live cheque"))
        case _:
            return Wait("the receiver has neither fulfilled nor cancelled the cheque")


def _learned(preimage: Preimage) -> Result:
    return Continue((e.PreimageLearned(preimage), e.ClaimStarted()), (f.SettleInvoice(preimage),))


def _again(state: s.OutgoingIntended | s.OutgoingInFlight, context: Context) -> tuple[f.Effect, ...]:
    """Deliver the offer again while nothing says that it was signed; look at the invoice in any case."""
    quote = state.quote
    look = f.LookUpInvoice(quote.hashlock)
    if isinstance(state, s.OutgoingInFlight):
        return (look,)
    assert isinstance(state.outgoing, s.ChequeOut)
    offer = f.OfferCheque(
        quote.channel,
        reference(state, context),
        quote.hashlock,
        quote.cardano,
        state.outgoing.timeout,
    )
    return (offer, look)


def _at_risk(
    state: s.OutgoingIntended | s.OutgoingInFlight, risk: Risk, blocks: int | None
) -> tuple[f.Effect, ...]:
    """LND's own cancel comes near while the cheque is unresolved. The cheque stays: only the receiver can end it."""
    if risk.level is Level.CALM:
        return ()
    gauge = "" if blocks is None else f"; {blocks} blocks until LND cancels the held payment"
    words = f"{risk.shown()}: {risk.what}, and the receiver has neither fulfilled nor cancelled{gauge}"
    alarm = f.Alarm(errors.AT_RISK.code, words)
    if risk.level is Level.ALARM or not isinstance(state, s.OutgoingInFlight):
        return (alarm,)
    return (alarm, f.AskResolution(state.quote.channel, state.index))


def _claiming(state: s.PreimageKnown | s.IncomingClaiming, given: i.Input) -> Result:
    match given:
        case i.InvoiceAnswer(InvoiceSettled(preimage)):
            return Continue((e.IncomingClaimed(f"LND: settled with {preimage.hashlock.hex()}"),))
        case i.InvoiceAnswer(InvoiceCancelled() | InvoiceNotFound()):
            return Continue(
                (), (f.Alarm("swap.incoming_lost", "LND no longer holds the payment that was to be settled"),)
            )
        case i.Tick() | i.InvoiceAnswer():
            quote = state.quote
            return Continue((), (f.SettleInvoice(state.preimage), f.LookUpInvoice(quote.hashlock)))
        case i.RiskSeen(risk, _) if risk.level is not Level.CALM:
            words = f"{risk.shown()}: {risk.what}, and LND has not settled the invoice"
            return Continue((), (f.Alarm(errors.AT_RISK.code, words), f.SettleInvoice(state.preimage)))
        case i.CancelAsked():
            return Reject(errors.NOT_CANCELLABLE(detail="the receiver was paid"))
        case _:
            return Wait("LND is settling the invoice")


def _releasing(state: s.OutgoingProvenDead | s.IncomingReleasing, given: i.Input) -> Result:
    quote = state.quote
    match given:
        case i.InvoiceAnswer(InvoiceCancelled()):
            return Continue((e.IncomingReleased("LND: the invoice is cancelled"),))
        case i.InvoiceAnswer(InvoiceNotFound()):  # it deletes cancelled invoices where it is told to
            return Continue((e.IncomingReleased("LND: there is no such invoice any more"),))
        case i.InvoiceAnswer(InvoiceSettled()):
            return Continue(
                (),
                (f.Alarm("swap.proof_contradicted", "LND settled an invoice whose cheque was proven dead"),),
            )
        case i.PreimageSeen(preimage) if preimage.opens(quote.hashlock):
            return Continue(
                (),
                (f.Alarm("swap.proof_contradicted", "a preimage appeared after its cheque was proven dead"),),
            )
        case i.Tick() | i.InvoiceAnswer(InvoiceAccepted() | InvoiceOpen()):
            return Continue((), (f.CancelInvoice(quote.hashlock), f.LookUpInvoice(quote.hashlock)))
        case _:
            return Wait("LND is cancelling the invoice")


def _ended(state: s.Done | s.Released | s.Refused, given: i.Input) -> Result:
    match given:
        case i.InvoiceAnswer(InvoiceAccepted() | InvoiceOpen()) if not isinstance(state, s.Done):
            return Continue((), (f.CancelInvoice(state.quote.hashlock),))
        case _:
            return Wait("the swap has ended")
