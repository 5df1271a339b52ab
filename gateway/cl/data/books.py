"""R1. The validator's arithmetic in Python, clause by clause: what a step makes of a channel.

Builders and simulators use it before a script ever runs; tests hold it to the script. Every refusal names
its clause of docs/validator.md in `field`. Times in milliseconds; None is an open end of the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from gateway.cl.data import types as t
from gateway.cl.data.codec import (
    EMPTY_COMMITMENT,
    cheque_message,
    commit,
    snapshot_message,
)
from gateway.cl.data.errors import STEP_REFUSED
from gateway.errors import Refused, Rejection
from gateway.units import Lovelace, Ms, PosixMs

NEVER_EXPIRED = PosixMs(-1)  # lb of an interval without lower bound
NEVER_USABLE = PosixMs(1 << 64)  # ub of an interval without upper bound
_MAX_U64 = (1 << 64) - 1

S = TypeVar("S", t.Opened, t.Closed, t.Resolved)
Verify = Callable[[t.VerificationKey, bytes, t.Signature], bool]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a step sees of its transaction. `total`: the input's lovelace less its min-ada."""

    cid: t.ChannelId
    total: Lovelace
    signers: Collection[t.VerificationKey]
    verify: Verify
    lb: PosixMs = NEVER_EXPIRED
    ub: PosixMs = NEVER_USABLE
    total_out: Lovelace | None = None  # of the continuing output; needed by Add
    elapse_after: PosixMs | None = None  # Close only; None: the earliest


@dataclass(frozen=True, slots=True)
class Applied:
    """The continuing output: this datum, and no less than `least` over the min-ada."""

    datum: t.Datum
    least: Lovelace


@dataclass(frozen=True, slots=True)
class Ended:
    """The thread token is burnt; everything goes to the min-ada owner."""


def open_refusal(datum: t.Datum, own_hash: bytes, lovelace: Lovelace) -> Rejection | None:
    """Open's clauses that speak of datum and amount (F6); the token and the output's form are the builder's."""
    try:
        _open(datum, own_hash, lovelace)
    except Refused as e:
        return e.rejection
    return None


def apply_step(datum: t.Datum, step: t.Step, at: Situation) -> Applied | Ended | Rejection:
    """What the validator demands of the channel's output, or the first clause that refuses."""
    try:
        return _apply(datum, step, at)
    except Refused as e:
        return e.rejection


def _need(clause: str, holds: bool, got: object = "", allowed: object = "") -> None:
    if not holds:
        raise Refused(STEP_REFUSED(field=clause, got=got, allowed=allowed))


def _open(datum: t.Datum, own_hash: bytes, lovelace: Lovelace) -> None:
    stage = datum.stage
    if not isinstance(stage, t.Opened):
        raise Refused(STEP_REFUSED(field="Open.stage", got=type(stage).__name__, allowed="Opened"))
    total = lovelace - datum.min_ada
    _need("Open.5", datum.own_hash == own_hash)
    _need("Open.8", datum.keys[0] != datum.keys[1])
    _need("Open.9", stage.non_opener_amount >= Lovelace(0), stage.non_opener_amount, ">= 0")
    _need("Open.10", stage.non_opener_amount <= total, stage.non_opener_amount, f"<= {total}")
    _need("Open.11", stage.snapshot.first == t.Squash())
    _need("Open.12", stage.snapshot.second == t.Squash())
    _need("Open.13", stage.respond_period >= Ms(1), stage.respond_period, ">= 1 ms")
    _need("Open.14", datum.min_ada >= Lovelace(0), datum.min_ada, ">= 0")
    _need("Open.15", datum.min_ada_owner in (0, 1), datum.min_ada_owner, "0 or 1")


def _apply(datum: t.Datum, step: t.Step, at: Situation) -> Applied | Ended:
    match step:
        case t.Add():
            return _add(datum, _stage(datum, t.Opened), step, at)
        case t.Close():
            return _close(datum, _stage(datum, t.Opened), step, at)
        case t.Respond():
            return _respond(datum, _stage(datum, t.Closed), step, at)
        case t.Elapse():
            return _elapse(datum, _stage(datum, t.Closed), step, at)
        case t.FreeInClosed():
            return _free_in_closed(datum, _stage(datum, t.Closed), step, at)
        case t.FreeInResolved():
            return _free_in_resolved(datum, _stage(datum, t.Resolved), step, at)
        case t.EndResolved():
            return _end_resolved(datum, _stage(datum, t.Resolved), step, at)
        case t.ElapseEnd():
            return _elapse_end(datum, _stage(datum, t.Closed), step, at)
        case t.RespondEnd():
            return _respond_end(datum, _stage(datum, t.Closed), step, at)
        case t.MutualEnd():
            _signed("MutualEnd.1", datum.keys[0], at)
            _signed("MutualEnd.2", datum.keys[1], at)
            return Ended()
        case _:
            assert_never(step)


