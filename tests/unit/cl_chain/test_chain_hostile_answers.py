"""Ogmios and Kupo that are down, late, on another network, garbled, lying or far too long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from gateway.cl.chain.kupo import Kupo
from gateway.cl.chain.ogmios import Ogmios
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.chain.points import ORIGIN
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, SubmitRefused, SubmitUnknown
from gateway.errors import Refused
from gateway.units import Slot
from tests.support.chain_blocks import plain_tx

HASH = "ab" * 32
TIP = {"slot": 60, "id": HASH, "height": 3}
GENESIS = {"networkMagic": 42}
ERA = {
    "start": {"time": {"seconds": 0}, "slot": 0, "epoch": 0},
    "parameters": {"slotLength": {"milliseconds": 1000}},
}
GOOD: dict[str, Any] = {
    "queryNetwork/genesisConfiguration": GENESIS,
    "queryNetwork/startTime": "2026-01-01T00:00:00Z",
    "queryNetwork/blockHeight": 3,
    "queryNetwork/tip": {"slot": 60, "id": HASH},
    "queryLedgerState/eraSummaries": [ERA],
    "queryLedgerState/protocolParameters": {"minFeeCoefficient": 44},
    "queryLedgerState/utxo": [],
    "findIntersection": {"intersection": "origin", "tip": TIP},
    "nextBlock": {"direction": "backward", "point": "origin", "tip": TIP},
}


class Drop(Exception):
    """The server cuts the connection instead of an answer."""


@asynccontextmanager
async def ogmios(answers: dict[str, Any]) -> AsyncIterator[str]:
    """`answers`: method -> result, {"error": …}, raw text, an exception class, or None for silence.
    A list under nextBlock is played once, and then silence."""
    script = {**GOOD, **answers}

    async def handle(socket: ServerConnection) -> None:
        played = iter(script["nextBlock"] if isinstance(script["nextBlock"], list) else [])
        async for message in socket:
            request = json.loads(message)
            answer = script[request["method"]]
            if request["method"] == "nextBlock" and isinstance(answer, list):
                answer = next(played, None)
            if answer is None:
                continue
            if answer is Drop:
                socket.transport.abort()
                return
            if isinstance(answer, str) and not answer.startswith("20"):
                await socket.send(answer)
                continue
            reply = answer if isinstance(answer, dict) and "error" in answer else {"result": answer}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], **reply}))

    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def kupo(body: bytes | None, status: int = 200, checkpoint: str = "60") -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if body is not None:
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            head += f"X-Most-Recent-Checkpoint: {checkpoint}\r\n\r\n" if checkpoint else "\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()
        else:
            await reader.read()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def provider(
    answers: dict[str, Any], body: bytes | None = b"[]", **options: Any
) -> AsyncIterator[OgmiosKupo]:
    async with ogmios(answers) as ws, kupo(body, **options) as http:
        made = OgmiosKupo(
            Ogmios(ws, timeout_s=2.0, max_message=100_000),
            Kupo(http, timeout_s=2.0, max_answer=100_000),
            42,
        )
        try:
            yield made
        finally:
            await made.close()


async def refusal(work: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code, caught.value.rejection.field


async def first_events(made: OgmiosKupo, points: list[Point], count: int) -> list[Any]:
    events = []
    async for event in made.follow(points):
        events.append(event)
        if len(events) == count:
            break
    return events


ERROR = {"error": {"code": -32000, "message": "no"}}
TIP_ANSWERS = [
    ({"queryNetwork/tip": None}, "cl.chain.timeout", "queryNetwork/tip"),
    ({"queryNetwork/tip": Drop}, "cl.chain.provider_down", "ogmios"),
    ({"queryNetwork/tip": "garbage"}, "cl.chain.malformed", "ogmios"),
    ({"queryNetwork/tip": "[" * 50_000}, "cl.chain.malformed", "ogmios"),
    ({"queryNetwork/tip": "x" * 200_000}, "cl.chain.answer_too_large", "ogmios"),
    ({"queryNetwork/tip": ERROR}, "cl.chain.rpc_refused", "queryNetwork/tip"),
    ({"queryNetwork/tip": {"error": 5}}, "cl.chain.malformed", "queryNetwork/tip.error"),
    ({"queryNetwork/tip": {"slot": -1, "id": HASH}}, "cl.chain.malformed", "tip.slot"),
    ({"queryNetwork/tip": {"slot": True, "id": HASH}}, "cl.chain.malformed", "tip.slot"),
    ({"queryNetwork/tip": {"slot": 2**70, "id": HASH}}, "cl.chain.malformed", "tip.slot"),
    ({"queryNetwork/tip": {"slot": 1, "id": "xy"}}, "cl.chain.malformed", "tip.id"),
    ({"queryNetwork/tip": {"slot": 1, "id": "abcd"}}, "cl.chain.malformed", "tip.id"),
    ({"queryNetwork/tip": {"slot": 1}}, "cl.chain.malformed", "tip.id"),
    ({"queryNetwork/blockHeight": 1.5}, "cl.chain.malformed", "blockHeight"),
    ({"queryNetwork/genesisConfiguration": {"networkMagic": 1}}, "cl.chain.wrong_network", "network_magic"),
    ({"queryNetwork/genesisConfiguration": {}}, "cl.chain.malformed", "genesis.networkMagic"),
]


@pytest.mark.parametrize(("answers", "code", "field"), TIP_ANSWERS)
async def test_a_bad_answer_has_its_code_and_field(answers: dict[str, Any], code: str, field: str) -> None:
    async with provider(answers) as made:
        assert await refusal(made.tip()) == (code, field)


async def test_nobody_listens() -> None:
    made = OgmiosKupo(Ogmios("ws://127.0.0.1:1", timeout_s=2), Kupo("http://127.0.0.1:1", timeout_s=2), 42)
    assert (await refusal(made.tip()))[0] == "cl.chain.provider_down"
    assert (await refusal(made.kupo.health()))[0] == "cl.chain.provider_down"
    assert isinstance(await made.submit(plain_tx(1)), SubmitUnknown)
    assert (await refusal(first_events(made, [], 1)))[0] == "cl.chain.provider_down"
    await made.close()


@pytest.mark.parametrize("url", ["http://x", "127.0.0.1:1337", ""])
def test_an_address_of_the_wrong_kind(url: str) -> None:
    for make in (Ogmios, lambda text: Kupo(text.replace("http", "ftp"))):
        with pytest.raises(Refused) as caught:
            make(url)
        assert caught.value.rejection.code == "cl.chain.bad_url"


async def test_after_a_bad_answer_the_next_call_connects_anew() -> None:
    async with provider({"queryNetwork/startTime": "garbage"}) as made:
        assert (await made.tip()).height == 3
        assert (await refusal(made.params()))[0] == "cl.chain.malformed"
        assert (await made.tip()).height == 3


@pytest.mark.parametrize(
    ("era", "field"),
    [
        ({"parameters": {"slotLength": {"milliseconds": 0}}}, "parameters.slotLength.milliseconds"),
        ({"parameters": {"slotLength": {"milliseconds": "1"}}}, "parameters.slotLength.milliseconds"),
        ({"start": {"time": {"seconds": 0.0001}, "slot": 0}}, "start.time.seconds"),
        ({"start": {"time": {"seconds": -1}, "slot": 0}}, "start.time.seconds"),
        ({"start": {"time": {"seconds": 1e308}, "slot": 0}}, "start.time.seconds"),
        ({"end": {"slot": -1}}, "end.slot"),
    ],
)
async def test_a_bad_era_names_its_field(era: dict[str, Any], field: str) -> None:
    async with provider({"queryLedgerState/eraSummaries": [{**ERA, **era}]}) as made:
        assert await refusal(made.params()) == ("cl.chain.malformed", f"eraSummaries[0].{field}")


async def test_a_tip_may_not_go_back_further_than_k() -> None:
    answers: dict[str, Any] = {"queryNetwork/blockHeight": 5000}
    async with provider(answers) as made:
        assert (await made.tip()).height == 5000
    async with ogmios({}) as ws, kupo(b"[]") as http:
        other = OgmiosKupo(Ogmios(ws), Kupo(http), 42)
        other._highest = 5000
        assert await refusal(other.tip()) == ("cl.chain.backwards", "tip.height")
        await other.close()


def match(**changes: Any) -> dict[str, Any]:
    return {
        "transaction_index": 0,
        "transaction_id": HASH,
        "output_index": 0,
        "address": "addr_test1x",
        "value": {"coins": 5, "assets": {}},
        "datum_hash": None,
        "script_hash": None,
        "created_at": {"slot_no": 20, "header_hash": HASH},
        "spent_at": None,
        **changes,
    }


KUPO_ANSWERS: list[tuple[bytes | None, dict[str, Any], str, str]] = [
    (None, {}, "cl.chain.timeout", "/matches/addr"),
    (b"{", {}, "cl.chain.malformed", "kupo"),
    (b"{}", {}, "cl.chain.malformed", "matches"),
    (b"x" * 200_000, {}, "cl.chain.answer_too_large", "/matches/addr"),
    (b"oops", {"status": 400}, "cl.chain.rpc_refused", "/matches/addr"),
    (b"", {"status": 503}, "cl.chain.provider_down", "kupo"),
    (b"[]", {"checkpoint": ""}, "cl.chain.malformed", "X-Most-Recent-Checkpoint"),
    (b"[]", {"checkpoint": "-1"}, "cl.chain.malformed", "X-Most-Recent-Checkpoint"),
    *(
        (json.dumps([match(**changes)]).encode(), {}, "cl.chain.malformed", f"matches[0].{field}")
        for changes, field in (
            ({"transaction_id": "00"}, "transaction_id"),
            ({"output_index": 70_000}, "output_index"),
            ({"value": {"coins": "5", "assets": {}}}, "value.coins"),
            ({"value": {"coins": 5, "assets": {"00": 1}}}, "value.assets"),
            ({"value": {"coins": 5}}, "value.assets"),
            ({"datum_hash": HASH, "datum_type": "inline", "datum": None}, "datum"),
            ({"datum_hash": "00", "datum_type": "hash"}, "datum_hash"),
            ({"script_hash": "00" * 28}, "script"),
            ({"script_hash": "00" * 28, "script": {"language": "c", "script": ""}}, "script.language"),
            ({"created_at": None}, "created_at"),
            ({"spent_at": {}}, "spent_at"),
        )
    ),
]


@pytest.mark.parametrize(("body", "options", "code", "field"), KUPO_ANSWERS)
async def test_a_bad_match_has_its_code_and_field(
    body: bytes | None, options: dict[str, Any], code: str, field: str
) -> None:
    async with provider({}, body, **options) as made:
        assert await refusal(made.utxos_at("addr")) == (code, field)


async def test_an_index_that_stays_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cl.chain.ogmios_kupo.KUPO_GRACE_S", 0.0)
    async with provider({}, checkpoint="59") as made:
        assert await made.utxos_at("addr") == ()  # the node's block has only just come
        assert await refusal(made.utxos_at("addr")) == ("cl.chain.lagging", "kupo.checkpoint")


async def test_what_the_node_does_not_hold_is_dropped_and_what_differs_is_refused() -> None:
    body = json.dumps([match()]).encode()
    held = {
        "transaction": {"id": HASH},
        "index": 0,
        "address": "addr_test1x",
        "value": {"ada": {"lovelace": 5}},
    }
    ref = OutputRef(bytes.fromhex(HASH), 0)
    async with provider({"queryLedgerState/utxo": []}, body) as made:
        assert await made.utxos_by_ref([ref]) == ()
    async with provider({"queryLedgerState/utxo": [held]}, body) as made:
        assert [u.lovelace.value for u in await made.utxos_by_ref([ref, ref])] == [5]
    for change in (
        {"value": {"ada": {"lovelace": 4}}},
        {"value": {"ada": {"lovelace": 5}, "00" * 28: {"": 1}}},
        {"address": "addr_test1y"},
        {"datum": "00"},
    ):
        async with provider({"queryLedgerState/utxo": [{**held, **change}]}, body) as made:
            code, _ = await refusal(made.utxos_by_ref([ref]))
            assert code == "cl.chain.inconsistent"


def forward(**changes: Any) -> dict[str, Any]:
    block = {
        "type": "praos", "era": "conway", "id": HASH, "ancestor": "genesis", "height": 1, "slot": 20,
        "transactions": [], **changes,
    }  # fmt: skip
    return {"direction": "forward", "block": block, "tip": TIP}


BACK = {"direction": "backward", "point": "origin", "tip": TIP}
RAW = plain_tx("x")
OTHER = {"id": HASH, "ancestor": "cd" * 32, "height": 2, "slot": 40}
BLOCKS = [
    ([BACK, forward(slot="20")], "cl.chain.malformed", "block.slot"),
    ([BACK, forward(id="20")], "cl.chain.malformed", "block.id"),
    ([BACK, forward(height=None)], "cl.chain.malformed", "block.height"),
    ([BACK, {"direction": "forward", "tip": TIP}], "cl.chain.malformed", "nextBlock.block"),
    (
        [BACK, forward(transactions=[{"id": HASH}])],
        "cl.chain.no_transaction_cbor",
        "block.transactions[0].cbor",
    ),
    (
        [BACK, forward(transactions=[{"id": HASH, "cbor": RAW.hex()}])],
        "cl.chain.inconsistent",
        "block.transactions[0].id",
    ),
    ([BACK, forward(transactions=[{"id": HASH, "cbor": "84"}])], "cl.chain.malformed", "transaction"),
    ([BACK, forward(transactions=5)], "cl.chain.malformed", "block.transactions"),
    ([BACK, forward(), forward(**OTHER)], "cl.chain.inconsistent", "block.ancestor"),
    ([BACK, "garbage"], "cl.chain.malformed", "ogmios"),
    ([BACK, Drop], "cl.chain.provider_down", "ogmios"),
    ([BACK, ERROR], "cl.chain.rpc_refused", "nextBlock"),
    ([BACK, "y" * 200_000], "cl.chain.answer_too_large", "ogmios"),
]


@pytest.mark.parametrize(("played", "code", "field"), BLOCKS)
async def test_a_bad_block_ends_the_stream_with_its_code(played: list[Any], code: str, field: str) -> None:
    async with provider({"nextBlock": played}) as made:
        assert await refusal(first_events(made, [], len(played))) == (code, field)


@pytest.mark.parametrize(
    ("tip", "code"),
    [
        (TIP, "cl.chain.no_intersection"),
        ({**TIP, "slot": 10}, "cl.chain.lagging"),
        ("origin", "cl.chain.lagging"),
        (None, "cl.chain.malformed"),
    ],
)
async def test_a_provider_without_our_blocks_is_behind_or_on_another_chain(tip: Any, code: str) -> None:
    data = {"tip": tip} if tip is not None else None
    error = {"error": {"code": 1000, "message": "No intersection", "data": data}}
    async with provider({"findIntersection": error}) as made:
        ours = [Point(Slot(40), bytes(32)), ORIGIN]
        assert (await refusal(first_events(made, ours, 1)))[0] == code


SUBMISSIONS = [
    ({"error": {"code": 3117, "message": "unknown"}}, SubmitRefused, "cl.chain.inputs_spent"),
    (
        {
            "error": {
                "code": 3997,
                "message": "m",
                "data": {"error": "All inputs are spent. Perhaps included"},
            }
        },
        SubmitRefused,
        "cl.chain.inputs_spent",
    ),
    ({"error": {"code": 3997, "message": "mempool is full"}}, SubmitUnknown, "cl.chain.mempool"),
    ({"error": {"code": 3118, "message": "outside"}}, SubmitRefused, "cl.chain.submit_refused"),
    ({"error": {"code": -32602, "message": "decode"}}, SubmitRefused, "cl.chain.submit_refused"),
    ({"error": {"code": -32603, "message": "internal"}}, SubmitUnknown, "cl.chain.rpc_refused"),
    (Drop, SubmitUnknown, "cl.chain.provider_down"),
    (None, SubmitUnknown, "cl.chain.timeout"),
    ("garbage", SubmitUnknown, "cl.chain.malformed"),
    ({"transaction": {"id": HASH}}, SubmitUnknown, "cl.chain.inconsistent"),
    ({"transaction": {}}, SubmitUnknown, "cl.chain.malformed"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), SUBMISSIONS)
async def test_only_the_ledgers_own_no_is_a_refusal(answer: Any, kind: type, code: str) -> None:
    async with provider({"submitTransaction": answer}) as made:
        result = await made.submit(RAW)
        assert type(result) is kind
        assert isinstance(result, SubmitRefused | SubmitUnknown)
        assert result.rejection.code == code
        if isinstance(result, SubmitRefused):
            assert result.inputs_spent == (code == "cl.chain.inputs_spent")


async def test_late_answers_are_not_taken_for_later_questions() -> None:
    """The first question times out; its answer comes while the second one waits."""
    held: list[tuple[ServerConnection, Any]] = []

    async def handle(socket: ServerConnection) -> None:
        async for message in socket:
            request = json.loads(message)
            if not held:
                held.append((socket, request["id"]))
                continue
            for number, result in ((held[0][1], "late"), (request["id"], "right")):
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}))

    async with serve(handle, "127.0.0.1", 0) as server:
        client = Ogmios(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", timeout_s=0.3)
        assert (await refusal(client.call("first")))[0] == "cl.chain.timeout"
        assert await client.call("second") == "right"
        await client.close()
