"""R2. Cheques of an open channel: offer, receive, fulfil, cancel, expire."""

from __future__ import annotations

from dataclasses import replace

from gateway.cl.channel import effects as f
from gateway.cl.channel import errors
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.ledger import balance, find_held, find_issued
from gateway.cl.data.codec import cheque_message
from gateway.cl.data.types import MAX_PENDING, Cheque, Signature, SignedCheque, Snapshot
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.units import Lovelace, Ms, PosixMs

Result = Outcome[e.Event, f.Effect]
Open = s.Open
MOST_HELD = 1_000  # of which an honest issuer's snapshots let go soon: more cost too much at each message


def offer(state: Open, given: i.OfferCheque, context: i.Context) -> Result:
    """Issues the next cheque, once for each reference: it is owed when this is stored."""
    known = next((one for one in state.books.issued if one.reference == given.reference), None)
    if known is not None:
        live = isinstance(known.status, s.Live)
        return Continue((), (f.SendCheque(known.cheque),)) if live else Wait("this cheque was issued before")
    refusal = _may_offer(state, given, context)
    if refusal is not None:
        return Reject(refusal)
    cheque = Cheque(state.books.last_issued + 1, given.timeout, given.lock, given.amount)
    return Continue((e.ChequeIssued(cheque, given.reference),), (f.SendCheque(cheque),))


def _may_offer(state: Open, given: i.OfferCheque, context: i.Context) -> Rejection | None:
    if _why_frozen(state):
        return errors.CHANNEL_FROZEN(detail=_why_frozen(state))
    now = balance(state.agreement, state.books)
    if given.amount < context.least_cheque or given.amount > now.local:
        allowed = f"{context.least_cheque.value}..{now.local.value}"
        return errors.CHEQUE_AMOUNT(field="amount_lovelace", got=given.amount.value, allowed=allowed)
    if now.slots_out <= 0:
        return errors.CHEQUE_SLOTS(field="slots", got=0, allowed=">= 1")
    return timeout_refusal(given.timeout, context)


def timeout_refusal(timeout: PosixMs, context: i.Context) -> Rejection | None:
    """P12: neither too near to be claimed nor so far that funds are locked for long."""
    soonest = context.now + context.profile.min_cheque_life
    latest = context.now + context.profile.max_cheque_life
    if timeout < soonest:
        return errors.CHEQUE_TIMEOUT_SOON(
            field="timeout_ms", got=timeout.value, allowed=f">= {soonest.value}"
        )
    if timeout > latest:
        return errors.CHEQUE_TIMEOUT_FAR(field="timeout_ms", got=timeout.value, allowed=f"<= {latest.value}")
    return None


def received(state: Open, cheque: Cheque, signature: Signature, context: i.Context) -> Result:
    """A cheque of the partner's. One signed twice or for nothing fails the channel (P6, V10)."""
    books = state.books
    signed = SignedCheque(cheque, signature)
    fine = context.verify(
        state.agreement.remote_key, cheque_message(state.agreement.channel, cheque), signature
    )
    if not fine:
        return fail(state, errors.CHEQUE_SIGNATURE(field="signature", got=cheque.index))
    if cheque.index <= books.last_received:
        return _again(state, signed, context)
    if cheque.index != books.last_received + 1:  # P5: no gaps, no jumps
        return Reject(
            errors.CHEQUE_INDEX(field="index", got=cheque.index, allowed=books.last_received + 1),
            (f.Send(reestablish_of(state)),),
        )
    if cheque.amount < Lovelace(1):  # the chain pays no such cheque
        return fail(state, errors.CHEQUE_NOTHING(field="amount_lovelace", got=cheque.amount.value))
    if isinstance(state, s.Normal) and is_stale(state):
        return Reject(errors.CHANNEL_FROZEN(detail=state.frozen))
    if len(books.held) >= MOST_HELD:
        return fail(state, errors.CHEQUE_SLOTS(field="held", got=len(books.held), allowed=f"< {MOST_HELD}"))
    refusal = _given_back(state, cheque, context)
    taken = e.ChequeReceived(signed)
    if refusal is not None:  # taken, so that the indices go on, and given back at once
        if _abused(books):
            return fail(state, refusal)
        code = refusal.code
        return Continue(
            (taken, e.HeldCancelled(cheque.index, code)), (f.SendCancel(cheque.index, code, Snapshot()),)
        )
    return Continue((taken,), (f.NoticeLocked(cheque.index, cheque.lock, cheque.amount, cheque.timeout),))


