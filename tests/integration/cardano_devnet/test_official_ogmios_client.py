"""The official npm client of Ogmios drives the devnet: chain sync, rollback, ledger state, evaluate, submit."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from regtest.cardano import Devnet
from regtest.cardano.genesis import faucet_address
from regtest.cardano.transaction import Pointer, Ref, Tx
from regtest.cardano.views import address_text
from regtest.judge import install
from tests.support.devnet_drafts import (
    ALWAYS_V3,
    NEVER_V3,
    UNIT,
    Draft,
    key,
    key_address,
    make_output,
    script_address,
)

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ADA = 1_000_000
ALICE = key("alice")
ADDRESS = address_text(key_address(ALICE))


class Client:
    """Answers in the order asked; events are kept until they are awaited."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            row = json.loads(line)
            await (self._events if "event" in row else self._answers).put(row)

    async def _ask(self, name: str, args: tuple[Any, ...]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, "args": args}).encode() + b"\n")
        return await asyncio.wait_for(self._answers.get(), 20)

    async def __call__(self, name: str, *args: Any) -> Any:
        row = await self._ask(name, args)
        assert "answer" in row, row
        return row["answer"]

    async def refused(self, name: str, *args: Any) -> dict[str, Any]:
        row = await self._ask(name, args)
        assert "error" in row, row
        error: dict[str, Any] = row["error"].get("raw") or row["error"]
        return error

    async def event(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._events.get(), 20)

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 20)
        await self._reader


