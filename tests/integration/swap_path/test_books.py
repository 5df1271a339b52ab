"""The books of both nodes agree with both networks after payments both ways; a difference stops new swaps alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.swap.replay import replay
from tests.support.gateway_world import GatewayWorld, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]


def balances(view: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(a["account"], a["unit"]): a["amount"] for a in view["accounts"] if a["amount"]}


async def received(world: GatewayWorld, lovelace: int) -> str:
    receipt = await world.user.post("/invoices", lovelace=lovelace)
    result = await world.alice.pay(receipt["invoice"], 1_000_000)
    assert result.settled

    async def arrived() -> bool:
        found = await world.user.get(f"/invoices/{receipt['payment_hash']}")
        return bool(found["status"] == "received")

    await until("the receipt", arrived)
    return str(receipt["payment_hash"])


async def ended(world: GatewayWorld, payment_hash: str) -> None:
    async def done() -> bool:
        return bool((await world.gateway.get(f"/swaps/{payment_hash}"))["state"] == "Done")

    await until("the swap to end", done)


@pytest.mark.threat("X1")
@pytest.mark.kind("IT")
async def test_books_agree_with_both_networks(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        before = await world.gateway.get("/ledger")
        assert (before["difference_lovelace"], before["difference_msat"]) == (0, 0)
        paid = await world.pay(2_000_000)
        assert paid["status"] == "paid"
        came = await received(world, 1_000_000)
        for payment_hash in (paid["payment_hash"], came):
            await ended(world, payment_hash)

        async def agrees() -> Any:
            found = await world.gateway.get("/ledger")
            differs = (found["difference_lovelace"], found["difference_msat"])
            return found if differs == (0, 0) else None

        view = await until("the ledger to agree", agrees)
        sums = balances(view)
        assert not [
            key for key in sums if key[0] in ("lightning.sending", "channels.offered", "payer", "issuer")
        ]
        assert sums["channels", "lovelace"] == paid["lovelace"] - 1_000_000
        mine = balances(await world.user.get("/ledger"))
        assert mine["channels", "lovelace"] == -sums["channels", "lovelace"]
        assert mine["payments", "lovelace"] == paid["lovelace"]
        by_swap = {row["key"]: row for row in await world.gateway.get("/ledger/profit?by_swap=true")}
        assert by_swap[paid["payment_hash"]]["lovelace"] > 0
        assert by_swap[came]["msat"] > 0
        assert (await world.user.get("/ledger/profit?by_swap=true"))[0]["lovelace"] < 0  # the opening's fee

        for payment_hash in (paid["payment_hash"], came):
            document = await world.gateway.get(f"/swaps/{payment_hash}/incident")
            assert replay(document) == []
            assert document["inputs"][0]["seen"]["d"]["slot"] > 0
            assert document["ledger"]
            why = await world.gateway.get(f"/swaps/{payment_hash}/why")
            assert (why["state"], why["can_do"]) == ("Done", [])

        # somebody spends out of the gateway's Lightning node behind its back
        watch = world.gateway.running.ledger
        async with world.gateway.running.store.transaction("test") as tx:
            from gateway.store.ledger_rows import Leg

            await tx.audit.post(
                "test/1", [Leg("lightning", "msat", 700_000), Leg("operator", "msat", -700_000)]
            )

        async def stopped() -> bool:
            return bool((await world.gateway.get("/status"))["paused"])

        await until("the watchdog", stopped, 30)
        assert "the Lightning node holds -69" in watch.why  # 700 sat less the rounding of LND's own figures
        refused = await world.pay(1_500_000)
        assert (refused["status"], refused["code"]) == ("failed", "swap.paused")
        await world.gateway.post("/ledger/accept", reason="a test moved it")
        assert (await world.pay(1_600_000))["status"] == "paid"
