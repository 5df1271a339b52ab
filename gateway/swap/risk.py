"""R1. What an open swap risks now: the probability that one leg ends before the other is resolved.

The same laws that sized the time locks, asked the other way round: not "which time for this probability" but
"which probability for the time that is left" (docs/swaps.md). A risk never releases a leg: it rings, and it acts
in the one direction that cannot lose (ask, claim).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.btc.ports import TimeConstants
from gateway.profile import NetworkProfile
from gateway.swap.timelock import Clocks, hold_overhead, poisson_below, poisson_from
from gateway.units import BlockDelta, BlockHeight, Ms, PosixMs

ALARM_FROM = 1e-4
ACT_FROM = 1e-3


class Level(IntEnum):
    CALM = 0
    ALARM = 1  # tell the operator
    ACT = 2  # ask the peer, or claim on chain


@dataclass(frozen=True, slots=True)
class Risk:
    """`probability` of losing one leg by the block laws; `what` names how it would come."""

    probability: float
    what: str

    @property
    def level(self) -> Level:
        if self.probability >= ACT_FROM:
            return Level.ACT
        return Level.ALARM if self.probability >= ALARM_FROM else Level.CALM

    def shown(self) -> str:
        return f"{self.probability:.1e}"


def payment_outlives_cheque(
    profile: NetworkProfile, clocks: Clocks, latest: BlockHeight, timeout: PosixMs
) -> Risk:
    """cl_to_btc before the preimage: the payment, which may end as late as height `latest` and its grace blocks,
    is resolved too late for the cheque (`timeout`) to be claimed on chain after it."""
    blocks = max(1, (latest - clocks.height).value + profile.grace_blocks.value)
    left = (timeout - clocks.now) - profile.claim_margin - profile.skew
    what = f"{blocks} Bitcoin blocks may take longer than the {_minutes(left)} min that the cheque leaves"
    if left.value <= 0:
        return Risk(1.0, what)
    mean = left.value / profile.bitcoin.block_ms / float(clocks.stress)
    return Risk(min(1.0, poisson_below(mean, blocks)), what)


def claim_comes_late(profile: NetworkProfile, now: PosixMs, timeout: PosixMs) -> Risk:
    """cl_to_btc after the preimage, no squash and no close yet: fewer Cardano blocks than a claim has tries."""
    left = (timeout - now) - profile.skew
    what = f"the cheque can be claimed on chain for {_minutes(left)} min more"
    return Risk(profile.cardano.fewer_within(profile.tries, left), what)


def hold_ends_early(
    profile: NetworkProfile,
    constants: TimeConstants,
    clocks: Clocks,
    expiry: BlockHeight,
    timeout: PosixMs,
    *,
    small: bool,
) -> Risk:
    """btc_to_cl before the preimage: LND cancels the held payment while the cheque may still be claimed."""
    needed = (timeout - clocks.now) + hold_overhead(profile, small=small)
    # past its proof time and still unresolved: the proof itself is late, and never nearer than this
    needed = max(needed, profile.lnd_settle + profile.skew)
    return _blocks_come_fast(profile, constants, clocks, expiry, needed)


def settle_comes_late(
    profile: NetworkProfile, constants: TimeConstants, clocks: Clocks, expiry: BlockHeight
) -> Risk:
    """btc_to_cl after the preimage: LND cancels the held payment before it takes the preimage."""
    return _blocks_come_fast(profile, constants, clocks, expiry, profile.lnd_settle + profile.skew)


def _blocks_come_fast(
    profile: NetworkProfile, constants: TimeConstants, clocks: Clocks, expiry: BlockHeight, needed: Ms
) -> Risk:
    left = blocks_to_cancel(constants, clocks.height, expiry) - profile.padding
    what = f"{max(0, left.value)} Bitcoin blocks may come within {_minutes(needed)} min"
    if left.value <= 0:
        return Risk(1.0, what)
    mean = needed.value * float(clocks.stress) / profile.bitcoin.block_ms
    return Risk(min(1.0, poisson_from(mean, left.value)), what)


def blocks_to_cancel(constants: TimeConstants, height: BlockHeight, expiry: BlockHeight) -> BlockDelta:
    """How many blocks until LND cancels an accepted hold invoice by itself; may be negative."""
    return (expiry - height) - constants.hold_cancel


def _minutes(span: Ms) -> int:
    return max(0, span.value // 60_000)