def _stage(datum: t.Datum, wanted: type[S]) -> S:
    if not isinstance(datum.stage, wanted):
        got = type(datum.stage).__name__
        raise Refused(STEP_REFUSED(field="stage", got=got, allowed=wanted.__name__))
    return datum.stage


def _signed(clause: str, key: t.VerificationKey, at: Situation) -> None:
    _need(clause, key in at.signers, "not a required signer", key.hex())


def _snapshot_ok(clause: str, signed: t.SignedSnapshot, key: t.VerificationKey, at: Situation) -> None:
    ok = at.verify(key, snapshot_message(at.cid, signed.snapshot), signed.signature)
    _need(clause, ok, "wrong signature", key.hex())


def newer(new: t.Squash, old: t.Squash) -> t.Squash:
    """Squash.1-5: `new` when it is canonical and dominates `old`, else `old`."""
    return new if new.is_canonical() and new.dominates(old) else old


def _union(signed: t.SignedSnapshot | None, old: t.Snapshot) -> t.Snapshot:
    if signed is None:
        return old
    return t.Snapshot(newer(signed.snapshot.first, old.first), newer(signed.snapshot.second, old.second))


def _add(datum: t.Datum, stage: t.Opened, step: t.Add, at: Situation) -> Applied:
    adder, partner = datum.keys if step.by_opener else datum.keys[::-1]
    _signed("Add.1", adder, at)
    total_out = at.total if at.total_out is None else at.total_out
    _need("Add.2", total_out > at.total, total_out, f"> {at.total}")
    if step.snapshot is not None:
        _snapshot_ok("Add.5", step.snapshot, partner, at)
    # Add.3, Add.4: what the non-opener adds is its own; what the opener adds is not
    grown = stage.non_opener_amount + (Lovelace(0) if step.by_opener else total_out - at.total)
    snapshot = _union(step.snapshot, stage.snapshot)
    return Applied(
        replace(datum, stage=replace(stage, non_opener_amount=grown, snapshot=snapshot)), total_out
    )


def _close(datum: t.Datum, stage: t.Opened, step: t.Close, at: Situation) -> Applied:
    closer, responder = datum.keys if step.by_opener else datum.keys[::-1]
    _signed("Close.2", closer, at)
    if step.receipt.snapshot is not None:
        _snapshot_ok("Close.5", step.receipt.snapshot, responder, at)
    snapshot = _union(step.receipt.snapshot, stage.snapshot)
    received = snapshot.received_by(closer, responder)
    entries = _present(step.receipt.cheques, responder, received, at)
    earliest = at.ub + stage.respond_period
    elapse_after = earliest if at.elapse_after is None else at.elapse_after
    _need("Close.3", elapse_after >= earliest, elapse_after, f">= {earliest}")
    # Close.6, Close.7: each side's deposit; Close.1: the owner of min-ada stays, whoever comes first now
    deposit = at.total - stage.non_opener_amount if step.by_opener else stage.non_opener_amount
    sent = snapshot.received_by(responder, closer)
    closed = t.Closed(deposit, received, sent, elapse_after, _commit(entries))
    owner = datum.min_ada_owner if step.by_opener else 1 - datum.min_ada_owner
    new = replace(datum, keys=(closer, responder), stage=closed, min_ada_owner=owner)
    return Applied(new, at.total)  # Close.4


def _present(
    cheques: Sequence[t.PresentedCheque], issuer: t.VerificationKey, received: t.Squash, at: Situation
) -> tuple[t.Entry, ...]:
    previous = 0
    entries = []
    for shown in cheques:
        c = shown.signed.cheque
        _need("Cheque.1", c.index > previous, c.index, f"> {previous}")
        previous = c.index  # Cheque.4: a `Hashlock` has 32 bytes by its type
        _need("Cheque.2", not received.covers(c.index), c.index, "not covered by the squash")
        _need("Cheque.3", c.amount >= Lovelace(1), c.amount, ">= 1")
        if shown.secret is not None:
            _need("Cheque.5", c.timeout >= at.ub, c.timeout, f">= {at.ub}")
            _need("Cheque.6", shown.secret.opens(c.lock), "a secret of another lock", c.lock.hex())
        ok = at.verify(issuer, cheque_message(at.cid, c), shown.signed.signature)
        _need("Cheque.6", ok, "wrong signature", issuer.hex())
        entries.append(t.Entry(c.index, c.amount, c.timeout, c.lock, shown.secret is not None))
    return tuple(entries)


def _commit(entries: Sequence[t.Entry]) -> t.Commitment:
    _need("Entries.1", len(entries) <= t.MAX_PENDING, len(entries), f"<= {t.MAX_PENDING}")
    return commit(entries)


