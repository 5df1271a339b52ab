"""The forms of Blockfrost's answers, and the protocol parameters in Ogmios's names and shapes.

Source: Blockfrost's OpenAPI description (0.1.88): block_content, address_utxo_content, network-eras,
epoch_param_content. Figures that it leaves out are constants of the Conway ledger.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from gateway.cl.chain import fields as f
from gateway.cl.chain.polled import Header
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import EraSummary, Point
from gateway.units import Lovelace, PosixMs, Slot

# Conway ledger, Cardano.Ledger.Conway.Tx/Rules: fixed until a parameter update makes them variable.
REF_SCRIPT_RANGE, REF_SCRIPT_MULTIPLIER, MAX_REF_SCRIPTS = 25_600, 1.2, 204_800

_LANGUAGES = {"PlutusV1": "plutus:v1", "PlutusV2": "plutus:v2", "PlutusV3": "plutus:v3"}


def quantity(value: object, where: str) -> int:
    """A number written as text, as Blockfrost and Koios write what may exceed 2**53."""
    shown = f.text(value, where)
    if not (shown.isascii() and shown.isdigit() and len(shown) <= 20):
        raise f.malformed(where, shown, "digits")
    return f.whole(int(shown), where)


def lovelace(value: object, where: str) -> Lovelace:
    return Lovelace(quantity(value, where))


def header(value: object, where: str, time_ms: PosixMs) -> Header:
    parent = f.get(value, where, "previous_block")
    return Header(
        point=point(value, where),
        height=f.whole(f.get(value, where, "height"), f"{where}.height"),
        parent=None if parent is None else f.octets(parent, f"{where}.previous_block", 32),
        time_ms=time_ms,
        transactions=f.whole(f.get(value, where, "tx_count"), f"{where}.tx_count", 1 << 20),
    )


def point(value: object, where: str) -> Point:
    slot = f.whole(f.get(value, where, "slot"), f"{where}.slot")
    return Point(Slot(slot), f.octets(f.get(value, where, "hash"), f"{where}.hash", 32))


def output_ref(value: object, where: str) -> OutputRef:
    tx_id = f.octets(f.get(value, where, "tx_hash"), f"{where}.tx_hash", 32)
    return OutputRef(tx_id, f.whole(f.get(value, where, "output_index"), f"{where}.output_index", 1 << 16))


def told(value: object, where: str) -> dict[str, object]:
    """What the index says of an output, by the names of `Utxo`."""
    ada, assets = 0, dict[bytes, int]()
    for n, row in enumerate(f.items(f.get(value, where, "amount"), f"{where}.amount")):
        at = f"{where}.amount[{n}]"
        unit, held = f.text(f.get(row, at, "unit"), f"{at}.unit"), quantity(f.get(row, at, "quantity"), at)
        if unit == "lovelace":
            ada = held
        else:
            assets[f.octets(unit, f"{at}.unit")] = held
    # Not the datum: indexes are known to write one anew, and then differ from the bytes that count.
    return {
        "address": f.text(f.get(value, where, "address"), f"{where}.address"),
        "lovelace": Lovelace(ada),
        "assets": tuple(sorted(assets.items())),
    }


def eras(value: object, start: PosixMs) -> tuple[EraSummary, ...]:
    """The last one is open, whatever horizon the provider gives it."""
    rows = f.items(value, "eras")
    if not rows:
        raise f.malformed("eras", "empty", "at least one era")
    found: list[EraSummary] = []
    for n, row in enumerate(rows):
        where = f"eras[{n}]"
        length = milliseconds(
            f.get(row, where, "parameters", "slot_length"), f"{where}.parameters.slot_length"
        )
        if length < 1:
            raise f.malformed(f"{where}.parameters.slot_length", length, "1 ms or more")
        began = milliseconds(f.get(row, where, "start", "time"), f"{where}.start.time")
        end: Slot | None = None
        if n + 1 < len(rows):
            end = Slot(f.whole(f.get(row, where, "end", "slot"), f"{where}.end.slot"))
        first = Slot(f.whole(f.get(row, where, "start", "slot"), f"{where}.start.slot"))
        found.append(EraSummary(first, PosixMs(start.value + began), length, end))
    return tuple(found)


def milliseconds(value: object, where: str) -> int:
    """Seconds, exact: JSON's decimals are read as what was written."""
    if type(value) not in (int, float):
        raise f.malformed(where, value, "a number")
    exact = Decimal(json.dumps(value)) * 1000
    if not exact.is_finite() or exact != exact.to_integral_value() or not 0 <= exact < 1 << 63:
        raise f.malformed(where, value, "whole milliseconds")
    return int(exact)


