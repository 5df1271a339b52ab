"""R2. Snapshots: what the partner may sign, what becomes certain by it, and what reconnection finds."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cl.channel import effects as f
from gateway.cl.channel import errors
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.cheques import Open, fail, is_stale
from gateway.cl.channel.ledger import Sides, held_credit, issued_credit, squash_over
from gateway.cl.data.codec import snapshot_message
from gateway.cl.data.types import SignedSnapshot, Snapshot, Squash
from gateway.errors import Rejection
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.units import Lovelace

Result = Outcome[e.Event, f.Effect]
_ZERO = Lovelace(0)


def received(state: Open, signed: SignedSnapshot, code: str, context: i.Context) -> Result:
    """The partner's snapshot: signature, form, exact amounts, dominance; then what it cancels."""
    agreement, books = state.agreement, state.books
    sides = Sides(agreement)
    message = snapshot_message(agreement.channel, signed.snapshot)
    if not context.verify(agreement.remote_key, message, signed.signature):
        return fail(state, errors.SNAPSHOT_SIGNATURE(field="signature"))
    new_us, new_partner = sides.for_us(signed.snapshot), sides.for_partner(signed.snapshot)
    old = books.theirs.snapshot if books.theirs else Snapshot()
    old_us, old_partner = sides.for_us(old), sides.for_partner(old)
    if old_us.dominates(new_us) and old_partner.dominates(new_partner):
        return _answer_if_behind(state, "nothing new")  # P1: the same or an older one again
    refusal = (
        _judge_for_us(state, new_us, context)
        or _judge_for_partner(books, new_partner)
        or _dominance(new_us, old_us)
        or _dominance(new_partner, old_partner)
    )
    if refusal is not None:
        # Only a missing cheque is worth asking for; to say so of every refusal would never end.
        missing = max(new_us.index - books.last_received, 0)
        return Reject(refusal, (f.Send(_shown(state)),) if missing else ())
    events: list[e.Event] = [e.SnapshotHeld(signed)]
    effects: list[f.Effect] = []
    for one in books.issued:
        if isinstance(one.status, s.Live) and new_partner.covers(one.cheque.index):
            events.append(e.CancelWasSeen(one.cheque.index, code))
    for two in books.held:
        if isinstance(two.status, s.Unanswered) and new_us.covers(two.cheque.index):
            events.append(e.HeldCancelled(two.cheque.index, "cl.cheque.expired"))
            effects.append(
                f.NoticeReleased(two.cheque.index, two.cheque.lock, f"cheque {two.cheque.index} expired")
            )
    return Continue(tuple(events), tuple(effects))


def _answer_if_behind(state: Open, why: str) -> Result:
    """A partner that repeats an old snapshot may lack ours."""
    if state.books.ours == Snapshot():
        return Wait(why)
    sides = Sides(state.agreement)
    theirs = state.books.theirs.snapshot if state.books.theirs else Snapshot()
    same = sides.for_us(theirs) == sides.for_us(state.books.ours)
    same = same and sides.for_partner(theirs) == sides.for_partner(state.books.ours)
    return Wait(why) if same else Continue((), (f.SendSnapshot(state.books.ours),))


def _shown(state: Open) -> m.Reestablish:
    return m.Reestablish(state.books.last_received, state.books.last_issued, state.books.theirs)


def _judge(squash: Squash, base: Squash, credits: Mapping[int, Lovelace], last: int) -> Rejection | None:
    """Canonical, within what was issued, whole over the prefix, and the exact amount."""
    if not squash.is_canonical() or squash.index > last:
        return errors.SNAPSHOT_FORM(field="index", got=squash.index, allowed=f"<= {last}")
    if not squash.covers_all_of(base):
        return errors.SNAPSHOT_OLDER(field="index", got=squash.index, allowed=f">= {base.index}")
    covered = {index: credit for index, credit in credits.items() if squash.covers(index)}
    exact = squash_over(base, covered)
    if exact != squash:
        return errors.SNAPSHOT_AMOUNT(
            field="squash", got=f"{squash.amount.value} up to {squash.index}",
            allowed=f"{exact.amount.value} up to {exact.index}",
        )  # fmt: skip
    return None


def _judge_for_us(state: Open, squash: Squash, context: i.Context) -> Rejection | None:
    """The partner as issuer. It may cover at nothing only what we gave back or what has expired (P7)."""
    books = state.books
    for one in books.held:
        unanswered = isinstance(one.status, s.Unanswered) and squash.covers(one.cheque.index)
        if unanswered and context.now <= one.cheque.timeout:
            return errors.SNAPSHOT_DROPS(field="index", got=one.cheque.index)
    credits = {one.cheque.index: held_credit(one) for one in books.held}
    return _judge(squash, books.held_base, credits, books.last_received)


def _judge_for_partner(books: s.Books, squash: Squash) -> Rejection | None:
    """The partner as receiver. An index that it covers and we still owe is a cancel, at null."""
    credits = {one.cheque.index: issued_credit(one) or _ZERO for one in books.issued}
    return _judge(squash, books.issued_base, credits, books.last_issued)


