"""`channel close` of a channel that carried a swap, between two whole nodes over TCP, asked through the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cl.data.blueprint import load_blueprint
from tests.support.gateway_world import CHANNEL, FAUCET, GatewayWorld, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.kind("IT")]


async def _end(world: GatewayWorld) -> bool:
    views = [await seat.get(f"/channels/{world.channel}") for seat in (world.user, world.gateway)]
    return all(view["state"] == "ended" for view in views)


@pytest.mark.threat("P16")
@pytest.mark.parametrize("asker", ["user", "gateway"])
async def test_a_used_channel_ends_in_one_transaction(tmp_path: Path, asker: str) -> None:
    async with gateway_world(tmp_path) as world:
        paid = await world.pay()
        assert paid["status"] == "paid", paid
        seat = world.user if asker == "user" else world.gateway
        spent = len(_spending(world))
        await seat.post(f"/channels/{world.channel}/close", force=False)
        await until("the end on both sides", lambda: _end(world), 60)
        ends = _spending(world)[spent:]
        assert len(ends) == 1  # no close, respond, elapse or free

        async def home() -> bool:
            have = int((await world.user.get("/wallet/balance"))["lovelace"])
            due = FAUCET - CHANNEL // 2 - int(paid["lovelace"])
            return due - 3_000_000 < have <= due  # less the fees of the opening and maybe of the end

        await until("the user's share in its wallet", home)


def _spending(world: GatewayWorld) -> list[str]:
    """Transactions that moved tokens of the channels' policy: each step mints or burns one."""
    policy = load_blueprint().hash
    blocks = world.devnet.chain.blocks
    return [
        tx.id.hex()
        for block in blocks
        for tx in block.txs
        if any(unit.startswith(policy) for unit in tx.mint)
    ]
