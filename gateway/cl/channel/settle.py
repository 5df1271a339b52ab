"""R2. Settlement: for each state the one step on chain that is due, by when, and in which validity.

Level-triggered: as long as the state stays, so does the intent; the shell builds it on the newest output
again after every block, rollback or refusal. Nothing here is remembered, so nothing can be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.cl.channel import state as s
from gateway.cl.channel.inputs import Context
from gateway.cl.data import types as t
from gateway.units import Lovelace, PosixMs

_ZERO = Lovelace(0)


@dataclass(frozen=True, slots=True)
class Intent:
    """Spend `output` by `step`. lb >= `not_before`, ub <= `usable_until` where given; act by `deadline`.
    `lost_at`: what the step claims is gone from then on; None: it can wait without loss."""

    channel: t.ChannelId
    output: t.OutputRef
    step: t.Step
    deadline: PosixMs
    not_before: PosixMs | None = None
    usable_until: PosixMs | None = None
    lost_at: PosixMs | None = None


def intent(state: s.State, context: Context) -> Intent | None:
    """The step that is due now, or None."""
    match state:
        case s.Closing():
            if isinstance(state.output.datum.stage, t.Opened):
                return _close(state, context)
            return _staged(state, context)
        case s.OnChain():
            if isinstance(state.output.datum.stage, t.Opened):  # a rollback took the close back
                return _close(state, context) if state.closed_by_us or _must_close(state, context) else None
            return _staged(state, context)
        case s.Proposing() | s.Funding() | s.Normal() | s.Draining() | s.Ended() | s.Abandoned():
            return None
        case s.Ending() | s.EndProposed() | s.EndSigned() | s.EndHeld():
            return None  # effects of their own: the step is the partner's as much as ours
    assert_never(state)


def next_deadline(state: s.State, context: Context) -> tuple[str, PosixMs] | None:
    """What an operator should know: the next moment at which the channel acts by itself, and why."""
    due = intent(state, context)
    if due is not None:
        return type(due.step).__name__, due.deadline
    if isinstance(state, (s.Ending, s.EndProposed)):
        return "close alone", state.until
    if isinstance(state, (s.EndSigned, s.EndHeld)):
        return "close alone", state.terms.until
    if isinstance(state, (s.Normal, s.Draining)):
        moments = [h.status.close_by for h in state.books.held if isinstance(h.status, s.Fulfilled)]
        return ("close_by", min(moments, key=lambda m: m.value)) if moments else None
    if isinstance(state, (s.Closing, s.OnChain)):
        stage = state.output.datum.stage
        if isinstance(stage, t.Closed) and state.output.datum.keys[0] == state.agreement.local_key:
            return "elapse", stage.elapse_after
        pends = [*state.output.first, *state.output.second]
        waiting = [entry.timeout for entry in pends if not entry.paid]
        return ("free", min(waiting, key=lambda m: m.value)) if waiting else None
    return None


def _must_close(state: s.OnChain, context: Context) -> bool:
    return any(
        isinstance(one.status, s.Fulfilled) and context.now >= one.status.close_by for one in state.books.held
    )


def _room(context: Context) -> PosixMs:
    """A step that must prove "usable" gets at least one validity window less than this before its limit."""
    return context.now + context.profile.inclusion


def receipt(books: s.Books, received: t.Squash, context: Context) -> t.Receipt:
    """What we present: the partner's newest snapshot and its live cheques that its squash leaves uncovered.
    Expired ones are left out, and a secret is shown only while it can still be used (decision 2)."""
    shown = []
    for one in books.held:
        if received.covers(one.cheque.index) or isinstance(one.status, (s.Cancelled, s.Settled)):
            continue
        if one.cheque.timeout <= _room(context):
            continue
        secret = one.status.preimage if isinstance(one.status, s.Fulfilled) else None
        shown.append(t.PresentedCheque(one.signed, secret))
    return t.Receipt(books.theirs, tuple(shown))


def _shortest(cheques: tuple[t.PresentedCheque, ...]) -> PosixMs | None:
    limits = [c.signed.cheque.timeout for c in cheques if c.secret is not None]
    return min(limits, key=lambda m: m.value) if limits else None


def _received(state: s.WithOutput, recorded: t.Snapshot) -> t.Squash:
    """The squash for us that will stand: the partner's newest where it dominates what the chain has."""
    agreement = state.agreement
    on_chain = recorded.received_by(agreement.local_key, agreement.remote_key)
    if state.books.theirs is None:
        return on_chain
    newest = state.books.theirs.snapshot.received_by(agreement.local_key, agreement.remote_key)
    return newest if newest.dominates(on_chain) else on_chain


def _close(state: s.Closing | s.OnChain, context: Context) -> Intent:
    stage = state.output.datum.stage
    assert isinstance(stage, t.Opened)
    shown = receipt(state.books, _received(state, stage.snapshot), context)
    limit = _shortest(shown.cheques)
    step = t.Close(state.agreement.local_is_opener, shown)
    return Intent(
        state.agreement.channel,
        state.output.ref,
        step,
        deadline=limit or context.now,
        usable_until=limit,
        lost_at=limit,
    )


def _staged(state: s.Closing | s.OnChain, context: Context) -> Intent | None:
    datum = state.output.datum
    we_are_first = datum.keys[0] == state.agreement.local_key
    match datum.stage:
        case t.Closed():
            if we_are_first:
                return _as_closer(state, datum.stage, context)
            return _as_responder(state, datum.stage, context)
        case t.Resolved():
            return _resolved(state, datum.stage, we_are_first, context)
        case t.Opened():
            return None
    assert_never(datum.stage)