def _given_back(state: Open, cheque: Cheque, context: i.Context) -> Rejection | None:
    """Why this cheque is not kept. An honest issuer can be ahead of us: it may have seen added funds or the end of
    an expired cheque some blocks before we do, so none of this fails the channel (V10)."""
    now = balance(state.agreement, state.books)
    if cheque.amount < context.least_cheque or cheque.amount > now.remote:
        allowed = f"{context.least_cheque.value}..{now.remote.value}"
        return errors.CHEQUE_AMOUNT(field="amount_lovelace", got=cheque.amount.value, allowed=allowed)
    if now.slots_in <= 0:
        return errors.CHEQUE_SLOTS(field="slots", got=0, allowed=">= 1")
    refusal = timeout_refusal(cheque.timeout, context)
    if refusal is not None:
        return refusal
    why = _why_frozen(state)
    return errors.CHANNEL_FROZEN(detail=why) if why else None


def _why_frozen(state: Open) -> str:
    """Empty when new cheques may be signed and taken."""
    return state.frozen if isinstance(state, s.Normal) else state.reason


def _abused(books: s.Books) -> bool:
    """No race explains so many cheques beyond the issuer's means; each stays until its snapshot covers it."""
    beyond = (errors.CHEQUE_AMOUNT.code, errors.CHEQUE_SLOTS.code)
    given = sum(isinstance(one.status, s.Cancelled) and one.status.code in beyond for one in books.held)
    return given >= MAX_PENDING


def _again(state: Open, signed: SignedCheque, context: i.Context) -> Result:
    """An index that we have: the same again, a later timeout, or a double signature (P1, P6). No timeout lies further
    ahead than a new cheque's may: what is opened and not squashed is claimed by it, so that one far off is a claim
    that never comes (P12)."""
    held = find_held(state.books, signed.cheque.index)
    if held is None:
        return Wait("that cheque was settled long ago")
    old = held.cheque
    if replace(signed.cheque, timeout=old.timeout) != old:
        return fail(state, errors.CHEQUE_CONFLICT(field="index", got=old.index))
    if signed.cheque.timeout > old.timeout and isinstance(held.status, (s.Unanswered, s.Fulfilled)):
        new = signed.cheque
        latest = context.now + context.profile.max_cheque_life
        if new.timeout > latest:
            allowed = f"<= {latest.value}"
            return Reject(
                errors.CHEQUE_TIMEOUT_FAR(field="timeout_ms", got=new.timeout.value, allowed=allowed)
            )
        return Continue((e.ChequeExtended(signed),), (f.NoticeExtended(new.index, new.lock, new.timeout),))
    return Wait("this cheque is known")


def fail(state: Open, why: Rejection) -> Result:
    """The partner broke a rule: tell it and close with what we hold."""
    return Continue(
        (e.CloseDecided(str(why)),),
        (f.Send(m.ChannelFailed(why.code, why.detail or why.field)), f.Alarm(why.code, str(why))),
    )


def reestablish_of(state: s.WithBooks) -> m.Reestablish:
    books = state.books
    return m.Reestablish(books.last_received, books.last_issued, books.theirs)


