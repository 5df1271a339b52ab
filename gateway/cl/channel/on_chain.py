"""R2. What the chain says of a channel: opening, funds added, stages, secrets, the end; what a reconnect repeats."""

from __future__ import annotations

from typing import assert_never

from gateway.cl.channel import cheques, errors
from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.evolve import deposits
from gateway.cl.channel.ledger import find_held
from gateway.cl.data.codec import commit
from gateway.cl.data.types import Closed, Datum, Opened, Resolved, Snapshot
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Outcome, Reject, Wait

Result = Outcome[e.Event, f.Effect]


# -- opening ----------------------------------------------------------------------------------


def funding(state: s.Funding, given: i.Input, context: i.Context) -> Result:
    """Until the agreed output lies deep enough."""
    agreement = state.agreement
    match given:
        case i.OutputSeen(output, depth):
            if not isinstance(output.datum.stage, Opened):
                return _closed_early(agreement, output)
            refusal = open_refusal(agreement, output)
            if refusal is not None:
                return Reject(refusal)
            if depth < context.profile.staged_depth:
                return Wait(f"depth {depth} of {context.profile.staged_depth}")
            # said here as well as on each connection: before the partner has said it, nothing is signed (P4)
            return Continue((e.ChannelOpened(output),), (f.Send(m.Reestablish(0, 0, None)),))
        case i.PeerBack() | i.Tick() if agreement.local_is_opener:
            return Continue((), (f.PublishOpening(),))
        case i.PeerBack() | i.PeerSaid(m.OpenChannel()):
            return Continue((), (f.Send(m.AcceptChannel(agreement.local_key)),))
        case i.PeerSaid(m.Staged(ref)):
            return Wait(f"the opener says that {ref} is on its way; only our chain opens the channel")
        case i.PeerSaid(m.Reestablish()):
            return Wait("the channel's output is not deep enough")
        case i.CloseAsked(reason=reason) if not agreement.local_is_opener:
            # nothing of ours is in it; should it be funded after all, its opener takes everything back
            return Continue((e.OpenAbandoned("cl.open.cancelled", reason),))
        case i.Tick() if context.settled >= state.since + context.profile.funding_life:
            refusal = errors.NEVER_FUNDED(field="channel", got=agreement.channel.hex())
            return Continue((e.OpenAbandoned(refusal.code, str(refusal)),))
        case i.OfferCheque() | i.FulfilHeld() | i.CancelHeld() | i.CloseAsked():
            return Reject(errors.CHANNEL_STATE(field="state", got="Funding", allowed="Normal"))
        case _:
            return Wait("the channel's output is not deep enough")


def _closed_early(agreement: s.Agreement, output: s.Output) -> Result:
    """The partner closed before the depth at which the channel counts as open: its funds are settled all the same.
    The stage that was closed follows from what Closed keeps; from Resolved on only the agreement knows it."""
    datum = output.datum
    if set(datum.keys) != {agreement.opener_key, agreement.other_key}:
        allowed = (agreement.opener_key.hex(), agreement.other_key.hex())
        return Reject(
            errors.OPEN_MISMATCH(field="keys", got=tuple(k.hex() for k in datum.keys), allowed=allowed)
        )
    lovelace, gift = agreement.amount + agreement.min_ada, agreement.gift
    if isinstance(datum.stage, Closed):
        lovelace = output.lovelace
        by_opener = datum.keys[0] == agreement.opener_key
        deposit = datum.stage.closer_deposit
        gift = lovelace - datum.min_ada - deposit if by_opener else deposit
    keys = (agreement.opener_key, agreement.other_key)
    stage = Opened(gift, Snapshot(), agreement.respond_period)
    opened = s.Output(output.ref, lovelace, Datum(datum.own_hash, keys, stage, agreement.min_ada, 0))
    return Continue((e.ChannelOpened(opened), e.StageSeen(output, False)))


