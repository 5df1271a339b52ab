"""Clauses of elapse, free and end, each with the transaction that it alone decides."""

from __future__ import annotations

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr
from gateway.units import Lovelace, Ms
from tests.support import phase2
from tests.support.channel_world import (
    EARLIER,
    LB,
    Channel,
    Move,
    channel,
    entry,
    healthy,
    opened,
    unlocks,
)
from tests.support.clause_table import (
    M,
    by,
    closed,
    expected,
    forced,
    honest,
    refused,
    resolved,
    squash,
    stage_of,
)

OVER = 140 * M  # the closer's books hold more than the total of 100 ada (F7)


# --- elapse --------------------------------------------------------------------------------------


@refused("Elapse.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed())
    return healthy([by(Move(c, t.Elapse()), [c.key1])], script)


@refused("Elapse.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(elapse_after=LB + Ms(1)))
    move = Move(c, t.Elapse(), [c.key0])
    move.after = expected(move, lb=LB + Ms(1))
    return healthy([move], script)


@honest("Elapse.3")
def _(script: bytes) -> phase2.Tx:
    """Over-issued: pending exceeds what the closer's amount leaves (F7)."""
    c = channel(closed(60 * M, entries=(entry(1, 70 * M),)))
    return healthy([Move(c, t.Elapse(), [c.key0])], script)


@honest("Elapse.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(OVER))
    return healthy([Move(c, t.Elapse(), [c.key0])], script)


def elapse_amount(script: bytes, stage: t.Closed, other: int) -> phase2.Tx:
    c = channel(stage)
    after = t.Resolved(Lovelace(other), stage.entries, codec.EMPTY_COMMITMENT)
    return healthy([forced(Move(c, t.Elapse(), [c.key0]), stage_of(c, after))], script)


refused("Elapse.5")(lambda s: elapse_amount(s, closed(entries=(entry(1, 9 * M, paid=True),)), 40 * M))
refused("Elapse.6")(lambda s: elapse_amount(s, closed(responder=squash(9 * M, 2)), 40 * M))


def elapse_ends(script: bytes, stage: t.Closed, owner: int = 0) -> phase2.Tx:
    c = channel(stage, owner=owner)
    move = Move(c, t.ElapseEnd(), [c.key0])
    move.after = books.Ended()
    return healthy([move], script)


refused("ElapseEnd.1")(lambda s: elapse_ends(s, closed(100 * M), owner=1))
refused("ElapseEnd.2")(lambda s: elapse_ends(s, closed(100 * M, entries=(entry(1, M),))))
refused("ElapseEnd.3")(lambda s: elapse_ends(s, closed(100 * M - 1)))


# --- free ----------------------------------------------------------------------------------------


def frees(c: Channel) -> Move:
    listed = (entry(1, M),)
    return Move(c, t.FreeInClosed(listed, unlocks(listed, 0)), [c.key0])


@refused("FreeInClosed.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(entries=(entry(1, M),)))
    return healthy([by(frees(c), [c.key1])], script)


@refused("FreeInClosed.2")
def _(script: bytes) -> phase2.Tx:
    """A free that frees nothing could hold off the respond, block after block."""
    c = channel(closed())
    move = Move(c, t.FreeInClosed((), ()), [c.key0])
    move.step_data = Constr(4, ((), ()))
    return healthy([forced(move, c.datum)], script)


@refused("FreeInClosed.3")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(entries=(entry(1, M),)))
    tx = healthy([frees(c)], script)
    tx.outputs[0].lovelace -= 1
    return tx


OURS, THEIRS = (entry(1, 4 * M),), (entry(1, 6 * M, EARLIER),)


def in_resolved(by_resolver: bool) -> Move:
    """The actor opens its own cheque and drops the partner's expired one; 100 ada, 7 for the other."""
    stage = resolved(7 * M, OURS, THEIRS) if by_resolver else resolved(7 * M, THEIRS, OURS)
    c = channel(stage)
    step = t.FreeInResolved(by_resolver, OURS, unlocks(OURS, 0), THEIRS)
    return Move(c, step, [c.key0 if by_resolver else c.key1])


@refused("FreeInResolved.1")
def _(script: bytes) -> phase2.Tx:
    move = in_resolved(True)
    return healthy([by(move, [move.channel.key1])], script)


@refused("FreeInResolved.4")
def _(script: bytes) -> phase2.Tx:
    move = in_resolved(False)
    return healthy([by(move, [move.channel.key0])], script)


@refused("FreeInResolved.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(resolved(7 * M))
    return healthy([forced(Move(c, t.FreeInResolved(True), [c.key0]), c.datum)], script)


@refused("FreeInResolved.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(resolved(0))
    return healthy([forced(Move(c, t.FreeInResolved(False), [c.key1]), c.datum)], script)


def short_by_one(script: bytes, move: Move) -> phase2.Tx:
    tx = healthy([move], script)
    tx.outputs[0].lovelace -= 1
    return tx


refused("FreeInResolved.3")(lambda s: short_by_one(s, in_resolved(True)))


@refused("FreeInResolved.6")
def _(script: bytes) -> phase2.Tx:
    live = (entry(1, 6 * M),)
    c = channel(resolved(7 * M, live, ()))
    return short_by_one(script, Move(c, t.FreeInResolved(False), [c.key1]))


# --- end -----------------------------------------------------------------------------------------


def end_with(script: bytes, stage: t.Resolved, step: t.EndResolved, owner: int, signer: int) -> phase2.Tx:
    c = channel(stage, owner=owner)
    move = Move(c, step, [c.key1 if signer else c.key0])
    move.after = books.Ended()
    return healthy([move], script)


refused("End.1")(lambda s: end_with(s, resolved(0, OURS), t.EndResolved(), 0, 0))
refused("End.2")(lambda s: end_with(s, resolved(0, (), THEIRS), t.EndResolved(), 0, 0))
refused("End.3")(lambda s: end_with(s, resolved(0), t.EndResolved(), 0, 1))
refused("End.4")(lambda s: end_with(s, resolved(1), t.EndResolved(), 0, 0))
refused("End.5")(lambda s: end_with(s, resolved(9 * M), t.EndResolved(), 1, 0))


# --- mutual end ----------------------------------------------------------------------------------


def end_signed_by(script: bytes, stage: t.Stage, signer: int) -> phase2.Tx:
    c = channel(stage)
    move = Move(c, t.MutualEnd(), [c.key1 if signer else c.key0])
    move.after = books.Ended()
    return healthy([move], script)


refused("MutualEnd.1")(lambda s: end_signed_by(s, opened(), 1))
refused("MutualEnd.2")(lambda s: end_signed_by(s, closed(entries=(entry(1, M),)), 0))
