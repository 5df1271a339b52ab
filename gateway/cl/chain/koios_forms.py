"""The forms of Koios's answers, and the protocol parameters in Ogmios's names and shapes.

Source: Koios's OpenAPI description (v1.4.2): blocks, utxo_infos, tx_cbor, epoch_params. Numbers come as
JSON numbers or as text, by the column behind them: both are read.
"""

from __future__ import annotations

from typing import Any

from gateway.cl.chain import blockfrost_forms as form
from gateway.cl.chain import fields as f
from gateway.cl.chain.polled import Header
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point
from gateway.units import PosixMs, Slot


def count(value: object, where: str) -> int:
    return form.quantity(value, where) if type(value) is str else f.whole(value, where)


def point(value: object, where: str) -> Point:
    slot = f.whole(f.get(value, where, "abs_slot"), f"{where}.abs_slot")
    return Point(Slot(slot), f.octets(f.get(value, where, "hash"), f"{where}.hash", 32))


def height(value: object, where: str) -> int:
    return f.whole(f.get(value, where, "block_height"), f"{where}.block_height")


def header(value: object, where: str, time_ms: PosixMs) -> Header:
    parent = f.get(value, where, "parent_hash")
    return Header(
        point=point(value, where),
        height=height(value, where),
        parent=None if parent is None else f.octets(parent, f"{where}.parent_hash", 32),
        time_ms=time_ms,
        transactions=f.whole(f.get(value, where, "tx_count"), f"{where}.tx_count", 1 << 20),
    )


def output_ref(value: object, where: str) -> OutputRef:
    tx_id = f.octets(f.get(value, where, "tx_hash"), f"{where}.tx_hash", 32)
    return OutputRef(tx_id, f.whole(f.get(value, where, "tx_index"), f"{where}.tx_index", 1 << 16))


def protocol(value: object) -> dict[str, Any]:
    """epoch_params as queryLedgerState/protocolParameters of Ogmios v6, what the builders use of it."""

    def whole(name: str) -> int:
        return count(f.get(value, "parameters", name), f"parameters.{name}")

    def ratio(name: str) -> str:
        return form.decimal(f.get(value, "parameters", name), f"parameters.{name}")

    return form.shaped(
        models=f.obj(f.get(value, "parameters", "cost_models"), "parameters.cost_models"),
        min_fee=(whole("min_fee_a"), whole("min_fee_b")),
        ref_script_byte=ratio("min_fee_ref_script_cost_per_byte"),
        utxo_byte=whole("coins_per_utxo_size"),
        sizes=(whole("max_tx_size"), whole("max_val_size")),
        collateral=(whole("collateral_percent"), whole("max_collateral_inputs")),
        prices=(ratio("price_mem"), ratio("price_step")),
        tx_units=(whole("max_tx_ex_mem"), whole("max_tx_ex_steps")),
        block_units=(whole("max_block_ex_mem"), whole("max_block_ex_steps")),
        version=(whole("protocol_major"), whole("protocol_minor")),
    )
