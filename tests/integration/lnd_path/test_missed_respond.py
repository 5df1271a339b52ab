"""The gateway is dead while its peer closes with a payment under way on the real LND; it comes back late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from regtest import supervisor
from regtest.demo import ledger, steps, terms
from regtest.demo.cast import Failed, NodeProcess, eventually
from regtest.demo.steps import Stage
from tests.support.scalus import judge_networks, require_verdict

pytestmark = [pytest.mark.daemons, pytest.mark.timeout(400)]
RESPOND_MS = 90_000


@asynccontextmanager
async def open_channel(directory: Path) -> AsyncIterator[Stage]:
    """Real LND, both nodes, a channel of the user's with a long respond period. Judged at its end."""
    stage = Stage(directory, "lnd", "")
    try:
        await steps.networks(stage)
        await steps.nodes(stage)
        asked = await stage.user.post(
            "/channels",
            {
                "peer": stage.gateway.node_id,
                "lovelace": terms.CHANNEL,
                "respond_period_ms": RESPOND_MS,
            },
        )
        stage.channel = asked["id"]
        for node in (stage.user, stage.gateway):
            await eventually("the channel", lambda node=node: _is(node, stage.channel, "state", "opened"))
        yield stage
    finally:
        await stage.close()
    require_verdict(directory / "net")


async def _is(node: NodeProcess, channel: str, field: str, wanted: str) -> bool:
    rows = await node.get("/channels")
    return any(row["id"] == channel and row[field] == wanted for row in rows)


async def _quote_code(node: NodeProcess, invoice: str) -> str:
    try:
        await node.post("/swaps/quote", {"invoice": invoice})
    except Failed as failed:
        return str(failed)
    return "quoted"


@pytest.mark.threat("W8")
@pytest.mark.threat("P16")
@pytest.mark.kind("CR")
@pytest.mark.kind("IT")
async def test_a_gateway_that_was_killed_responds_late_in_the_window_and_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_networks(monkeypatch)
    async with open_channel(tmp_path) as stage:
        await steps.pay_bitcoin(stage)  # what a respond must save: the newest squash
        invoice, preimage = await steps.hold(stage, terms.PENDING_MSAT)  # and a cheque still locked
        payment_hash = await steps.pay(stage, invoice)
        await steps.until_held(stage, payment_hash)
        await stage.gateway.kill()
        await stage.user.post(f"/channels/{stage.channel}/close", {"force": True})
        await eventually("the close", lambda: _is(stage.user, stage.channel, "stage", "Closed"))
        with pytest.raises(Failed, match=r"swap\.no_channel"):  # the closer issues nothing more
            await steps.pay(stage, await stage.lnd["alice"].add_invoice(1_000_000))
        await stage.lnd["alice"].settle(preimage)
        late = RESPOND_MS * 6 // 10  # the start itself takes the window to some eight tenths
        await asyncio.to_thread(supervisor.move_time, tmp_path / "net", late)
        await stage.gateway.start()

        async def seen() -> bool:
            rows = await stage.gateway.get("/channels")
            return any(row["id"] == stage.channel and row["stage"] != "Opened" for row in rows)

        await eventually("the gateway to see the close", seen)
        another = await stage.lnd["alice"].add_invoice(2_000_000)
        assert "swap.liquidity.cardano" in await _quote_code(
            stage.gateway, another
        )  # nor does the other side
        for node in (stage.user, stage.gateway):
            await eventually("the end", lambda node=node: _is(node, stage.channel, "state", "ended"), 120)
        await _count(stage, await stage.user.get(f"/payments/{payment_hash}"))


async def _count(stage: Stage, payment: dict[str, Any]) -> None:
    assert payment["status"] == "paid"
    chain = await ledger.transactions(stage.ogmios)
    paid = terms.price(terms.PAY_MSAT) + terms.price(terms.PENDING_MSAT)
    for node, gained in ((stage.user, -paid), (stage.gateway, paid)):
        fees = sum(ledger.fees_of(chain, node.address).values())
        assert await ledger.lovelace_at(stage.kupo, node.address) == terms.FAUCET + gained - fees
