"""Kupo's answers, the control API, and each fault on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from regtest.cardano import Devnet, DevnetOptions, Params
from regtest.cardano.cbor import mapping, uint
from regtest.cardano.transaction import Pointer, Ref, Tx, blake2b_256
from regtest.cardano.views import address_text
from tests.support.devnet import judged_devnet
from tests.support.devnet_drafts import (
    ALWAYS_V3,
    UNIT,
    Draft,
    key,
    key_address,
    key_hash,
    make_output,
    script_address,
)

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ADA = 1_000_000
ALICE = key("alice")
ADDRESS = address_text(key_address(ALICE))
TOKEN = ALWAYS_V3.hash + b"token"


@pytest.fixture
async def kupo(devnet: Devnet) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=devnet.kupo_url, trust_env=False, timeout=20) as client:
        yield client


async def matches(kupo: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await kupo.get(f"/matches/{path}")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


async def rpc(socket: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": method}))
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
    assert answer["id"] == method
    return answer


def paying(ref: Ref, lovelace: int) -> Draft:
    return Draft([ref], [make_output(key_address(ALICE), lovelace - 300_000)], signers=[ALICE])


def story(devnet: Devnet) -> tuple[Tx, Tx, Tx]:
    """Funds; a script output with a token and an inline datum; its spending."""
    funded = devnet.faucet([(ADDRESS, 50 * ADA), (ADDRESS, 10 * ADA)])
    lock = Draft(
        inputs=[Ref(funded.id, 0)],
        outputs=[
            make_output(script_address(ALWAYS_V3), 20 * ADA, {TOKEN: 7}, datum=UNIT),
            make_output(key_address(ALICE), 30 * ADA - 300_000, script=ALWAYS_V3),
        ],
        signers=[ALICE],
        mint={TOKEN: 7},
        redeemers={Pointer(1, 0): (UNIT, 10_000, 10_000_000)},
        collateral=[Ref(funded.id, 1)],
        scripts=[ALWAYS_V3],
        languages={3},
    )
    locked = devnet.submit(lock.build())
    assert isinstance(locked, Tx)
    devnet.mine()
    unlock = Draft(
        inputs=[Ref(locked.id, 0)],
        outputs=[make_output(key_address(ALICE), 20 * ADA - 300_000, {TOKEN: 7})],
        signers=[ALICE],
        redeemers={Pointer(0, 0): (b"\x18\x2a", 10_000, 10_000_000)},
        collateral=[Ref(funded.id, 1)],
        references=[Ref(locked.id, 1)],
        languages={3},
    )
    unlocked = devnet.submit(unlock.build())
    assert isinstance(unlocked, Tx)
    devnet.mine()
    return funded, locked, unlocked


async def test_matches(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    funded, locked, unlocked = story(devnet)
    unspent = await matches(kupo, f"{ADDRESS}?unspent")
    assert [row["transaction_id"] for row in unspent] == [unlocked.id.hex(), locked.id.hex(), funded.id.hex()]
    assert unspent[0]["value"]["assets"] == {f"{ALWAYS_V3.hash.hex()}.{b'token'.hex()}": 7}
    script = address_text(script_address(ALWAYS_V3))
    [spent] = await matches(kupo, f"{script}?resolve_hashes")
    assert spent["datum_type"] == "inline"
    assert spent["datum"] == UNIT.hex()
    assert spent["script"] is None
    assert spent["spent_at"] == {
        "slot_no": devnet.tip.slot,
        "header_hash": devnet.tip.hash.hex(),
        "transaction_id": unlocked.id.hex(),
        "input_index": 0,
        "redeemer": "182a",
    }
    policy = ALWAYS_V3.hash.hex()
    assert len(await matches(kupo, f"{policy}.*")) == 2
    assert len(await matches(kupo, f"{policy}.{b'token'.hex()}?unspent")) == 1
    assert len(await matches(kupo, f"{policy}.{b'other'.hex()}")) == 0
    assert [row["output_index"] for row in await matches(kupo, f"1@{locked.id.hex()}")] == [1]
    assert len(await matches(kupo, f"*@{locked.id.hex()}?spent")) == 1
    assert len(await matches(kupo, f"{key_hash(ALICE).hex()}/*")) == 4
    assert len(await matches(kupo, f"*?created_after={devnet.tip.slot}")) == 1
    oldest = await matches(kupo, f"{ADDRESS}?order=oldest_first")
    assert oldest[0]["transaction_id"] == funded.id.hex()
    answer = await kupo.get(
        f"/matches/{ADDRESS}", headers={"Accept": "application/json;asset-quantity=string"}
    )
    assert answer.json()[0]["value"]["coins"] == str(20 * ADA - 300_000)
    assert answer.headers["X-Most-Recent-Checkpoint"] == str(devnet.tip.slot)
    cached = await kupo.get(f"/matches/{ADDRESS}", headers={"If-None-Match": answer.headers["ETag"]})
    assert cached.status_code == 304


async def test_the_rest_of_kupo(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    story(devnet)
    assert (await kupo.get(f"/datums/{blake2b_256(UNIT).hex()}")).json() == {"datum": UNIT.hex()}
    assert (await kupo.get(f"/datums/{'00' * 32}")).json() is None
    script = (await kupo.get(f"/scripts/{ALWAYS_V3.hash.hex()}")).json()
    assert script == {"language": "plutus:v3", "script": ALWAYS_V3.content.hex()}
    points = (await kupo.get("/checkpoints")).json()
    assert points[0] == {"slot_no": devnet.tip.slot, "header_hash": devnet.tip.hash.hex()}
    assert (await kupo.get(f"/checkpoints/{devnet.tip.slot + 100}")).json() == points[0]
    assert (await kupo.get(f"/checkpoints/{devnet.tip.slot + 100}?strict")).json() is None
    health = (await kupo.get("/health")).json()
    assert health["most_recent_checkpoint"] == health["most_recent_node_tip"] == devnet.tip.slot
    for bad in ("/matches/nonsense", "/datums/00", "/matches/*?spent&unspent", f"/scripts/{'zz' * 28}"):
        assert (await kupo.get(bad)).status_code == 400
    assert (await kupo.get("/elsewhere")).status_code == 404


async def test_metadata_of_a_block(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    funded = devnet.faucet({ADDRESS: 50 * ADA})
    draft = paying(Ref(funded.id, 0), 50 * ADA)
    draft.auxiliary = mapping([(uint(674), b"\x63abc")])
    assert isinstance(devnet.submit(draft.build()), Tx)
    devnet.mine()
    [row] = (await kupo.get(f"/metadata/{devnet.tip.slot}")).json()
    assert row["schema"] == {"674": {"string": "abc"}}
    assert row["hash"] == blake2b_256(draft.auxiliary).hex()


async def test_rollback_takes_matches_back(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    funded, locked, _ = story(devnet)
    undone = devnet.rollback(2, drop=True)
    assert len(undone.lost) == 2
    rows = await matches(kupo, f"{ADDRESS}?unspent")
    assert {row["transaction_id"] for row in rows} == {funded.id.hex()}
    assert await matches(kupo, f"*@{locked.id.hex()}") == []
    assert devnet.chain.pool == []


async def test_lag_and_lie(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    devnet.faucet({ADDRESS: 5 * ADA})
    devnet.set_faults(kupo_lag_blocks=1)
    assert await matches(kupo, ADDRESS) == []
    health = (await kupo.get("/health")).json()
    assert health["most_recent_checkpoint"] < health["most_recent_node_tip"]
    devnet.set_faults(kupo_lag_blocks=0, kupo_lie=True)
    assert len(await matches(kupo, ADDRESS)) == 1
    devnet.faucet({ADDRESS: 6 * ADA})
    answer = await kupo.get(f"/matches/{ADDRESS}")
    assert (len(answer.json()), answer.headers["X-Most-Recent-Checkpoint"]) == (1, str(devnet.tip.slot))
    devnet.clear_faults()
    assert len(await matches(kupo, ADDRESS)) == 2


async def test_ogmios_lag_and_delay(devnet: Devnet) -> None:
    devnet.mine(5)
    devnet.set_faults(ogmios_lag_blocks=2, delay_ms=200)
    async with connect(devnet.ogmios_url) as socket:
        before = asyncio.get_running_loop().time()
        assert (await rpc(socket, "queryNetwork/blockHeight"))["result"] == 3
        assert asyncio.get_running_loop().time() - before >= 0.2


async def test_submit_faults(devnet: Devnet) -> None:
    funded = devnet.faucet([(ADDRESS, 10 * ADA)] * 4)
    raws = [paying(Ref(funded.id, index), 10 * ADA).build() for index in range(4)]
    devnet.set_faults(refuse_submits=1)
    async with connect(devnet.ogmios_url) as socket:

        async def send(index: int) -> dict[str, Any]:
            return await rpc(socket, "submitTransaction", transaction={"cbor": raws[index].hex()})

        assert (await send(0))["error"]["code"] == 3997
        assert "result" in await send(0)
        devnet.set_faults(drop_submits=1)
        assert "result" in await send(1)
        assert len(devnet.chain.pool) == 1
        devnet.set_faults(hold_blocks=2)
        held = (await send(2))["result"]["transaction"]["id"]
        devnet.clear_faults()
        devnet.mine(2)
        assert [tx.id.hex() for tx in devnet.chain.pool] == [held]
        devnet.mine()
        assert devnet.chain.pool == []
        devnet.set_faults(lose_answers=1)
        with pytest.raises(ConnectionClosed):
            await send(3)
    assert len(devnet.chain.pool) == 1


async def test_outage_and_disconnect(devnet: Devnet, kupo: httpx.AsyncClient) -> None:
    async with connect(devnet.ogmios_url) as socket:
        devnet.set_faults(ogmios_down=True, kupo_down=True)
        with pytest.raises(ConnectionClosed):
            await rpc(socket, "queryNetwork/tip")
    with pytest.raises((OSError, InvalidMessage, InvalidStatus)):
        await connect(devnet.ogmios_url, open_timeout=5)
    with pytest.raises(httpx.TransportError):
        await kupo.get("/health")
    devnet.clear_faults()
    assert (await kupo.get("/health")).status_code == 200
    async with connect(devnet.ogmios_url) as socket:
        assert "result" in await rpc(socket, "queryNetwork/tip")
        devnet.disconnect()
        with pytest.raises(ConnectionClosed):
            await rpc(socket, "queryNetwork/tip")


async def test_hostile_requests_leave_the_connection(devnet: Devnet) -> None:
    async with connect(devnet.ogmios_url) as socket:
        for message in ("{", "[]", '"x"', '{"method": 3}', '{"method": "x", "params": 4}'):
            await socket.send(message)
            assert json.loads(await socket.recv())["error"]["code"] == -32600
        assert (await rpc(socket, "nothing"))["error"]["code"] == -32601
        for method in ("submitTransaction", "evaluateTransaction", "acquireLedgerState"):
            assert (await rpc(socket, method, transaction={"cbor": "zz"}))["error"]["code"] == -32602
        for cbor in ("", "9f" * 4_000, "84a0a0f5f6", "ff"):
            answer = await rpc(socket, "submitTransaction", transaction={"cbor": cbor})
            assert answer["error"]["code"] == -32602
        assert (await rpc(socket, "nextTransaction"))["error"]["code"] == 4000
        assert (await rpc(socket, "findIntersection", points=[{"slot": 1}]))["error"]["code"] == -32602
        assert "result" in await rpc(socket, "queryNetwork/tip")


async def test_control(devnet: Devnet) -> None:
    async with httpx.AsyncClient(base_url=devnet.control_url, trust_env=False, timeout=20) as client:
        before = (await client.get("/control/state")).json()
        moved = (await client.post("/control/time", json={"advance_ms": 60_000, "blocks": 3})).json()
        assert moved["now_ms"] == before["now_ms"] + 60_000
        assert (moved["tip"]["height"], moved["tip"]["slot"]) == (3, 60)
        paid = (await client.post("/control/faucet", json={"targets": {ADDRESS: 5 * ADA}})).json()
        assert paid["tip"]["height"] == 4
        undone = (await client.post("/control/rollback", json={"depth": 1})).json()
        assert undone["returned"] == [paid["tx_id"]] == undone["mempool"]
        gone = (await client.post("/control/forget", json={"tx_ids": undone["mempool"]})).json()
        assert gone["mempool"] == []
        fault = (await client.post("/control/fault", json={"refuse_submits": 2})).json()
        assert fault["faults"]["refuse_submits"] == 2
        clear = (await client.post("/control/fault", json={"clear": True})).json()
        assert clear["faults"]["refuse_submits"] == 0
        for name, body in (
            ("time", {"advance_ms": -1}),
            ("mine", {"blocks": "1"}),
            ("rollback", {"depth": 99}),
            ("fault", {"unknown": 1}),
            ("faucet", {"address": ADDRESS, "lovelace": 1}),
            ("faucet", {}),
        ):
            assert (await client.post(f"/control/{name}", json=body)).status_code == 400
        assert (await client.post("/control/nothing", json={})).status_code == 404


async def test_time_and_expiry(devnet: Devnet) -> None:
    """A transaction that expires in the mempool leaves it, and the judge begins again."""
    funded = devnet.faucet({ADDRESS: 10 * ADA})
    draft = paying(Ref(funded.id, 0), 10 * ADA)
    draft.invalid_after = devnet.tip.slot + 5
    assert isinstance(devnet.submit(draft.build()), Tx)
    devnet.advance(10_000)
    assert (devnet.chain.pool, devnet.tip.txs) == ([], ())
    again = paying(Ref(funded.id, 0), 10 * ADA)
    assert isinstance(devnet.submit(again.build()), Tx)
    devnet.mine()
    assert len(devnet.tip.txs) == 1


async def test_real_time_blocks() -> None:
    options = DevnetOptions(real_time=True, block_interval_ms=100)
    async with judged_devnet(options) as devnet:
        for _ in range(100):
            if devnet.tip.height >= 3:
                break
            await asyncio.sleep(0.05)
        assert devnet.tip.height >= 3
        assert devnet.now_slot() >= devnet.tip.slot


async def test_changed_parameters_are_not_judged() -> None:
    """The emulator's parameters are fixed: the judge says so and counts."""
    async with judged_devnet(DevnetOptions(params=Params(min_fee_constant=200_000))) as devnet:
        funded = devnet.faucet({ADDRESS: 10 * ADA})
        draft = Draft(
            [Ref(funded.id, 0)], [make_output(key_address(ALICE), 9_840_000)], fee=160_000, signers=[ALICE]
        )
        assert not isinstance(devnet.submit(draft.build()), Tx)
        assert devnet.judge is not None
        assert list(devnet.judge.report()["not_judged"].values()) == [2]


async def test_script_transactions_a_minute(devnet: Devnet) -> None:
    """At least 100 script transactions a minute, each judged and in a block of its own."""
    before = asyncio.get_running_loop().time()
    for _ in range(10):
        story(devnet)
    assert devnet.judge is not None
    await devnet.judge.settled()
    assert devnet.judge.report()["judged"] == 30
    assert asyncio.get_running_loop().time() - before < 12