def _dominance(new: Squash, old: Squash) -> Rejection | None:
    if new.dominates(old):
        return None
    return errors.SNAPSHOT_OLDER(
        field="squash",
        got=f"{new.amount.value} up to {new.index}",
        allowed=f"above {old.amount.value} up to {old.index}",
    )


def consequences(agreement: s.Agreement, books: s.Books) -> tuple[tuple[e.Event, f.Effect], ...]:
    """What the partner's newest snapshot makes certain, judged before we sign the next.

    Settled: it covers the cheque in full and dominates every squash for us that we signed (decision 4).
    Dead: it covers the cheque at null and dominates every squash for the partner that we signed (decision 5.1);
    that the channel is open, with no close of ours under way, is 5.2: the caller is in such a state.
    """
    if books.theirs is None:
        return ()
    sides = Sides(agreement)
    for_us, for_partner = sides.for_us(books.theirs.snapshot), sides.for_partner(books.theirs.snapshot)
    found: list[tuple[e.Event, f.Effect]] = []
    if for_us.dominates(sides.for_us(books.ours)):
        for one in books.held:
            index = one.cheque.index
            if isinstance(one.status, s.Fulfilled) and for_us.covers(index):
                proof = f"the partner's squash of {for_us.amount.value} up to {for_us.index} covers cheque {index}"
                found.append((e.HeldSettled(index, proof), f.NoticeSettled(index, one.cheque.lock, proof)))
    if for_partner.dominates(sides.for_partner(books.ours)):
        for two in books.issued:
            index = two.cheque.index
            if isinstance(two.status, s.CancelSeen) and for_partner.covers(index):
                signature = books.theirs.signature.raw.hex()
                proof = (
                    f"cancelled by the receiver ({two.status.code}): its signature {signature} covers cheque "
                    f"{index} at null, squash of {for_partner.amount.value} up to {for_partner.index}"
                )
                found.append((e.ChequeDied(index, proof), f.NoticeDead(index, two.cheque.lock, proof)))
    return tuple(found)


def reestablish(state: Open, said: m.Reestablish, context: i.Context) -> Result:
    """What the partner holds. More than we know we signed: our database is an old copy (P4)."""
    agreement, books = state.agreement, state.books
    stale = said.last_received > books.last_issued
    if said.held is not None:
        message = snapshot_message(agreement.channel, said.held.snapshot)
        ours = context.verify(agreement.local_key, message, said.held.signature)
        sides = Sides(agreement)
        known = sides.for_us(books.ours).dominates(sides.for_us(said.held.snapshot)) and sides.for_partner(
            books.ours
        ).dominates(sides.for_partner(said.held.snapshot))
        stale = stale or (ours and not known)
    if stale:
        why = errors.CHANNEL_STALE(field="last_received", got=said.last_received, allowed=books.last_issued)
        return old_copy(state, why)
    if is_stale(state):  # the partner need not hold all that we signed, and need not say so
        return Wait("an old copy signs nothing")
    effects: list[f.Effect] = [
        f.SendCheque(one.cheque)
        for one in books.issued
        if one.cheque.index > said.last_received  # dead ones too: indices come without gaps (P5)
    ]
    if books.ours != Snapshot() and (said.held is None or said.held.snapshot != books.ours):
        effects.append(f.SendSnapshot(books.ours))
    return Continue((), tuple(effects)) if effects else Wait("both hold the same")


def old_copy(state: Open, why: Rejection) -> Result:
    """We have signed more than we know: nothing is signed any more, and the owner decides when to close."""
    if not isinstance(state, s.Normal):
        return Continue((e.CloseDecided(str(why)),), (f.Alarm(why.code, str(why)),))
    if is_stale(state):
        return Wait("known")
    return Continue((e.ChannelFrozen(str(why)),), (f.Alarm(why.code, str(why)),))


def foldable(agreement: s.Agreement, books: s.Books, context: i.Context) -> e.HistoryFolded | None:
    """How far both prefixes may leave the books: covered by both signers, timeouts past at depth."""
    if books.theirs is None:
        return None
    sides = Sides(agreement)
    theirs, ours = books.theirs.snapshot, books.ours
    issued_up_to, held_up_to = books.issued_base.index, books.held_base.index
    for one in books.issued:
        index = one.cheque.index
        both = sides.for_partner(theirs).covers(index) and sides.for_partner(ours).covers(index)
        done = isinstance(one.status, (s.Revealed, s.Dead)) and context.settled > one.cheque.timeout
        if index != issued_up_to + 1 or not (both and done):
            break
        issued_up_to = index
    for two in books.held:
        index = two.cheque.index
        both = sides.for_us(theirs).covers(index) and sides.for_us(ours).covers(index)
        # its only claimant is us, and both snapshots say that we never will: its timeout may be centuries away
        done = isinstance(two.status, (s.Settled, s.Cancelled))
        if index != held_up_to + 1 or not (both and done):
            break
        held_up_to = index
    if (issued_up_to, held_up_to) == (books.issued_base.index, books.held_base.index):
        return None
    return e.HistoryFolded(issued_up_to, held_up_to)
