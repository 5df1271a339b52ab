"""R2. cl_to_btc: a partner's cheque comes in, a Bitcoin Lightning payment goes out.

The payment is intended (stored) before it is sent; it is dead only by LND's proof; the cheque is
cancelled only after that. Nothing here looks at a clock except to size the payment's time lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.btc.ports import NEVER_SENT, PaymentFailed, PaymentRequest, PaymentSettled, PaymentUnknown
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.profile import NetworkProfile
from gateway.swap import effects as f
from gateway.swap import errors
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import payable_blocks
from gateway.swap.risk import Level, Risk
from gateway.swap.timelock import Clocks, outgoing_needs
from gateway.units import BlockDelta, Msat, PosixMs

Result = Outcome[e.Event, f.Effect]


@dataclass(frozen=True, slots=True)
class Context:
    """The moment of the decision."""

    profile: NetworkProfile
    clocks: Clocks
    paused: str = ""  # reason why no new risk is taken, empty when none


def decide(state: s.State, given: i.Input, context: Context) -> Result:
    """What follows from `given` in `state`."""
    match state:
        case s.Quoted():
            return _quoted(state, given, context)
        case s.IncomingLocked() | s.Withdrawing():
            # Never stored in this direction: cheque and intent share one commit, and LND has nothing to cancel.
            return Wait("the payment is about to be intended")
        case s.OutgoingIntended() | s.OutgoingInFlight():
            return _outgoing_live(state, given, context)
        case s.PreimageKnown() | s.IncomingClaiming():
            return _claiming(state, given)
        case s.OutgoingProvenDead() | s.IncomingReleasing():
            return _releasing(state, given)
        case s.Done():
            return _after_done(state, given)
        case s.Released() | s.Refused():
            return _after_release(given)
    assert_never(state)


def _quoted(state: s.Quoted, given: i.Input, context: Context) -> Result:
    quote = state.quote
    match given:
        case i.ChequeLocked(peer=peer, channel=channel, index=index) if (peer, channel) != (
            quote.peer,
            quote.channel,
        ):
            # somebody else's cheque for this hash: it goes back, and ends nobody's quote
            return Continue((), (f.CancelCheque(channel, index, errors.QUOTE_OTHER_PEER.code),))
        case i.ChequeLocked(channel=channel, index=index, timeout=timeout):
            incoming = s.ChequeIn(channel, index, timeout)
            locked = e.IncomingWasLocked(incoming)
            refusal = _refuse_cheque(state, given, context)
            if refusal is not None:
                dead = e.OutgoingProvedDead(f"nothing was sent: {refusal.code}")
                return Continue(
                    (locked, dead, e.ReleaseStarted()), (f.CancelCheque(channel, index, refusal.code),)
                )
            limit = payable_blocks(context.profile, context.clocks, quote, timeout)
            if isinstance(limit, Rejection):
                dead = e.OutgoingProvedDead(f"nothing was sent: {limit}")
                return Continue(
                    (locked, dead, e.ReleaseStarted()), (f.CancelCheque(channel, index, limit.code),)
                )
            outgoing = s.PaymentOut(quote.routing_budget, limit, context.clocks.height + limit)
            request = PaymentRequest(
                invoice=quote.invoice,
                hashlock=quote.hashlock,
                amount=quote.bitcoin,
                fee_limit=outgoing.fee_limit,
                cltv_limit=limit,
            )
            # the intent is durable before the payment can exist (X5)
            return Continue((locked, e.OutgoingWasIntended(outgoing)), (f.PayInvoice(request),))
        case i.CancelAsked():
            return Continue((e.SwapRefused("swap.cancelled", "cancelled before anything was locked"),))
        case i.Tick() if context.clocks.now > quote.valid_until:
            # nothing is locked: ending a quote gives nothing up
            return Continue((e.SwapRefused(errors.QUOTE_EXPIRED.code, "no cheque came in time"),))
        case _:
            return Wait("no cheque yet")


def limit_now(profile: NetworkProfile, clocks: Clocks, state: s.OutgoingIntended) -> BlockDelta | Rejection:
    """The time lock of a payment that leaves now: what its cheque still covers, and nothing above the height that
    its intent names, so that its risk can be told from the stored swap alone."""
    assert isinstance(state.incoming, s.ChequeIn)
    assert isinstance(state.outgoing, s.PaymentOut)
    limit = payable_blocks(profile, clocks, state.quote, state.incoming.timeout)
    if isinstance(limit, Rejection) or state.outgoing.latest.value == 0:
        return limit
    return _not_above(state, limit, state.outgoing.latest - clocks.height, profile)


def _not_above(
    state: s.OutgoingIntended, limit: BlockDelta, left: BlockDelta, profile: NetworkProfile
) -> BlockDelta | Rejection:
    least = state.quote.final_cltv + profile.padding
    if left < least:
        return errors.TIMELOCK_TOO_SHORT(
            field="latest_height", got=left.value, allowed=f">= {least.value} blocks"
        )
    return min(limit, left)


def _refuse_cheque(state: s.Quoted, given: i.ChequeLocked, context: Context) -> Rejection | None:
    quote = state.quote
    if context.clocks.now > quote.valid_until:
        return errors.QUOTE_EXPIRED(field="quote_id", got=quote.id.hex())
    if given.amount != quote.cardano:
        return errors.CHEQUE_AMOUNT(
            field="amount_lovelace", got=given.amount.value, allowed=quote.cardano.value
        )
    if context.paused:
        return errors.PAUSED(detail=context.paused)
    return None


def _outgoing_live(
    state: s.OutgoingIntended | s.OutgoingInFlight, given: i.Input, context: Context
) -> Result:
    quote = state.quote
    match given:
        case i.PaymentAnswer(PaymentSettled(preimage, fee)):
            if not preimage.opens(quote.hashlock):  # X9
                return Reject(errors.PREIMAGE_WRONG(field="preimage", got=preimage.hashlock.hex()))
            return _learned(state, preimage, fee)
        case i.PreimageSeen(preimage) if preimage.opens(quote.hashlock):
            return _learned(state, preimage, None)
        case i.PaymentAnswer(PaymentFailed(reason=reason)) if reason == NEVER_SENT and isinstance(
            state, s.OutgoingInFlight
        ):
            # LND has shown it: that its record is gone says that LND lost it, and nothing of the payment
            words = "LND has no record any more of a payment that it was making"
            return Continue((), (f.Alarm(errors.PAYMENT_LOST.code, words),))
        case i.PaymentAnswer(PaymentFailed(reason, proof)):
            assert isinstance(state.incoming, s.ChequeIn)
            dead = e.OutgoingProvedDead(f"LND: {reason}: {proof}")
            cancel = f.CancelCheque(state.incoming.channel, state.incoming.index, f"btc.payment.{reason}")
            return Continue((dead, e.ReleaseStarted()), (cancel,))
        case i.PaymentAnswer(PaymentUnknown(why, known)):
            if known and isinstance(state, s.OutgoingIntended):
                return Continue((e.OutgoingWasSent(0),))
            return Wait(f"the payment is in flight: {why}")
        case i.Tick():
            return Continue((), (f.LookUpPayment(quote.hashlock),))
        case i.RiskSeen(risk, _):
            return Continue((), _at_risk(state, risk, context))
        case i.ChequeExtended():
            return _extended(state.incoming, given)
        case i.ChequeLocked():
            return _second_cheque(state.incoming, given)
        case i.CancelAsked():
            return Reject(errors.NOT_CANCELLABLE(detail="the payment may still succeed"))
        case _:
            return Wait("the payment has no final answer yet")


def _second_cheque(incoming: s.Incoming, given: i.ChequeLocked) -> Result:
    """One hash, one cheque: another index is given back, a repeated delivery of ours changes nothing (X6)."""
    assert isinstance(incoming, s.ChequeIn)
    if (given.channel, given.index) == (incoming.channel, incoming.index):
        return Wait("this cheque is known")
    return Continue((), (f.CancelCheque(given.channel, given.index, errors.HASH_IN_USE.code),))


def _extended(incoming: s.Incoming, given: i.ChequeExtended) -> Result:
    """More time for the same money; never less, whatever comes twice or late."""
    assert isinstance(incoming, s.ChequeIn)
    ours = (given.channel, given.index) == (incoming.channel, incoming.index)
    if not ours or given.timeout <= incoming.timeout:
        return Wait("this cheque lives at least as long")
    return Continue((e.IncomingWasExtended(given.timeout),))


def _at_risk(
    state: s.OutgoingIntended | s.OutgoingInFlight, risk: Risk, context: Context
) -> tuple[f.Effect, ...]:
    """The operator hears of it, the payer is asked for more time; the swap itself stays (X7)."""
    cheque = state.incoming
    assert isinstance(cheque, s.ChequeIn)
    if risk.level is Level.CALM:
        return ()
    words = f"{risk.shown()}: {risk.what}, and the payment is unresolved"
    alarm = f.Alarm(errors.AT_RISK.code, words)
    wanted = _extension(state, context)
    if risk.level is Level.ALARM or wanted <= cheque.timeout:
        return (alarm,)
    return (alarm, f.AskExtension(cheque.channel, cheque.index, wanted))


def _extension(state: s.OutgoingIntended | s.OutgoingInFlight, context: Context) -> PosixMs:
    """The timeout that makes the payment as safe again as its quote states."""
    payment = state.outgoing
    assert isinstance(payment, s.PaymentOut)
    # never more than its whole limit, also where the heights are not known
    left = min(payment.latest - context.clocks.height, payment.cltv_limit)
    blocks = max(left, BlockDelta(1))
    return outgoing_needs(context.profile, context.clocks, blocks, state.quote.eps)


def _learned(state: s.OutgoingIntended | s.OutgoingInFlight, preimage: Preimage, fee: Msat | None) -> Result:
    assert isinstance(state.incoming, s.ChequeIn)
    claim = f.FulfilCheque(state.incoming.channel, state.incoming.index, preimage)
    return Continue((e.PreimageLearned(preimage, fee), e.ClaimStarted()), (claim,))


def _claiming(state: s.PreimageKnown | s.IncomingClaiming, given: i.Input) -> Result:
    assert isinstance(state.incoming, s.ChequeIn)
    ours = state.incoming.channel, state.incoming.index
    match given:
        case i.IncomingChequeSettled(channel, index, proof) if (channel, index) == ours:
            return Continue((e.IncomingClaimed(proof),))
        case i.ChequeLocked(channel=channel, index=index) if (channel, index) != ours:
            return _second_cheque(state.incoming, given)
        case i.Tick() | i.ChequeLocked():
            claim = f.FulfilCheque(state.incoming.channel, state.incoming.index, state.preimage)
            return Continue((), (claim,))
        case i.RiskSeen(risk, _):
            return Continue((), _claim_at_risk(state.incoming, risk))
        case i.ChequeExtended() if isinstance(state, s.IncomingClaiming):
            return _extended(state.incoming, given)
        case i.CancelAsked():
            return Reject(errors.NOT_CANCELLABLE(detail="the payment succeeded"))
        case _:
            return Wait("the partner owes a squash for the preimage")


def _claim_at_risk(incoming: s.ChequeIn, risk: Risk) -> tuple[f.Effect, ...]:
    """No squash came for the preimage: the close that claims the cheque on chain waits no longer."""
    if risk.level is Level.CALM:
        return ()
    words = f"{risk.shown()}: {risk.what}, and the partner owes its squash"
    alarm = f.Alarm(errors.AT_RISK.code, words)
    if risk.level is Level.ALARM:
        return (alarm,)
    return (alarm, f.ClaimOnChain(incoming.channel, words))


def _releasing(state: s.OutgoingProvenDead | s.IncomingReleasing, given: i.Input) -> Result:
    assert isinstance(state.incoming, s.ChequeIn)
    ours = state.incoming.channel, state.incoming.index
    match given:
        case i.IncomingChequeReleased(channel, index, proof) if (channel, index) == ours:
            return Continue((e.IncomingReleased(proof),))
        case i.ChequeLocked(channel=channel, index=index) if (channel, index) != ours:
            return _second_cheque(state.incoming, given)
        case i.Tick() | i.ChequeLocked():
            cancel = f.CancelCheque(state.incoming.channel, state.incoming.index, "btc.payment.failed")
            return Continue((), (cancel,))
        case i.PaymentAnswer(PaymentSettled()):
            # LND contradicts its own proof: never hide it
            return Continue(
                (), (f.Alarm("swap.proof_contradicted", "LND reports a payment settled that it had failed"),)
            )
        case _:
            return Wait("the cancel of the cheque is being signed")


def _after_done(state: s.Done, given: i.Input) -> Result:
    match given:
        case i.ChequeLocked(channel=channel, index=index):
            # a second cheque for a hash that was paid: the preimage is public to its issuer, take nothing
            return Continue((), (f.CancelCheque(channel, index, errors.HASH_IN_USE.code),))
        case _:
            return Wait("the swap is done")


def _after_release(given: i.Input) -> Result:
    match given:
        case i.ChequeLocked(channel=channel, index=index):
            return Continue((), (f.CancelCheque(channel, index, errors.CHEQUE_UNEXPECTED.code),))
        case _:
            return Wait("the swap has ended")
