"""A node on two providers of which one goes away: deadlines are met, nothing new is risked or proven."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cl.chain.several import Several
from gateway.cl.channel import state as s
from regtest.cardano import Devnet
from tests.support.chain_providers import several
from tests.support.cl_node import ADA, World, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]


def hurried(devnet: Devnet) -> Several:
    return several(devnet, lag_s=0.5, dispute_s=0.5)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        await running.alice.kill()
        running.alice.connect = hurried
        await running.alice.start()
        await running.connect()
        yield running


@pytest.mark.threat("W2")
@pytest.mark.threat("W3")
@pytest.mark.kind("IT")
async def test_a_channel_settles_by_the_provider_that_is_left(world: World) -> None:
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    await world.mine(3)
    assert world.alice.chain.blind() == ""
    proven = world.alice.chain.settled_time()
    assert proven.value > 0
    world.devnet.set_faults(blockfrost_down=True)
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.bob.channels.fulfil(channel, index, secret(1))
    await world.mine_until(
        "ended", lambda: all(isinstance(side.state(channel), s.Ended) for side in world.sides), ms=10_000
    )
    await world.mine(5)
    changes = {side.name: side.funds() - start[side.name] + await side.fees() for side in world.sides}
    assert changes == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert "must agree" in world.alice.chain.blind()
    assert "must agree" in world.alice.chain.health()["detail"]
    assert world.bob.chain.settled_time() > proven  # the chain has gone on …
    assert world.alice.chain.settled_time() < world.bob.chain.settled_time()  # … but one alone proves nothing
    world.devnet.clear_faults()
    await until("both again", lambda: world.alice.chain.blind() == "")
    assert world.alice.chain.settled_time() == world.bob.chain.settled_time()