def protocol(value: object) -> dict[str, Any]:
    """epoch_param_content as queryLedgerState/protocolParameters of Ogmios v6, what the builders use of it."""
    p = f.obj(value, "parameters")

    def whole(name: str) -> int:
        return f.whole(f.get(p, "parameters", name), f"parameters.{name}")

    def text(name: str) -> int:
        return quantity(f.get(p, "parameters", name), f"parameters.{name}")

    def ratio(name: str) -> str:
        return decimal(f.get(p, "parameters", name), f"parameters.{name}")

    return shaped(
        models=f.obj(f.get(p, "parameters", "cost_models_raw"), "parameters.cost_models_raw"),
        min_fee=(whole("min_fee_a"), whole("min_fee_b")),
        ref_script_byte=ratio("min_fee_ref_script_cost_per_byte"),
        utxo_byte=text("coins_per_utxo_size"),
        sizes=(whole("max_tx_size"), text("max_val_size")),
        collateral=(whole("collateral_percent"), whole("max_collateral_inputs")),
        prices=(ratio("price_mem"), ratio("price_step")),
        tx_units=(text("max_tx_ex_mem"), text("max_tx_ex_steps")),
        block_units=(text("max_block_ex_mem"), text("max_block_ex_steps")),
        version=(whole("protocol_major_ver"), whole("protocol_minor_ver")),
    )


def shaped(
    *,
    models: dict[str, Any],
    min_fee: tuple[int, int],
    ref_script_byte: str,
    utxo_byte: int,
    sizes: tuple[int, int],
    collateral: tuple[int, int],
    prices: tuple[str, str],
    tx_units: tuple[int, int],
    block_units: tuple[int, int],
    version: tuple[int, int],
) -> dict[str, Any]:
    """Ogmios's names. Pairs: fee a byte and fixed; transaction and value in bytes; percent and inputs of
    collateral; memory and steps; major and minor. `models` by Blockfrost's and Koios's names of languages."""
    return {
        "minFeeCoefficient": min_fee[0],
        "minFeeConstant": _ada(min_fee[1]),
        "minFeeReferenceScripts": {
            "range": REF_SCRIPT_RANGE,
            "base": ref_script_byte,
            "multiplier": REF_SCRIPT_MULTIPLIER,
        },
        "minUtxoDepositCoefficient": utxo_byte,
        "minUtxoDepositConstant": _ada(0),
        "maxTransactionSize": {"bytes": sizes[0]},
        "maxValueSize": {"bytes": sizes[1]},
        "collateralPercentage": collateral[0],
        "maxCollateralInputs": collateral[1],
        "plutusCostModels": {
            ours: cost_model(models[theirs], theirs)
            for theirs, ours in _LANGUAGES.items()
            if theirs in models
        },
        "scriptExecutionPrices": {"memory": prices[0], "cpu": prices[1]},
        "maxExecutionUnitsPerTransaction": {"memory": tx_units[0], "cpu": tx_units[1]},
        "maxExecutionUnitsPerBlock": {"memory": block_units[0], "cpu": block_units[1]},
        "maxReferenceScriptsSize": {"bytes": MAX_REF_SCRIPTS},
        "version": {"major": version[0], "minor": version[1]},
    }


def cost_model(value: object, where: str) -> list[int]:
    costs = f.items(value, where)
    for n, cost in enumerate(costs):
        if type(cost) is not int or not -(1 << 63) <= cost < 1 << 63:
            raise f.malformed(f"{where}[{n}]", cost, "a whole number")
    return costs


def decimal(value: object, where: str) -> str:
    """A number >= 0 as it was written."""
    if type(value) not in (int, float) or not 0 <= float(str(value)) < 1 << 53:
        raise f.malformed(where, value, "a number that is not negative")
    return str(value)


def _ada(lovelace: int) -> dict[str, Any]:
    return {"ada": {"lovelace": lovelace}}
