"""The numbers of docs/swaps.md, reproduced: quantiles, cheque lives, final deltas, Cardano depths."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc.ports import TimeConstants
from gateway.profile import EPS_LARGE, EPS_SMALL, MAINNET, PROFILES, REGTEST, BitcoinLaw, NetworkProfile
from gateway.swap.timelock import (
    Clocks,
    cheque_timeout,
    cltv_limit,
    fast,
    final_cltv_for,
    hold_overhead,
    outgoing_needs,
    poisson_below,
    poisson_from,
    slow,
    stress,
)
from gateway.units import BlockDelta, BlockHeight, Ms, PosixMs

HOUR, MINUTE = 3_600_000, 60_000
NOW = Clocks(PosixMs(0), BlockHeight(0))
INTERCEPTOR = TimeConstants(BlockDelta(19), BlockDelta(22), BlockDelta(19), BlockDelta(24))

QUANTILES = [  # n, slow 1e-6 h, slow 1e-9 h, fast 1e-6 min, fast 1e-9 min
    # (the table's first row: test_one_block_alone, since its fast times are less than a millisecond)
    (6, 4.24, 5.61, 3.1, 1.0),
    (18, 7.63, 9.33, 44, 28),
    (40, 12.9, 15.0, 2.79 * 60, 2.14 * 60),
    (80, 21.7, 24.3, 7.40 * 60, 6.23 * 60),
    (144, 34.7, 38.0, 15.7 * 60, 13.9 * 60),
    (288, 62.7, 67.0, 35.7 * 60, 32.9 * 60),
    (1008, 194, 202, 144 * 60, 138 * 60),
]


@pytest.mark.threat("X2")
@pytest.mark.parametrize(("n", "slow6", "slow9", "fast6", "fast9"), QUANTILES)
def test_block_quantiles(n: int, slow6: float, slow9: float, fast6: float, fast9: float) -> None:
    law, blocks = MAINNET.bitcoin, BlockDelta(n)
    assert slow(law, blocks, EPS_SMALL).value / HOUR == pytest.approx(slow6, rel=0.005)
    assert slow(law, blocks, EPS_LARGE).value / HOUR == pytest.approx(slow9, rel=0.005)
    assert fast(law, blocks, EPS_SMALL).value / MINUTE == pytest.approx(fast6, rel=0.05)
    assert fast(law, blocks, EPS_LARGE).value / MINUTE == pytest.approx(fast9, rel=0.05)


@pytest.mark.threat("X2")
def test_one_block_alone() -> None:
    assert slow(MAINNET.bitcoin, BlockDelta(1), EPS_SMALL).value / HOUR == pytest.approx(2.30, abs=0.01)
    assert slow(MAINNET.bitcoin, BlockDelta(1), EPS_LARGE).value / HOUR == pytest.approx(3.45, abs=0.01)
    assert fast(MAINNET.bitcoin, BlockDelta(1), EPS_SMALL) == Ms(0)  # 0.6 ms rounds down
    # the same law at a unit of a microsecond: 0.6 ms and 0.6 us
    fine = BitcoinLaw(MAINNET.bitcoin.block_ms * 1_000_000)  # nanoseconds
    assert fast(fine, BlockDelta(1), EPS_SMALL).value == pytest.approx(600_000, rel=1e-5)
    assert fast(fine, BlockDelta(1), EPS_LARGE).value == pytest.approx(600, abs=1)


def test_the_mean_column() -> None:
    means = {1: 10, 6: 60, 18: 180, 40: 400, 80: 800, 144: 1440, 288: 2880, 1008: 168 * 60}
    for blocks, minutes in means.items():
        assert MAINNET.blocks_in(Ms(minutes * MINUTE)) == blocks


@pytest.mark.threat("X1")
def test_cheque_life_to_blocks() -> None:
    lives = {24: 26, 36: 69, 48: 114, 72: 208, 96: 306, 168: 609}
    got = {h: cltv_limit(MAINNET, NOW, PosixMs(h * HOUR), EPS_LARGE).value for h in lives}
    assert got == lives


@pytest.mark.threat("X3")
def test_final_cltv_deltas() -> None:
    table = {1: 52, 2: 66, 3: 79, 4: 91, 6: 114, 12: 175, 24: 289}
    overhead = hold_overhead(MAINNET, small=False)
    got = {
        h: final_cltv_for(
            MAINNET, INTERCEPTOR, Ms(h * HOUR) - overhead, Fraction(5, 4), EPS_LARGE, small=False
        ).value
        for h in table
    }
    assert got == table
    # a hold invoice needs one block less than an interceptor: LND cancels it at 18
    hold = replace(INTERCEPTOR, hold_cancel=BlockDelta(18))
    less = {
        h: final_cltv_for(
            MAINNET, hold, Ms(h * HOUR) - overhead, Fraction(5, 4), EPS_LARGE, small=False
        ).value
        for h in table
    }
    assert less == {h: blocks - 1 for h, blocks in table.items()}


def test_mainnet_constants() -> None:
    assert MAINNET.claim_margin == Ms(2 * HOUR)  # R
    assert MAINNET.proof_wait(small=False) == Ms(90 * MINUTE)  # W
    assert MAINNET.proof_wait(small=True) == Ms(25 * MINUTE)
    assert MAINNET.lnd_settle == Ms(5 * MINUTE)
    assert MAINNET.skew == Ms(2 * MINUTE)
    assert MAINNET.min_respond_period == Ms(24 * HOUR)
    depths = {1: 6.8, 15: 16.6, 30: 24.7, 60: 39.1, 180: 90, 2160: 13.6 * 60}
    for blocks, minutes in depths.items():
        got = MAINNET.cardano.blocks_within(blocks, EPS_LARGE).value / MINUTE
        assert got == pytest.approx(minutes, rel=0.01)
    assert MAINNET.eps(99_999_999) == EPS_SMALL
    assert MAINNET.eps(100_000_000) == EPS_LARGE


def test_regtest_is_seconds_by_the_same_code() -> None:
    assert REGTEST.claim_margin < Ms(2 * MINUTE)
    assert REGTEST.proof_wait(small=False) < Ms(10_000)
    needs = outgoing_needs(REGTEST, NOW, BlockDelta(83), EPS_SMALL)
    assert PosixMs(MINUTE) < needs < PosixMs(20 * MINUTE)


@pytest.mark.threat("X1")
@given(
    n=st.integers(1, 600),
    extra=st.integers(0, 10**9),
    profile=st.sampled_from(list(PROFILES.values())),
    eps=st.sampled_from([EPS_SMALL, EPS_LARGE]),
    stretch=st.fractions(Fraction(5, 4), Fraction(3)),
)
@pytest.mark.long
@settings(max_examples=30, deadline=None)
def test_never_pays_past_the_incoming_lock(
    n: int, extra: int, profile: NetworkProfile, eps: Fraction, stretch: Fraction
) -> None:
    """X1: whatever limit comes out, the worst outgoing end plus margins lies before the cheque's timeout."""
    clocks = Clocks(PosixMs(1_700_000_000_000), BlockHeight(800_000), stretch)
    timeout = outgoing_needs(profile, clocks, BlockDelta(n), eps) + Ms(extra)
    limit = cltv_limit(profile, clocks, timeout, eps)
    assert limit >= BlockDelta(n)
    assert outgoing_needs(profile, clocks, limit, eps) <= timeout
    if limit.value < 2016:
        assert outgoing_needs(profile, clocks, limit + BlockDelta(1), eps) > timeout