def _presented(entries: Sequence[t.Entry], old: t.Commitment) -> None:
    _need("Entries.2", commit(entries).hash == old.hash, "another list", old.hash.hex())


def unlock_entries(
    old: t.Commitment, entries: tuple[t.Entry, ...] | None, unlocks: tuple[t.Unlock, ...], ub: PosixMs
) -> t.Commitment:
    """Unlock.1-5: the commitment once `unlocks` opened their entries. Raises `Refused`."""
    if not unlocks:
        _need("Unlock.form", entries is None, "a list without unlocks", "no list")
        return old
    _need("Unlock.form", entries is not None, "no list", "the list with its unlocks")
    listed = list(entries or ())
    _presented(listed, old)
    previous = -1
    for u in unlocks:
        _need(
            "Unlock.1", previous < u.position < len(listed), u.position, f"{previous + 1}..{len(listed) - 1}"
        )
        previous = u.position
        entry = listed[u.position]
        _need("Unlock.2", not entry.paid, "paid", "locked")
        _need("Unlock.4", u.secret.opens(entry.lock), "a secret of another lock", entry.lock.hex())
        _need("Unlock.5", entry.timeout >= ub, entry.timeout, f">= {ub}")
        listed[u.position] = replace(entry, paid=True)
    return commit(listed)


def sift_entries(entries: Sequence[t.Entry], received: t.Squash, lb: PosixMs) -> tuple[t.Entry, ...]:
    """Sift.1-2: what stays when `received` covers some and the locked ones with timeout <= lb expire."""
    return tuple(e for e in entries if not received.covers(e.index) and (e.paid or not e.timeout <= lb))


def _sift(
    old: t.Commitment, entries: tuple[t.Entry, ...] | None, received: t.Squash, lb: PosixMs
) -> t.Commitment:
    _need("Sift.form", entries is not None, "no list", "the list")
    _presented(entries or (), old)
    return commit(sift_entries(entries or (), received, lb))


@dataclass(frozen=True, slots=True)
class _Answer:
    closer_amount: Lovelace
    closer_entries: t.Commitment
    own_locked: tuple[t.Entry, ...]


def _answer(datum: t.Datum, stage: t.Closed, step: t.Respond | t.RespondEnd, at: Situation) -> _Answer:
    closer, responder = datum.keys
    _signed("Respond.1", responder, at)
    received, sent = stage.responder_squash, stage.closer_squash
    signed = step.receipt.snapshot
    if signed is not None:
        _snapshot_ok("Respond.2", signed, closer, at)
        if step.use_responder_squash:
            received = newer(signed.snapshot.received_by(responder, closer), received)
        if step.use_closer_squash:
            sent = newer(signed.snapshot.received_by(closer, responder), sent)
    drop = step.drop_expired if isinstance(step, t.Respond) else step.entries is not None
    if drop or sent != stage.closer_squash:  # Respond.9
        left = _sift(stage.entries, step.entries, sent, at.lb if drop else NEVER_EXPIRED)
    else:
        _need("Sift.form", step.entries is None, "a list that does not change", "no list")
        left = stage.entries
    shown = _present(step.receipt.cheques, closer, received, at)
    own = sum(e.amount.value for e in shown)  # Respond.6: the unlocked leave, the locked may
    # Respond.7, Respond.8
    amount = stage.closer_deposit + sent.amount - received.amount + left.paid - Lovelace(own)
    return _Answer(amount, left, tuple(e for e in shown if not e.paid))


def _floor(amount: Lovelace) -> Lovelace:
    return max(amount, Lovelace(0))


def _respond(datum: t.Datum, stage: t.Closed, step: t.Respond, at: Situation) -> Applied:
    closer, responder = datum.keys
    answer = _answer(datum, stage, step, at)
    own = _commit(answer.own_locked)
    owed = _floor(answer.closer_amount)
    resolved = t.Resolved(min(at.total, owed), own, answer.closer_entries)  # Respond.3
    owner = 1 - datum.min_ada_owner  # Respond.4
    new = replace(datum, keys=(responder, closer), stage=resolved, min_ada_owner=owner)
    return Applied(new, min(at.total, owed + answer.closer_entries.pending + own.pending))  # Respond.5


def _respond_end(datum: t.Datum, stage: t.Closed, step: t.RespondEnd, at: Situation) -> Ended:
    _need("RespondEnd.1", datum.min_ada_owner == 1, datum.min_ada_owner, "the responder")
    answer = _answer(datum, stage, step, at)
    _need("RespondEnd.2", not answer.own_locked, len(answer.own_locked), "no locked cheque")
    pending = answer.closer_entries.pending
    _need("RespondEnd.3", pending == Lovelace(0), pending, "none of the closer's pending")
    _need(
        "RespondEnd.4",
        answer.closer_amount <= Lovelace(0) or at.total == Lovelace(0),
        answer.closer_amount,
        "nothing left for the closer",
    )
    return Ended()