def open_refusal(agreement: s.Agreement, output: s.Output) -> Rejection | None:
    """V12: the agreed datum, and no less than the agreed funds on each side: an add before the depth is no
    reason to leave them there. Address and value were read by cl.l1.parse."""
    datum, stage = output.datum, output.datum.stage
    assert isinstance(stage, Opened)
    opener = output.lovelace - datum.min_ada - stage.non_opener_amount
    checks: tuple[tuple[str, bool, object, object], ...] = (
        ("keys", datum.keys == (agreement.opener_key, agreement.other_key), "others", "the agreed ones"),
        # the script keeps the address for ever: its opener would earn on our funds (V13)
        ("stake", not output.staked, "a staking credential", "none"),
        ("snapshot", stage.snapshot == Snapshot(), stage.snapshot, "none"),
        (
            "respond_period",
            stage.respond_period == agreement.respond_period,
            stage.respond_period,
            agreement.respond_period,
        ),
        ("min_ada", datum.min_ada == agreement.min_ada, datum.min_ada, agreement.min_ada),
        ("min_ada_owner", datum.min_ada_owner == 0, datum.min_ada_owner, 0),
        (
            "non_opener_amount",
            stage.non_opener_amount >= agreement.gift,
            stage.non_opener_amount,
            agreement.gift,
        ),
        ("lovelace", opener >= agreement.amount - agreement.gift, output.lovelace, agreement.amount),
    )
    for field, fine, got, allowed in checks:
        if not fine:
            return errors.OPEN_MISMATCH(field=field, got=got, allowed=allowed)
    return None


# -- an open channel --------------------------------------------------------------------------


def output_seen(
    state: s.Open | s.Agreed | s.Closing, output: s.Output, depth: int, context: i.Context
) -> Result:
    """Funds added, or the channel is closing on chain: no cheque is signed or taken from then on (P16)."""
    if not isinstance(output.datum.stage, Opened):
        return _stage(state, output, depth, context)
    deep = depth >= context.profile.staged_depth
    now = (state.books.local_deposit, state.books.remote_deposit)
    moved = output.ref != state.output.ref
    back = deep and isinstance(state, s.Normal) and state.frozen == s.TAKEN_BACK
    if moved or back or (deep and deposits(state.agreement, output) != now):
        return Continue((e.OutputChanged(output, deep),))
    return Wait("the output is known")


def opening_taken_back(state: s.Open) -> Result:
    """Nothing is signed or taken on a channel that does not exist; it thaws when the opening lies deep again."""
    if not isinstance(state, s.Normal) or state.frozen:
        return Wait("nothing new is signed as it is")
    alarm = f.Alarm("cl.channel.frozen", s.TAKEN_BACK)
    return Continue((e.ChannelFrozen(s.TAKEN_BACK),), (alarm,))


def chain_news(state: s.WithBooks, given: i.TokenBurnt | i.SecretsSeen, context: i.Context) -> Result:
    match given:
        case i.SecretsSeen(preimages):
            return secrets(state, preimages)
        case i.TokenBurnt(tx_id, paid_held, depth):
            events, effects = _paid(state, None, paid_held, depth, context)
            if not isinstance(state, s.Ended):
                events = (e.ChannelEnded(tx_id), *events)
            return Continue(events, effects) if events else Wait("the end is known")


def secrets(state: s.WithBooks, preimages: tuple[Preimage, ...]) -> Result:
    """A preimage in a redeemer opens every cheque of ours with its lock (the other leg can be claimed)."""
    events: list[e.Event] = []
    effects: list[f.Effect] = []
    waiting = [one for one in state.books.issued if isinstance(one.status, (s.Live, s.CancelSeen))]
    shown = {preimage.hashlock: preimage for preimage in preimages} if waiting else {}
    for one in waiting:
        preimage = shown.get(one.cheque.lock)
        if preimage is not None:
            events.append(e.ChequeRevealed(one.cheque.index, preimage))
            effects.append(f.NoticePreimage(one.cheque.lock, preimage))
    return Continue(tuple(events), tuple(effects)) if events else Wait("no new preimage")


# -- closing and settling ---------------------------------------------------------------------


