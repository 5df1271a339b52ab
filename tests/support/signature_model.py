"""Every order of signatures over three cheques (decisions 4 and 5), judged by the validator's own arithmetic.

Two partners; party p receives from 1-p. A state is what was signed, what was delivered, and who may still publish a
close. An honest party follows `Wording`; its partner may close, answer and keep silent as it likes, with all that
it holds. The search visits every reachable state and asks whether the honest party ends below what it counts on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import NamedTuple

from gateway.cl.data import books
from gateway.cl.data import types as t
from gateway.cl.data.books import newer
from gateway.hashlock import Preimage
from gateway.units import Lovelace, Ms, PosixMs

DEPOSIT = 100
AMOUNTS = ((1, 2, 4), (8, 16, 32))  # AMOUNTS[p][i - 1]: cheque i that p receives
KEYS = (t.VerificationKey(b"\x01" * 32), t.VerificationKey(b"\x02" * 32))
CID = t.ChannelId(b"\x07" * 20)
SECRET = Preimage(b"\x05" * 32)
LOCK = SECRET.hashlock
SIGNATURE = t.Signature(b"\x00" * 64)
LB, UB, TIMEOUT, PERIOD = PosixMs(900), PosixMs(1_000), PosixMs(10**6), Ms(100)
ZERO = t.Squash()
Indices = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A snapshot: pair[p] is the squash received by p. Made by `pair_of` alone, so that identity is equality."""

    first: t.Squash
    second: t.Squash

    def __getitem__(self, p: int) -> t.Squash:
        return self.second if p else self.first


@cache
def pair_of(first: t.Squash, second: t.Squash) -> Pair:
    return Pair(first, second)


NOTHING = pair_of(ZERO, ZERO)


@dataclass(frozen=True)
class Wording:
    """The rules as decided; each flag set is one of them put weaker."""

    dead_without_dominance: bool = (
        False  # a cancel counts though A signed a squash above it that leaves i out
    )
    dead_unsigned: bool = False  # A acts on the cancel before its signature arrives
    dead_while_closing: bool = False  # A counts a cancel though a close of its own may still confirm
    settled_without_dominance: bool = (
        False  # B calls i safe though it signed a squash that stands against A's
    )
    sign_below_held: bool = False  # A's next snapshot does not cover the index that it counted as cancelled
    cancel_below_held: bool = False  # B's cancel leaves out what A's squash already covers
    old_snapshot: bool = False  # the first snapshot that is held is presented, not the newest
    equal_index: bool = False  # a snapshot of equal index replaces the newest, whatever it says
    closers_side_fixed: bool = False  # respond does not touch the squash that the closer used
    whole_or_nothing: bool = False  # respond takes the snapshot only when both sides dominate
    fulfil_after_cancel: bool = False  # B opens a cheque that it has signed away
    end_while_pending: bool = (
        False  # an end is proposed and signed though cheques are not all settled or dead
    )
    end_not_frozen: bool = False  # who proposed or signed an end goes on signing and taking cheques
    end_unread: bool = False  # an end is signed whatever it pays


class State(NamedTuple):
    """`signed[p]`: snapshots that p signed; the first `delivered[p]` reached 1-p. `forged[p]`: p sent a snapshot that
    covers as much and pays nothing; `held[p]`: the newest that p took. `closes[p]`: what p's published close uses."""

    issued: tuple[int, int] = (0, 0)  # issued[p]: cheques that p received
    opened: tuple[Indices, Indices] = ((), ())  # by their receiver p
    cancelled: tuple[Indices, Indices] = ((), ())
    signed: tuple[tuple[Pair, ...], tuple[Pair, ...]] = ((), ())
    delivered: tuple[int, int] = (0, 0)
    held: tuple[Pair | None, Pair | None] = (None, None)
    forged: tuple[bool, bool] = (False, False)
    closes: tuple[Pair | None, Pair | None] = (None, None)
    closing: tuple[bool, bool] = (False, False)
    gone: tuple[Indices, Indices] = ((), ())  # gone[p]: what p issued and acted on as cancelled, for good
    proposed: tuple[int | None, int | None] = (None, None)  # what an end that p built pays to 1-p
    ends: tuple[int | None, int | None] = (None, None)  # the same, signed by 1-p: p may publish it
    safe: tuple[Indices, Indices] = ((), ())  # safe[p]: what p opened and no longer closes for, for good


