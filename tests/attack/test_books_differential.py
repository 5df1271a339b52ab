"""The arithmetic in gateway.cl.data.books and the validator say the same of random channels and steps (V3, V14)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cl.data import books
from gateway.cl.data import types as t
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    LB,
    UB,
    Channel,
    Move,
    channel,
    entry,
    healthy,
    locked,
    opened,
    signed_snapshot,
    situation,
    unlocked,
    unlocks,
)
from tests.support.clause_table import closed, resolved

TOTAL = 100
amounts = st.integers(0, 150)
times = st.sampled_from([LB.value - 1, LB.value, LB.value + 1, UB.value - 1, UB.value, UB.value + 1]).map(
    PosixMs
)
squashes = st.builds(
    lambda amount, index, gaps: t.Squash(
        Lovelace(amount), index, tuple(sorted(g for g in gaps if g < index))
    ),
    amounts,
    st.integers(0, 6),
    st.sets(st.integers(1, 5), max_size=3),
)
lists = st.lists(st.tuples(st.integers(1, 50), times, st.booleans()), max_size=4).map(
    lambda rows: tuple(entry(i + 1, a, at, p) for i, (a, at, p) in enumerate(rows))
)


@st.composite
def moves(draw: st.DrawFn) -> Move:
    kind = draw(st.integers(0, 9))
    owner = draw(st.integers(0, 1))
    own, other = draw(lists), draw(lists)
    if kind < 2:
        first = channel(opened(draw(st.integers(0, TOTAL))), TOTAL, owner=owner)
        snapshot = first.snapshot(draw(squashes), draw(squashes))
        stage: t.Stage = replace(first.datum.stage, snapshot=snapshot)  # type: ignore[type-var,assignment]
    elif kind in (2, 3, 4, 7, 8) or (kind == 9 and draw(st.booleans())):
        stage = closed(draw(st.integers(-50, 150)), draw(squashes), draw(squashes), own, draw(times))
    else:
        stage = resolved(draw(amounts), own, other)
    c = channel(stage, TOTAL, owner=owner)
    return _move(draw, c, kind, own, other)


def _receipt(draw: st.DrawFn, c: Channel, by_first: bool) -> t.Receipt:
    issuer = c.key1 if by_first else c.key0
    shown = None
    if draw(st.booleans()):
        shown = signed_snapshot(issuer, c.cid, c.snapshot(draw(squashes), draw(squashes)))
    cheques = []
    for index in sorted(draw(st.sets(st.integers(1, 8), max_size=3))):
        make = draw(st.sampled_from([locked, unlocked]))
        cheques.append(make(issuer, c.cid, index, draw(st.integers(1, 40)), draw(times)))
    return t.Receipt(shown, tuple(cheques))


def _opens(draw: st.DrawFn, listed: tuple[t.Entry, ...]) -> tuple[t.Unlock, ...]:
    positions = draw(st.sets(st.integers(0, max(0, len(listed) - 1)), max_size=2)) if listed else set()
    return unlocks(listed, *sorted(positions))


def _move(
    draw: st.DrawFn, c: Channel, kind: int, own: tuple[t.Entry, ...], other: tuple[t.Entry, ...]
) -> Move:
    flag, flag2, flag3 = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    if kind == 0:
        receipt = _receipt(draw, c, flag)
        return Move(
            c, t.Add(flag, receipt.snapshot), [c.key0 if flag else c.key1], add=draw(st.integers(1, 9))
        )
    if kind == 1:
        return Move(c, t.Close(flag, _receipt(draw, c, flag)), [c.key0 if flag else c.key1])
    opened_ = _opens(draw, own)
    shown = own if opened_ else None
    if kind == 2:
        return Move(c, t.Respond(_receipt(draw, c, False), flag, flag2, flag3, own), [c.key1])
    if kind == 3:
        return Move(c, t.Elapse(shown, opened_), [c.key0])
    if kind == 4:
        return Move(c, t.FreeInClosed(own, opened_), [c.key0])
    if kind == 5:
        mine, theirs = (own, other) if flag else (other, own)
        opened_ = _opens(draw, mine)
        step = t.FreeInResolved(flag, mine if opened_ else None, opened_, theirs if flag2 else None)
        return Move(c, step, [c.key0 if flag else c.key1])
    if kind == 6:
        first = c.datum.min_ada_owner == 0
        mine, theirs = (own, other) if first else (other, own)
        opened_ = _opens(draw, mine)
        end = t.EndResolved(mine if opened_ else None, opened_, theirs if flag2 else None)
        return Move(c, end, [c.key0 if first else c.key1])
    if kind == 9:
        signers = [key for key, signs in ((c.key0, flag), (c.key1, flag2)) if signs]
        return Move(c, t.MutualEnd(), signers)
    if kind == 7:
        return Move(c, t.ElapseEnd(shown, opened_), [c.key0])
    return Move(c, t.RespondEnd(_receipt(draw, c, False), flag, flag2, own), [c.key1])


def claims(stage: t.Stage) -> int:
    assert isinstance(stage, t.Resolved)
    return (stage.other_amount + stage.resolver_entries.pending + stage.other_entries.pending).value


@pytest.mark.threat("V3", "V10")
@pytest.mark.long
@pytest.mark.kind("MUT")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves())
def test_our_arithmetic_is_the_validators(move: Move) -> None:
    c = move.channel
    ours = books.apply_step(c.datum, move.step, situation(move))
    if isinstance(ours, books.Applied):
        tx = healthy([move])
        ran = phase2.run(tx)
        assert ran.ok, (move, ran.message)
        if isinstance(move.step, t.Add):
            return
        assert 0 <= ours.least.value <= c.total.value  # payouts are capped (F7)
        if isinstance(ours.datum.stage, t.Resolved) and claims(ours.datum.stage) <= ours.least.value:
            total_claims = claims(ours.datum.stage) + c.datum.min_ada.value
            assert total_claims <= tx.outputs[0].lovelace
        tx.outputs[0].lovelace -= 1
        assert not phase2.run(tx).ok
    elif isinstance(ours, books.Ended):
        ran = phase2.run(healthy([move]))
        assert ran.ok, (move, ran.message)
    elif isinstance(move.step, t.EndResolved | t.ElapseEnd | t.RespondEnd | t.MutualEnd):
        move.after = books.Ended()
        assert not phase2.run(healthy([move])).ok, (move, str(ours))
    else:
        move.after = books.Applied(c.datum, c.total)
        assert not phase2.run(healthy([move])).ok, (move, str(ours))