def settling(state: s.Closing | s.OnChain | s.Ended, given: i.Input, context: i.Context) -> Result:
    """Cheques still end one way or the other; nothing new is signed (decision 5.2: no cancel counts)."""
    match given:
        case i.OutputSeen(output, depth):
            if isinstance(state, s.Closing):
                return output_seen(state, output, depth, context)
            return _stage(state, output, depth, context)
        case i.TokenBurnt() | i.SecretsSeen():
            return chain_news(state, given, context)
        case i.Tick():
            events, effects = cheques.expired(state.books, context)
            return Continue(events, effects) if events else Wait("the chain settles")
        case i.FulfilHeld(index, preimage):
            return fulfil_for_chain(state, index, preimage, context)
        case i.CancelHeld(index, code):
            return cancel_for_chain(state, index, code)
        case i.PeerSaid(m.Fulfil(index, preimage)):
            return cheques.revealed(state, index, preimage)
        case i.PeerBack():
            return Continue((), (f.Send(m.Closing(True, "cl.channel.closing")),))
        case i.CloseAsked():
            return _close_again(state)
        case i.OutputGone():
            return Wait("what was sent is sent again until it is in a block")
        case i.OfferCheque(reference):
            if any(one.reference == reference for one in state.books.issued):
                return Wait("this cheque was issued before")  # "not signed" would be a false proof
            return Reject(errors.CHANNEL_FROZEN(detail="the channel closes"))
        case i.PeerSaid():
            return Reject(errors.PEER_MESSAGE(field="message", got=type(given.message).__name__))
        case _:
            return Reject(errors.CHANNEL_STATE(field="state", got=type(state).__name__))


def _close_again(state: s.Closing | s.OnChain | s.Ended) -> Result:
    """A rollback took the partner's close away and it may never come back: then we close ourselves."""
    if (
        isinstance(state, s.OnChain)
        and isinstance(state.output.datum.stage, Opened)
        and not state.closed_by_us
    ):
        return Continue((e.StageSeen(state.output, True),))
    return Wait("the channel closes already")


def fulfil_for_chain(state: s.WithBooks, index: int, preimage: Preimage, context: i.Context) -> Result:
    """The preimage goes into the receipt or unlocks an entry (settle.py); nothing goes to the partner."""
    held = find_held(state.books, index)
    refusal = cheques.fulfil_refusal(held, index, preimage)
    if refusal is not None:
        return Reject(refusal)
    assert held is not None
    match held.status:
        case s.Unanswered():
            return Continue((e.HeldFulfilled(index, preimage, cheques.close_by(held.cheque, context)),))
        case s.Settled(proof):
            return Continue((), (f.NoticeSettled(index, held.cheque.lock, proof),))
        case s.Fulfilled():
            return Wait("it is claimed on chain")
        case s.Cancelled():
            return Reject(errors.CHEQUE_ANSWERED(field="index", got=index))


def cancel_for_chain(state: s.WithBooks, index: int, code: str) -> Result:
    """Not claiming is all that giving back needs here: without our secret the cheque expires."""
    held = find_held(state.books, index)
    if held is None:
        return Reject(errors.CHEQUE_UNKNOWN(field="index", got=index))
    proof = f"the channel closes and cheque {index} is never opened by us"
    match held.status:
        case s.Unanswered():
            return Continue(
                (e.HeldCancelled(index, code),), (f.NoticeReleased(index, held.cheque.lock, proof),)
            )
        case s.Cancelled():
            return Continue((), (f.NoticeReleased(index, held.cheque.lock, proof),))
        case s.Fulfilled() | s.Settled():
            return Reject(errors.CHEQUE_ANSWERED(field="index", got=index))


def _stage(state: s.WithBooks, output: s.Output, depth: int, context: i.Context) -> Result:
    """The chain's stage, as of now; proofs only at safe depth."""
    events: list[e.Event] = []
    effects: list[f.Effect] = []
    closed_by_us = _closed_by_us(state, output)
    known = isinstance(state, s.OnChain) and state.output == output and state.closed_by_us == closed_by_us
    if not known:
        events.append(e.StageSeen(output, closed_by_us))
    paid_events, paid_effects = _paid(state, output, output.paid_held, depth, context)
    events += paid_events
    effects += paid_effects
    if depth >= context.profile.safe_depth:
        for event, effect in _absent(state, output):
            events.append(event)
            effects.append(effect)
    return Continue(tuple(events), tuple(effects)) if events else Wait("the stage is known")