def close_by(cheque: Cheque, context: i.Context) -> PosixMs:
    """When a fulfilled cheque without its squash closes the channel: what a claim on chain may take (R and skew)
    before its timeout. A short life is shared: half of it for the partner, never less than one inclusion for us."""
    profile = context.profile
    life = cheque.timeout.value - context.now.value
    least = profile.inclusion + profile.skew
    return cheque.timeout - min(profile.claim_margin + profile.skew, max(Ms(life // 2), least))


def fulfil(state: Open, index: int, preimage: Preimage, context: i.Context) -> Result:
    """The preimage leaves after it is stored; from then on the channel enforces what it is worth."""
    held = find_held(state.books, index)
    refusal = fulfil_refusal(held, index, preimage)
    if refusal is not None:
        return Reject(refusal)
    assert held is not None
    message = f.Send(m.Fulfil(index, preimage))
    match held.status:
        case s.Unanswered():
            closes = close_by(held.cheque, context)
            return Continue((e.HeldFulfilled(index, preimage, closes),), (message,))
        case s.Fulfilled():
            return Continue((), (message,))
        case s.Settled(proof):
            return Continue((), (f.NoticeSettled(index, held.cheque.lock, proof),))
        case s.Cancelled():
            return Reject(errors.CHEQUE_ANSWERED(field="index", got=index))


def fulfil_refusal(held: s.Held | None, index: int, preimage: Preimage) -> Rejection | None:
    if held is None:
        return errors.CHEQUE_UNKNOWN(field="index", got=index)
    if not preimage.opens(held.cheque.lock):  # X9
        return errors.CHEQUE_PREIMAGE(field="preimage", got=preimage.hashlock.hex())
    return None


def cancel(state: Open, index: int, code: str) -> Result:
    """Decision 5, the receiver's side: signed away for good in the same step."""
    held = find_held(state.books, index)
    if held is None:
        return Reject(errors.CHEQUE_UNKNOWN(field="index", got=index))
    match held.status:
        case s.Unanswered():
            notice = f.NoticeReleased(index, held.cheque.lock, f"our cancel of cheque {index} is signed")
            return Continue((e.HeldCancelled(index, code),), (f.SendCancel(index, code, Snapshot()), notice))
        case s.Cancelled():
            notice = f.NoticeReleased(index, held.cheque.lock, f"our cancel of cheque {index} is signed")
            return Continue((), (f.SendCancel(index, code, state.books.ours), notice))
        case s.Fulfilled() | s.Settled():
            return Reject(errors.CHEQUE_ANSWERED(field="index", got=index))


def revealed(state: s.WithBooks, index: int, preimage: Preimage) -> Result:
    """The partner opens a cheque of ours: the preimage is stored and told before the squash leaves (X8)."""
    one = find_issued(state.books, index)
    if one is None:
        return Wait("that cheque was settled long ago")
    if not preimage.opens(one.cheque.lock):
        return Reject(errors.CHEQUE_PREIMAGE(field="preimage", got=preimage.hashlock.hex()))
    match one.status:
        case s.Live() | s.CancelSeen():
            notice = f.NoticePreimage(one.cheque.lock, preimage)
            return Continue((e.ChequeRevealed(index, preimage),), (notice,))
        case s.Revealed():
            return Continue((), (f.SendSnapshot(state.books.ours),))
        case s.Dead():
            return Continue(
                (),
                (f.Alarm("cl.cheque.late_preimage", f"cheque {index} was proven dead before its preimage"),),
            )


def overdue(state: Open, context: i.Context) -> tuple[int, ...]:
    """Fulfilled cheques whose close_by has come (decision 4)."""
    return tuple(
        one.cheque.index
        for one in state.books.held
        if isinstance(one.status, s.Fulfilled) and context.now >= one.status.close_by
    )


def timed_out(events: tuple[e.Event, ...], books: s.Books) -> tuple[f.Effect, ...]:
    """Tells the receiver which of our cheques expired, before the snapshot that covers them at null (decision 6)."""
    dead = {event.index for event in events if isinstance(event, e.ChequeDied)}
    return tuple(
        f.Send(m.TimedOut(one.cheque.index, one.cheque.timeout))
        for one in books.issued
        if one.cheque.index in dead
    )


def expired(books: s.Books, context: i.Context) -> tuple[tuple[e.Event, ...], tuple[f.Effect, ...]]:
    """Decision 6: what is past its latest timeout at safe depth and was not opened is dead, on both sides."""
    events: list[e.Event] = []
    effects: list[f.Effect] = []
    for one in books.issued:
        if isinstance(one.status, (s.Live, s.CancelSeen)) and context.settled > one.cheque.timeout:
            proof = (
                f"ledger time {context.settled.value} at safe depth is past the timeout "
                f"{one.cheque.timeout.value} of cheque {one.cheque.index}, and no claim was seen"
            )
            events.append(e.ChequeDied(one.cheque.index, proof))
            effects.append(f.NoticeDead(one.cheque.index, one.cheque.lock, proof))
    for two in books.held:
        if isinstance(two.status, s.Unanswered) and context.settled > two.cheque.timeout:
            proof = f"cheque {two.cheque.index} expired at {two.cheque.timeout.value}"
            events.append(e.HeldCancelled(two.cheque.index, "cl.cheque.expired"))
            effects.append(f.NoticeReleased(two.cheque.index, two.cheque.lock, proof))
    return tuple(events), tuple(effects)


def is_stale(state: s.State | None) -> bool:
    """Signatures of ours exist that we do not know: we sign nothing any more (P4)."""
    return isinstance(state, s.Normal) and state.frozen.startswith(errors.CHANNEL_STALE.code)


def is_busy(books: s.Books) -> bool:
    """Something is pending that an orderly close waits for."""
    out = any(isinstance(one.status, (s.Live, s.CancelSeen)) for one in books.issued)
    return out or any(isinstance(two.status, (s.Unanswered, s.Fulfilled)) for two in books.held)
