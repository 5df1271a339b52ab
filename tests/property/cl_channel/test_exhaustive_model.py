"""Decisions 4 and 5 over every order of three cheques' signatures: no loss; and a loss for each weaker wording."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.support.signature_model import Wording, search

pytestmark = [pytest.mark.kind("SM"), pytest.mark.long]

WEAKER = {
    "dead_without_dominance": (0, 2),
    "dead_unsigned": (0, 1),
    "dead_while_closing": (0, 1),
    "settled_without_dominance": (0, 2),
    "sign_below_held": (0, 2),
    "cancel_below_held": (0, 2),
    "old_snapshot": (0, 2),
    "equal_index": (0, 1),
    "closers_side_fixed": (0, 1),
    "whole_or_nothing": (1, 1),
    "fulfil_after_cancel": (0, 1),
    "end_while_pending": (0, 1),
    "end_not_frozen": (0, 1),
    "end_unread": (0, 1),
}


@pytest.mark.threat("V7")
@pytest.mark.threat("P7")
@pytest.mark.threat("P9")
@pytest.mark.threat("P14")
@pytest.mark.parametrize(
    ("limits", "least_states"), [((0, 3), 40_000), ((3, 0), 40_000), ((1, 2), 40_000), ((2, 1), 40_000)]
)
def test_no_order_of_signatures_loses_money(limits: tuple[int, int], least_states: int) -> None:
    """`limits`: cheques received by the opener and by its partner."""
    searched = search(limits, Wording())
    assert searched.loss == "", searched.trace
    assert searched.states >= least_states


@pytest.mark.threat("P16")
@pytest.mark.parametrize(("limits", "least_states"), [((0, 2), 8_000), ((1, 1), 8_000), ((2, 0), 8_000)])
def test_no_end_that_both_sign_loses_money(limits: tuple[int, int], least_states: int) -> None:
    """Decision 9: proposed, signed or published at any moment, by either, beside closes of either."""
    searched = search(limits, Wording(), together=True)
    assert searched.loss == "", searched.trace
    assert searched.states >= least_states


@pytest.mark.threat("V7")
@pytest.mark.threat("P7")
@pytest.mark.parametrize("name", [one.name for one in fields(Wording)])
def test_each_weaker_wording_loses_money(name: str) -> None:
    limits = WEAKER[name]
    for mirrored in (limits, limits[::-1]):
        searched = search(mirrored, Wording(**{name: True}), together=name.startswith("end_"))
        assert searched.loss, f"{searched.states} states without a loss"
        assert searched.trace
