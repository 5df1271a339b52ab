"""A Koios that is down, late, on another network, garbled, limiting us, lying or far too long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.koios import Koios
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, SubmitRefused, Submitted, SubmitUnknown
from gateway.errors import Refused
from gateway.units import Slot
from tests.support.chain_blocks import STRANGER, plain_tx
from tests.support.scripted_http import Drop, Played, Raw, Script, scripted

RAW, MORE = plain_tx("x"), plain_tx("y")
TX, SECOND = transaction_id(RAW).hex(), transaction_id(MORE).hex()
HOME = address_text(STRANGER)
REF = OutputRef(bytes.fromhex(TX), 0)


def digest(number: int) -> str:
    return f"{number:02x}" * 32


def block(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "hash": digest(number),
        "abs_slot": 20 * number,
        "epoch_no": 0,
        "block_height": number,
        "block_time": 1_000_000 + 20 * number,
        "tx_count": 0,
        "parent_hash": digest(number - 1) if number else None,
        **changes,
    }


UTXO = {
    "tx_hash": TX, "tx_index": 0, "address": HOME, "value": "9", "block_height": 3, "is_spent": False,
}  # fmt: skip
CBOR = {"tx_hash": TX, "block_hash": digest(3), "block_height": 3, "absolute_slot": 60, "cbor": RAW.hex()}
OTHER = {**CBOR, "tx_hash": SECOND, "cbor": MORE.hex()}
PARAMETERS = {
    "min_fee_a": 44, "min_fee_b": 155_381, "max_tx_size": 16_384, "protocol_major": 10, "protocol_minor": 0,
    "cost_models": {"PlutusV3": [1, 2, -3]}, "price_mem": 0.0577, "price_step": 7.21e-05, "max_tx_ex_mem": 16_500_000,
    "max_tx_ex_steps": 10_000_000_000, "max_block_ex_mem": 72_000_000, "max_block_ex_steps": 20_000_000_000,
    "max_val_size": 5_000, "collateral_percent": 150, "max_collateral_inputs": 3, "coins_per_utxo_size": "4310",
    "min_fee_ref_script_cost_per_byte": 15,
}  # fmt: skip
GENESIS = {"networkmagic": "42", "systemstart": 1_000_000, "slotlength": "1"}
GOOD: dict[str, Any] = {
    "/genesis": [GENESIS],
    "/tip": [block(3)],
    "/epoch_params": [PARAMETERS],
    "/address_utxos": [UTXO],
    "/utxo_info": [UTXO],
    "/tx_cbor": [CBOR],
    "/submittx": Raw(f'"{TX}"'.encode(), 202),
    "/blocks": [],
}


@asynccontextmanager
async def provider(answers: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Koios, Script]]:
    async with scripted({**GOOD, **answers}) as script:
        http = JsonHttp(script.url, "koios", timeout_s=0.5, max_answer=500_000, **options)
        made = Koios(http, 42, poll_s=0.001)
        try:
            yield made, script
        finally:
            await made.close()


async def refusal(work: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code, caught.value.rejection.field


async def take(made: Koios, points: list[Point], count: int) -> list[Any]:
    events: list[Any] = []
    async for event in made.follow(points):
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_the_script_is_an_honest_one() -> None:
    """Else nothing below proves anything."""
    async with provider({}) as (made, _):
        (utxo,) = await made.utxos_at(HOME)
        assert (utxo.lovelace.value, utxo.created_at) == (9, (await made.tip()).point)
        assert await made.utxos_by_ref([REF, REF]) == (utxo,)
        assert (await made.params()).protocol["scriptExecutionPrices"] == {
            "memory": "0.0577",
            "cpu": "7.21e-05",
        }
        assert await made.submit(RAW) == Submitted(bytes.fromhex(TX))


TIPS = [
    (Raw(None), "cl.chain.timeout", "/tip"),
    (Drop, "cl.chain.provider_down", "koios"),
    (Raw(b'[{"hash"', cut=4), "cl.chain.provider_down", "koios"),
    (Raw(b"garbage"), "cl.chain.malformed", "/tip"),
    (Raw(b"[" * 50_000), "cl.chain.malformed", "/tip"),
    (Raw(b"x" * 600_000), "cl.chain.answer_too_large", "/tip"),
    (Raw(b"{}", 503), "cl.chain.provider_down", "koios"),
    (Raw(b"{}", 401), "cl.chain.key_refused", "koios"),
    (Raw(b"{}", 429), "cl.chain.rate_limited", "koios"),
    (Raw(b"{}", 413), "cl.chain.rpc_refused", "/tip"),
    ([], "cl.chain.malformed", "tip"),
    ([block(3), block(3)], "cl.chain.malformed", "tip"),
    ({}, "cl.chain.malformed", "tip"),
    ([block(3, abs_slot="60")], "cl.chain.malformed", "tip.abs_slot"),
    ([block(3, hash="00")], "cl.chain.malformed", "tip.hash"),
    ([block(3, block_height=None)], "cl.chain.malformed", "tip.block_height"),
]


@pytest.mark.parametrize(("answer", "code", "field"), TIPS)
async def test_a_bad_tip_has_its_code_and_field(answer: Any, code: str, field: str) -> None:
    async with provider({"/tip": answer}) as (made, _):
        assert await refusal(made.tip()) == (code, field)


@pytest.mark.parametrize(
    ("genesis", "code", "field"),
    [
        ([{**GENESIS, "networkmagic": "1"}], "cl.chain.wrong_network", "network_magic"),
        ([{**GENESIS, "networkmagic": None}], "cl.chain.malformed", "genesis.networkmagic"),
        ([{**GENESIS, "slotlength": "0"}], "cl.chain.malformed", "genesis.slotlength"),
        ([{**GENESIS, "systemstart": "x"}], "cl.chain.malformed", "genesis.systemstart"),
        ([], "cl.chain.malformed", "genesis"),
    ],
)
async def test_nothing_is_asked_of_another_network(genesis: Any, code: str, field: str) -> None:
    async with provider({"/genesis": genesis}) as (made, script):
        assert await refusal(made.utxos_at(HOME)) == (code, field)
        assert await refusal(take(made, [], 1)) == (code, field)
        assert isinstance(await made.submit(RAW), SubmitUnknown)
        assert set(script.asked) == {"/genesis"}


async def test_a_tip_may_not_go_back_further_than_k() -> None:
    async with provider({"/tip": Played([[block(3, block_height=5_000)], [block(3)]])}) as (made, _):
        await made.tip()
        assert await refusal(made.tip()) == ("cl.chain.backwards", "tip.height")


LISTS: list[tuple[dict[str, Any], str, str]] = [
    ({"/address_utxos": {}}, "cl.chain.malformed", "/address_utxos"),
    ({"/address_utxos": [UTXO, UTXO]}, "cl.chain.inconsistent", "/address_utxos[1]"),
    (
        {"/address_utxos": [{**UTXO, "address": "addr_test1other"}]},
        "cl.chain.inconsistent",
        "utxos[0].address",
    ),
    ({"/address_utxos": [{**UTXO, "value": "8"}]}, "cl.chain.inconsistent", f"utxo {REF}.lovelace"),
    ({"/address_utxos": [{**UTXO, "value": 9}]}, "cl.chain.malformed", "utxos[0].value"),
    ({"/address_utxos": [{**UTXO, "tx_index": -1}]}, "cl.chain.malformed", "/address_utxos[0].tx_index"),
    (
        {"/address_utxos": [{**UTXO, "tx_index": 7}]},
        "cl.chain.inconsistent",
        f"utxo {OutputRef(REF.tx_id, 7)}",
    ),
    ({"/tx_cbor": []}, "cl.chain.inconsistent", f"utxo {REF}"),
    ({"/tx_cbor": [{**CBOR, "cbor": MORE.hex()}]}, "cl.chain.inconsistent", "transaction.id"),
    ({"/tx_cbor": [{**CBOR, "cbor": "84"}]}, "cl.chain.malformed", "transaction"),
    ({"/tx_cbor": [{**CBOR, "absolute_slot": None}]}, "cl.chain.malformed", "tx.absolute_slot"),
]


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(("answers", "code", "field"), LISTS)
async def test_a_bad_list_has_its_code_and_field(answers: dict[str, Any], code: str, field: str) -> None:
    async with provider(answers) as (made, _):
        assert await refusal(made.utxos_at(HOME)) == (code, field)


async def test_pages_that_repeat_for_ever_end_with_a_code() -> None:
    page = [{**UTXO, "tx_index": n} for n in range(1_000)]
    async with provider({"/address_utxos": page}) as (made, script):
        assert await refusal(made.utxos_at(HOME)) == ("cl.chain.inconsistent", "/address_utxos[0]")
        assert len(script.asked) < 20


async def test_a_spent_output_is_not_shown_by_reference_nor_one_that_nobody_asked_for() -> None:
    for row in ({**UTXO, "is_spent": True}, {**UTXO, "is_spent": None}, {**UTXO, "tx_index": 1}):
        async with provider({"/utxo_info": [row]}) as (made, _):
            assert await made.utxos_by_ref([REF]) == ()


@pytest.mark.parametrize(
    "name", ["min_fee_a", "price_mem", "coins_per_utxo_size", "cost_models", "max_val_size"]
)
@pytest.mark.parametrize("value", [None, -1, "x", [], float("inf")])
async def test_a_bad_parameter_names_itself(name: str, value: Any) -> None:
    async with provider({"/epoch_params": [{**PARAMETERS, name: value}]}) as (made, _):
        assert await refusal(made.params()) == ("cl.chain.malformed", f"parameters.{name}")


def chain(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"/blocks": list(blocks)}


INFO = [{"tx_hash": TX, "tx_block_index": 1}, {"tx_hash": SECOND, "tx_block_index": 0}]
TWO = chain(block(0, tx_count=2))
BLOCKS: list[tuple[dict[str, Any], str, str]] = [
    (chain(block(0, abs_slot="0")), "cl.chain.malformed", "blocks[0].abs_slot"),
    (chain(block(0, hash="00")), "cl.chain.malformed", "blocks[0].hash"),
    (chain(block(0, block_time=5)), "cl.chain.inconsistent", "block.time"),
    (chain(block(0), block(1, parent_hash=digest(7))), "cl.chain.inconsistent", "block.parent"),
    (chain(block(0), block(1, block_height=2)), "cl.chain.inconsistent", "block.height"),
    (chain(block(0), block(0)), "cl.chain.inconsistent", "block.parent"),
    ({"/blocks": {}}, "cl.chain.malformed", "blocks"),
    ({"/blocks": Drop}, "cl.chain.provider_down", "koios"),
    ({**TWO, "/block_tx_cbor": [CBOR]}, "cl.chain.inconsistent", "block.tx_count"),
    ({**TWO, "/block_tx_cbor": [CBOR, CBOR]}, "cl.chain.inconsistent", "/block_tx_cbor[1]"),
    (
        {**TWO, "/block_tx_cbor": [CBOR, OTHER], "/block_tx_info": INFO[:1]},
        "cl.chain.inconsistent",
        "block.order",
    ),
    (
        {**TWO, "/block_tx_cbor": [CBOR, {**OTHER, "cbor": RAW.hex()}], "/block_tx_info": INFO},
        "cl.chain.inconsistent",
        "transaction.id",
    ),
]


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(("answers", "code", "field"), BLOCKS)
async def test_a_bad_block_ends_the_stream_with_its_code(
    answers: dict[str, Any], code: str, field: str
) -> None:
    async with provider(answers) as (made, _):
        assert await refusal(take(made, [], 9)) == (code, field)


async def test_transactions_come_in_the_order_of_the_block() -> None:
    async with provider({**TWO, "/block_tx_cbor": [CBOR, OTHER], "/block_tx_info": INFO}) as (made, _):
        assert (await take(made, [], 2))[1].block.transactions == (MORE, RAW)


@pytest.mark.parametrize(("slot", "code"), [(60, "cl.chain.no_intersection"), (10, "cl.chain.lagging")])
async def test_a_provider_without_our_blocks_is_behind_or_on_another_chain(slot: int, code: str) -> None:
    async with provider({"/tip": [block(3, abs_slot=slot)]}) as (made, _):
        ours = Point(Slot(40), bytes.fromhex(digest(2)))
        assert (await refusal(take(made, [ours], 1)))[0] == code
        assert (await take(made, [ours, ORIGIN], 1))[0].to is None


SUBMISSIONS: list[tuple[Any, type, str]] = [
    (
        Raw(b'{"tag": "TxSubmitFail", "contents": "BadInputsUTxO"}', 400),
        SubmitRefused,
        "cl.chain.inputs_spent",
    ),
    (
        Raw(b'{"tag": "TxSubmitFail", "contents": "FeeTooSmall"}', 400),
        SubmitRefused,
        "cl.chain.submit_refused",
    ),
    (Raw(b'{"tag": "TxSubmitFail", "contents": "Mempool is full"}', 400), SubmitUnknown, "cl.chain.mempool"),
    (Raw(b'{"message": "bad header"}', 400), SubmitUnknown, "cl.chain.rpc_refused"),
    (Raw(b"{}", 429), SubmitUnknown, "cl.chain.rate_limited"),
    (Raw(b"", 502), SubmitUnknown, "cl.chain.provider_down"),
    (Raw(b"garbage", 202), SubmitUnknown, "cl.chain.malformed"),
    (Raw(f'"{SECOND}"'.encode(), 202), SubmitUnknown, "cl.chain.inconsistent"),
    (Drop, SubmitUnknown, "cl.chain.provider_down"),
    (Raw(None), SubmitUnknown, "cl.chain.timeout"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), SUBMISSIONS)
async def test_only_the_ledgers_own_no_is_a_refusal(answer: Any, kind: type, code: str) -> None:
    async with provider({"/submittx": answer}) as (made, _):
        result = await made.submit(RAW)
        assert type(result) is kind
        assert isinstance(result, SubmitRefused | SubmitUnknown)
        assert result.rejection.code == code
