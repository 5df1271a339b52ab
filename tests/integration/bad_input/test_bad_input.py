"""Bad input and what it gets: one code that names the field and what to do, nothing lost, the node still running.

One pair of nodes for all of it: whatever a case breaks, the payment after it must go through.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.app.node import GatewayNode
from gateway.bolt import crypto
from gateway.config import load
from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.units import Msat, PosixMs
from tests.support.bolt11_drafts import made, simple_draft
from tests.support.gateway_world import PASSWORD, GatewayWorld, until

pytestmark = [pytest.mark.devnet, pytest.mark.asyncio(loop_scope="module")]


def invoice(world: GatewayWorld, **changes: Any) -> str:
    now = world.user.running.clock.now().value // 1000 * 1000
    given: dict[str, Any] = {"created": PosixMs(now), "amount": Msat(5_000_000), **changes}
    return made(simple_draft(**given))


# -- invoices and amounts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "field"),
    [
        ("network", "swap.invoice.wrong_network", "invoice"),
        ("expired", "swap.invoice.expired", "expiry"),
        ("amountless", "swap.invoice.amountless", "amount"),
        ("cut", "swap.invoice.malformed", "invoice"),
        ("changed", "swap.invoice.malformed", "invoice"),
        ("empty", "api.bad_request", "invoice"),
    ],
)
async def test_an_invoice_that_cannot_be_paid(world: GatewayWorld, name: str, code: str, field: str) -> None:
    from gateway.bolt.invoice import Network

    good = invoice(world)
    texts = {
        "network": invoice(world, network=Network.MAINNET),
        "expired": invoice(world, created=PosixMs(1_000_000_000_000)),
        "amountless": invoice(world, amount=None),
        "cut": good[:-10],
        "changed": good.replace("q", "p", 1),
        "empty": "",
    }
    problem = await world.user.refused("/payments", invoice=texts[name])
    assert (problem["code"], problem["field"]) == (code, field)
    if name != "empty":
        asked = await world.gateway.refused("/swaps/quote", invoice=texts[name])
        assert asked["code"] == code


@pytest.mark.parametrize(
    ("amount", "code"), [(999_999, "swap.amount.too_small"), (20_000_001, "swap.amount.too_large")]
)
async def test_an_amount_outside_the_limits(world: GatewayWorld, amount: int, code: str) -> None:
    text_ = invoice(world, amount=Msat(amount), hashlock=Hashlock(amount.to_bytes(32, "big")))
    problem = await world.gateway.refused("/swaps/quote", invoice=text_)
    assert (problem["code"], problem["field"]) == (code, "amount_msat")
    assert problem["allowed"]
    ended = await world.user.post("/payments", invoice=text_)
    ended = await world.ended(ended["payment_hash"])
    assert ended["status"] == "failed"
    assert ended["code"] == code


async def test_an_invoice_of_the_gateways_own_lightning_node(world: GatewayWorld) -> None:
    from regtest.bitcoin.client import LndClient

    own = LndClient(world.lnd)
    text_ = await own.add_invoice(5_000_000)
    await own.close()
    problem = await world.gateway.refused("/swaps/quote", invoice=text_)
    assert problem["code"] == "swap.invoice.own_node"


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("lovelace", {"lovelace": 0}), ("lovelace", {"lovelace": -1}), ("lovelace", {"lovelace": "5"}),
        ("lovelace", {"lovelace": 1.5}), ("lovelace", {"lovelace": True}),
        ("lovelace", {"lovelace": 10**30}), ("other", {"lovelace": 5, "other": 1}),
    ],
)  # fmt: skip
async def test_an_amount_that_is_none(world: GatewayWorld, field: str, body: dict[str, Any]) -> None:
    problem = await world.user.refused("/invoices", **body)
    assert (problem["code"], problem["field"]) == ("api.bad_request", field)


# -- peers --------------------------------------------------------------------------------------------


async def test_peers_that_are_unknown_gone_or_ourselves(world: GatewayWorld) -> None:
    key = crypto.public_key(b"\x05" * 32).hex()
    unknown = await world.user.refused("/channels", peer=key, lovelace=10_000_000)
    assert (unknown["code"], unknown["field"]) == ("cl.peer.not_connected", "peer")
    gone = await world.user.refused("/peers", node_id=key, host="127.0.0.1", port=1)
    assert gone["code"] == "cl.net.unreachable"
    other = await world.user.refused("/peers", node_id=key, host="127.0.0.1", port=world.gateway.port)
    assert other["code"].startswith("bolt8.handshake.")
    own = world.user.running.node_id.hex()
    ourselves = await world.user.refused("/peers", node_id=own, host="127.0.0.1", port=world.user.port)
    assert ourselves["code"] == "cl.peer.self"


# -- LND ----------------------------------------------------------------------------------------------


async def refused_quote(world: GatewayWorld, code: str) -> None:
    async def seen() -> bool:
        problem = await world.gateway.refused("/swaps/quote", invoice=invoice(world))
        return bool(problem["code"] == code)

    await until(f"the code {code}", seen)
    status = await world.gateway.get("/status")
    assert status["state"] == "running"
    assert status["bitcoin"]["detail"].startswith(code)


@pytest.mark.parametrize("trouble", ["down", "locked"])
async def test_lnd_down_or_locked_and_back(world: GatewayWorld, trouble: str) -> None:
    server = world.bitcoin.nodes["gateway"]
    pays = await world.alice.add_invoice(3_000_000)
    await server.stop()
    if trouble == "locked":
        await server.start(locked=True)
    await refused_quote(world, "btc.unavailable" if trouble == "down" else "btc.locked")
    ended = await world.user.post("/payments", invoice=pays)
    ended = await world.ended(ended["payment_hash"])
    assert ended["status"] == "failed"
    assert ended["code"].startswith("btc."), ended
    if trouble == "locked":
        await server.stop()
    await server.start()

    async def well() -> bool:
        return bool((await world.gateway.get("/status"))["bitcoin"]["ok"])

    await until("LND to be back", well)


async def reopened(world: GatewayWorld, name: str, value: str) -> None:
    await world.gateway.shut()
    world.gateway.change(name, value)
    await world.gateway.open()
    await until("the peers to be connected", world.connected)


async def test_a_macaroon_that_may_not_pay(world: GatewayWorld, tmp_path: Path) -> None:
    right = world.lnd["macaroon"]
    (tmp_path / "wrong").write_bytes(b"\x02" + b"x" * 60)
    await reopened(world, "bitcoin.macaroon", str(tmp_path / "wrong"))
    await refused_quote(world, "btc.macaroon")
    await reopened(world, "bitcoin.macaroon", right)


async def test_a_certificate_of_another_node(world: GatewayWorld) -> None:
    right = world.lnd["tls_cert"]
    other = world.bitcoin.describe()["nodes"]["alice"]["tls_cert"]
    await reopened(world, "bitcoin.tls_cert", other)
    await refused_quote(world, "btc.certificate")
    await reopened(world, "bitcoin.tls_cert", right)


@pytest.mark.parametrize("name", ["bitcoin.macaroon", "bitcoin.tls_cert"])
async def test_a_file_that_is_not_there_and_the_store_is_free_again(world: GatewayWorld, name: str) -> None:
    """Refused at the start; the same node opens once the setting is right."""
    right = world.lnd[name.removeprefix("bitcoin.")]
    await world.gateway.shut()
    world.gateway.change(name, "/nowhere/file")
    with pytest.raises(Refused) as caught:
        await world.gateway.open()
    assert caught.value.rejection.code == "btc.file"
    world.gateway.change(name, right)
    await world.gateway.open()


# -- Cardano, the disk, a second process --------------------------------------------------------------


async def chain_code(world: GatewayWorld, code: str) -> None:
    """The code in the status; empty: the chain is followed."""

    async def seen() -> bool:
        chain = (await world.user.get("/status"))["cardano"]
        return bool(chain["detail"].startswith(code) if code else chain["ok"])

    await until(f"the chain's state {code or 'ok'}", seen)


@pytest.mark.parametrize("service", ["ogmios", "kupo"])
async def test_the_chain_provider_down_and_back(world: GatewayWorld, service: str) -> None:
    address = (await world.user.get("/wallet/address"))["address"]
    world.devnet.set_faults(**{f"{service}_down": True})
    try:
        if service == "ogmios":
            await chain_code(world, "cl.chain.provider_down")
        problem = await world.user.refused("/wallet/send", address=address, lovelace=5_000_000)
        assert problem["code"] == "cl.chain.provider_down"
        assert (await world.user.get("/status"))["state"] == "running"
    finally:
        world.devnet.clear_faults()
    await chain_code(world, "")


async def test_a_second_process_on_the_same_database(world: GatewayWorld) -> None:
    second = GatewayNode(world.gateway.directory, load(world.gateway.directory, {}), asyncio.Event())
    with pytest.raises(Refused) as caught:
        await second.unlock(PASSWORD)
    assert caught.value.rejection.code == "store.in_use"


async def test_a_wrong_password(world: GatewayWorld) -> None:
    await world.gateway.shut()
    node = GatewayNode(world.gateway.directory, load(world.gateway.directory, {}), asyncio.Event())
    with pytest.raises(Refused) as caught:
        await node.unlock("guess")
    assert caught.value.rejection.code == "cl.keystore.password"
    await world.gateway.open()


async def test_after_all_of_it_value_still_crosses(shared: GatewayWorld) -> None:
    before = await shared.money()
    await shared.still_pays()
    after = await shared.money()
    assert after[-1] == before[-1] + 2_000_000
    assert before[0] - after[0] == after[1] - before[1] > 0
