"""Two providers at once on the devnet: one is away, late, limits us or lies; and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.several import Several
from gateway.cl.ports import Point, RollForward, Submitted, Utxo
from gateway.errors import Refused
from gateway.units import Slot
from regtest.cardano import Devnet
from regtest.cardano.transaction import Ref
from tests.support.chain_providers import several
from tests.support.devnet_drafts import Draft, key, key_address, make_output

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ALICE = key("alice of several")
HOME = address_text(key_address(ALICE))
ADA = 1_000_000
SHORT_S = 0.3


@pytest.fixture
async def both(devnet: Devnet) -> AsyncIterator[Several]:
    made = several(devnet, magic=devnet.options.network_magic, lag_s=SHORT_S, dispute_s=SHORT_S)
    yield made
    await made.close()


def states(both: Several) -> dict[str, str]:
    return {seat.name: seat.state for seat in both.seats}


def spend(source: Utxo) -> bytes:
    change = make_output(key_address(ALICE), source.lovelace.value - 300_000)
    inputs = [Ref(source.ref.tx_id, source.ref.index)]
    return Draft(inputs=inputs, outputs=[change], fee=300_000, signers=[ALICE]).build()


class Run:
    """Follows in the background."""

    def __init__(self, both: Several) -> None:
        self.both = both
        self.heights: list[int] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self.both.follow([ORIGIN]):
            if isinstance(event, RollForward):
                self.heights.append(event.block.height)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                if self._task.done():
                    await self._task
                await asyncio.sleep(0.01)

    async def reach(self, devnet: Devnet) -> None:
        await self.until(lambda: bool(self.heights) and self.heights[-1] == devnet.tip.height)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def point(devnet: Devnet) -> Point:
    return Point(Slot(devnet.tip.slot), devnet.tip.hash)


@pytest.mark.threat("W2")
@pytest.mark.threat("W3")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("fault", ["blockfrost_down", "ogmios_down"])
async def test_one_is_away_the_other_serves_and_nothing_new_is_risked(
    devnet: Devnet, both: Several, fault: str
) -> None:
    devnet.mine(5)
    run = Run(both)
    await run.reach(devnet)
    assert both.doubt() == ""
    assert both.is_sure(point(devnet))
    devnet.set_faults(**{fault: True})
    devnet.faucet([(HOME, 100 * ADA)])
    (funds,) = await both.utxos_at(HOME)
    assert isinstance(await both.submit(spend(funds)), Submitted)
    devnet.mine(3)
    await run.reach(devnet)
    assert not both.is_sure(point(devnet))
    assert "must agree" in both.doubt()
    assert "down" in states(both).values()
    devnet.clear_faults()
    await run.until(lambda: both.doubt() == "")
    assert both.is_sure(point(devnet))
    assert set(states(both).values()) == {"ok"}
    await run.end()


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_one_that_lags_is_passed_over_and_named(devnet: Devnet, both: Several) -> None:
    devnet.mine(20)
    run = Run(both)
    await run.reach(devnet)
    devnet.set_faults(blockfrost_lag_blocks=10)
    devnet.mine(3)
    await run.reach(devnet)
    await run.until(lambda: states(both)["hosted"] == "lagging")
    assert both.doubt() != ""
    assert (await both.tip()).height <= devnet.tip.height
    assert await both.utxos_at(HOME) == ()
    devnet.clear_faults()
    await run.until(lambda: both.doubt() == "" and states(both)["hosted"] == "ok")
    await run.end()


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_one_that_shows_a_spent_output_and_hides_a_new_one_is_outvoted_and_named(
    devnet: Devnet, both: Several
) -> None:
    devnet.faucet([(HOME, 100 * ADA)])
    (funds,) = await both.utxos_at(HOME)
    devnet.set_faults(blockfrost_lie=True)
    assert isinstance(await both.submit(spend(funds)), Submitted)
    devnet.mine()
    assert await both.utxos_at(HOME) == ()  # neither the spent one nor one that nobody confirms
    async with asyncio.timeout(20):
        while "disagree" not in both.doubt():
            shown = await both.utxos_at(HOME)
            await asyncio.sleep(0.05)
    (after,) = shown  # half against half for long: the most trusted decides, so that a claim can be paid for
    assert after.ref != funds.ref
    assert "disagrees" in states(both).values()
    devnet.clear_faults()
    assert await both.utxos_at(HOME) == (after,)
    assert set(states(both).values()) == {"ok"}


async def test_a_limit_is_kept_and_the_other_serves_meanwhile(devnet: Devnet, both: Several) -> None:
    devnet.mine(2)
    await both.tip()
    devnet.set_faults(rate_limits=1)
    assert (await both.tip()).height == devnet.tip.height
    assert states(both)["hosted"] == "limited"
    asked = devnet.faults.rate_limits
    assert (await both.tip()).height == devnet.tip.height
    assert (asked, devnet.faults.rate_limits) == (0, 0)
    assert states(both)["hosted"] == "limited"  # a second has not passed: it was not asked


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_figures_that_only_one_says_are_not_built_on(
    devnet: Devnet, both: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await both.params()).protocol["maxTransactionSize"]["bytes"] == 16_384
    hosted = both.seats[1].provider
    honest = hosted.params

    async def dear() -> Any:
        params = await honest()
        params.protocol["minFeeConstant"] = {"ada": {"lovelace": 90_000_000}}
        return params

    monkeypatch.setattr(hosted, "params", dear)
    with pytest.raises(Refused) as caught:
        await both.params()
    assert caught.value.rejection.code == "cl.chain.providers_disagree"
    await asyncio.sleep(SHORT_S * 1.5)
    lasting = await both.params()  # the most trusted decides between equals, and nothing new is risked
    assert lasting.protocol["minFeeConstant"] == {"ada": {"lovelace": 155_381}}
    assert "disagree" in both.doubt()
