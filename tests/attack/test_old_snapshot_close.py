"""V7: whatever old snapshot a cheat closes with, an honest respond pays at least the last agreed balance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.units import Lovelace
from tests.support import phase2
from tests.support.channel_world import (
    Channel,
    Move,
    channel,
    datum_of,
    healthy,
    opened,
    opening,
    signed_snapshot,
    situation,
)

TOTAL = 1_000
Pair = tuple[t.Squash, t.Squash]


@st.composite
def histories(draw: st.DrawFn) -> list[Pair]:
    """Squashes received by keys[0] and keys[1], each pair dominating the last; balances stay >= 0."""
    pairs = [(t.Squash(), t.Squash())]
    balances = [TOTAL // 2, TOTAL // 2]
    for _ in range(draw(st.integers(1, 8))):
        side = draw(st.integers(0, 1))
        last = list(pairs[-1])
        index = last[side].index + draw(st.integers(1, 3))
        gaps = tuple(range(last[side].index + 1, index))
        fill = draw(st.booleans())  # a gap left earlier may be settled later
        exclude = gaps if fill else last[side].exclude + gaps
        amount = draw(st.integers(0, balances[1 - side]))
        balances[side] += amount
        balances[1 - side] -= amount
        last[side] = t.Squash(last[side].amount + Lovelace(amount), index, exclude[-20:])
        if last[side].dominates(pairs[-1][side]):
            pairs.append((last[0], last[1]))
    return pairs


def settle(pairs: list[Pair], closed_with: int, cheat: int) -> tuple[list[phase2.Tx], int, int]:
    """The cheat (0 or 1) closes with an old pair, the other responds with the newest; its payout and its due."""
    c = channel(opened(TOTAL // 2), TOTAL)
    honest = 1 - cheat
    keys = (c.key0, c.key1)
    old = signed_snapshot(keys[honest], c.cid, c.snapshot(*pairs[closed_with]))
    closing = healthy([Move(c, t.Close(cheat == 0, t.Receipt(old)), [keys[cheat]])])
    after: Channel = replace(c, datum=datum_of(closing.outputs[0]), lovelace=closing.outputs[0].lovelace)
    newest = signed_snapshot(keys[cheat], c.cid, c.snapshot(*pairs[-1]))
    step = t.Respond(t.Receipt(newest), use_responder_squash=True)
    move = Move(after, step, [keys[honest]])
    done = books.apply_step(after.datum, step, situation(move))
    assert isinstance(done, books.Applied)
    due = TOTAL // 2 + pairs[-1][honest].amount.value - pairs[-1][cheat].amount.value
    return [closing, healthy([move])], TOTAL - done.least.value, due


@pytest.mark.threat("V7")
@pytest.mark.kind("SM")
@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_an_honest_respond_never_loses(pairs: list[Pair], data: st.DataObject) -> None:
    cheat = data.draw(st.integers(0, 1))
    _, payout, due = settle(pairs, data.draw(st.integers(0, len(pairs) - 1)), cheat)
    assert payout >= due


@pytest.mark.threat("V7")
@pytest.mark.kind("MUT")
def test_the_script_agrees_on_one_such_history() -> None:
    pairs = [
        (t.Squash(), t.Squash()),
        (t.Squash(), t.Squash(Lovelace(400), 2)),
        (t.Squash(Lovelace(50), 1), t.Squash(Lovelace(400), 2)),
    ]
    transactions, payout, due = settle(pairs, 0, 0)
    assert all(phase2.run(tx).ok for tx in transactions)
    assert (payout, due) == (900, 850)  # what the cheat did not prove for itself is its own loss


@pytest.mark.threat("V1", "V2")
@pytest.mark.kind("MUT")
def test_opens_and_steps_share_a_transaction_but_no_output() -> None:
    c = channel(opened())
    stepping, new = healthy([Move(c, t.Add(True), [c.key0], add=5)]), opening([c.datum] * 2, [c.lovelace] * 2)
    own = phase2.script_hash(new.script)

    def mixed() -> phase2.Tx:
        return replace(
            new,
            inputs=new.inputs + stepping.inputs[1:],
            outputs=new.outputs[:2] + stepping.outputs,
            signers=list(stepping.signers),
            mint={own: dict(new.mint[own])},
            mint_redeemers={own: (new.mint_redeemers[own][0], stepping.mint_redeemers[own][1])},  # type: ignore[index]
        )

    assert phase2.run(mixed()).ok
    for gone in range(3):
        tx = mixed()
        del tx.outputs[gone]
        assert not phase2.run(tx).ok
    late = mixed()
    late.outputs = [late.outputs[2], *late.outputs[:2]]
    assert not phase2.run(late).ok
    assert codec.BOLT_TOKEN not in late.mint[own]
