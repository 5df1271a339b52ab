"""A payment that hangs while no Bitcoin block comes: the payer extends its cheque by itself, and it settles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.hashlock import Preimage
from tests.support.gateway_world import GatewayWorld, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]
SECRET = Preimage(b"\x42" * 32)
HASH = SECRET.hashlock.hex()


async def cheque(world: GatewayWorld, seat: Any) -> dict[str, Any]:
    (row,) = (await seat.get(f"/channels/{world.channel}"))["pending"]
    return dict(row)


@pytest.mark.threat("X1")
@pytest.mark.kind("IT")
async def test_a_slow_payment_gets_more_time_and_settles(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        invoice = await world.alice.add_hold_invoice(SECRET.hashlock.raw, 2_000_000, "slow")
        await world.user.post("/payments", invoice=invoice)

        async def swap() -> Any:
            found = await world.gateway.get("/swaps")
            return await world.gateway.get(f"/swaps/{HASH}") if found else None

        async def in_flight() -> Any:
            found = await swap()
            return found if found and found["risk"] else None

        first = await until("the payment to be in flight", in_flight)
        before = await cheque(world, world.gateway)
        assert first["risk_level"] == "calm", first
        world._beat_s = 0.05  # time passes, and no Bitcoin block comes

        async def longer() -> Any:
            now = await cheque(world, world.gateway)
            return now if now["timeout_ms"] > before["timeout_ms"] else None

        after = await until("the extension", longer, 90)
        world._beat_s = 0.5
        assert after == {**before, "timeout_ms": after["timeout_ms"]}  # one index, lock and amount

        async def same() -> bool:
            return bool(
                (await cheque(world, world.user))["timeout_ms"]
                == (await cheque(world, world.gateway))["timeout_ms"]
            )

        await until("both books to agree", same)
        assert any("swap.at_risk" in one for one in (await world.gateway.get("/status"))["alarms"])

        async def calm() -> bool:
            return bool((await swap())["risk_level"] == "calm")

        await until("the risk to fall", calm)
        assert "IncomingWasExtended" in [one["event"] for one in (await swap())["events"]]
        assert (await world.gateway.get("/status"))["worst_risk"]
        await world.alice.settle(SECRET.raw)
        assert (await world.ended(HASH))["preimage"] == SECRET.hex()

        async def done() -> bool:
            return bool((await swap())["state"] == "Done")

        await until("the swap to end", done)
        assert (await world.gateway.get("/status"))["swaps_at_risk"] == 0
