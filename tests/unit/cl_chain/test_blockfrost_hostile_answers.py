"""A Blockfrost that is down, late, on another network, garbled, limiting us, lying or far too long."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.blockfrost import Blockfrost
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, RollBackward, RollForward, SubmitRefused, Submitted, SubmitUnknown
from gateway.errors import Refused
from gateway.units import Slot
from tests.support.chain_blocks import STRANGER, plain_tx
from tests.support.scripted_http import Drop, Played, Raw, Script, scripted

RAW = plain_tx("x")
TX = transaction_id(RAW).hex()
HOME = address_text(STRANGER)
ERA = {
    "start": {"time": 0, "slot": 0, "epoch": 0},
    "end": {"time": 9_000, "slot": 9_000, "epoch": 1},
    "parameters": {"epoch_length": 86_400, "slot_length": 1, "safe_zone": 129_600},
}
PARAMETERS = {
    "min_fee_a": 44, "min_fee_b": 155_381, "max_tx_size": 16_384, "protocol_major_ver": 10, "protocol_minor_ver": 0,
    "cost_models_raw": {"PlutusV3": [1, 2, -3]}, "price_mem": 0.0577, "price_step": 7.21e-05,
    "max_tx_ex_mem": "16500000", "max_tx_ex_steps": "10000000000", "max_block_ex_mem": "72000000",
    "max_block_ex_steps": "20000000000", "max_val_size": "5000", "collateral_percent": 150,
    "max_collateral_inputs": 3, "coins_per_utxo_size": "4310", "min_fee_ref_script_cost_per_byte": 15,
}  # fmt: skip


def digest(number: int) -> str:
    return f"{number:02x}" * 32


def block(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "time": 1_000_000 + 20 * number,
        "height": number,
        "hash": digest(number),
        "slot": 20 * number,
        "tx_count": 0,
        "previous_block": digest(number - 1) if number else None,
        **changes,
    }


TIP = {"/blocks/latest": block(3)}
ADA = [{"unit": "lovelace", "quantity": "9"}]
UTXO = {
    "address": HOME,
    "tx_hash": TX,
    "output_index": 0,
    "amount": ADA,
    "block": digest(3),
    "inline_datum": None,
}
GOOD: dict[str, Any] = {
    "/genesis": {"network_magic": 42, "system_start": 1_000_000},
    "/network/eras": [ERA],
    "/epochs/latest/parameters": PARAMETERS,
    "/blocks/0": block(0),
    f"/blocks/{digest(3)}": block(3),
    **TIP,
    f"/addresses/{HOME}/utxos": [UTXO],
    f"/txs/{TX}": {"block": digest(3)},
    f"/txs/{TX}/cbor": {"cbor": RAW.hex()},
    f"/txs/{TX}/utxos": {"outputs": [{"output_index": 0, "consumed_by_tx": None}]},
    "/tx/submit": TX,
}


@asynccontextmanager
async def provider(answers: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Blockfrost, Script]]:
    async with scripted({**GOOD, **answers}) as script:
        http = JsonHttp(script.url, "blockfrost", timeout_s=0.5, max_answer=100_000, **options)
        made = Blockfrost(http, 42, poll_s=0.001)
        try:
            yield made, script
        finally:
            await made.close()


async def refusal(work: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code, caught.value.rejection.field


async def take(made: Blockfrost, points: list[Point], count: int) -> list[Any]:
    events: list[Any] = []
    async for event in made.follow(points):
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_the_script_is_an_honest_one() -> None:
    """Else nothing below proves anything."""
    async with provider({}) as (made, _):
        assert (await made.tip()).height == 3
        (utxo,) = await made.utxos_at(HOME)
        assert (utxo.lovelace.value, utxo.created_at) == (9, (await made.tip()).point)
        assert await made.utxos_by_ref([utxo.ref]) == (utxo,)
        params = await made.params()
        assert params.protocol["scriptExecutionPrices"] == {"memory": "0.0577", "cpu": "7.21e-05"}
        assert params.protocol["plutusCostModels"] == {"plutus:v3": [1, 2, -3]}
        assert await made.submit(RAW) == Submitted(bytes.fromhex(TX))


LATEST = "/blocks/latest"
TIPS = [
    (Raw(None), "cl.chain.timeout", LATEST),
    (Drop, "cl.chain.provider_down", "blockfrost"),
    (Raw(b'{"height": 3, "slot"', cut=5), "cl.chain.provider_down", "blockfrost"),  # truncated on the way
    (Raw(b'{"height": 3, "slot"'), "cl.chain.malformed", LATEST),
    (Raw(b"garbage"), "cl.chain.malformed", LATEST),
    (Raw(b"[" * 50_000), "cl.chain.malformed", LATEST),
    (Raw(b"x" * 200_000), "cl.chain.answer_too_large", LATEST),
    (Raw(b"{}", 503), "cl.chain.provider_down", "blockfrost"),
    (Raw(b"{}", 301, {"Location": "http://127.0.0.1:1/"}), "cl.chain.rpc_refused", LATEST),
    (Raw(b'{"message": "bad"}', 400), "cl.chain.rpc_refused", LATEST),
    (Raw(b'{"message": "Invalid project token."}', 403), "cl.chain.key_refused", "blockfrost"),
    (Raw(b"{}", 429), "cl.chain.rate_limited", "blockfrost"),
    (Raw(b"{}", 418), "cl.chain.rate_limited", "blockfrost"),
    (Raw(b"{}", 402), "cl.chain.rate_limited", "blockfrost"),
    ([], "cl.chain.malformed", "tip"),
    (Raw(b"null"), "cl.chain.malformed", LATEST),
    (block(3, slot=-1), "cl.chain.malformed", "tip.slot"),
    (block(3, slot=True), "cl.chain.malformed", "tip.slot"),
    (block(3, slot=2**70), "cl.chain.malformed", "tip.slot"),
    (block(3, slot=None), "cl.chain.malformed", "tip.slot"),
    (block(3, hash="xy"), "cl.chain.malformed", "tip.hash"),
    (block(3, hash="abcd"), "cl.chain.malformed", "tip.hash"),
    (block(3, height="3"), "cl.chain.malformed", "tip.height"),
]


@pytest.mark.parametrize(("answer", "code", "field"), TIPS)
async def test_a_bad_tip_has_its_code_and_field(answer: Any, code: str, field: str) -> None:
    async with provider({LATEST: answer}) as (made, _):
        assert await refusal(made.tip()) == (code, field)


@pytest.mark.parametrize(
    ("genesis", "code", "field"),
    [
        ({"network_magic": 1, "system_start": 0}, "cl.chain.wrong_network", "network_magic"),
        ({"system_start": 0}, "cl.chain.malformed", "genesis.network_magic"),
        ({"network_magic": 42, "system_start": "now"}, "cl.chain.malformed", "genesis.system_start"),
        ([], "cl.chain.malformed", "genesis"),
    ],
)
async def test_nothing_is_asked_of_another_network(genesis: Any, code: str, field: str) -> None:
    async with provider({"/genesis": genesis}) as (made, script):
        assert await refusal(made.utxos_at(HOME)) == (code, field)
        assert await refusal(take(made, [], 1)) == (code, field)
        unknown = await made.submit(RAW)
        assert isinstance(unknown, SubmitUnknown)
        assert unknown.rejection.code == code
        assert {target for target in script.asked if target != "/genesis"} == set()


async def test_a_limit_is_kept_and_the_key_is_never_shown() -> None:
    limit = Raw(b'{"message": "Usage is over limit."}', 429, {"Retry-After": "30"})
    now = [100.0]
    headers = {"project_id": "previewSECRET"}
    async with provider({LATEST: Played([limit, block(3)])}, clock=lambda: now[0], headers=headers) as (
        made,
        script,
    ):
        for _ in range(3):
            with pytest.raises(Refused) as caught:
                await made.tip()
            assert caught.value.rejection.code == "cl.chain.rate_limited"
            assert caught.value.rejection.retry_after_ms == 30_000
            assert "SECRET" not in str(caught.value)
        assert script.asked.count(LATEST) == 1
        assert "previewSECRET" in script.heads[0]
        now[0] += 30.1
        assert (await made.tip()).height == 3


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_a_tip_may_not_go_back_further_than_k() -> None:
    async with provider({LATEST: Played([block(3, height=5_000), block(3)])}) as (made, _):
        assert (await made.tip()).height == 5_000
        assert await refusal(made.tip()) == ("cl.chain.backwards", "tip.height")


AT = f"/addresses/{HOME}/utxos"
LISTS: list[tuple[Any, str, str]] = [
    ({}, "cl.chain.malformed", "utxos"),
    ([5], "cl.chain.malformed", "utxos[0]"),
    ([UTXO, UTXO], "cl.chain.inconsistent", "utxos[1]"),
    ([{**UTXO, "address": "addr_test1other"}], "cl.chain.inconsistent", "utxos[0].address"),
    ([{**UTXO, "amount": [{"unit": "lovelace", "quantity": "3000000"}]}], "cl.chain.inconsistent", "lovelace"),
    ([{**UTXO, "amount": [*ADA, {"unit": "ab" * 28, "quantity": "1"}]}], "cl.chain.inconsistent", "assets"),
    ([{**UTXO, "amount": [{"unit": "lovelace", "quantity": 2}]}], "cl.chain.malformed", "utxos[0].amount[0]"),
    ([{**UTXO, "amount": [{"unit": "lovelace", "quantity": "9" * 30}]}], "cl.chain.malformed", "utxos[0].amount[0]"),
    ([{**UTXO, "amount": [{"unit": "lovelace", "quantity": "²"}]}], "cl.chain.malformed", "utxos[0].amount[0]"),
    ([{**UTXO, "amount": [{"unit": "xx", "quantity": "1"}]}], "cl.chain.malformed", "utxos[0].amount[0].unit"),
    ([{**UTXO, "output_index": 70_000}], "cl.chain.malformed", "utxos[0].output_index"),
    ([{**UTXO, "output_index": 1}], "cl.chain.inconsistent", "utxo"),  # the transaction has no such output
    ([{**UTXO, "tx_hash": digest(9)}], "cl.chain.inconsistent", "utxo"),  # nobody knows the transaction
    ([{**UTXO, "block": None}], "cl.chain.malformed", "utxos[0].block"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "code", "field"), LISTS)
async def test_a_bad_list_has_its_code_and_field(rows: Any, code: str, field: str) -> None:
    async with provider({AT: rows}) as (made, _):
        got, where = await refusal(made.utxos_at(HOME))
        assert got == code
        assert where == field or (where.startswith("utxo ") and (field == "utxo" or where.endswith(field)))


async def test_pages_that_repeat_for_ever_end_with_a_code() -> None:
    page = [{**UTXO, "output_index": n} for n in range(100)]
    async with provider({AT: page}) as (made, script):
        assert await refusal(made.utxos_at(HOME)) == ("cl.chain.inconsistent", "utxos[0]")
        assert len(script.asked) < 20


async def test_bytes_of_another_transaction_are_not_taken() -> None:
    other = plain_tx("y").hex()
    async with provider({f"/txs/{TX}/cbor": {"cbor": other}}) as (made, _):
        assert await refusal(made.utxos_at(HOME)) == ("cl.chain.inconsistent", "transaction.id")


async def test_a_spent_output_is_not_shown_by_reference() -> None:
    spent = {"outputs": [{"output_index": 0, "consumed_by_tx": digest(8)}]}
    async with provider({f"/txs/{TX}/utxos": spent}) as (made, _):
        assert await made.utxos_by_ref([OutputRef(bytes.fromhex(TX), 0)]) == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price_mem": "0.1"}, "parameters.price_mem"),
        ({"price_mem": -1}, "parameters.price_mem"),
        ({"price_mem": float("nan")}, "parameters.price_mem"),
        ({"max_tx_size": None}, "parameters.max_tx_size"),
        ({"coins_per_utxo_size": None}, "parameters.coins_per_utxo_size"),
        ({"cost_models_raw": {"PlutusV3": [1.5]}}, "PlutusV3[0]"),
        ({"cost_models_raw": None}, "parameters.cost_models_raw"),
    ],
)
async def test_a_bad_parameter_names_itself(change: dict[str, Any], field: str) -> None:
    async with provider({"/epochs/latest/parameters": {**PARAMETERS, **change}}) as (made, _):
        assert await refusal(made.params()) == ("cl.chain.malformed", field)


@pytest.mark.parametrize(
    ("era", "field"),
    [
        ({"parameters": {"slot_length": 0}}, "parameters.slot_length"),
        ({"parameters": {"slot_length": "1"}}, "parameters.slot_length"),
        ({"start": {"time": 0.0001, "slot": 0}}, "start.time"),
        ({"start": {"time": -1, "slot": 0}}, "start.time"),
        ({"start": {"time": 1e308, "slot": 0}}, "start.time"),
        ({"start": {"time": 0, "slot": -1}}, "start.slot"),
    ],
)
async def test_a_bad_era_names_its_field(era: dict[str, Any], field: str) -> None:
    async with provider({"/network/eras": [{**ERA, **era}]}) as (made, _):
        assert await refusal(made.params()) == ("cl.chain.malformed", f"eras[0].{field}")


def after(number: int) -> str:
    return f"/blocks/{digest(number)}/next"


TXS = f"/blocks/{digest(1)}/txs/cbor"
CBOR = {"tx_hash": TX, "cbor": RAW.hex()}
OTHER = {**CBOR, "tx_hash": digest(9)}
BLOCKS: list[tuple[dict[str, Any], str, str]] = [
    ({after(0): [block(1, slot="20")]}, "cl.chain.malformed", "next[0].slot"),
    ({after(0): [block(1, hash="00")]}, "cl.chain.malformed", "next[0].hash"),
    ({after(0): {}}, "cl.chain.malformed", "next"),
    ({after(0): [block(1, time=5)]}, "cl.chain.inconsistent", "block.time"),
    ({after(0): [block(1, previous_block=digest(7))]}, "cl.chain.inconsistent", "block.parent"),
    ({after(0): [block(1, height=2)]}, "cl.chain.inconsistent", "block.height"),
    ({after(0): [block(1, slot=0, time=1_000_000)]}, "cl.chain.inconsistent", "block.slot"),
    ({after(0): [block(1), block(1)]}, "cl.chain.inconsistent", "block.parent"),  # the same block again
    ({after(0): [block(1, tx_count=1)], TXS: []}, "cl.chain.inconsistent", "block.tx_count"),
    ({after(0): [block(1, tx_count=2)], TXS: [CBOR]}, "cl.chain.inconsistent", "block.tx_count"),
    ({after(0): [block(1, tx_count=2)], TXS: [CBOR, CBOR]}, "cl.chain.inconsistent", "transactions[1]"),
    ({after(0): [block(1, tx_count=1)], TXS: [OTHER]}, "cl.chain.inconsistent", "transaction.id"),
    ({after(0): [block(1, tx_count=1)], TXS: [{**CBOR, "cbor": "84"}]}, "cl.chain.malformed", "transaction"),
    ({after(0): [block(1, tx_count=1)], TXS: [{"tx_hash": TX}]}, "cl.chain.malformed", "transaction.cbor"),
    ({after(0): Raw(b"x" * 200_000)}, "cl.chain.answer_too_large", after(0)),
    ({after(0): Drop}, "cl.chain.provider_down", "blockfrost"),
]  # fmt: skip


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(("answers", "code", "field"), BLOCKS)
async def test_a_bad_block_ends_the_stream_with_its_code(
    answers: dict[str, Any], code: str, field: str
) -> None:
    async with provider({f"/blocks/{digest(1)}": block(1), **answers}) as (made, _):
        assert await refusal(take(made, [], 9)) == (code, field)


def point(number: int) -> Point:
    return Point(Slot(20 * number), bytes.fromhex(digest(number)))


async def test_one_server_behind_the_others_is_no_rollback_and_a_block_that_stays_gone_is_one() -> None:
    gone = Raw(b"{}", 404)
    answers = {
        f"/blocks/{digest(1)}": block(1),
        after(0): [block(1)],
        after(1): Played([gone, [block(2)]]),
        after(2): Played([gone, gone]),
        f"/blocks/{digest(2)}": gone,
    }
    async with provider(answers) as (made, _):
        events = await take(made, [point(1)], 3)
        assert [type(event) for event in events] == [RollBackward, RollForward, RollBackward]
        assert events[0].to == events[2].to == point(1)


@pytest.mark.parametrize(
    ("tip", "code"),
    [(block(3), "cl.chain.no_intersection"), (block(3, slot=10), "cl.chain.lagging")],
)
async def test_a_provider_without_our_blocks_is_behind_or_on_another_chain(tip: Any, code: str) -> None:
    async with provider({LATEST: tip}) as (made, _):
        assert (await refusal(take(made, [point(2)], 1)))[0] == code
        assert (await take(made, [point(2), ORIGIN], 1))[0].to is None


LEDGER = {"tag": "TxSubmitFail", "contents": "BadInputsUTxO"}
SUBMISSIONS: list[tuple[Any, type, str]] = [
    (Raw(json.dumps({"message": json.dumps(LEDGER)}).encode(), 400), SubmitRefused, "cl.chain.inputs_spent"),
    (
        Raw(b'{"message": "TxSubmitFail: All inputs are spent. Transaction has probably"}', 400),
        SubmitRefused,
        "cl.chain.inputs_spent",
    ),
    (Raw(b'{"message": "TxSubmitFail OutsideValidityIntervalUTxO"}', 400), SubmitRefused, "cl.chain.submit_refused"),
    (Raw(b'{"message": "TxCmdTxReadError DecoderError"}', 400), SubmitRefused, "cl.chain.submit_refused"),
    (Raw(b'{"message": "Backend did not understand your request."}', 400), SubmitUnknown, "cl.chain.rpc_refused"),
    (Raw(b'{"message": "Mempool Full"}', 425), SubmitUnknown, "cl.chain.mempool"),
    (Raw(b"{}", 429), SubmitUnknown, "cl.chain.rate_limited"),
    (Raw(b"{}", 403), SubmitUnknown, "cl.chain.key_refused"),
    (Raw(b'{"message": "TxSubmitFail BadInputsUTxO"}', 500), SubmitUnknown, "cl.chain.provider_down"),
    (Raw(b"{}", 404), SubmitUnknown, "cl.chain.rpc_refused"),
    (Drop, SubmitUnknown, "cl.chain.provider_down"),
    (Raw(None), SubmitUnknown, "cl.chain.timeout"),
    (Raw(b"garbage"), SubmitUnknown, "cl.chain.malformed"),
    (digest(4), SubmitUnknown, "cl.chain.inconsistent"),
    ({}, SubmitUnknown, "cl.chain.inconsistent"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "code"), SUBMISSIONS)
async def test_only_the_ledgers_own_no_is_a_refusal(answer: Any, kind: type, code: str) -> None:
    async with provider({"/tx/submit": answer}) as (made, _):
        result = await made.submit(RAW)
        assert type(result) is kind
        assert isinstance(result, SubmitRefused | SubmitUnknown)
        assert result.rejection.code == code
        if isinstance(result, SubmitRefused):
            assert result.inputs_spent == (code == "cl.chain.inputs_spent")