@asynccontextmanager
async def official(devnet: Devnet) -> AsyncIterator[Client]:
    node = shutil.which("node")
    assert node is not None
    script = Path(install.__file__).with_name("client.mjs")
    host, port = devnet.ogmios_url.removeprefix("ws://").split(":")
    process = await asyncio.create_subprocess_exec(
        node,
        str(script),
        str(install.home()),
        host,
        port,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    client = Client(process)
    try:
        yield client
    finally:
        await client.close()


def fund(devnet: Devnet) -> list[Ref]:
    tx = devnet.faucet([(ADDRESS, 50 * ADA), (ADDRESS, 50 * ADA), (ADDRESS, 10 * ADA)])
    return [Ref(tx.id, index) for index in range(3)]


def paying(ref: Ref, lovelace: int) -> Draft:
    return Draft([ref], [make_output(key_address(ALICE), lovelace - 300_000)], signers=[ALICE])


async def test_chain_sync_and_rollback(devnet: Devnet) -> None:
    refs = fund(devnet)
    async with official(devnet) as client:
        found = await client("resume", ["origin"], 5)
        assert found["intersection"] == "origin"
        assert (await client.event())["point"] == "origin"
        zero, first = await client.event(), await client.event()
        assert (zero["block"]["height"], zero["block"]["ancestor"]) == (0, "genesis")
        assert (first["block"]["height"], first["block"]["ancestor"]) == (1, zero["block"]["id"])
        assert first["block"]["transactions"][0]["cbor"] == devnet.tip.txs[0].raw.hex()
        raw = paying(refs[0], 50 * ADA).build()
        tx_id = await client("submitTransaction", raw.hex())
        devnet.mine(2)
        second, third = await client.event(), await client.event()
        assert [tx["id"] for tx in second["block"]["transactions"]] == [tx_id]
        assert third["block"]["ancestor"] == second["block"]["id"]
        undone = devnet.rollback(2)
        assert [tx.id.hex() for tx in undone.returned] == [tx_id]
        back = await client.event()
        assert back["event"] == "backward"
        assert back["point"] == {"slot": first["block"]["slot"], "id": first["block"]["id"]}
        devnet.mine()
        again = await client.event()
        assert [tx["id"] for tx in again["block"]["transactions"]] == [tx_id]
        assert again["block"]["id"] != second["block"]["id"]
        assert again["tip"]["height"] == 2


async def test_intersection_of_known_points_and_none(devnet: Devnet) -> None:
    devnet.mine(3)
    point = {"slot": devnet.tip.slot, "id": devnet.tip.hash.hex()}
    async with official(devnet) as client:
        strange = {"slot": 2, "id": "11" * 32}
        assert (await client.refused("resume", [strange], 1))["code"] == 1000
        found = await client("resume", [strange, point], 1)
        assert found["intersection"] == point


async def test_ledger_state(devnet: Devnet) -> None:
    refs = fund(devnet)
    async with official(devnet) as client:
        health = await client("health")
        assert (health["currentEra"], health["networkSynchronization"]) == ("conway", 1)
        params = await client("ledger.protocolParameters")
        assert params["maxExecutionUnitsPerTransaction"] == {"memory": 16_500_000, "cpu": 10_000_000_000}
        assert params["minFeeReferenceScripts"] == {"base": 15, "range": 25_600, "multiplier": 1.2}
        assert len(params["plutusCostModels"]["plutus:v3"]) == 297
        eras = await client("ledger.eraSummaries")
        assert (len(eras), eras[-1]["parameters"]["slotLength"]) == (7, {"milliseconds": 1_000})
        shelley = await client("ledger.genesisConfiguration", "shelley")
        assert (shelley["networkMagic"], shelley["securityParameter"]) == (42, 2_160)
        assert await client("ledger.networkBlockHeight") == 1
        assert (await client("ledger.ledgerTip"))["slot"] == devnet.tip.slot
        assert await client("ledger.networkTip") == await client("ledger.ledgerTip")
        by_address = await client("ledger.utxo", {"addresses": [ADDRESS]})
        assert sorted(row["value"]["ada"]["lovelace"] for row in by_address) == [10 * ADA, 50 * ADA, 50 * ADA]
        wanted = [{"transaction": {"id": refs[2].tx_id.hex()}, "index": 2}]
        by_reference = await client("ledger.utxo", {"outputReferences": wanted})
        assert [row["index"] for row in by_reference] == [2]
        assert by_reference[0]["address"] == ADDRESS


async def test_acquired_state_stands_still_and_expires(devnet: Devnet) -> None:
    devnet.mine(2)
    point = {"slot": devnet.tip.slot, "id": devnet.tip.hash.hex()}
    async with official(devnet) as client:
        await client("ledger.acquireLedgerState", point)
        fund(devnet)
        assert await client("ledger.utxo", {"addresses": [ADDRESS]}) == []
        devnet.rollback(2)
        # The official client resolves a query's error (2003 here) to nothing.
        assert await client("ledger.utxo", {"addresses": [ADDRESS]}) is None
        missing = await client.refused("ledger.acquireLedgerState", {"slot": 1, "id": "22" * 32})
        assert missing["code"] == 2000


def lock(devnet: Devnet, refs: list[Ref]) -> Tx:
    """Two script outputs, one of a script that always fails."""
    outputs = [
        make_output(script_address(ALWAYS_V3), 20 * ADA, datum=UNIT),
        make_output(script_address(NEVER_V3), 20 * ADA, datum=UNIT),
        make_output(key_address(ALICE), 60 * ADA - 300_000),
    ]
    locked = devnet.submit(Draft(refs[:2], outputs, signers=[ALICE]).build())
    assert isinstance(locked, Tx)
    devnet.mine()
    return locked


def unlocking(locked: Tx, refs: list[Ref], index: int) -> Draft:
    return Draft(
        inputs=[Ref(locked.id, index)],
        outputs=[make_output(key_address(ALICE), 20 * ADA - 300_000)],
        signers=[ALICE],
        collateral=[refs[2]],
        redeemers={Pointer(0, 0): (UNIT, 0, 0)},
        scripts=[(ALWAYS_V3, NEVER_V3)[index]],
        languages={3},
    )


async def test_evaluate_gives_exact_units(devnet: Devnet) -> None:
    refs = fund(devnet)
    locked = lock(devnet, refs)
    async with official(devnet) as client:
        draft = unlocking(locked, refs, 0)
        [row] = await client("evaluateTransaction", draft.build().hex())
        assert row["validator"] == {"purpose": "spend", "index": 0}
        units = (row["budget"]["memory"], row["budget"]["cpu"])
        short = [(units[0] - 1, units[1]), (units[0], units[1] - 1)]
        for mem, steps in short:
            draft.redeemers = {Pointer(0, 0): (UNIT, mem, steps)}
            assert (await client.refused("submitTransaction", draft.build().hex()))["code"] == 3136
        draft.redeemers = {Pointer(0, 0): (UNIT, *units)}
        tx_id = await client("submitTransaction", draft.build().hex())
        devnet.mine()
        assert devnet.tip.txs[0].id.hex() == tx_id
        failed = await client.refused("evaluateTransaction", unlocking(locked, refs, 1).build().hex())
        assert failed["code"] == 3010
        assert failed["data"][0]["validator"] == {"purpose": "spend", "index": 0}
        assert failed["data"][0]["error"]["code"] == 3012


async def test_evaluate_with_additional_outputs(devnet: Devnet) -> None:
    refs = fund(devnet)
    absent = Ref(bytes(32), 0)
    draft = Draft(
        [absent], [make_output(key_address(ALICE), 5 * ADA)], redeemers={Pointer(0, 0): (UNIT, 0, 0)}
    )
    draft.scripts, draft.languages, draft.collateral = [ALWAYS_V3], {3}, [refs[2]]
    extra: dict[str, Any] = {
        "transaction": {"id": "00" * 32},
        "index": 0,
        "address": address_text(script_address(ALWAYS_V3)),
        "value": {"ada": {"lovelace": 6 * ADA}, "aa" * 28: {"cafe": 3}},
        "datum": UNIT.hex(),
    }
    async with official(devnet) as client:
        assert (await client.refused("evaluateTransaction", draft.build().hex()))["code"] == 3117
        assert len(await client("evaluateTransaction", draft.build().hex(), [extra])) == 1
        extra["transaction"]["id"], extra["index"] = refs[0].tx_id.hex(), 0
        assert (await client.refused("evaluateTransaction", draft.build().hex(), [extra]))["code"] == 3002


async def test_refusals_and_mempool(devnet: Devnet) -> None:
    refs = fund(devnet)
    async with official(devnet) as client:
        draft = paying(refs[0], 50 * ADA)
        draft.fee -= 1
        wrong = await client.refused("submitTransaction", draft.build().hex())
        assert wrong["code"] == 3123
        assert wrong["data"]["valueConsumed"] == {"ada": {"lovelace": 50 * ADA}}
        assert (await client.refused("submitTransaction", "deadbeef"))["code"] == -32602
        raw = paying(refs[0], 50 * ADA).build()
        tx_id = await client("submitTransaction", raw.hex())
        assert (await client.refused("submitTransaction", raw.hex()))["code"] == 3997
        assert await client("mempool.acquireMempool") == devnet.tip.slot + 1
        assert await client("mempool.hasTransaction", tx_id) is True
        size = await client("mempool.sizeOfMempool")
        assert (size["transactions"]["count"], size["currentSize"]["bytes"]) == (1, len(raw))
        shown = await client("mempool.nextTransaction", {"fields": "all"})
        assert (shown["id"], shown["cbor"]) == (tx_id, raw.hex())
        assert await client("mempool.nextTransaction") is None
        await client("mempool.releaseMempool")
        devnet.mine()
        assert (await client.refused("submitTransaction", raw.hex()))["code"] == 3997
    assert address_text(faucet_address()).startswith("addr_test1v")