def _closed_by_us(state: s.WithBooks, output: s.Output) -> bool:
    match output.datum.stage:
        case Closed():
            return output.datum.keys[0] == state.agreement.local_key
        case Opened():
            if isinstance(state, s.Ended):  # an end by both was taken back: it comes again, or we close alone
                return True
            return isinstance(state, s.Closing) or (isinstance(state, s.OnChain) and state.closed_by_us)
        case _:
            return state.closed_by_us if isinstance(state, s.OnChain) else isinstance(state, s.Closing)


def _paid(
    state: s.WithBooks, output: s.Output | None, paid_held: tuple[int, ...], depth: int, context: i.Context
) -> tuple[tuple[e.Event, ...], tuple[f.Effect, ...]]:
    """Cheques of the partner's that the chain has paid us, or that a squash in its settlement covers, at depth."""
    if depth < context.profile.safe_depth:
        return (), ()
    events: list[e.Event] = []
    effects: list[f.Effect] = []
    for one in state.books.held:
        index = one.cheque.index
        if isinstance(one.status, s.Fulfilled) and (index in paid_held or _squashed(state, output, index)):
            proof = f"cheque {index} was paid on chain, {depth} blocks deep"
            events.append(e.HeldSettled(index, proof))
            effects.append(f.NoticeSettled(index, one.cheque.lock, proof))
    return tuple(events), tuple(effects)


def _squashed(state: s.WithBooks, output: s.Output | None, index: int) -> bool:
    """Whether a squash that the chain itself used covers the cheque. One that we only hold may not apply there
    (it need not dominate what the partner's close used): the cheque must then still be presented and opened."""
    agreement = state.agreement
    theirs = state.books.theirs
    ours = theirs is not None and theirs.snapshot.received_by(
        agreement.local_key, agreement.remote_key
    ).covers(index)
    if output is None:  # the channel has ended: nothing can be presented any more
        return ours
    first = output.datum.keys[0] == agreement.local_key
    match output.datum.stage:
        case Opened():
            return False
        case Closed(closer_squash=closer, responder_squash=responder):
            return (closer if first else responder).covers(index)
        case Resolved():
            presented = {entry.index for entry in (output.first if first else output.second)}
            used = first or _closed_by_us(state, output)  # our own step carried what we hold
            return ours and used and index not in presented
        case _:
            assert_never(output.datum.stage)


def _absent(state: s.WithBooks, output: s.Output) -> tuple[tuple[e.Event, f.Effect], ...]:
    """The partner closed, at depth, and its list lacks the cheque: it can never be presented again."""
    if not isinstance(output.datum.stage, Closed) or output.datum.keys[0] != state.agreement.remote_key:
        return ()
    if commit(output.first) != output.datum.stage.entries:
        return ()  # its list is not known to us: that proves nothing
    listed = {entry.index for entry in output.first}
    squash = output.datum.stage.closer_squash
    found: list[tuple[e.Event, f.Effect]] = []
    for one in state.books.issued:
        index = one.cheque.index
        if (
            isinstance(one.status, (s.Live, s.CancelSeen))
            and index not in listed
            and not squash.covers(index)
        ):
            proof = f"the partner's close at safe depth does not list cheque {index}"
            found.append((e.ChequeDied(index, proof), f.NoticeDead(index, one.cheque.lock, proof)))
    return tuple(found)


# -- reconnection -----------------------------------------------------------------------------


def repeats(state: s.Open) -> tuple[f.Effect, ...]:
    """Everything that the partner may have missed; each message is idempotent."""
    books = state.books
    effects: list[f.Effect] = [f.Send(cheques.reestablish_of(state))]
    stale = cheques.is_stale(state)
    if not stale:
        effects += [f.SendCheque(one.cheque) for one in books.issued if isinstance(one.status, s.Live)]
    effects += [
        f.Send(m.Fulfil(two.cheque.index, two.status.preimage))
        for two in books.held
        if isinstance(two.status, s.Fulfilled)
    ]
    if books.ours != Snapshot() and not stale:
        effects.append(f.SendSnapshot(books.ours))
    if not isinstance(state, s.Normal):
        effects.append(f.Send(m.Closing(False, state.reason)))
    if isinstance(state, s.Ending) and state.by_us:
        effects.append(f.Send(m.EndQuery()))
    return tuple(effects)
