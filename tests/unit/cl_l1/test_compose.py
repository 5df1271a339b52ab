"""V17, W7: many channels' steps in one transaction, by deadline, value and fee; urgent ones alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.cl.l1.build import build
from gateway.cl.l1.coins import COIN, WANTED, coins_to_make
from gateway.cl.l1.compose import Batch, Composition, Due, bonus, compose
from gateway.cl.l1.intents import BuiltTx, StepChannel
from gateway.cl.l1.protocol import read_figures
from gateway.cl.l1.validity import Window, choose_window
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms
from tests.support import channel_world as w
from tests.support import l1_world as l1
from tests.support.healthy_moves import MOVES

NOW = w.LB
# A window of the profile's own length: healthy moves name times around it.
PROFILE = replace(REGTEST, validity=Ms(w.UB.value - w.LB.value), skew=Ms(1))
MARGIN = PROFILE.claim_margin
# An end that both sign is rebuilt from its terms, byte for byte: never a part of a composed transaction.
NAMES = [name for name in MOVES if name != "add" and not name.startswith("mutual_end")]
FIGURES = read_figures(l1.PARAMS)


def due(name: str, label: str, *, deadline: int = 0, lost_in: int | None = None) -> Due:
    move = MOVES[name](label)
    signer = w.public(move.signers[0])
    step = StepChannel(l1.on_chain(move.channel), move.step, signer, Lovelace(move.add))
    lost = None if lost_in is None else NOW + Ms(lost_in)
    return Due(step, NOW + Ms(deadline), lost, not_before=NOW)


def view(coins: int = 6) -> Any:
    return l1.view([l1.coin(n, 60_000_000) for n in range(coins)])


def composed(dues: list[Due]) -> Composition:
    return compose(view(), dues, PROFILE, l1.VERIFY)


def window_of(batch: Batch) -> Window:
    found = choose_window(
        l1.PARAMS, l1.TIP, NOW, PROFILE, use_before=batch.use_before, not_before=batch.not_before
    )
    assert isinstance(found, Window), found
    return found


def built(batch: Batch) -> BuiltTx:
    frozen = replace(view(), fee_bonus=batch.bonus)
    made = build(frozen, [d.step for d in batch.dues], window_of(batch), l1.EVALUATOR, l1.VERIFY)
    assert isinstance(made, BuiltTx), made
    return made


@pytest.mark.threat("V17")
@pytest.mark.long
@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 50), st.booleans()), min_size=1, max_size=50)
)
def test_any_fifty_steps_stay_under_every_limit(rows: list[tuple[str, int, bool]]) -> None:
    """Each in exactly one transaction, which the builder makes without a split; urgent ones have one each."""
    dues = [
        due(name, f"channel {n}", deadline=when, lost_in=MARGIN.value - 1 if urgent and n < 3 else None)
        for n, (name, when, urgent) in enumerate(rows)
    ]
    made = composed(dues)
    assert made.refused == ()
    placed = [d.step.channel.ref for batch in made.batches for d in batch.dues]
    assert sorted(placed, key=str) == sorted((d.step.channel.ref for d in dues), key=str)
    for batch in made.batches:
        if any(d.is_urgent(NOW, MARGIN) for d in batch.dues):
            assert len(batch.dues) == 1
        tx = built(batch)
        assert tx.mem <= FIGURES.max_mem
        assert tx.steps <= FIGURES.max_steps
        assert len(tx.tx_cbor) <= FIGURES.max_tx_size


@pytest.mark.threat("V17")
def test_a_step_that_cannot_stand_is_left_out_and_named() -> None:
    """It signs with a stranger's key: the rules say so before any script runs, and the others share a transaction."""
    bad = due("elapse", "culprit")
    bad = replace(bad, step=replace(bad.step, signer=w.public(w.THIRD)))
    good = [due("free_in_closed", f"good {n}") for n in range(5)]
    made = composed([*good[:2], bad, *good[2:]])
    assert [len(batch.dues) for batch in made.batches] == [5]
    ((refused, why),) = made.refused
    assert refused is bad
    assert (why.code, why.field) == ("cl.data.step_refused", "Elapse.1")


@pytest.mark.threat("V17")
def test_urgent_claims_share_with_nobody() -> None:
    near = [due("respond", f"near {n}", lost_in=MARGIN.value - 1 - n) for n in range(2)]
    far = [due("respond", f"far {n}", lost_in=4 * MARGIN.value) for n in range(3)]
    made = composed([*far, *near])
    assert [len(batch.dues) for batch in made.batches] == [1, 1, 3]
    assert {batch.dues[0].lost_at for batch in made.batches[:2]} == {d.lost_at for d in near}


