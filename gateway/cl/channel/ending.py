"""R2. The end that both sign (decision 9): first no new cheque and none live on either side, then one transaction.

Who asked for the close builds the end and pays its fee; the other signs first, so that nothing of ours is out before
we hold its signature. From the first word on the channel never opens again: whether the end or a close of one's
own comes into a block, both pay what the books say. Silence and refusals lead to that close.
"""

from __future__ import annotations

from gateway.cl.channel import cheques, errors, on_chain
from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.ledger import end_shares
from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import Opened
from gateway.errors import Rejection
from gateway.outcome import Continue, Outcome, Reject, Wait

Result = Outcome[e.Event, f.Effect]
Said = m.EndQuery | m.EndPayout | m.ProposeEnd | m.EndSignature | m.RefuseEnd


def begun(state: s.Draining, context: i.Context, peer_here: bool) -> Result:
    """Nothing is pending any more. A partner that is away cannot sign; who asked us gets the first word."""
    if state.by_us and not peer_here:
        return Continue((e.CloseDecided(state.reason),))
    until = context.now + context.profile.end_patience
    query = (f.Send(m.EndQuery()),) if state.by_us else ()
    return Continue((e.EndBegun(state.by_us, until),), query)


def due(state: s.Ending, context: i.Context) -> Result:
    if context.now >= state.until:
        return Continue((e.CloseDecided(state.reason),))
    return Continue((), (f.Send(m.EndQuery()),)) if state.by_us else Wait("the partner builds the end")


def built(state: s.Open, given: i.EndBuilt | i.EndFailed) -> Result:
    """Our own proposal. A failure of ours is no reason to wait for the partner."""
    if not isinstance(state, s.Ending):
        return Wait("no end is due")
    match given:
        case i.EndFailed(code, detail):
            return Continue((e.CloseDecided(f"no common end, {code}: {detail}"),))
        case i.EndBuilt(terms):
            if terms.output != state.output.ref:
                return Wait("the output has moved")
            return Continue((e.EndOffered(terms),), (f.Send(m.ProposeEnd(terms)),))


def said(state: s.Open, message: Said, context: i.Context) -> Result:
    match message:
        case m.EndQuery():
            return _queried(state, context)
        case m.EndPayout(address):
            if not isinstance(state, s.Ending) or not state.by_us or not _counted(state):
                return Wait("no end is due")
            return Continue(
                (), (f.BuildEnd(address, end_shares(state.agreement, state.books, state.output)[1]),)
            )
        case m.ProposeEnd(terms):
            refusal = _refusal(state, terms, context)
            if refusal is not None:
                return Reject(refusal, (f.Send(m.RefuseEnd(refusal.code, str(refusal))),))
            return Continue((e.EndAccepted(terms),), (f.SignEnd(),))
        case m.RefuseEnd(code, detail):
            if isinstance(state, s.Ending) and state.by_us:
                return Continue((e.CloseDecided(f"the peer signs no common end, {code}: {detail}"),))
            return Wait("nothing was proposed")
        case m.EndSignature():
            return Wait("nothing was proposed")


def _queried(state: s.Open, context: i.Context) -> Result:
    """Answered once nothing is pending here. Of two that ask at the same time the opener builds."""
    if isinstance(state, s.Normal):
        return Continue((e.DrainStarted("the peer asked: cl.channel.closing", False),)) if not state.frozen else (
            Wait("the channel is frozen")
        )  # fmt: skip
    if cheques.is_busy(state.books):
        return Wait("cheques are pending")
    if state.by_us and state.agreement.local_is_opener:
        return Wait("we build the end")
    if isinstance(state, s.Draining):
        until = context.now + context.profile.end_patience
        return Continue((e.EndBegun(state.by_us, until),), (f.TellPayout(),))
    return Continue((), (f.TellPayout(),))


def _counted(state: s.Ending | s.Agreed) -> bool:
    """The output is the one that the books count, to the last lovelace: no added funds wait for their depth."""
    total = state.output.lovelace - state.output.datum.min_ada
    return total == state.books.local_deposit + state.books.remote_deposit


def _refusal(state: s.Open, terms: EndTerms, context: i.Context) -> Rejection | None:
    """Why we sign no such end. Its body is judged when it is rebuilt, by the shell and by the signer."""
    if not isinstance(state, s.Ending) or not isinstance(state.output.datum.stage, Opened):
        return errors.END_TERMS(field="state", got=type(state).__name__, allowed="Ending")
    if not _counted(state):
        return errors.END_TERMS(field="output", got="funds were added", allowed="the funds that both count")
    latest = context.now + context.profile.validity + context.profile.skew
    if not context.now < terms.until <= latest:
        allowed = f"{context.now.value}..{latest.value}"
        return errors.END_TERMS(field="until_ms", got=terms.until.value, allowed=allowed)
    if terms.output != state.output.ref:
        return errors.END_TERMS(field="output", got=str(terms.output), allowed=str(state.output.ref))
    ours = end_shares(state.agreement, state.books, state.output)[0]
    if terms.payout < ours:
        return errors.END_TERMS(field="payout_lovelace", got=terms.payout.value, allowed=f">= {ours.value}")
    return None


