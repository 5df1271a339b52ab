"""V8, F8: usable iff timeout >= ub, expired iff timeout <= lb, at every place that looks at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.cl.data import books
from gateway.cl.data import types as t
from gateway.units import Lovelace, Ms, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    LB,
    UB,
    Move,
    channel,
    entry,
    healthy,
    opened,
    situation,
    unlocked,
    unlocks,
)
from tests.support.clause_table import M, closed, resolved

pytestmark = [pytest.mark.threat("V8"), pytest.mark.kind("MUT")]
OFFSETS = [-phase2.SLOT_MS, -2, -1, 0, 1, 2, phase2.SLOT_MS]


def close_unlocked(at: PosixMs) -> Move:
    c = channel(opened())
    return Move(c, t.Close(True, t.Receipt(None, (unlocked(c.key1, c.cid, 1, M, at),))), [c.key0])


def respond_unlocked(at: PosixMs) -> Move:
    c = channel(closed())
    return Move(c, t.Respond(t.Receipt(None, (unlocked(c.key0, c.cid, 1, M, at),))), [c.key1])


def respond_end_unlocked(at: PosixMs) -> Move:
    c = channel(closed(M), owner=1)
    return Move(c, t.RespondEnd(t.Receipt(None, (unlocked(c.key0, c.cid, 1, M, at),))), [c.key1])


def free_in_closed(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(closed(entries=listed))
    return Move(c, t.FreeInClosed(listed, unlocks(listed, 0)), [c.key0])


def elapse_unlock(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(closed(entries=listed))
    return Move(c, t.Elapse(listed, unlocks(listed, 0)), [c.key0])


def elapse_end_unlock(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(closed(99 * M, entries=listed))
    return Move(c, t.ElapseEnd(listed, unlocks(listed, 0)), [c.key0])


def free_in_resolved(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(resolved(0, listed))
    return Move(c, t.FreeInResolved(True, listed, unlocks(listed, 0)), [c.key0])


def end_unlock(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(resolved(0, listed))
    return Move(c, t.EndResolved(listed, unlocks(listed, 0)), [c.key0])


USABLE: list[Callable[[PosixMs], Move]] = [
    close_unlocked,
    respond_unlocked,
    respond_end_unlocked,
    free_in_closed,
    elapse_unlock,
    elapse_end_unlock,
    free_in_resolved,
    end_unlock,
]


def elapses(at: PosixMs) -> Move:
    c = channel(closed(elapse_after=at))
    return Move(c, t.Elapse(), [c.key0])


def elapse_ends(at: PosixMs) -> Move:
    c = channel(closed(100 * M, elapse_after=at))
    return Move(c, t.ElapseEnd(), [c.key0])


def drop_in_resolved(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(resolved(0, (), listed))
    return Move(c, t.FreeInResolved(True, other=listed), [c.key0])


def end_drops(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(resolved(0, (), listed))
    return Move(c, t.EndResolved(other=listed), [c.key0])


def respond_end_drops(at: PosixMs) -> Move:
    listed = (entry(1, M, at),)
    c = channel(closed(0, entries=listed), owner=1)
    return Move(c, t.RespondEnd(entries=listed), [c.key1])


EXPIRED: list[Callable[[PosixMs], Move]] = [
    elapses,
    elapse_ends,
    drop_in_resolved,
    end_drops,
    respond_end_drops,
]


def agreed(move: Move, bent: books.Situation) -> bool:
    """Runs what the rules would give at a kinder time; checks that our arithmetic agrees with the script."""
    kind = books.apply_step(move.channel.datum, move.step, bent)
    assert isinstance(kind, books.Applied | books.Ended), str(kind)
    move.after = kind
    accepted = phase2.run(healthy([move])).ok
    ours = books.apply_step(move.channel.datum, move.step, situation(move))
    assert accepted == isinstance(ours, books.Applied | books.Ended)
    return accepted


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("make", USABLE)
def test_f8_usable_from_ub_on(make: Callable[[PosixMs], Move], offset: int) -> None:
    move = make(UB + Ms(offset))
    bent = replace(situation(move), ub=UB + Ms(min(offset, 0)), elapse_after=UB + Ms(3_600_000))
    assert agreed(move, bent) == (offset >= 0)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("make", EXPIRED)
def test_f8_expired_up_to_lb(make: Callable[[PosixMs], Move], offset: int) -> None:
    move = make(LB + Ms(offset))
    assert agreed(move, replace(situation(move), lb=LB + Ms(max(offset, 0)))) == (offset <= 0)


@pytest.mark.parametrize("offset", OFFSETS)
def test_respond_drops_the_expired_and_keeps_the_rest(offset: int) -> None:
    listed = (entry(1, M, LB + Ms(offset)), entry(2, M, LB, paid=True))
    c = channel(closed(entries=listed))
    move = Move(c, t.Respond(drop_expired=True, entries=listed), [c.key1])
    tx = healthy([move])
    assert phase2.run(tx).ok
    after = books.apply_step(c.datum, move.step, situation(move))
    assert isinstance(after, books.Applied)
    assert isinstance(after.datum.stage, t.Resolved)
    assert after.datum.stage.other_entries.pending == Lovelace(M if offset > 0 else 0)


@pytest.mark.parametrize("offset", OFFSETS)
def test_close_grants_the_whole_period(offset: int) -> None:
    c = channel(opened())
    early = min(offset, 0)
    move = Move(c, t.Close(True), [c.key0], elapse_after=UB + Ms(3_600_000 + offset))
    bent = replace(situation(move), ub=UB + Ms(early))
    assert agreed(move, bent) == (offset >= 0)


@pytest.mark.parametrize("make", [*USABLE, *EXPIRED])
def test_an_open_end_of_the_interval_proves_nothing(make: Callable[[PosixMs], Move]) -> None:
    usable = make in USABLE
    move = make(UB + Ms(10**9) if usable else PosixMs(0))
    tx = healthy([move])
    assert phase2.run(tx).ok
    if usable:
        tx.upper_slot = None
    else:
        tx.lower_slot = None
    assert not phase2.run(tx).ok
