"""The follower's persistence and pauses, and the two clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.cl.chain.clock import ChainClock, SystemClock
from gateway.cl.chain.eras import slot_at, time_of
from gateway.cl.chain.errors import DOWN, NO_CBOR
from gateway.cl.chain.follower import Follower
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.view import View
from gateway.cl.ports import ChainEvent, EraSummary, Point
from gateway.errors import Refused
from gateway.units import PosixMs, Slot
from tests.support.chain_blocks import POLICY, Rows, SimChain, open_tx


class Flaky:
    """Gives a few events at a time, then loses the link; in the end it refuses for good."""

    def __init__(self, chain: SimChain, portions: list[int]) -> None:
        self.chain, self.portions = chain, portions
        self.asked: list[tuple[Point, ...]] = []
        self.closed = 0

    async def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        self.asked.append(tuple(points))
        if not self.portions:
            raise Refused(NO_CBOR())
        try:
            for event in self.chain.answer(tuple(points))[: self.portions.pop(0)]:
                yield event
            raise Refused(DOWN())
        finally:
            self.closed += 1


async def test_the_follower_goes_on_where_it_stopped_with_growing_pauses() -> None:
    chain = SimChain()
    for n in range(12):
        chain.extend(open_tx(n, n))
    source = Flaky(chain, [5, 0, 0, 0, 4, 99])
    pauses: list[float] = []
    troubles: list[str] = []
    times: list[int] = []
    rows = Rows()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    follower = Follower(
        source,
        View(POLICY),
        sleep=sleep,
        on_trouble=lambda rejection: troubles.append(rejection.code),
        observe_time=lambda moment: times.append(moment.value),
    )

    async def run() -> None:
        async for step in follower.steps():
            rows.commit(step)

    with pytest.raises(Refused) as caught:
        await run()
    assert caught.value.rejection.code == "cl.chain.no_transaction_cbor"
    assert [point.height for point in rows.points] == list(range(1, 13))
    assert times == [height * 20_000 for height in range(1, 13)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 0.5, 0.5]  # each success starts them anew
    assert troubles == ["cl.chain.provider_down"] * 6 + ["cl.chain.no_transaction_cbor"]
    assert source.asked[0] == (ORIGIN,)
    assert source.asked[1][0] == chain.blocks[3].point
    assert source.closed == 6


async def test_pauses_have_an_end_and_a_consumer_that_leaves_closes_the_source() -> None:
    chain = SimChain()
    chain.extend()
    source = Flaky(chain, [0] * 12 + [5])
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    steps = Follower(source, View(POLICY), sleep=sleep).steps()
    async for _ in steps:
        break
    await steps.aclose()  # type: ignore[attr-defined]
    assert source.closed == 13
    assert max(pauses) == pauses[-1] == 30.0


@pytest.mark.threat("W5")
async def test_the_system_clock_never_falls_behind_the_chain() -> None:
    machine = 1_000_000
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal machine
        slept.append(seconds)
        machine += int(seconds * 1000)

    clock = SystemClock(lambda: machine, sleep)
    assert clock.now() == PosixMs(1_000_000)
    clock.observe(PosixMs(1_020_000))
    assert (clock.now(), clock.is_off) == (PosixMs(1_020_000), False)
    clock.observe(PosixMs(1_031_000))
    assert (clock.behind.value, clock.is_off) == (31_000, True)
    machine = 1_031_000
    clock.observe(PosixMs(1_031_000))
    assert not clock.is_off
    await clock.sleep_until(PosixMs(1_101_000))
    assert clock.now() == PosixMs(1_101_000)
    assert max(slept) == 30.0  # a corrected machine clock is noticed


@pytest.mark.threat("W5")
async def test_a_machine_clock_that_runs_ahead_is_seen_by_ten_live_blocks() -> None:
    """One late block says nothing; ten that all seem old say that it is we who are early."""
    machine = 10_000_000
    clock = SystemClock(lambda: machine)
    for n in range(9):
        clock.live(PosixMs(machine - 40_000 - n))
    assert not clock.is_off
    clock.live(PosixMs(machine - 1_000))
    assert clock.is_off
    for _ in range(6):
        clock.live(PosixMs(machine - 1_000))
    assert not clock.is_off


async def test_the_chain_clock_moves_with_blocks_alone() -> None:
    clock = ChainClock(PosixMs(5_000))
    waiting = asyncio.create_task(clock.sleep_until(PosixMs(8_000)))
    for moment in (6_000, 7_000, 4_000):
        clock.observe(PosixMs(moment))
        await asyncio.sleep(0)
    assert (clock.now(), waiting.done()) == (PosixMs(7_000), False)
    clock.observe(PosixMs(8_000))
    await asyncio.wait_for(waiting, 1)
    await clock.sleep_until(PosixMs(1))


def test_slots_and_time_over_eras() -> None:
    eras = (
        EraSummary(Slot(0), PosixMs(1_000), 20_000, Slot(10)),
        EraSummary(Slot(10), PosixMs(201_000), 1_000, Slot(10)),  # an era of no length
        EraSummary(Slot(10), PosixMs(201_000), 1_000, None),
    )
    for slot, moment in ((0, 1_000), (9, 181_000), (10, 201_000), (11, 202_000), (10_000, 10_191_000)):
        assert time_of(eras, Slot(slot)) == PosixMs(moment)
        assert slot_at(eras, PosixMs(moment)) == Slot(slot)
    assert slot_at(eras, PosixMs(200_999)) == Slot(9)
    assert slot_at(eras, PosixMs(202_999)) == Slot(11)