def _put(pair: tuple, p: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (value, pair[1]) if p == 0 else (pair[0], value)


def _got(state: State, p: int) -> tuple[Pair, ...]:
    """What p holds of its partner's signatures."""
    return state.signed[1 - p][: state.delivered[1 - p]]


def _squash(p: int, paid: set[int], null: set[int]) -> t.Squash:
    return (
        ZERO.with_covered(paid | null, Lovelace(sum(AMOUNTS[p][i - 1] for i in paid)))
        if paid | null
        else ZERO
    )


def _covered(squash: t.Squash) -> set[int]:
    return {i for i in (1, 2, 3) if squash.covers(i)}


@cache
def _due(best: Pair, opened: tuple[Indices, Indices], cancelled: Indices, p: int, wording: Wording) -> Pair:
    q = 1 - p
    taken = set() if wording.cancel_below_held else _covered(best[p])
    own_paid = taken & set(opened[p])
    mine = _squash(p, own_paid, set(cancelled) - own_paid | taken - own_paid)
    paid = set(opened[q])
    null = set() if wording.sign_below_held else _covered(best[q]) - paid
    theirs = _squash(q, paid, null)
    return pair_of(mine, theirs) if p == 0 else pair_of(theirs, mine)


def due(state: State, p: int, wording: Wording) -> Pair:
    """What p's books give: as receiver what the partner's squash covers and what p cancelled, as issuer what was
    opened and what the partner's squash cancels."""
    return _due(state.held[p] or NOTHING, state.opened, state.cancelled[p], p, wording)


def dead(state: State, p: int, wording: Wording) -> set[int]:
    """The indices that p issued and counts as cancelled (decision 5, 1 and 2)."""
    q = 1 - p
    live = set(range(1, state.issued[q] + 1)) - set(state.opened[q])
    if wording.dead_unsigned:
        return live & set(state.cancelled[q])
    if state.held[p] is None or (state.closing[p] and not wording.dead_while_closing):
        return set()
    held = state.held[p]
    assert held is not None
    found = live & _covered(held[q])
    if wording.dead_without_dominance:
        return found
    return {i for i in found if all(s[q].covers(i) or held[q].dominates(s[q]) for s in state.signed[p])}


def settled(state: State, p: int, wording: Wording) -> set[int]:
    """Decision 4: what p opened and holds a squash for that it may rely on. For the rest it closes in time."""
    held = state.held[p]
    if held is None:
        return set()
    found = {i for i in state.opened[p] if held[p].covers(i)}
    if wording.settled_without_dominance:
        return found
    return {i for i in found if all(s[p].covers(i) or held[p].dominates(s[p]) for s in state.signed[p])}


def acted(state: State, wording: Wording) -> State:
    """Both act at once on what has become certain, and can never undo it."""
    for p in (0, 1):
        gone = dead(state, p, wording).difference(state.gone[p])
        if gone:
            state = state._replace(gone=_put(state.gone, p, (*sorted({*state.gone[p], *gone}),)))
        safe = settled(state, p, wording).difference(state.safe[p])
        if safe:
            state = state._replace(safe=_put(state.safe, p, (*sorted({*state.safe[p], *safe}),)))
    return state


def frozen(state: State, p: int, wording: Wording) -> bool:
    """Decision 9: from an end that p proposed or signed on, p signs and takes nothing else."""
    spoken = state.proposed[p] is not None or state.ends[1 - p] is not None
    return spoken and not wording.end_not_frozen


def share(state: State, p: int) -> int:
    """What p's books say is its own: what is settled for it, less what its partner opened."""
    q = 1 - p
    return DEPOSIT + sum(AMOUNTS[p][i - 1] for i in state.safe[p]) - sum(
        AMOUNTS[q][i - 1] for i in state.opened[q]
    )  # fmt: skip


def idle(state: State, p: int, wording: Wording) -> bool:
    """No cheque that p issued is live, and none that it holds is unanswered or unsettled."""
    q = 1 - p
    issued, held = set(range(1, state.issued[q] + 1)), set(range(1, state.issued[p] + 1))
    quiet = issued <= {*state.opened[q], *state.gone[p]} and held <= {*state.safe[p], *state.cancelled[p]}
    return quiet or wording.end_while_pending


def ending(state: State, wording: Wording) -> Iterator[tuple[str, State]]:
    for p in (0, 1):
        q = 1 - p
        if state.proposed[p] is None and idle(state, p, wording):
            pays = 2 * DEPOSIT - share(state, p)
            yield f"{p} proposes an end", state._replace(proposed=_put(state.proposed, p, pays))
            less = state._replace(proposed=_put(state.proposed, p, pays - 1))
            yield f"{p} proposes an end that pays less", less
        offer = state.proposed[p]
        if offer is None or state.ends[p] is not None or not idle(state, q, wording):
            continue
        if offer >= share(state, q) or wording.end_unread:
            yield f"{q} signs the end", state._replace(ends=_put(state.ends, p, offer))


def steps(
    state: State, limits: tuple[int, int], wording: Wording, together: bool = False
) -> Iterator[tuple[str, State]]:
    if together:
        yield from ending(state, wording)
    for p in (0, 1):
        q = 1 - p
        silent = frozen(state, p, wording)
        if state.issued[p] < limits[p] and not frozen(state, q, wording):
            yield f"{q} adds", state._replace(issued=_put(state.issued, p, state.issued[p] + 1))
        for i in range(1, state.issued[p] + 1):
            if i in state.opened[p] or silent:
                continue
            if i not in state.cancelled[p]:
                cancelled = state._replace(
                    cancelled=_put(state.cancelled, p, (*sorted({*state.cancelled[p], i}),))
                )
                yield f"{p} cancels {i}", _sign(cancelled, p, wording)
            elif not wording.fulfil_after_cancel:
                continue
            yield (
                f"{p} opens {i}",
                state._replace(opened=_put(state.opened, p, (*sorted({*state.opened[p], i}),))),
            )
        after = _sign(state, p, wording)
        if after is not state and not silent:
            yield f"{p} signs", after
        if state.delivered[p] < len(state.signed[p]) and not frozen(state, q, wording):
            pair = state.signed[p][state.delivered[p]]
            taken = state._replace(delivered=_put(state.delivered, p, state.delivered[p] + 1))
            yield (
                f"{q} receives",
                taken._replace(held=_put(state.held, q, _newest(state.held[q], pair, wording))),
            )
        if not state.closing[p]:
            closing = state._replace(closing=_put(state.closing, p, True))
            yield f"{p} publishes a close", closing._replace(closes=_put(state.closes, p, state.held[p]))
        if wording.equal_index and not state.forged[p] and state.held[q] is not None:
            held = state.held[q]
            assert held is not None
            bad = pair_of(*_put((held[0], held[1]), q, replace(held[q], amount=Lovelace(0))))
            tried = state._replace(forged=_put(state.forged, p, True))
            yield f"{p} signs less", tried._replace(held=_put(state.held, q, _newest(held, bad, wording)))


def _sign(state: State, p: int, wording: Wording) -> State:
    new = due(state, p, wording)
    last = state.signed[p][-1] if state.signed[p] else NOTHING
    return state if new == last else state._replace(signed=_put(state.signed, p, (*state.signed[p], new)))


def _newest(held: Pair | None, pair: Pair, wording: Wording) -> Pair:
    if held is None:
        return pair
    if wording.equal_index and all(pair[n].index >= held[n].index for n in (0, 1)):
        return pair
    dominates = all(pair[n].dominates(held[n]) for n in (0, 1))
    return pair if dominates or wording.sign_below_held or wording.cancel_below_held else held


# -- the chain --------------------------------------------------------------------------------


def _signed(pair: Pair | None) -> t.SignedSnapshot | None:
    return None if pair is None else t.SignedSnapshot(t.Snapshot(pair.first, pair.second), SIGNATURE)


def _cheques(p: int, indices: Indices) -> tuple[t.PresentedCheque, ...]:
    return tuple(
        t.PresentedCheque(
            t.SignedCheque(t.Cheque(i, TIMEOUT, LOCK, Lovelace(AMOUNTS[p][i - 1])), SIGNATURE), SECRET
        )
        for i in indices
    )


def _situation(who: int, lb: PosixMs = LB) -> books.Situation:
    return books.Situation(CID, Lovelace(2 * DEPOSIT), {KEYS[who]}, lambda *_: True, lb, UB)


@cache
def closed(closer: int, used: Pair | None, shown: Indices) -> tuple[t.Datum, tuple[t.Entry, ...]]:
    """The datum after `closer` closed with the snapshot `used` and those of `shown` that it leaves uncovered."""
    stage = t.Opened(Lovelace(DEPOSIT), t.Snapshot(), PERIOD)
    datum = t.Datum(b"\x09" * 28, KEYS, stage, Lovelace(0), 0)
    received = newer(used[closer], ZERO) if used else ZERO
    fit = tuple(i for i in shown if not received.covers(i))
    step = t.Close(closer == 0, t.Receipt(_signed(used), _cheques(closer, fit)))
    result = books.apply_step(datum, step, _situation(closer))
    assert isinstance(result, books.Applied), result
    entries = tuple(t.Entry(i, Lovelace(AMOUNTS[closer][i - 1]), TIMEOUT, LOCK, True) for i in fit)
    return result.datum, entries


@cache
def answered(
    closer: int,
    used: Pair | None,
    shown: Indices,
    answer: Pair | None,
    sides: tuple[bool, bool],
    claim: Indices,
) -> int:
    """What the closer keeps when the responder answers; `sides`: the closer's squash applies, the responder's."""
    datum, entries = closed(closer, used, shown)
    stage = datum.stage
    assert isinstance(stage, t.Closed)
    responder = 1 - closer
    received, sent = stage.responder_squash, stage.closer_squash
    if answer is not None and sides[1]:
        received = newer(answer[responder], received)
    if answer is not None and sides[0]:
        sent = newer(answer[closer], sent)
    fit = tuple(i for i in claim if not received.covers(i))
    step = t.Respond(
        t.Receipt(_signed(answer), _cheques(responder, fit)), *sides, False,
        entries if sent != stage.closer_squash else None,
    )  # fmt: skip
    result = books.apply_step(datum, step, _situation(responder))
    assert isinstance(result, books.Applied), result
    assert isinstance(result.datum.stage, t.Resolved)
    return result.datum.stage.other_amount.value


@cache
def unanswered(closer: int, used: Pair | None, shown: Indices) -> int:
    """What the closer keeps when nobody answers."""
    datum, _ = closed(closer, used, shown)
    assert isinstance(datum.stage, t.Closed)
    result = books.apply_step(datum, t.Elapse(), _situation(closer, PosixMs(datum.stage.elapse_after.value)))
    assert isinstance(result, books.Applied), result
    assert isinstance(result.datum.stage, t.Resolved)
    return 2 * DEPOSIT - result.datum.stage.other_amount.value


def _subsets(n: int) -> list[Indices]:
    return [one for size in range(n + 1) for one in combinations(range(1, n + 1), size)]


@cache
def worst(
    p: int, best: Pair | None, published: tuple[Pair | None, ...], own: Indices, enemy: tuple[Pair, ...],
    claims: int, wording: Wording,
) -> int:  # fmt: skip
    """The least that p ends with: it closes (now, or as `published`) and claims `own`, or answers its partner's
    close; the partner uses any snapshot of `enemy` and any of its first `claims` cheques."""
    q, found = 1 - p, []
    for used in (best, *published):
        found.append(unanswered(p, used, own))
        for answer, sides, claim in product(
            (None, *enemy), product((False, True), repeat=2), _subsets(claims)
        ):
            found.append(answered(p, used, own, answer, sides, claim))
    for used, shown in product((None, *enemy), _subsets(claims)):
        sides = (not wording.closers_side_fixed, True)
        if wording.whole_or_nothing and best is not None:
            base = used or NOTHING
            sides = (True, True) if all(best[n].dominates(base[n]) for n in (0, 1)) else (False, False)
        found.append(2 * DEPOSIT - answered(q, used, shown, best, sides, own))
    return min(found)


def _paid_by_end(state: State, p: int, proposer: int) -> int | None:
    pays = state.ends[proposer]
    if pays is None:
        return None
    return 2 * DEPOSIT - pays if p == proposer else pays


def loss(state: State, wording: Wording) -> str:
    """Who ends below what it counts on, before the timeouts and after; empty when nobody does."""
    for p in (0, 1):
        q, got = 1 - p, _got(state, p)
        best = got[0] if wording.old_snapshot and got else state.held[p]
        published = (state.closes[p],) if state.closing[p] else ()
        earned = sum(AMOUNTS[p][i - 1] for i in state.opened[p])
        issued = set(range(1, state.issued[q] + 1))
        gone = set(state.gone[p])
        enemy = _got(state, q)
        owed = sum(AMOUNTS[q][i - 1] for i in issued - gone)
        before = worst(p, best, published, state.opened[p], enemy, state.issued[q], wording)
        both = [x for x in (_paid_by_end(state, p, n) for n in (0, 1)) if x is not None]
        before = min([before, *both])
        if before < DEPOSIT + earned - owed:
            return f"{p} has {before} of {DEPOSIT + earned - owed} before the timeouts"
        if state.safe[p] == state.opened[p] and not state.closing[p]:
            owed = sum(AMOUNTS[q][i - 1] for i in state.opened[q])
            after = min([worst(p, best, (), (), enemy, 0, wording), *both])
            if after < DEPOSIT + earned - owed:
                return f"{p} has {after} of {DEPOSIT + earned - owed} after the timeouts"
    return ""


@dataclass(frozen=True)
class Searched:
    states: int
    loss: str = ""
    trace: tuple[str, ...] = ()


def search(
    limits: tuple[int, int], wording: Wording, most: int = 10**7, *, together: bool = False
) -> Searched:
    """Breadth first over every state with at most `limits` cheques received by 0 and by 1; stops at a loss.
    `together`: ends that both sign are among the steps (decision 9)."""
    start = State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    layer = [start]
    while layer:
        following = []
        for state in layer:
            found = loss(state, wording)
            if found:
                return Searched(len(came), found, _trace(came, state))
            for name, step in steps(state, limits, wording, together):
                after = acted(step, wording)
                if after not in came:
                    came[after] = (state, name)
                    following.append(after)
        assert len(came) < most, "the space is larger than thought"
        layer = following
    return Searched(len(came))


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    before = came[state]
    while before is not None:
        names.append(before[1])
        before = came[before[0]]
    return tuple(reversed(names))
