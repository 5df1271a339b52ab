"""Decision 11: the datum keeps a hash and totals; a later step shows the list again, and only the true one serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    EARLIER,
    LATER,
    LB,
    UB,
    Channel,
    Move,
    channel,
    datum_of,
    entry,
    healthy,
    locked,
    opened,
    situation,
    unlocks,
)
from tests.support.clause_table import M, closed, resolved

pytestmark = pytest.mark.kind("MUT")
LISTED = (entry(1, 4 * M), entry(2, 2 * M, paid=True), entry(3, M, EARLIER))

WRONG: dict[str, tuple[t.Entry, ...]] = {
    "amount": (replace(LISTED[0], amount=Lovelace(40 * M)), *LISTED[1:]),
    "timeout": (replace(LISTED[0], timeout=PosixMs(LATER.value + 1)), *LISTED[1:]),
    "index": (replace(LISTED[0], index=9), *LISTED[1:]),
    "paid": (LISTED[0], replace(LISTED[1], paid=False), LISTED[2]),
    "lock": (replace(LISTED[0], lock=LISTED[1].lock), *LISTED[1:]),
    "one less": LISTED[:2],
    "one more": (*LISTED, entry(4, M)),
    "order": (LISTED[1], LISTED[0], LISTED[2]),
    "nothing": (),
}


def steps_that_show(c: Channel, listed: tuple[t.Entry, ...]) -> list[tuple[t.Step, int]]:
    if isinstance(c.datum.stage, t.Closed):
        return [
            (t.FreeInClosed(listed, unlocks(LISTED, 0)), 0),
            (t.Elapse(listed, unlocks(LISTED, 0)), 0),
            (t.Respond(drop_expired=True, entries=listed), 1),
        ]
    return [
        (t.FreeInResolved(True, listed, unlocks(LISTED, 0)), 0),
        (t.FreeInResolved(False, other=listed), 1),
    ]


@pytest.mark.threat("V10")
@pytest.mark.parametrize("stage", [closed(entries=LISTED), resolved(M, LISTED)], ids=["closed", "resolved"])
@pytest.mark.parametrize("wrong", list(WRONG))
def test_another_list_is_refused(stage: t.Stage, wrong: str) -> None:
    c = channel(stage)
    pairs = zip(steps_that_show(c, LISTED), steps_that_show(c, WRONG[wrong]), strict=True)
    for (good, signer), (bad, _) in pairs:
        move = Move(c, good, [c.key1 if signer else c.key0])
        tx = healthy([move])
        assert phase2.run(tx).ok
        assert not isinstance(books.apply_step(c.datum, bad, situation(move)), books.Applied)
        tx.mint_redeemers[phase2.script_hash(tx.script)] = ((), (codec.step_data(bad),))
        ran = phase2.run(tx)
        assert not ran.ok
        assert "RedeemerError" in ran.message


@pytest.mark.threat("V10")
def test_a_list_lives_from_close_to_end() -> None:
    """Close presents it, free opens some, respond drops the expired, both take theirs, the owner ends."""
    c = channel(opened(), owner=0)
    cheques = tuple(locked(c.key1, c.cid, i, i * M, LATER if i < 3 else EARLIER) for i in (1, 2, 3))
    first = (entry(1, M), entry(2, 2 * M), entry(3, 3 * M, EARLIER))
    second = (replace(first[0], paid=True), *first[1:])
    third = second[:2]
    path: list[tuple[t.Step, int]] = [
        (t.Close(True, t.Receipt(None, cheques)), 0),
        (t.FreeInClosed(first, unlocks(first, 0)), 0),
        (t.Respond(drop_expired=True, entries=second), 1),
        (t.FreeInResolved(False, third, unlocks(third, 1)), 0),
    ]
    totals = []
    for step, key in path:
        tx = healthy([Move(c, step, [c.key1 if key == 1 else c.key0])])
        ran = phase2.run(tx)
        assert ran.ok, (step, ran.message)
        # the keys' order follows the stage; key0 stays the closer's signing key here
        c = replace(c, datum=datum_of(tx.outputs[0]), lovelace=tx.outputs[0].lovelace)
        totals.append(c.total.value)
    assert totals == [100 * M, 100 * M, (70 + 1 + 2) * M, 0]
    assert isinstance(c.datum.stage, t.Resolved)
    assert c.datum.stage.other_entries.pending == Lovelace(0)
    assert c.datum.min_ada_owner == 1  # the opener's min-ada followed its key
    ended = phase2.run(healthy([Move(c, t.EndResolved(), [c.key0])]))
    assert ended.ok, ended.message


def test_a_list_that_does_not_change_is_not_shown() -> None:
    """Else its bytes could be anything, and a reader of the redeemer would be misled."""
    c = channel(closed(entries=LISTED))
    for good, bad, signer in (
        (t.Elapse(), t.Elapse(LISTED), c.key0),
        (t.Respond(), t.Respond(entries=LISTED), c.key1),
    ):
        tx = healthy([Move(c, good, [signer])])
        assert phase2.run(tx).ok
        tx.mint_redeemers[phase2.script_hash(tx.script)] = ((), (codec.step_data(bad),))
        assert not phase2.run(tx).ok


@pytest.mark.parametrize("value", [1 << 64, (1 << 64) - 1], ids=["too large", "largest"])
@pytest.mark.parametrize("field", ["index", "amount", "timeout"])
def test_a_value_that_does_not_fit_eight_bytes_fails_the_step(field: str, value: int) -> None:
    c = channel(opened())
    made = {"index": 1, "amount": M, "timeout": UB.value} | {field: value}
    cheque = locked(c.key1, c.cid, made["index"], made["amount"], PosixMs(made["timeout"]))
    fits = value < 1 << 64
    shown = t.Close(True, t.Receipt(None, (cheque,)))
    if fits:
        assert phase2.run(healthy([Move(c, shown, [c.key0])])).ok
        return
    tx = healthy([Move(c, t.Close(True), [c.key0])])
    tx.mint_redeemers[phase2.script_hash(tx.script)] = ((), (codec.step_data(shown),))
    assert not phase2.run(tx).ok


@pytest.mark.threat("V10")
@pytest.mark.parametrize(("count", "fits"), [(20, True), (21, False)])
def test_twenty_pending_a_side_f5(count: int, fits: bool) -> None:
    def cheques(key: int, c: Channel) -> t.Receipt:
        signer = c.key1 if key else c.key0
        return t.Receipt(None, tuple(locked(signer, c.cid, i, 1) for i in range(1, count + 1)))

    for c, good, bad, signer in (
        (a := channel(opened()), t.Close(True), t.Close(True, cheques(1, a)), a.key0),
        (b := channel(closed()), t.Respond(), t.Respond(cheques(0, b)), b.key1),
    ):
        if fits:
            assert phase2.run(healthy([Move(c, bad, [signer])])).ok
            continue
        tx = healthy([Move(c, good, [signer])])
        tx.mint_redeemers[phase2.script_hash(tx.script)] = ((), (codec.step_data(bad),))
        assert not phase2.run(tx).ok


def test_expired_own_cheque_cannot_be_opened_but_falls_to_the_partner() -> None:
    listed = (entry(1, 5 * M, LB),)
    c = channel(resolved(0, listed))
    own = Move(c, t.FreeInResolved(True, listed, unlocks(listed, 0)), [c.key0])
    assert not isinstance(books.apply_step(c.datum, own.step, situation(own)), books.Applied)
    partner = Move(c, t.FreeInResolved(False, other=listed), [c.key1])
    tx = healthy([partner])
    assert phase2.run(tx).ok
    assert tx.outputs[0].lovelace == c.datum.min_ada.value  # all of it went to the partner
