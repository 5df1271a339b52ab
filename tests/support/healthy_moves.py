"""One healthy move for each step, busy enough to touch every part of it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.cl.data import types as t
from tests.support.channel_world import (
    EARLIER,
    Channel,
    Move,
    channel,
    entry,
    locked,
    opened,
    signed_snapshot,
    unlocked,
    unlocks,
)
from tests.support.clause_table import M, closed, resolved, squash

MINE = (entry(3, 4 * M), entry(5, 2 * M), entry(8, M))
GONE = (entry(2, 5 * M, EARLIER), entry(4, 3 * M), entry(6, 2 * M, EARLIER))
EXPIRED = (entry(2, 5 * M, EARLIER), entry(6, 2 * M, EARLIER))


def _snapshot(c: Channel, key: int) -> t.SignedSnapshot:
    shown = c.snapshot(squash(6 * M, 4, 3), squash(2 * M, 2))
    return signed_snapshot(c.key1 if key else c.key0, c.cid, shown)


def add(name: str = "A") -> Move:
    c = channel(opened(), name=name)
    return Move(c, t.Add(False, _snapshot(c, 0)), [c.key1], add=5 * M)


def close(name: str = "A") -> Move:
    c = channel(opened(), name=name)
    cheques = (locked(c.key1, c.cid, 3, M), unlocked(c.key1, c.cid, 5, 2 * M))
    return Move(c, t.Close(True, t.Receipt(_snapshot(c, 1), cheques)), [c.key0])


def close_by_non_opener(name: str = "A") -> Move:
    c = channel(opened(), name=name)
    return Move(c, t.Close(False, t.Receipt(None, (locked(c.key0, c.cid, 1, M),))), [c.key1])


def respond(name: str = "A") -> Move:
    c = channel(closed(entries=MINE), name=name)
    cheques = (locked(c.key0, c.cid, 3, M), unlocked(c.key0, c.cid, 5, 2 * M))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(4 * M, 3, 1), squash(2 * M, 2)))
    step = t.Respond(t.Receipt(shown, cheques), True, True, True, MINE)
    return Move(c, step, [c.key1])


def elapse(name: str = "A") -> Move:
    c = channel(closed(entries=MINE), name=name)
    return Move(c, t.Elapse(MINE, unlocks(MINE, 1)), [c.key0])


def free_in_closed(name: str = "A") -> Move:
    c = channel(closed(entries=MINE), name=name)
    return Move(c, t.FreeInClosed(MINE, unlocks(MINE, 0, 2)), [c.key0])


def free_in_resolved(name: str = "A") -> Move:
    c = channel(resolved(7 * M, MINE, GONE), name=name)
    return Move(c, t.FreeInResolved(True, MINE, unlocks(MINE, 2), GONE), [c.key0])


def free_by_other(name: str = "A") -> Move:
    c = channel(resolved(7 * M, GONE, MINE), name=name)
    return Move(c, t.FreeInResolved(False, MINE, unlocks(MINE, 0), GONE), [c.key1])


def end(name: str = "A") -> Move:
    c = channel(resolved(0, MINE, EXPIRED), name=name)
    return Move(c, t.EndResolved(MINE, unlocks(MINE, 0, 1, 2), EXPIRED), [c.key0])


def end_by_other(name: str = "A") -> Move:
    c = channel(resolved(9 * M, EXPIRED, MINE), name=name, owner=1)
    return Move(c, t.EndResolved(MINE, unlocks(MINE, 0, 1, 2), EXPIRED), [c.key1])


def elapse_end(name: str = "A") -> Move:
    c = channel(closed(93 * M, entries=MINE), name=name)
    return Move(c, t.ElapseEnd(MINE, unlocks(MINE, 0, 1, 2)), [c.key0])


def respond_end(name: str = "A") -> Move:
    c = channel(closed(2 * M, entries=EXPIRED), name=name, owner=1)
    cheques = (unlocked(c.key0, c.cid, 5, 2 * M),)
    return Move(c, t.RespondEnd(t.Receipt(None, cheques), entries=EXPIRED), [c.key1])


def mutual_end(name: str = "A") -> Move:
    c = channel(opened(), name=name)
    return Move(c, t.MutualEnd(), [c.key0, c.key1])


def mutual_end_in_closed(name: str = "A") -> Move:
    c = channel(closed(entries=MINE), name=name, owner=1)
    return Move(c, t.MutualEnd(), [c.key0, c.key1])


def mutual_end_in_resolved(name: str = "A") -> Move:
    c = channel(resolved(7 * M, MINE, GONE), name=name)
    return Move(c, t.MutualEnd(), [c.key0, c.key1])


MOVES: dict[str, Callable[[str], Move]] = {
    f.__name__: f
    for f in (
        add,
        close,
        close_by_non_opener,
        respond,
        elapse,
        free_in_closed,
        free_in_resolved,
        free_by_other,
        end,
        end_by_other,
        elapse_end,
        respond_end,
        mutual_end,
        mutual_end_in_closed,
        mutual_end_in_resolved,
    )
}
CONTINUING = [n for n in MOVES if "end" not in n.split("_")]
ENDING = [n for n in MOVES if n not in CONTINUING]
