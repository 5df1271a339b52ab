"""R2. decide(state, input, context): what a channel does about one input.

Theory of operation. Books first: each event changes what is owed, and is stored before anything is sent.
Snapshots follow from the books: whenever they give another pair of squashes than the newest we signed, we
sign the new pair in the same step. So both partners run towards the same pair, crossings merge by
themselves, and nothing ever waits for a snapshot (decisions 4 and 5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from gateway.cl.channel import cheques, ending, errors, extensions, on_chain, snapshots
from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.evolve import evolve
from gateway.cl.channel.ledger import snapshot_due
from gateway.cl.data.types import Snapshot
from gateway.outcome import Continue, Outcome, Reject, Wait

Result = Outcome[e.Event, f.Effect]
LONG_BOOKS = 100


def decide(state: s.State | None, given: i.Input, context: i.Context) -> Result:
    """What follows from `given`. Work is bounded by the books, which hold at most 20 open cheques a side."""
    match state:
        case None:
            return _new(given, context)
        case s.Proposing():
            return _proposing(state, given)
        case s.Funding():
            return on_chain.funding(state, given, context)
        case s.Normal() | s.Draining() | s.Ending():
            return _signed(state, _open(state, given, context), context)
        case s.EndProposed() | s.EndSigned() | s.EndHeld():
            return ending.agreed(state, given, context)
        case s.Closing() | s.OnChain() | s.Ended():
            return on_chain.settling(state, given, context)
        case s.Abandoned():
            return Wait("the channel was never funded")
    assert_never(state)


def _new(given: i.Input, context: i.Context) -> Result:
    match given:
        case i.ProposeOpen(p):
            message = m.OpenChannel(p.seed, p.local_key, p.amount, p.gift, p.respond_period, p.min_ada)
            return Continue((e.OpenProposed(p),), (f.Send(message),))
        case i.AcceptOpen(agreement):
            accept = f.Send(m.AcceptChannel(agreement.local_key))
            return Continue((e.OpenAccepted(agreement, context.now),), (accept,))
        case _:
            return Reject(errors.CHANNEL_STATE(field="state", got="none"))


def _proposing(state: s.Proposing, given: i.Input) -> Result:
    p = state.proposal
    match given:
        case i.PeerSaid(m.AcceptChannel(key)):
            if key == p.local_key:
                refusal = errors.OPEN_MISMATCH(field="key", got=key.hex())
                return Continue((e.OpenAbandoned(refusal.code, str(refusal)),))
            return Continue((e.OpenAgreed(key),), (f.PublishOpening(),))
        case i.PeerSaid(m.RefuseChannel(code, detail)):
            return Continue((e.OpenAbandoned(code, detail),))
        case i.PeerBack():
            message = m.OpenChannel(p.seed, p.local_key, p.amount, p.gift, p.respond_period, p.min_ada)
            return Continue((), (f.Send(message),))
        case i.CloseAsked(reason=reason):
            # nothing is signed: giving up the question loses nothing
            return Continue((e.OpenAbandoned("cl.open.cancelled", reason),))
        case _:
            return Wait("the peer has not answered the proposal")


def _open(state: s.Open, given: i.Input, context: i.Context) -> Result:
    match given:
        case i.OfferCheque():
            return cheques.offer(state, given, context)
        case i.FulfilHeld(index, preimage):
            return cheques.fulfil(state, index, preimage, context)
        case i.CancelHeld(index, code):
            return cheques.cancel(state, index, code)
        case i.ExtendIssued(index, timeout):
            return extensions.extend(state, index, timeout, context)
        case i.AskForExtension(index, timeout):
            return extensions.ask_extension(state, index, timeout, context)
        case i.AskForResolution(index):
            return extensions.ask_resolution(state, index)
        case i.CloseAsked(now, reason):
            return _close_asked(state, now, reason)
        case i.PeerBack():
            return Continue((), on_chain.repeats(state))
        case i.OutputSeen(output, depth):
            return on_chain.output_seen(state, output, depth, context)
        case i.OutputGone():
            return on_chain.opening_taken_back(state)
        case i.TokenBurnt() | i.SecretsSeen():
            return on_chain.chain_news(state, given, context)
        case i.OldCopy(why):
            return snapshots.old_copy(state, errors.CHANNEL_STALE(field="database", detail=why))
        case i.EndBuilt() | i.EndFailed():
            return ending.built(state, given)
        case i.Tick(peer_here):
            return _tick(state, context, peer_here)
        case i.PeerSaid(message):
            return _peer(state, message, context)
        case i.ProposeOpen() | i.AcceptOpen():
            return Reject(errors.CHANNEL_STATE(field="state", got=type(state).__name__))
    assert_never(given)


def _close_asked(state: s.Open, now: bool, reason: str) -> Result:
    if isinstance(state, s.Normal) and cheques.is_stale(state):  # at once: draining signs
        return Continue((e.CloseDecided(state.frozen),), (f.Send(m.Closing(True, reason)),))
    if now:
        return Continue((e.CloseDecided(reason),), (f.Send(m.Closing(True, reason)),))
    if not isinstance(state, s.Normal):
        return Wait("the channel is draining already")
    return Continue((e.DrainStarted(reason, True),), (f.Send(m.Closing(False, reason)),))


def _tick(state: s.Open, context: i.Context, peer_here: bool) -> Result:
    """Deadlines first: an unsquashed preimage closes the channel while its claim still fits (P14)."""
    risky = cheques.overdue(state, context)
    if risky:
        reason = f"cheque {risky[0]} was fulfilled and not squashed in time"
        return Continue((e.CloseDecided(reason),), (f.Alarm("cl.channel.close_by", reason),))
    if cheques.is_stale(state):  # what was opened or squashed since is not in our books
        return Wait("an old copy proves no cheque dead")
    events, effects = cheques.expired(state.books, context)
    if isinstance(state, s.Ending) and not events:
        return ending.due(state, context)
    effects = (*cheques.timed_out(events, state.books), *effects)
    if isinstance(state, s.Draining) and not cheques.is_busy(state.books) and not events:
        return ending.begun(state, context, peer_here)
    if isinstance(state, s.Normal) and state.frozen == s.TAKEN_BACK and state.agreement.local_is_opener:
        effects = (*effects, f.PublishOpening())
    if not events and not effects:
        fold = snapshots.foldable(state.agreement, state.books, context)
        if fold is not None:
            return Continue((fold,))
    return Continue(events, effects) if events or effects else Wait("nothing is due")


def _peer(state: s.Open, message: m.ChannelMessage, context: i.Context) -> Result:
    match message:
        case m.AddCheque(cheque, signature):
            return cheques.received(state, cheque, signature, context)
        case m.Fulfil(index, preimage):
            return cheques.revealed(state, index, preimage)
        case m.AskExtension(index, timeout):
            return extensions.extension_asked(state, index, timeout)
        case m.AskResolution(index):
            return extensions.resolution_asked(state, index)
        case m.Cancel(_, code, signed):
            return snapshots.received(state, signed, code, context)
        case m.Squashed(signed):
            return snapshots.received(state, signed, "cl.cheque.cancelled", context)
        case m.Reestablish():
            return snapshots.reestablish(state, message, context)
        case m.Closing(now, code):
            if now or not isinstance(state, s.Normal):
                reason = f"the peer closes: {code}"
                fresh = isinstance(state, s.Normal) and not state.frozen  # the first reason stays (P4)
                return Continue((e.ChannelFrozen(reason),)) if fresh else Wait(reason)
            if cheques.is_stale(state):
                return Wait("an old copy does not drain: that would sign")
            return Continue((e.DrainStarted(f"the peer asked: {code}", False),))
        case m.EndQuery() | m.EndPayout() | m.ProposeEnd() | m.EndSignature() | m.RefuseEnd():
            return ending.said(state, message, context)
        case m.ChannelFailed(code, detail):
            return Continue((e.CloseDecided(f"the peer says that we broke a rule: {code}: {detail}"),))
        case m.TimedOut():
            return Wait("the issuer's snapshot says the same")
        case m.OpenChannel() | m.AcceptChannel() | m.Staged() | m.RefuseChannel():
            return Wait("the channel is open already")
        case m.QueryTerms() | m.Terms():
            return Wait("terms are the node's business")
    assert_never(message)


def _signed(state: s.Open, result: Result, context: i.Context) -> Result:
    """Adds the snapshot that the events make due, and tells what became certain by it."""
    if not isinstance(result, Continue) or not result.events:
        return result
    events, effects = list(result.events), list(result.effects)
    after: s.State = state
    for event in events:
        after = evolve(after, event)
    if not isinstance(after, s.Open):
        return result
    for event, effect in snapshots.consequences(after.agreement, after.books):
        events.append(event)
        effects.append(effect)
        after = evolve(after, event)
        assert isinstance(after, s.Open)
    due = snapshot_due(after.agreement, after.books)
    if cheques.is_stale(after):
        effects = [effect for effect in effects if not isinstance(effect, f.SendCancel)]
    elif due != after.books.ours:
        events.append(e.SnapshotSigned(due))
        effects = [_with_snapshot(effect, due) for effect in effects]
        if not any(isinstance(effect, f.SendCancel) for effect in effects):
            effects.append(f.SendSnapshot(due))
    after = evolve(after, events[-1]) if isinstance(events[-1], e.SnapshotSigned) else after
    assert isinstance(after, s.Open)
    if len(after.books.held) + len(after.books.issued) > LONG_BOOKS:  # not only at blocks: they may be rare
        fold = snapshots.foldable(after.agreement, after.books, context)
        if fold is not None:
            events.append(fold)
    return Continue(tuple(events), tuple(effects))


def _with_snapshot(effect: f.Effect, due: Snapshot) -> f.Effect:
    """A cancel carries the newest snapshot, also when more than the cancel made it new."""
    return replace(effect, snapshot=due) if isinstance(effect, f.SendCancel) else effect
