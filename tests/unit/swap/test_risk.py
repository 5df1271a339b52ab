"""The risk of an open swap: the time locks' own law, asked the other way round; and who hears of it."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc.ports import TimeConstants
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused
from gateway.hashlock import Preimage
from gateway.profile import EPS_LARGE, EPS_SMALL, MAINNET, PROFILES, REGTEST, NetworkProfile
from gateway.swap import errors
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import Direction
from gateway.swap.risk import (
    Level,
    Risk,
    blocks_to_cancel,
    claim_comes_late,
    hold_ends_early,
    payment_outlives_cheque,
    settle_comes_late,
)
from gateway.swap.risk_watch import RiskWatch
from gateway.swap.runner import Key
from gateway.swap.timelock import Clocks, cheque_timeout, outgoing_needs
from gateway.units import BlockDelta, BlockHeight, Ms, Msat, PosixMs
from tests.support.swap_machines import CHANNEL, PEER, quote

NOW = PosixMs(1_700_000_000_000)
HEIGHT = BlockHeight(800_000)
CONSTANTS = TimeConstants(BlockDelta(18), BlockDelta(22), BlockDelta(19), BlockDelta(24))
PROFILE = st.sampled_from(list(PROFILES.values()))
EPS = st.sampled_from([EPS_SMALL, EPS_LARGE])
STRETCH = st.fractions(Fraction(5, 4), Fraction(3), max_denominator=100)


@pytest.mark.threat("X1")
@given(n=st.integers(1, 300), profile=PROFILE, eps=EPS, stretch=STRETCH)
@settings(max_examples=60, deadline=None)
def test_a_payment_begins_with_the_risk_that_its_quote_states(
    n: int, profile: NetworkProfile, eps: Fraction, stretch: Fraction
) -> None:
    clocks = Clocks(NOW, HEIGHT, stretch)
    timeout = outgoing_needs(profile, clocks, BlockDelta(n), eps)
    risk = payment_outlives_cheque(profile, clocks, HEIGHT + BlockDelta(n), timeout)
    assert float(eps) * 0.98 <= risk.probability <= float(eps) * 1.0001
    assert risk.level is Level.CALM


@pytest.mark.threat("X3")
@given(n=st.integers(80, 400), profile=PROFILE, eps=EPS, stretch=STRETCH, small=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_cheque_begins_with_the_risk_that_its_quote_states(
    n: int, profile: NetworkProfile, eps: Fraction, stretch: Fraction, small: bool
) -> None:
    clocks = Clocks(NOW, HEIGHT, stretch)
    expiry = HEIGHT + BlockDelta(n)
    timeout = cheque_timeout(profile, CONSTANTS, clocks, expiry, eps, small=small)
    risk = hold_ends_early(profile, CONSTANTS, clocks, expiry, timeout, small=small)
    assert risk.probability <= float(eps) * 1.0001


@pytest.mark.threat("X1")
@given(hours=st.integers(0, 40), blocks=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_time_raises_the_risk_of_a_payment_and_blocks_lower_it(hours: int, blocks: int) -> None:
    timeout = NOW + Ms(48 * 3_600_000)

    def at(hour: int, block: int) -> float:
        clocks = Clocks(NOW + Ms(hour * 3_600_000), HEIGHT + BlockDelta(block))
        return payment_outlives_cheque(MAINNET, clocks, HEIGHT + BlockDelta(100), timeout).probability

    assert at(hours, blocks) <= at(hours + 1, blocks) + 1e-9  # sums of floats
    assert at(hours, blocks + 1) <= at(hours, blocks) + 1e-9
    assert 0 <= at(hours, blocks) <= 1


@pytest.mark.threat("X3")
def test_blocks_raise_the_risk_of_a_held_payment() -> None:
    timeout = NOW + Ms(3_600_000)
    seen = [
        hold_ends_early(
            MAINNET,
            CONSTANTS,
            Clocks(NOW, HEIGHT + BlockDelta(n)),
            HEIGHT + BlockDelta(80),
            timeout,
            small=False,
        )
        for n in range(75)
    ]
    assert all(a.probability <= b.probability for a, b in itertools.pairwise(seen))
    levels = [one.level for one in seen]
    assert levels == sorted(levels)
    assert set(levels) == {Level.CALM, Level.ALARM, Level.ACT}
    assert seen[-1].probability == 1.0
    assert blocks_to_cancel(CONSTANTS, HEIGHT, HEIGHT + BlockDelta(80)) == BlockDelta(62)


def test_a_cheque_past_its_end_keeps_the_risk_of_its_proof() -> None:
    """Long after its timeout the proof is only late, not certain: the risk does not fall to nothing."""
    late = Clocks(NOW + Ms(10**9), HEIGHT)
    risk = hold_ends_early(MAINNET, CONSTANTS, late, HEIGHT + BlockDelta(22), NOW, small=False)
    assert (
        risk.probability == settle_comes_late(MAINNET, CONSTANTS, late, HEIGHT + BlockDelta(22)).probability
    )
    assert risk.probability > 0.1


@pytest.mark.threat("X8")
def test_a_claim_has_three_tries_of_a_block_each() -> None:
    risks = [claim_comes_late(MAINNET, NOW, NOW + Ms(m * 60_000)).probability for m in range(30)]
    assert risks == sorted(risks, reverse=True)
    assert risks[2] == 1.0  # the skew alone
    assert Risk(risks[5], "").level is Level.ACT
    assert Risk(risks[6], "").level is Level.ALARM
    assert Risk(risks[9], "").level is Level.CALM
    assert claim_comes_late(REGTEST, NOW, NOW + Ms(4_000)).probability == 0.0
    assert claim_comes_late(REGTEST, NOW, NOW + Ms(3_999)).probability == 1.0


class World:
    """A runner's live swaps, a channel and LND's clocks, all by hand."""

    def __init__(self) -> None:
        self.live: dict[Key, s.State] = {}
        self.told: list[tuple[Key, i.RiskSeen]] = []
        self.time, self.height, self.away, self.stands = NOW, HEIGHT, False, False
        self.watch = RiskWatch(self, self, self, MAINNET, self.clocks, self.constants)  # type: ignore[arg-type]

    def now(self) -> PosixMs:
        return self.time

    def claim_stands(self, channel: ChannelId) -> bool:
        return self.stands

    async def feed(self, key: Key, given: Any) -> None:
        self.told.append((key, given))

    async def clocks(self) -> Clocks:
        if self.away:
            raise Refused(errors.PAUSED(detail="LND is away"))
        return Clocks(self.time, self.height)

    async def constants(self) -> TimeConstants:
        return CONSTANTS


OUT_KEY = Key("swap.out", Preimage(b"\x07" * 32).hashlock, 1)
IN_KEY = Key("swap.in", Preimage(b"\x07" * 32).hashlock, 1)
PAYING = s.OutgoingInFlight(
    quote(Direction.CL_TO_BTC),
    s.ChequeIn(CHANNEL, 3, NOW + Ms(48 * 3_600_000)),
    s.PaymentOut(Msat(1), BlockDelta(100), HEIGHT + BlockDelta(100)),
    0,
)


@pytest.mark.threat("X1")
@pytest.mark.threat("X7")
async def test_a_slow_payment_is_told_and_stops_new_swaps_of_its_peer() -> None:
    world = World()
    world.live[OUT_KEY] = PAYING
    await world.watch.look()
    assert world.watch.risks[OUT_KEY].level is Level.CALM
    assert (world.told, world.watch.why_not(PEER)) == ([], "")
    world.time, world.away = NOW + Ms(30 * 3_600_000), True  # LND is away: its last height stays the safe one
    await world.watch.look()
    assert world.watch.risks[OUT_KEY].level is Level.ACT
    assert [key for key, _ in world.told] == [OUT_KEY]
    assert world.told[0][1].risk == world.watch.worst()
    assert OUT_KEY.hashlock.hex() in world.watch.why_not(PEER)
    assert world.watch.why_not(b"\x03" * 33) == ""
    await world.watch.look()  # nothing new within a tenth of a block
    assert len(world.told) == 1
    world.live.clear()
    world.time += Ms(600_000)
    await world.watch.look()
    assert (world.watch.risks, world.watch.worst(), world.watch.why_not(PEER)) == ({}, None, "")


async def test_an_older_row_is_taken_as_sent_just_now() -> None:
    world = World()
    outgoing = s.PaymentOut(Msat(1), BlockDelta(100), BlockHeight(0))
    world.live[OUT_KEY] = s.OutgoingIntended(PAYING.quote, PAYING.incoming, outgoing)
    await world.watch.look()
    first = world.watch.risks[OUT_KEY].probability
    world.height += BlockDelta(10)
    await world.watch.look()
    assert world.watch.risks[OUT_KEY].probability == first


@pytest.mark.threat("X8")
async def test_a_claim_in_a_block_is_the_channels_own() -> None:
    world = World()
    preimage = Preimage(b"\x07" * 32)
    world.live[OUT_KEY] = s.IncomingClaiming(PAYING.quote, s.ChequeIn(CHANNEL, 3, NOW + Ms(60_000)), preimage)
    await world.watch.look()
    assert world.watch.risks[OUT_KEY].level is Level.ACT
    world.stands = True
    world.height += BlockDelta(1)
    await world.watch.look()
    assert OUT_KEY not in world.watch.risks


@pytest.mark.threat("X3")
async def test_the_gauge_of_a_held_payment() -> None:
    world = World()
    held = s.HoldIn(Msat(10_000_000), HEIGHT + BlockDelta(60))
    world.live[IN_KEY] = s.OutgoingInFlight(
        quote(Direction.BTC_TO_CL), held, s.ChequeOut(CHANNEL, NOW + Ms(3_600_000)), 9
    )
    await world.watch.look()
    assert world.watch.gauges[IN_KEY] == 42
    world.height += BlockDelta(30)
    await world.watch.look()
    assert world.watch.gauges[IN_KEY] == 12
    assert world.told[-1][1].blocks_to_cancel == 12
    world.live[IN_KEY] = s.IncomingClaiming(quote(Direction.BTC_TO_CL), held, Preimage(b"\x07" * 32))
    world.height += BlockDelta(1)
    await world.watch.look()
    assert world.watch.gauges[IN_KEY] == 11