def _lapse(
    datum: t.Datum, stage: t.Closed, step: t.Elapse | t.ElapseEnd, at: Situation
) -> tuple[t.Commitment, Lovelace, Lovelace]:
    """The closer's entries after unlocks, the closer's amount and what it leaves of the total."""
    _signed("Elapse.1", datum.keys[0], at)
    _need("Elapse.2", stage.elapse_after <= at.lb, stage.elapse_after, f"<= {at.lb}")
    entries = unlock_entries(stage.entries, step.entries, step.unlocks, at.ub)
    amount = replace(stage, entries=entries).closer_amount  # Elapse.5, Elapse.6
    return entries, amount, _floor(at.total - _floor(amount))  # Elapse.4


def _elapse(datum: t.Datum, stage: t.Closed, step: t.Elapse, at: Situation) -> Applied:
    entries, amount, left = _lapse(datum, stage, step, at)
    other = min(left, _floor(at.total - amount - entries.pending))
    new = replace(datum, stage=t.Resolved(other, entries, EMPTY_COMMITMENT))
    return Applied(new, min(left, other + entries.pending))  # Elapse.3


def _elapse_end(datum: t.Datum, stage: t.Closed, step: t.ElapseEnd, at: Situation) -> Ended:
    _need("ElapseEnd.1", datum.min_ada_owner == 0, datum.min_ada_owner, "the closer")
    entries, _, left = _lapse(datum, stage, step, at)
    _need("ElapseEnd.2", entries.pending == Lovelace(0), entries.pending, "nothing pending")
    _need("ElapseEnd.3", left == Lovelace(0), left, "nothing left for the responder")
    return Ended()


def _free_in_closed(datum: t.Datum, stage: t.Closed, step: t.FreeInClosed, at: Situation) -> Applied:
    _signed("FreeInClosed.1", datum.keys[0], at)
    _need("FreeInClosed.2", bool(step.unlocks), "no unlock", "at least one")
    entries = unlock_entries(stage.entries, step.entries, step.unlocks, at.ub)
    return Applied(replace(datum, stage=replace(stage, entries=entries)), at.total)  # FreeInClosed.3


def _freed(
    own: t.Commitment, other: t.Commitment, step: t.FreeInResolved | t.EndResolved, at: Situation
) -> tuple[t.Commitment, t.Commitment]:
    own_left = unlock_entries(own, step.own, step.unlocks, at.ub)
    if step.other is None:
        return own_left, other
    return own_left, _sift(other, step.other, t.Squash(), at.lb)


def _free_in_resolved(datum: t.Datum, stage: t.Resolved, step: t.FreeInResolved, at: Situation) -> Applied:
    resolver, other = stage.resolver_entries, stage.other_entries
    if step.by_resolver:
        _signed("FreeInResolved.1", datum.keys[0], at)
        own_left, other_left = _freed(resolver, other, step, at)
        moved = own_left.pending < resolver.pending or other_left.pending < other.pending
        _need("FreeInResolved.2", moved, "nothing freed", "something")
        new = t.Resolved(stage.other_amount, own_left, other_left)
        # FreeInResolved.3
        least = min(at.total, stage.other_amount + own_left.pending + other_left.pending)
    else:
        _signed("FreeInResolved.4", datum.keys[1], at)
        own_left, other_left = _freed(other, resolver, step, at)
        moved = own_left.pending < other.pending or other_left.pending < resolver.pending
        _need("FreeInResolved.5", moved or stage.other_amount > Lovelace(0), "nothing freed", "something")
        new = t.Resolved(Lovelace(0), other_left, own_left)
        # FreeInResolved.6
        least = min(_floor(at.total - stage.other_amount), own_left.pending + other_left.pending)
    return Applied(replace(datum, stage=new), least)


def _end_resolved(datum: t.Datum, stage: t.Resolved, step: t.EndResolved, at: Situation) -> Ended:
    own, other = stage.resolver_entries, stage.other_entries
    if datum.min_ada_owner == 0:
        _signed("End.3", datum.keys[0], at)
        _need("End.4", stage.other_amount == Lovelace(0), stage.other_amount, "nothing left for the partner")
    else:
        _signed("End.5", datum.keys[1], at)
        own, other = other, own
    own_left, other_left = _freed(own, other, step, at)
    _need("End.1", own_left.pending == Lovelace(0), own_left.pending, "every own entry unlocked")
    _need(
        "End.2", other_left.pending == Lovelace(0), other_left.pending, "every entry of the partner expired"
    )
    return Ended()
