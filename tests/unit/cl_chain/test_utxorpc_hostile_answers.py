"""A UTxO RPC server that is down, late, on another network, garbled, limiting us, lying or far too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.blockcbor import read_block
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.chain.u5c_link import U5cLink
from gateway.cl.chain.u5c_messages import MESSAGES, METHODS
from gateway.cl.chain.utxorpc import UtxoRpc
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, SubmitRefused, Submitted, SubmitUnknown
from gateway.errors import Refused
from gateway.units import Slot
from regtest.cardano.cbor import array, octets, uint
from regtest.cardano.chain import Block, block_cbor, block_hash, body_parts, header_cbor
from regtest.cardano.transaction import Tx, decode_tx
from tests.support.chain_blocks import STRANGER, plain_tx

RAW, MORE = plain_tx("x"), plain_tx("y")
TX = transaction_id(RAW)
HOME = address_text(STRANGER)
REF = OutputRef(TX, 0)
START_MS = 1_000_000_000


def made(height: int, parent: Block | None, *txs: Tx) -> Block:
    before = bytes(32) if parent is None else parent.hash
    return Block(20 * height, height, block_hash(before, height, 20 * height, 0, txs), parent, 0, txs)


B0 = made(0, None)
B1 = made(1, B0, decode_tx(RAW), decode_tx(MORE))
B2 = made(2, B1)


def ref(block: Block, **changes: Any) -> dict[str, Any]:
    moment = START_MS + block.slot * 1_000
    return {"slot": block.slot, "hash": block.hash, "height": block.height, "timestamp": moment, **changes}


def shown(block: Block, raw: bytes | None = None, **changes: Any) -> dict[str, Any]:
    cardano = {"timestamp": START_MS + block.slot * 1_000, **changes}
    return {"native_bytes": block_cbor(block) if raw is None else raw, "cardano": cardano}


GENESIS = {"network_magic": 42, "slot_length": 1, "system_start": "1970-01-12T13:46:40Z"}
PARAMS: dict[str, Any] = {
    "coins_per_utxo_byte": {"int": 4310}, "max_tx_size": 16_384, "min_fee_coefficient": {"int": 44},
    "min_fee_constant": {"big_u_int": b"\x02\x5e\xf5"}, "max_value_size": 5_000, "collateral_percentage": 150,
    "max_collateral_inputs": 3, "cost_models": {"plutus_v3": {"values": [1, 2, -3]}},
    "prices": {"memory": {"numerator": 577, "denominator": 10_000}, "steps": {"numerator": 1, "denominator": 2}},
    "max_execution_units_per_transaction": {"memory": 5, "steps": 6},
    "min_fee_script_ref_cost_per_byte": {"numerator": 15, "denominator": 1},
}  # fmt: skip
ITEM = {"txo_ref": {"hash": TX, "index": 0}}
GOOD: dict[str, Any] = {
    "ReadTip": {"tip": ref(B2)},
    "ReadGenesis": {"cardano": GENESIS},
    "ReadParams": {"values": {"cardano": PARAMS}},
    "SearchUtxos": {"items": [ITEM]},
    "ReadUtxos": {"items": [ITEM]},
    "ReadTx": {"tx": {"native_bytes": RAW, "block_ref": ref(B1)}},
    "SubmitTx": {"ref": TX},
    "DumpHistory": {"block": [shown(B0), shown(B1)]},
    "FetchBlock": {"block": [shown(B1)]},
}


class Silence:
    """No answer."""


def _serve(server: grpc.aio.Server, answers: dict[str, Any], asked: list[str]) -> None:
    def handler(name: str, told: str) -> Any:
        async def work(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
            asked.append(name)
            answer = answers[name]
            if answer is Silence:
                await asyncio.sleep(5)
            if isinstance(answer, tuple):
                await context.abort(*answer)
            if isinstance(answer, bytes):
                return answer
            return bytes(MESSAGES[told](**answer).SerializeToString())

        return grpc.unary_unary_rpc_method_handler(work)

    for name, (path, _, told) in METHODS.items():
        _, service, method = path.split("/")
        handlers = {method: handler(name, told)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


@asynccontextmanager
async def provider(answers: dict[str, Any]) -> AsyncIterator[tuple[UtxoRpc, list[str]]]:
    asked: list[str] = []
    server = grpc.aio.server()
    _serve(server, {**GOOD, **answers}, asked)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    made_ = UtxoRpc(
        U5cLink(f"http://127.0.0.1:{port}", "u5c", timeout_s=1.0, max_answer=100_000), 42, poll_s=0.001
    )
    try:
        yield made_, asked
    finally:
        await made_.close()
        await server.stop(None)


async def refusal(work: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code, caught.value.rejection.field


async def take(provider_: UtxoRpc, points: list[Point], count: int) -> list[Any]:
    events: list[Any] = []
    async for event in provider_.follow(points):
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_the_script_is_an_honest_one() -> None:
    """Else nothing below proves anything."""
    async with provider({}) as (u5c, _):
        assert (await u5c.tip()).height == 2
        (utxo,) = await u5c.utxos_at(HOME)
        assert (utxo.lovelace.value, utxo.created_at) == (9, Point(Slot(20), B1.hash))
        assert await u5c.utxos_by_ref([REF, REF]) == (utxo,)
        params = await u5c.params()
        assert params.protocol["minFeeConstant"] == {"ada": {"lovelace": 155_381}}
        assert params.protocol["scriptExecutionPrices"] == {"memory": "577/10000", "cpu": "1/2"}
        assert await u5c.submit(RAW) == Submitted(TX)
        assert (await take(u5c, [], 3))[2].block.transactions == (RAW, MORE)


CODE = grpc.StatusCode
TIPS = [
    (Silence, "cl.chain.timeout", "ReadTip"),
    ((CODE.UNAVAILABLE, "gone"), "cl.chain.provider_down", "u5c"),
    ((CODE.INTERNAL, "oops"), "cl.chain.provider_down", "u5c"),
    ((CODE.UNIMPLEMENTED, "what?"), "cl.chain.rpc_refused", "ReadTip"),
    ((CODE.INVALID_ARGUMENT, "what?"), "cl.chain.rpc_refused", "ReadTip"),
    ((CODE.RESOURCE_EXHAUSTED, "slow down"), "cl.chain.rate_limited", "u5c"),
    ((CODE.UNAUTHENTICATED, "who?"), "cl.chain.key_refused", "u5c"),
    ((CODE.PERMISSION_DENIED, "no"), "cl.chain.key_refused", "u5c"),
    ((CODE.NOT_FOUND, "none"), "cl.chain.malformed", "ReadTip"),
    (b"\xff\xff\xff garbage", "cl.chain.malformed", "ReadTip"),
    (b"\x0a\xff", "cl.chain.malformed", "ReadTip"),  # truncated
    (b"\x0a" + b"x" * 200_000, "cl.chain.answer_too_large", "ReadTip"),
    ({"tip": ref(B2, hash=b"short")}, "cl.chain.malformed", "tip.hash"),
]


@pytest.mark.parametrize(("answer", "code", "field"), TIPS)
async def test_a_bad_tip_has_its_code_and_field(answer: Any, code: str, field: str) -> None:
    async with provider({"ReadTip": answer}) as (u5c, _):
        assert await refusal(u5c.tip()) == (code, field)


async def test_nobody_listens() -> None:
    u5c = UtxoRpc(U5cLink("http://127.0.0.1:1", "u5c", timeout_s=2), 42)
    assert (await refusal(u5c.tip()))[0] == "cl.chain.provider_down"
    assert isinstance(await u5c.submit(RAW), SubmitUnknown)
    await u5c.close()


@pytest.mark.parametrize(
    ("genesis", "code", "field"),
    [
        ({**GENESIS, "network_magic": 1}, "cl.chain.wrong_network", "network_magic"),
        ({**GENESIS, "slot_length": 0}, "cl.chain.malformed", "genesis.slot_length"),
        ({**GENESIS, "system_start": "soon"}, "cl.chain.malformed", "genesis.system_start"),
    ],
)
async def test_nothing_is_asked_of_another_network(genesis: Any, code: str, field: str) -> None:
    async with provider({"ReadGenesis": {"cardano": genesis}}) as (u5c, asked):
        assert await refusal(u5c.utxos_at(HOME)) == (code, field)
        assert await refusal(take(u5c, [], 1)) == (code, field)
        assert isinstance(await u5c.submit(RAW), SubmitUnknown)
        assert set(asked) == {"ReadGenesis"}


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(
    ("answers", "code", "field"),
    [
        ({"SearchUtxos": {"items": [ITEM, ITEM]}}, "cl.chain.inconsistent", f"utxo {REF}"),
        ({"SearchUtxos": {"items": [ITEM], "next_token": "1"}}, "cl.chain.inconsistent", f"utxo {REF}"),
        (
            {"SearchUtxos": {"items": [{"txo_ref": {"hash": b"x"}}]}},
            "cl.chain.malformed",
            "SearchUtxos.txo_ref",
        ),
        ({"SearchUtxos": {"items": [{}]}}, "cl.chain.malformed", "SearchUtxos.txo_ref"),
        ({"ReadTx": {"tx": {"native_bytes": MORE}}}, "cl.chain.inconsistent", "transaction.id"),
        ({"ReadTx": {"tx": {"native_bytes": b"\x84"}}}, "cl.chain.malformed", "transaction"),
        ({"ReadTx": (CODE.NOT_FOUND, "none")}, "cl.chain.inconsistent", f"utxo {REF}"),
    ],
)
async def test_a_bad_list_has_its_code_and_field(answers: dict[str, Any], code: str, field: str) -> None:
    async with provider(answers) as (u5c, _):
        assert await refusal(u5c.utxos_at(HOME)) == (code, field)


async def test_an_output_of_another_address_is_named_and_one_that_is_spent_not_shown() -> None:
    async with provider({"ReadUtxos": {}}) as (u5c, _):
        other = address_text(bytes([0x60]) + bytes(28))
        assert await refusal(u5c.utxos_at(other)) == ("cl.chain.inconsistent", f"utxo {REF}.address")
        assert await u5c.utxos_by_ref([REF]) == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"coins_per_utxo_byte": {"int": 0}}, "coins_per_utxo_byte"),
        ({"min_fee_constant": {"int": -1}}, "min_fee_constant"),
        ({"min_fee_constant": {"big_u_int": b"\xff" * 9}}, "min_fee_constant"),
        ({"prices": {"memory": {"numerator": 1}}}, "prices.memory"),
        ({"max_tx_size": 0}, "max_tx_size"),
    ],
)
async def test_a_bad_parameter_names_itself(change: dict[str, Any], field: str) -> None:
    async with provider({"ReadParams": {"values": {"cardano": {**PARAMS, **change}}}}) as (u5c, _):
        assert await refusal(u5c.params()) == ("cl.chain.malformed", f"parameters.{field}")


def history(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"DumpHistory": {"block": list(blocks)}}


ROBBED = made(1, B0, decode_tx(RAW))
WHOLE = block_cbor(B1)
BLOCKS: list[tuple[dict[str, Any], str, str]] = [
    (history(shown(B0, b"garbage")), "cl.chain.malformed", "block"),
    (history(shown(B0, b"")), "cl.chain.malformed", "block"),
    (history(shown(B0, WHOLE[:-40])), "cl.chain.malformed", "block"),
    (history(shown(B0, timestamp=5)), "cl.chain.inconsistent", "block.time"),
    (history(shown(B0), shown(B2)), "cl.chain.inconsistent", "block.parent"),
    (history(shown(B0), shown(B0)), "cl.chain.inconsistent", "block.parent"),
]  # fmt: skip


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(("answers", "code", "field"), BLOCKS)
async def test_a_bad_block_ends_the_stream_with_its_code(
    answers: dict[str, Any], code: str, field: str
) -> None:
    async with provider(answers) as (u5c, _):
        assert await refusal(take(u5c, [], 9)) == (code, field)


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
def test_a_body_that_is_not_the_headers_is_refused() -> None:
    header = header_cbor(B0.hash, 1, 20, 0, B1.txs)
    honest = array([uint(7), array([header, *body_parts(B1.txs)])])
    assert read_block(honest).transactions == (RAW, MORE)
    assert read_block(honest[2:]).transactions == (RAW, MORE)  # bare
    for txs in (ROBBED.txs, (), B1.txs[::-1]):
        with pytest.raises(Refused) as caught:
            read_block(array([uint(7), array([header, *body_parts(txs)])]))
        assert caught.value.rejection.code == "cl.chain.inconsistent"
    forged = header_cbor(B0.hash, 1, 20, 0, ROBBED.txs)
    assert read_block(array([uint(7), array([forged, *body_parts(ROBBED.txs)])])).point.block_hash != B1.hash
    for bad in (octets(b"x"), array([]), array([uint(7), array([header])]), b"\x9f", honest[:90]):
        with pytest.raises(Refused) as caught:
            read_block(bad)
        assert caught.value.rejection.code == "cl.chain.malformed"


@pytest.mark.parametrize(("slot", "code"), [(90, "cl.chain.no_intersection"), (10, "cl.chain.lagging")])
async def test_a_provider_without_our_blocks_is_behind_or_on_another_chain(slot: int, code: str) -> None:
    answers = {"ReadTip": {"tip": ref(B2, slot=slot)}, "FetchBlock": (CODE.NOT_FOUND, "none")}
    async with provider(answers) as (u5c, _):
        ours = Point(Slot(40), bytes(32))
        assert (await refusal(take(u5c, [ours], 1)))[0] == code
        assert (await take(u5c, [ours, ORIGIN], 1))[0].to is None


SUBMISSIONS: list[tuple[Any, type, str]] = [
    ((CODE.INVALID_ARGUMENT, "ApplyTxError BadInputsUTxO"), SubmitRefused, "cl.chain.inputs_spent"),
    ((CODE.FAILED_PRECONDITION, "ApplyTxError FeeTooSmall"), SubmitRefused, "cl.chain.submit_refused"),
    ((CODE.INVALID_ARGUMENT, "mempool is full"), SubmitUnknown, "cl.chain.mempool"),
    ((CODE.INVALID_ARGUMENT, "what?"), SubmitUnknown, "cl.chain.rpc_refused"),
    ((CODE.INTERNAL, "ApplyTxError BadInputsUTxO"), SubmitUnknown, "cl.chain.provider_down"),
    ((CODE.NOT_FOUND, ""), SubmitUnknown, "cl.chain.rpc_refused"),
    ({"ref": b"\x01" * 32}, SubmitUnknown, "cl.chain.inconsistent"),
    ({}, SubmitUnknown, "cl.chain.inconsistent"),
    (Silence, SubmitUnknown, "cl.chain.timeout"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), SUBMISSIONS)
async def test_only_the_ledgers_own_no_is_a_refusal(answer: Any, kind: type, code: str) -> None:
    async with provider({"SubmitTx": answer}) as (u5c, _):
        result = await u5c.submit(RAW)
        assert type(result) is kind
        assert isinstance(result, SubmitRefused | SubmitUnknown)
        assert result.rejection.code == code
