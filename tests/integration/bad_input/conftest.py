"""One pair of nodes for each file of bad input: whatever a case breaks, the payment after it must go through."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway_world import GatewayWorld, gateway_world, until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path_factory.mktemp("bad-input")) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: GatewayWorld) -> AsyncIterator[GatewayWorld]:
    """Nothing lost: both ends of the channel and alice hold afterwards what they held before."""
    before = await shared.money()
    yield shared
    await until("the peers to be connected", shared.connected)

    async def same() -> bool:
        return await shared.money() == before

    await until(f"the balances to be {before}", same)
    for seat in (shared.user, shared.gateway):
        assert (await seat.get("/status"))["state"] == "running"
        assert (await seat.get(f"/channels/{shared.channel}"))["state"] == "opened"
