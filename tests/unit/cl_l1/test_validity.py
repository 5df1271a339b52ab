"""W5, W6: no window that the ledger refuses, whatever the machine's clock says, and none past a timeout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.chain.clock import SystemClock
from gateway.cl.l1.validity import Window, choose_window, horizon, least_window
from gateway.cl.ports import Point, Tip
from gateway.profile import MAINNET, REGTEST
from gateway.units import Ms, PosixMs, Slot
from tests.support import channel_world as w
from tests.support import l1_world as l1
from tests.support import phase2

NOW = w.LB
TEN_MINUTES = 600_000


@pytest.mark.threat("W6")
@settings(max_examples=100, deadline=None)
@given(st.integers(-60_000, 3_600_000), st.integers(0, 2_000_000))
def test_the_upper_bound_never_passes_a_timeout_and_leaves_three_blocks(life: int, ahead: int) -> None:
    """Builder property: ub <= every timeout that is used, ub - now >= three blocks, or no window at all."""
    now = NOW + Ms(ahead)
    timeout = now + Ms(life)
    found = choose_window(l1.PARAMS, l1.TIP, now, REGTEST, use_before=(timeout,))
    if isinstance(found, Window):
        assert found.ub <= timeout
        assert found.ub - now >= Ms(3_000)
        assert found.lb <= now
        assert found.ub <= now + REGTEST.validity
    else:
        assert found.code == "cl.l1.too_late"
        assert life < 5_000


@pytest.mark.threat("W6")
def test_no_bound_past_what_the_ledger_can_turn_into_time() -> None:
    far = horizon(l1.PARAMS, l1.TIP, MAINNET)
    assert far.value == l1.TIP.point.slot.value + 129_600
    late = replace(MAINNET, validity=Ms(129_601_000))
    found = choose_window(l1.PARAMS, l1.TIP, NOW, late)
    assert not isinstance(found, Window)
    assert found.code == "cl.l1.horizon"


@pytest.mark.threat("W5")
@settings(max_examples=200, deadline=None)
@given(st.integers(-TEN_MINUTES, TEN_MINUTES), st.integers(0, 120_000), st.integers(0, 4 * 3_600_000))
def test_ten_minutes_of_skew_never_cost_a_claim(skew: int, quiet: int, left: int) -> None:
    """Truth: `truth`; our machine is `skew` off; the newest block is `quiet` old. As long as a claim is within its
    margin by the truth, there is a window, the ledger takes it now, and it ends before the timeout."""
    truth = phase2.SLOT_ZERO_MS + 100_000_000
    clock = SystemClock(lambda: truth + skew)
    block = truth - quiet
    clock.observe(PosixMs(block))
    tip = Tip(Point(Slot((block - phase2.SLOT_ZERO_MS) // 1_000), bytes(32)), 9)
    timeout, now = PosixMs(truth + left), clock.now()
    assert now >= PosixMs(block)
    found = choose_window(l1.PARAMS, tip, now, MAINNET, use_before=(timeout,))
    if isinstance(found, Window):
        assert found.lb <= PosixMs(truth)  # else the ledger says: not yet, in every block
        assert found.ub <= timeout

        assert found.ub > PosixMs(truth) or left < 2_000
    else:
        assert left < TEN_MINUTES + least_window(MAINNET).value + 1_000


@pytest.mark.threat("W5")
@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES])
def test_a_clock_ten_minutes_off_stops_new_swaps_not_settlement(skew: int) -> None:
    """Behind: the first block from our future says so. Ahead: ten live blocks do. Deadlines move by the skew at most,
    towards the safe side when it is ahead, and by one block's gap when it is behind."""
    machine = 10_000_000 + skew
    clock = SystemClock(lambda: machine)
    for n in range(10):
        truth = 10_000_000 + n * 20_000
        machine = truth + skew
        clock.observe(PosixMs(truth))
        clock.live(PosixMs(truth))
        assert PosixMs(truth) <= clock.now() <= PosixMs(truth + max(skew, 0))
    assert clock.is_off
    assert MAINNET.claim_margin > Ms(TEN_MINUTES + 2 * MAINNET.skew.value)


def test_a_lower_bound_that_must_be_reached_is_reached_exactly() -> None:
    """An expired cheque's timeout between the newest block and now: the bound is that moment, not the block's."""
    moment = NOW + Ms(5_000)
    found = choose_window(l1.PARAMS, l1.TIP, NOW + Ms(9_000), REGTEST, not_before=moment)
    assert isinstance(found, Window)
    assert found.lb == moment
