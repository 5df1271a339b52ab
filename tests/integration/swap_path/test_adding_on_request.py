"""btc_to_cl into a channel where the gateway has nothing: it adds what is missing within its limit, or says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHANNEL, SWAPS, GatewayWorld, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]
WANTED = 1_000_000


def limited(lovelace: int) -> tuple[str, ...]:
    return (*SWAPS, f"swap.auto_add_most_lovelace={lovelace}")


async def asked(world: GatewayWorld) -> dict[str, Any]:
    """A receipt, once it has an invoice or an end."""
    begun = await world.user.post("/invoices", lovelace=WANTED)

    async def decided() -> Any:
        found = await world.user.get(f"/invoices/{begun['payment_hash']}")
        return found if found["invoice"] or found["status"] != "waiting" else None

    found: dict[str, Any] = await until("an answer", decided, 60)
    return found


async def gateways_share(world: GatewayWorld) -> int:
    return int((await world.gateway.get(f"/channels/{world.channel}"))["local_lovelace"])


async def test_what_is_missing_is_added_and_the_payment_comes_in(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, swaps=limited(WANTED * 2), gift=0) as world:
        receipt = await asked(world)
        assert receipt["invoice"], receipt
        assert await gateways_share(world) == WANTED  # no more than was needed
        result = await world.alice.pay(receipt["invoice"], 1_000_000)
        assert result.settled

        async def arrived() -> bool:
            mine = await world.user.get(f"/channels/{world.channel}")
            return bool(mine["local_lovelace"] == CHANNEL + WANTED)

        await until("the ada to be the user's", arrived)


async def test_beyond_the_limit_the_refusal_says_what_is_missing(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, swaps=limited(WANTED - 1), gift=0) as world:
        receipt = await asked(world)
        assert receipt["code"] == "swap.liquidity.cardano", receipt
        assert f"missing {WANTED} lovelace" in receipt["detail"]
        assert await gateways_share(world) == 0
