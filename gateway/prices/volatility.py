"""R1. Volatility from the price history, and the price of the free option that a time lock gives. Integers only.

Variance a day = the sum of squared returns over the time that they span, so that gaps in the history do no harm;
the larger of the last day's and the last week's. The option: 0.4 * sigma * sqrt(life), docs/swaps.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt

from gateway.prices.model import PPM, Sample, Volatility
from gateway.units import Ms, PosixMs

DAY_MS = 86_400_000
_PPB = 1_000_000_000
WINDOWS = (Ms(DAY_MS), Ms(7 * DAY_MS))
LEAST_SAMPLES, LEAST_COVERED = 48, Ms(DAY_MS // 2)
MOST_PPM = 1_000_000  # 100% a day: more is no market to lock a price in


def _root_up(value: int) -> int:
    root = isqrt(value)
    return root if root * root == value else root + 1


def daily_ppm(samples: Sequence[Sample]) -> int:
    """A day's standard deviation over `samples` (oldest first); 0 with fewer than two. Rounded up."""
    squares = span = 0
    for before, after in pairwise(samples):
        gap = (after.at - before.at).value
        if gap <= 0:
            continue  # a clock set back: the pair says nothing
        change = (
            (after.lovelace_per_bitcoin - before.lovelace_per_bitcoin) * _PPB // before.lovelace_per_bitcoin
        )
        squares, span = squares + change * change, span + gap
    if not span:
        return 0
    return -(-_root_up(-(-squares * DAY_MS // span)) // (_PPB // PPM))


def measure(samples: Sequence[Sample], now: PosixMs, *, least_ppm: int, default_ppm: int) -> Volatility:
    """The volatility to price with: never under `least_ppm`; `default_ppm` too until the history suffices."""
    recent = [sample for sample in samples if sample.at <= now]
    covered = recent[-1].at - recent[0].at if recent else Ms(0)
    found = max(
        (daily_ppm([s for s in recent if s.at + window >= now]) for window in WINDOWS),
        default=0,
    )
    measured = len(recent) >= LEAST_SAMPLES and covered >= LEAST_COVERED
    floor = least_ppm if measured else max(least_ppm, default_ppm)
    return Volatility(min(MOST_PPM, max(found, floor)), measured, len(recent), covered)


def option_ppm(volatility_ppm: int, life: Ms) -> int:
    """The free option of a price that stays fixed for `life`, as a part of the amount: 0.4 sigma sqrt(life), up."""
    if life.value <= 0 or volatility_ppm <= 0:
        return 0
    return _root_up(-(-4 * volatility_ppm * volatility_ppm * life.value // (25 * DAY_MS)))
