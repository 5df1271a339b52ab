"""R1. Two clocks: how long n Bitcoin blocks can take, and how short, each with a stated probability.

Blocks <-> milliseconds only by `slow` and `fast`, never by one average. n blocks take longer than t
exactly when a Poisson variable of mean t / interval is below n (docs/swaps.md, direction A and B).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from gateway.btc.ports import TimeConstants
from gateway.profile import BitcoinLaw, NetworkProfile
from gateway.units import BlockDelta, BlockHeight, Ms, PosixMs

LEAST_STRESS = Fraction(5, 4)
MAX_BLOCKS = 2016  # no cltv limit beyond LND's own maximum of total time lock
_MOST_COUNTED = 1 << 18  # blocks: five years, so that no height makes the sums long


def poisson_below(mean: float, n: int) -> float:
    """P(Poisson(mean) < n), from its positive terms."""
    if n <= 0:
        return 0.0
    if mean <= 0:
        return 1.0
    log_mean = math.log(mean)
    return math.fsum(math.exp(k * log_mean - mean - math.lgamma(k + 1)) for k in range(n))


def poisson_from(mean: float, n: int) -> float:
    """P(Poisson(mean) >= n), from its positive terms: exact where 1 - poisson_below would cancel."""
    if n <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    log_mean = math.log(mean)
    total, k = 0.0, n
    while True:
        term = math.exp(k * log_mean - mean - math.lgamma(k + 1))
        total += term
        if k > mean and term <= total * 1e-17:
            return total
        k += 1


@lru_cache(maxsize=4096)
def _slow_units(n: int, eps: Fraction) -> float:
    """Time in mean gaps that n blocks exceed with probability eps (upper end of the bisection)."""
    bound = float(eps)
    low, high = 0.0, float(n) + 10.0
    while poisson_below(high, n) > bound:
        low, high = high, high * 2
    for _ in range(80):
        middle = (low + high) / 2
        if poisson_below(middle, n) <= bound:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=4096)
def _fast_units(n: int, eps: Fraction) -> float:
    """Time in mean gaps under which n blocks come with probability eps (lower end of the bisection)."""
    bound = float(eps)
    low, high = 0.0, float(n)
    for _ in range(120):
        middle = (low + high) / 2
        if poisson_from(middle, n) <= bound:
            low = middle
        else:
            high = middle
    return low


def slow(law: BitcoinLaw, blocks: BlockDelta, eps: Fraction) -> Ms:
    """The time that `blocks` blocks exceed with probability at most eps; rounded up."""
    if blocks.value <= 0:
        return Ms(0)
    return Ms(math.ceil(_slow_units(blocks.value, eps) * law.block_ms))


def fast(law: BitcoinLaw, blocks: BlockDelta, eps: Fraction) -> Ms:
    """The time in which `blocks` blocks come with probability at most eps; rounded down."""
    if blocks.value <= 0:
        return Ms(0)
    return Ms(math.floor(_fast_units(blocks.value, eps) * law.block_ms))


STRESS_WINDOWS = (144, 2016)  # live blocks: a day, a difficulty period


def stress(law: BitcoinLaw, headers: Sequence[tuple[int, PosixMs]]) -> Fraction:
    """s and f: at least 5/4; with 144 live headers the longer of the mean gaps of the last 144 and 2016, plus 10%.

    `headers` are (height, header time), oldest first; those below the profile's start height are not counted. Where
    some are missing (the node was away) a window begins at the newest one that lies far enough back.
    """
    live = [(h, t) for h, t in headers if h >= law.start_height]
    worst = LEAST_STRESS
    for window in STRESS_WINDOWS:
        before = [(h, t) for h, t in live if h <= live[-1][0] - window]
        if before:
            (first_height, first), (last_height, last) = before[-1], live[-1]
            gap = Fraction((last - first).value, last_height - first_height)
            worst = max(worst, gap / law.block_ms * Fraction(11, 10))
    return worst


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both clocks at one moment, as a decision sees them."""

    now: PosixMs
    height: BlockHeight
    stress: Fraction = LEAST_STRESS


def outgoing_needs(profile: NetworkProfile, clocks: Clocks, blocks: BlockDelta, eps: Fraction) -> PosixMs:
    """cl_to_btc: the least timeout of the incoming cheque when the payment may lock `blocks` blocks."""
    worst = slow(profile.bitcoin, blocks + profile.grace_blocks, eps)
    stretched = math.ceil(worst.value * clocks.stress)
    return clocks.now + Ms(stretched) + profile.claim_margin + profile.skew


def cltv_limit(profile: NetworkProfile, clocks: Clocks, timeout: PosixMs, eps: Fraction) -> BlockDelta:
    """cl_to_btc: the largest total time lock that the incoming cheque's timeout covers; 0 when none does."""
    low, high = 0, MAX_BLOCKS
    while low < high:
        middle = (low + high + 1) // 2
        if outgoing_needs(profile, clocks, BlockDelta(middle), eps) <= timeout:
            low = middle
        else:
            high = middle - 1
    return BlockDelta(low)


def hold_overhead(profile: NetworkProfile, *, small: bool) -> Ms:
    """W + L + skew: what must pass between a cheque's timeout and LND's own cancel."""
    return profile.proof_wait(small=small) + profile.lnd_settle + profile.skew


def cheque_timeout(
    profile: NetworkProfile,
    constants: TimeConstants,
    clocks: Clocks,
    expiry: BlockHeight,
    eps: Fraction,
    *,
    small: bool,
) -> PosixMs:
    """btc_to_cl: the latest timeout of the outgoing cheque under an HTLC that expires at height `expiry`.

    May lie in the past: the caller compares the life that is left with the profile's least.
    """
    left = (expiry - clocks.height) - constants.hold_cancel - profile.padding
    left = min(left, BlockDelta(_MOST_COUNTED))  # a payer may choose any expiry; less is on the safe side
    quick = fast(profile.bitcoin, left, eps)
    shrunk = math.floor(Fraction(quick.value) / clocks.stress)
    return clocks.now + Ms(shrunk) - hold_overhead(profile, small=small)


def final_cltv_for(
    profile: NetworkProfile,
    constants: TimeConstants,
    life: Ms,
    stress_factor: Fraction,
    eps: Fraction,
    *,
    small: bool,
) -> BlockDelta:
    """btc_to_cl: min_final_cltv_expiry_delta of an invoice whose cheque shall live `life`."""
    needed = (life + hold_overhead(profile, small=small)).value * stress_factor
    low, high = 1, 2
    while fast(profile.bitcoin, BlockDelta(high), eps).value < needed:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if fast(profile.bitcoin, BlockDelta(middle), eps).value >= needed:
            high = middle
        else:
            low = middle + 1
    least = BlockDelta(low) + constants.hold_cancel + profile.padding
    return max(least, constants.min_final_cltv)
