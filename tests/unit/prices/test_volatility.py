"""Volatility from a history, and the option price of docs/swaps.md."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prices.model import Sample
from gateway.prices.volatility import DAY_MS, daily_ppm, measure, option_ppm
from gateway.units import Ms, PosixMs

START, STEP, HOUR = 1_796_000_000_000, 300_000, 3_600_000


def walk(days: int, sigma: float, seed: int = 7, holes: float = 0.0) -> list[Sample]:
    """A random walk of `sigma` a day, a step every five minutes, with some steps never seen."""
    luck, price, out = random.Random(seed), 140_000_000_000.0, []
    for n in range(days * DAY_MS // STEP):
        price *= 1 + luck.gauss(0, sigma * (STEP / DAY_MS) ** 0.5)
        if luck.random() >= holes:
            out.append(Sample(PosixMs(START + n * STEP), round(price)))
    return out


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("holes", [0.0, 0.7])
def test_a_walk_is_measured_whatever_is_missing_of_it(sigma: float, holes: float) -> None:
    assert daily_ppm(walk(7, sigma, holes=holes)) == pytest.approx(sigma * 10**6, rel=0.08)


def test_a_storm_of_one_day_counts_at_once() -> None:
    calm, storm = walk(6, 0.02), walk(1, 0.15, seed=8)
    shifted = [Sample(s.at + Ms(6 * DAY_MS), s.lovelace_per_bitcoin) for s in storm]
    found = measure([*calm, *shifted], shifted[-1].at, least_ppm=20_000, default_ppm=50_000)
    assert found.measured
    assert found.daily_ppm > 130_000


def test_too_little_history_is_not_trusted_to_be_calm() -> None:
    few = [Sample(PosixMs(START + n * STEP), 140_000_000_000) for n in range(40)]
    found = measure(few, few[-1].at, least_ppm=20_000, default_ppm=50_000)
    assert (found.daily_ppm, found.measured) == (50_000, False)
    many = [Sample(PosixMs(START + n * STEP), 140_000_000_000) for n in range(300)]
    found = measure(many, many[-1].at, least_ppm=20_000, default_ppm=50_000)
    assert (found.daily_ppm, found.measured) == (20_000, True)
    assert measure([], PosixMs(START), least_ppm=0, default_ppm=0).daily_ppm == 0


@pytest.mark.parametrize(("hours", "percent"), [(1, 0.41), (24, 2.0), (48, 2.83)])
def test_the_option_table_of_the_swaps_note(hours: int, percent: float) -> None:
    assert option_ppm(50_000, Ms(hours * HOUR)) / 10_000 == pytest.approx(percent, abs=0.005)


@given(st.integers(0, 10**6), st.integers(0, 30 * DAY_MS))
def test_the_option_is_exact_to_one_ppm_and_never_under(sigma: int, life: int) -> None:
    found = option_ppm(sigma, Ms(life))
    squared = 4 * sigma * sigma * life  # found^2 * 25 * DAY
    assert found * found * 25 * DAY_MS >= squared
    assert found == 0 or (found - 1) ** 2 * 25 * DAY_MS <= squared
    assert option_ppm(sigma, Ms(2 * life)) >= found


def test_a_clock_that_was_set_back_does_not_break_the_measure() -> None:
    odd = [Sample(PosixMs(START + n), 140_000_000_000 + n) for n in (5, 3, 3, 9)]
    assert daily_ppm(odd) >= 0