def _unlocks(
    entries: tuple[t.Entry, ...], books: s.Books, context: Context
) -> tuple[tuple[t.Unlock, ...], PosixMs | None]:
    """Entries of ours that a known preimage opens in time, and until when."""
    found, limit = [], None
    for position, entry in enumerate(entries):
        held = next((h for h in books.held if h.cheque.index == entry.index), None)
        if entry.paid or held is None or not isinstance(held.status, s.Fulfilled):
            continue
        if entry.timeout <= _room(context):
            continue
        found.append(t.Unlock(position, held.status.preimage))
        limit = entry.timeout if limit is None else min(limit, entry.timeout)
    return tuple(found), limit


def _we_own_min_ada(state: s.Closing | s.OnChain) -> bool:
    datum = state.output.datum
    return datum.keys[datum.min_ada_owner] == state.agreement.local_key


def _as_closer(state: s.Closing | s.OnChain, stage: t.Closed, context: Context) -> Intent | None:
    """Free what a preimage opens at once; elapse when the partner did not respond in time."""
    channel, ref = state.agreement.channel, state.output.ref
    unlocks, limit = _unlocks(state.output.first, state.books, context)
    if context.now > stage.elapse_after:
        entries = state.output.first if unlocks else None
        paid = sum(state.output.first[u.position].amount.value for u in unlocks)
        total = state.output.lovelace - state.output.datum.min_ada
        nothing_left = stage.closer_amount + Lovelace(paid) >= total
        all_open = stage.entries.pending == Lovelace(paid)
        step: t.Step = t.Elapse(entries, unlocks)
        if nothing_left and all_open and _we_own_min_ada(state):
            step = t.ElapseEnd(entries, unlocks)
        return Intent(
            channel, ref, step, deadline=context.now, not_before=stage.elapse_after, usable_until=limit,
            lost_at=limit,
        )  # fmt: skip
    if unlocks and limit is not None:
        return Intent(
            channel,
            ref,
            t.FreeInClosed(state.output.first, unlocks),
            deadline=limit,
            usable_until=limit,
            lost_at=limit,
        )
    return None


def _as_responder(state: s.Closing | s.OnChain, stage: t.Closed, context: Context) -> Intent:
    """Respond at once, with locked cheques too: an elapse wipes what was not presented (W8, W9)."""
    agreement, books = state.agreement, state.books
    used = t.Snapshot.of(
        {agreement.remote_key: stage.closer_squash, agreement.local_key: stage.responder_squash}
    )
    received = _received(state, used)
    shown = receipt(books, received, context)
    sent = stage.closer_squash
    if books.theirs is not None:
        newest = books.theirs.snapshot.received_by(agreement.remote_key, agreement.local_key)
        sent = newest if newest.dominates(sent) else sent
    lapsed = [e for e in state.output.first if not e.paid and e.timeout <= _past(context)]
    changed = sent != stage.closer_squash
    entries = state.output.first if changed or lapsed else None
    step = t.Respond(shown, True, True, bool(lapsed), entries)
    margin = context.profile.claim_margin
    limit = _shortest(shown.cheques)
    deadline = stage.elapse_after - margin
    return Intent(
        agreement.channel,
        state.output.ref,
        step,
        deadline=deadline if limit is None else min(deadline, limit),
        not_before=max((e.timeout for e in lapsed), key=lambda m: m.value) if lapsed else None,
        usable_until=limit,
        lost_at=stage.elapse_after if limit is None else min(stage.elapse_after, limit),
    )


def _past(context: Context) -> PosixMs:
    """A lower bound that the ledger has passed for sure: one slot behind the newest block."""
    return PosixMs(context.now.value - context.profile.cardano.slot_ms)


def _resolved(
    state: s.Closing | s.OnChain, stage: t.Resolved, we_are_first: bool, context: Context
) -> Intent | None:
    """Take what is ours as soon as it is; end the channel when nothing is left for the partner."""
    own, other = (
        (state.output.first, state.output.second)
        if we_are_first
        else (state.output.second, state.output.first)
    )
    unlocks, limit = _unlocks(own, state.books, context)
    lapsed = [e for e in other if not e.paid and e.timeout <= _past(context)]
    waiting = [e for e in other if not e.paid and e not in lapsed]
    opened = {u.position for u in unlocks}
    own_left = [e for n, e in enumerate(own) if not e.paid and n not in opened]
    amount_taken = we_are_first and stage.other_amount > _ZERO
    shown_own = own if unlocks else None
    shown_other = other if lapsed else None
    not_before = max((e.timeout for e in lapsed), key=lambda m: m.value) if lapsed else None
    deadline = limit if limit is not None else context.now
    if _we_own_min_ada(state) and not waiting and not own_left and not amount_taken:
        step: t.Step = t.EndResolved(shown_own, unlocks, shown_other)
        return Intent(
            state.agreement.channel,
            state.output.ref,
            step,
            deadline,
            not_before=not_before,
            usable_until=limit,
            lost_at=limit,
        )
    worth = bool(unlocks or lapsed) or (not we_are_first and stage.other_amount > _ZERO)
    if not worth:
        return None
    step = t.FreeInResolved(we_are_first, shown_own, unlocks, shown_other)
    return Intent(
        state.agreement.channel, state.output.ref, step, deadline, not_before=not_before, usable_until=limit,
        lost_at=limit,
    )  # fmt: skip
