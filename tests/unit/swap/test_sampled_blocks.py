"""The block laws against chance itself: sampled paths exceed a quantile as often as its probability says.

`make timelocks` takes 10^7 paths of each length (GATEWAY_BLOCK_PATHS), the ordinary run fewer. A count is compared
with its binomial interval at 4.9 standard deviations (one false alarm in 10^6 tests).
"""

from __future__ import annotations

import os
import random
from fractions import Fraction

import pytest

from gateway.profile import MAINNET
from gateway.swap.timelock import fast, poisson_below, poisson_from, slow
from gateway.units import BlockDelta

PATHS = int(os.environ.get("GATEWAY_BLOCK_PATHS", "60000"))
LEVELS = tuple(Fraction(1, 10**n) for n in range(1, 7))
LENGTHS = (1, 6, 18, 80, 288, 1008)


def _fits(count: int, paths: int, probability: float) -> bool:
    expected = paths * probability
    return abs(count - expected) <= 4.9 * expected**0.5 + 6  # 6: the Poisson tail where few are expected


def _bounds(blocks: int) -> list[tuple[float, float, Fraction]]:
    law, n = MAINNET.bitcoin, BlockDelta(blocks)
    return [
        (slow(law, n, eps).value / law.block_ms, fast(law, n, eps).value / law.block_ms, eps)
        for eps in LEVELS
    ]


@pytest.mark.threat("X2")
@pytest.mark.threat("X3")
@pytest.mark.parametrize("blocks", LENGTHS)
def test_sampled_paths_agree(blocks: int) -> None:
    """Time of n blocks = the sum of n exponential gaps, drawn as one gamma variate (Erlang)."""
    draw = random.Random(blocks).gammavariate
    bounds = _bounds(blocks)
    widest_slow, widest_fast = bounds[0][0], bounds[0][1]
    tails = [t for t in (draw(blocks, 1.0) for _ in range(PATHS)) if t > widest_slow or t < widest_fast]
    for late, early, eps in bounds:
        assert _fits(sum(t > late for t in tails), PATHS, float(eps)), ("slow", eps)
        if early * MAINNET.bitcoin.block_ms >= 1000:  # under a second the rounding to ms is seen
            assert _fits(sum(t < early for t in tails), PATHS, float(eps)), ("fast", eps)


@pytest.mark.threat("X2")
def test_gap_by_gap_is_the_same_law() -> None:
    """Whole paths, one exponential gap after another, as a chain makes them: the gamma shortcut hides nothing."""
    rng, blocks, paths = random.Random(3), 18, max(2_000, PATHS // 20)
    times = [sum(rng.expovariate(1.0) for _ in range(blocks)) for _ in range(paths)]
    for mean in (10.0, 14.0, 18.0, 24.0, 30.0):
        assert _fits(sum(t > mean for t in times), paths, poisson_below(mean, blocks))
        assert _fits(sum(t <= mean for t in times), paths, poisson_from(mean, blocks))


def test_a_wrong_law_is_found() -> None:
    """The interval bites: the quantile of one block less is refused by the same count."""
    rng = random.Random(5)
    law = MAINNET.bitcoin
    wrong = slow(law, BlockDelta(39), LEVELS[1]).value / law.block_ms
    late = sum(rng.gammavariate(40, 1.0) > wrong for _ in range(60_000))
    assert not _fits(late, 60_000, float(LEVELS[1]))