@pytest.mark.threat("V17")
def test_earlier_deadlines_first_then_what_brings_most_for_its_bytes() -> None:
    dues = [
        due("elapse", "late", deadline=9),
        due("free_in_resolved", "early, brings little", deadline=1),
        due("end", "early, brings all", deadline=1),
    ]
    ((batch),) = composed(dues).batches
    assert [d.step.channel.cid for d in batch.dues] == [dues[n].step.channel.cid for n in (2, 1, 0)]


@pytest.mark.threat("V17")
def test_sharing_costs_less_than_going_alone() -> None:
    dues = [due("free_in_closed", f"channel {n}") for n in range(6)]
    (together,) = composed(dues).batches
    alone = sum(built(Batch((d,))).fee.value for d in dues)
    assert built(together).fee.value < alone * 2 // 3


@pytest.mark.threat("V17")
@pytest.mark.parametrize("at", range(5))
def test_halving_leaves_the_culprit_alone(at: int) -> None:
    whole = Batch(tuple(due("elapse", f"channel {n}") for n in range(5)))
    culprit, sent, tries, waiting = whole.dues[at], [], 0, [whole]
    while waiting:
        batch, tries = waiting.pop(0), tries + 1
        if culprit not in batch.dues:
            sent += batch.dues
        elif len(batch.dues) > 1:
            waiting[:0] = batch.halves()
    assert [d for d in whole.dues if d is not culprit] == sent
    assert tries <= 2 * len(whole.dues) - 1


@pytest.mark.threat("W7")
def test_the_fee_escalates_with_the_margin_that_is_gone_and_within_the_stake() -> None:
    one = due("respond", "A", lost_in=0)
    stake = one.step.channel.total.value // 50
    paid = []
    for quarter in range(5, -2, -1):
        late = replace(one, lost_at=NOW + Ms(MARGIN.value * quarter // 4))
        paid.append(bonus(late, NOW, MARGIN, FIGURES).value)
    assert paid == sorted(paid)
    assert paid[:2] == [0, 0]
    assert 0 < paid[2] < paid[4] <= stake
    assert paid[-1] <= stake
    plain, urgent = Batch((one,)), Batch((one,), Lovelace(50_000))
    assert built(urgent).fee.value - built(plain).fee.value in range(50_000, 50_200)  # and its own bytes


@pytest.mark.threat("W7")
def test_the_alarm_is_due_at_half_the_margin() -> None:
    half = MARGIN.value // 2
    assert not due("respond", "A", lost_in=half + 1).is_alarming(NOW, MARGIN)
    assert due("respond", "A", lost_in=half - 1).is_alarming(NOW, MARGIN)
    assert not due("respond", "A").is_alarming(NOW, MARGIN)


@pytest.mark.threat("W7")
def test_coins_are_split_ahead_of_need() -> None:
    """One coin would make one claim a block; the split leaves enough for several, and stops there."""
    one = l1.view([l1.coin(1, 200_000_000)])
    pays = coins_to_make(one)
    assert len(pays) == WANTED - 1
    made = build(one, pays, l1.WINDOW, l1.EVALUATOR, l1.VERIFY)
    assert isinstance(made, BuiltTx), made
    after = replace(one, wallet=made.produced)
    assert coins_to_make(after) == ()
    claims = 0
    while claims < WANTED:  # each on what the ones before left free
        step = due("free_in_closed", f"channel {claims}").step
        tx = build(after, [step], l1.WINDOW, l1.EVALUATOR, l1.VERIFY)
        assert isinstance(tx, BuiltTx), tx
        after, claims = after.reserve(tx.spent), claims + 1
    assert coins_to_make(l1.view([l1.coin(1, COIN.value + 1_000_000)])) == ()
    assert len(coins_to_make(l1.view([l1.coin(1, 40_000_000)]))) == 1


@pytest.mark.threat("V20")
def test_dearer_scripts_are_measured_anew() -> None:
    """Cost model x 1.3, as a hard fork may bring it: units and fee follow the parameters of the view."""
    protocol = dict(l1.PARAMS.protocol)
    costs = protocol["plutusCostModels"]
    dear = [c * 13 // 10 if abs(c) < 1 << 62 else c for c in costs["plutus:v3"]]
    protocol["plutusCostModels"] = {**costs, "plutus:v3": dear}
    step = due("respond", "A").step
    plain = build(view(), [step], l1.WINDOW, l1.EVALUATOR, l1.VERIFY)
    later = replace(view(), params=replace(l1.PARAMS, protocol=protocol))
    after = build(later, [step], l1.WINDOW, l1.EVALUATOR, l1.VERIFY)
    assert isinstance(plain, BuiltTx)
    assert isinstance(after, BuiltTx)
    assert plain.steps * 1.25 < after.steps < plain.steps * 1.35
    assert after.fee > plain.fee
    assert after.tx_id != plain.tx_id