# -- terms are on the table -------------------------------------------------------------------


def agreed(state: s.Agreed, given: i.Input, context: i.Context) -> Result:
    """Nothing is signed any more but the end itself; the chain has the last word."""
    match given:
        case i.Tick():
            return _tick(state, context)
        case i.PeerBack():
            return Continue((), _repeats(state))
        case i.PeerSaid(message):
            return _heard(state, message, context)
        case i.OutputSeen(output, depth):
            return _seen(state, output, depth, context)
        case i.TokenBurnt() | i.SecretsSeen():
            return on_chain.chain_news(state, given, context)
        case i.OutputGone():
            return Wait("the output comes back or it never was")
        case i.CloseAsked(now, reason):
            if now:
                return Continue((e.CloseDecided(reason),), (f.Send(m.Closing(True, reason)),))
            return Wait("the channel ends already")
        case i.OldCopy(why):
            stale = errors.CHANNEL_STALE(field="database", detail=why)
            return Continue((e.CloseDecided(str(stale)),), (f.Alarm(stale.code, str(stale)),))
        case i.FulfilHeld(index, preimage):
            return on_chain.fulfil_for_chain(state, index, preimage, context)
        case i.CancelHeld(index, code):
            return on_chain.cancel_for_chain(state, index, code)
        case i.EndFailed(code, detail):
            return Continue((e.CloseDecided(f"no common end, {code}: {detail}"),))
        case i.EndBuilt():
            return Wait("terms are agreed already")
        case i.OfferCheque(reference):
            if any(one.reference == reference for one in state.books.issued):
                return Wait("this cheque was issued before")
            return Reject(errors.CHANNEL_FROZEN(detail="the channel ends"))
        case _:
            return Reject(errors.CHANNEL_STATE(field="state", got=type(state).__name__))


def _tick(state: s.Agreed, context: i.Context) -> Result:
    """A block may still carry what expired in the last one; after that nobody waits."""
    match state:
        case s.EndProposed(until=until):
            late = context.now >= until
        case s.EndSigned(terms=terms) | s.EndHeld(terms=terms):
            late = context.now >= terms.until + context.profile.inclusion
    if late:
        return Continue((e.CloseDecided(state.reason),))
    if isinstance(state, s.EndHeld) and context.now < state.terms.until:
        return Continue((), (f.PublishEnd(),))
    return Wait("the end is on its way")


def _repeats(state: s.Agreed) -> tuple[f.Effect, ...]:
    held = f.Send(cheques.reestablish_of(state))  # the partner signs nothing before it has heard it
    match state:
        case s.EndProposed(terms=terms):
            return (held, f.Send(m.ProposeEnd(terms)))
        case s.EndSigned():
            return (held, f.SignEnd())
        case s.EndHeld():
            return (held,)


def _heard(state: s.Agreed, message: m.ChannelMessage, context: i.Context) -> Result:
    match state, message:
        case s.EndSigned(terms=terms), m.ProposeEnd(again):
            if again == terms:
                return Continue((), (f.SignEnd(),))
            refusal = errors.END_TERMS(field="terms", got="others", allowed="those that we signed")
            return Reject(refusal, (f.Send(m.RefuseEnd(refusal.code, str(refusal))),))
        case s.EndProposed(agreement=agreement, terms=terms), m.EndSignature(signature):
            if not context.verify(agreement.remote_key, terms.tx_id, signature):
                refusal = errors.END_SIGNATURE(field="signature", got=signature.raw[:8].hex())
                said = f.Send(m.ChannelFailed(refusal.code, refusal.field))
                return Continue((e.CloseDecided(str(refusal)),), (said, f.Alarm(refusal.code, str(refusal))))
            return Continue((e.EndCountersigned(signature),), (f.PublishEnd(),))
        case s.EndProposed(), m.RefuseEnd(code, detail):
            return Continue((e.CloseDecided(f"the peer signs no common end, {code}: {detail}"),))
        case _, m.Reestablish():
            return Continue((), _repeats(state)[1:])
        case _, m.ChannelFailed(code, detail):
            return Continue((e.CloseDecided(f"the peer says that we broke a rule: {code}: {detail}"),))
        case _:
            return Wait("the channel ends")


def _seen(state: s.Agreed, output: s.Output, depth: int, context: i.Context) -> Result:
    """Terms name one output: when it is another, the end can never be."""
    result = on_chain.output_seen(state, output, depth, context)
    if output.ref == state.output.ref or not isinstance(output.datum.stage, Opened):
        return result
    assert isinstance(result, Continue)
    return Continue((*result.events, e.CloseDecided("the channel's output changed before its end")))