@pytest.mark.threat("X3")
@given(
    life=st.integers(1, 48 * HOUR),
    small=st.booleans(),
    profile=st.sampled_from(list(PROFILES.values())),
)
@settings(max_examples=40, deadline=None)
def test_the_invoice_delta_gives_the_life_it_was_made_for(
    life: int, small: bool, profile: NetworkProfile
) -> None:
    eps = EPS_SMALL if small else EPS_LARGE
    delta = final_cltv_for(profile, INTERCEPTOR, Ms(life), Fraction(5, 4), eps, small=small)
    timeout = cheque_timeout(profile, INTERCEPTOR, NOW, BlockHeight(delta.value), eps, small=small)
    assert timeout >= PosixMs(life - 1)  # one millisecond may be lost to rounding down


@pytest.mark.parametrize("n", [1, 5, 30, 144])
def test_the_two_tails_are_one_law(n: int) -> None:
    for mean in (0.5 * n, n, 1.7 * n):
        assert poisson_below(mean, n) + poisson_from(mean, n) == pytest.approx(1.0, rel=1e-9)


def test_stress_counts_only_live_headers() -> None:
    law = REGTEST.bitcoin
    premined = [(h, PosixMs(h)) for h in range(500)]
    assert stress(law, premined) == Fraction(5, 4)
    slowed = [(500 + h, PosixMs(h * 4000)) for h in range(200)]
    assert stress(law, premined + slowed) == Fraction(4000, 2000) * Fraction(11, 10)
    assert stress(law, slowed[:100]) == Fraction(5, 4)


def test_a_node_that_was_away_measures_over_the_blocks_that_it_saw() -> None:
    law = MAINNET.bitcoin
    seen = [(h, PosixMs(h * 1_200_000)) for h in (*range(100), *range(150, 200))]  # twice as slow, 50 unseen
    assert stress(law, seen[:-1]) == 2 * Fraction(11, 10)
    assert stress(law, seen[99:]) == Fraction(5, 4)
    back = [*seen[:-1], (199, PosixMs(0))]  # a header time before its parents': the law's least, never less
    assert stress(law, back) == Fraction(5, 4)
