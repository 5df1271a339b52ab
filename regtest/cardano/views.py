"""Ogmios v6 JSON of values, outputs, scripts and transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bech32 import bech32_encode, convertbits

from regtest.cardano.cbor import Node, parse
from regtest.cardano.params import LANGUAGES, ada
from regtest.cardano.transaction import (
    PURPOSES,
    Assets,
    Output,
    Pointer,
    Redeemer,
    Ref,
    Script,
    Tx,
    blake2b_256,
)


def address_text(address: bytes) -> str:
    """Bech32 of a Shelley address; base58 of a Byron one."""
    if address[0] >> 4 == 8:
        return _base58(address)
    prefix = "addr" if address[0] & 1 else "addr_test"
    words = convertbits(address, 8, 5) or []
    return str(bech32_encode(prefix, words))


def _base58(data: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def assets_json(assets: Assets) -> dict[str, dict[str, int]]:
    shown: dict[str, dict[str, int]] = {}
    for key, quantity in sorted(assets.items()):
        shown.setdefault(key[:28].hex(), {})[key[28:].hex()] = quantity
    return shown


def value_json(lovelace: int, assets: Assets) -> dict[str, Any]:
    return {**ada(lovelace), **assets_json(assets)}


def ref_json(ref: Ref) -> dict[str, Any]:
    return {"transaction": {"id": ref.tx_id.hex()}, "index": ref.index}


def refs_json(refs: Iterable[Ref]) -> list[dict[str, Any]]:
    return [ref_json(ref) for ref in refs]


def script_json(script: Script) -> dict[str, Any]:
    shown: dict[str, Any] = {"language": LANGUAGES[script.language], "cbor": script.content.hex()}
    if script.language == 0:
        shown["json"] = native_json(parse(script.content))
    return shown


def native_json(node: Node) -> dict[str, Any]:
    items = node.items()
    kind = items[0].uint()
    if kind == 0:
        return {"clause": "signature", "from": items[1].octets(28).hex()}
    if kind in (1, 2):
        return {"clause": ("all", "any")[kind - 1], "from": [native_json(item) for item in items[1].items()]}
    if kind == 3:
        inner = [native_json(item) for item in items[2].items()]
        return {"clause": "some", "atLeast": items[1].integer(), "from": inner}
    return {"clause": "after" if kind == 4 else "before", "slot": items[1].uint()}


def output_json(output: Output) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "address": address_text(output.address),
        "value": value_json(output.lovelace, output.assets),
    }
    if output.datum_hash is not None:
        shown["datumHash"] = output.datum_hash.hex()
    if output.datum is not None:
        shown["datum"] = output.datum.hex()
    if output.script is not None:
        shown["script"] = script_json(output.script)
    return shown


def utxo_json(entries: Mapping[Ref, Output]) -> list[dict[str, Any]]:
    return [{**ref_json(ref), **output_json(output)} for ref, output in sorted(entries.items())]


def pointer_json(pointer: Pointer) -> dict[str, Any]:
    return {"purpose": PURPOSES[pointer.tag], "index": pointer.index}


def units_json(mem: int, steps: int) -> dict[str, int]:
    return {"memory": mem, "cpu": steps}


def _redeemer_json(pointer: Pointer, redeemer: Redeemer) -> dict[str, Any]:
    return {
        "redeemer": redeemer.data.hex(),
        "executionUnits": units_json(redeemer.mem, redeemer.steps),
        "validator": pointer_json(pointer),
    }


def network_name(network: int) -> str:
    return "mainnet" if network == 1 else "testnet"


def tx_json(tx: Tx) -> dict[str, Any]:
    """A whole transaction, its CBOR included (as Ogmios does with --include-transaction-cbor)."""
    witnesses = tx.witnesses
    shown: dict[str, Any] = {
        "id": tx.id.hex(),
        "spends": "inputs" if tx.is_valid else "collaterals",
        "inputs": refs_json(tx.inputs),
        "outputs": [output_json(output) for output in tx.outputs],
        "fee": ada(tx.fee),
        "signatories": [
            {"key": key.hex(), "signature": signature.hex()} for key, signature in witnesses.vkeys
        ],
        "cbor": tx.raw.hex(),
    }
    interval = {
        name: slot
        for name, slot in (("invalidBefore", tx.invalid_before), ("invalidAfter", tx.invalid_after))
        if slot is not None
    }
    optional: dict[str, Any] = {
        "references": refs_json(tx.references),
        "collaterals": refs_json(tx.collateral),
        "totalCollateral": None if tx.total_collateral is None else ada(tx.total_collateral),
        "collateralReturn": None if tx.collateral_return is None else output_json(tx.collateral_return),
        "validityInterval": interval,
        "mint": assets_json(tx.mint),
        "network": None if tx.network is None else network_name(tx.network),
        "scriptIntegrityHash": None if tx.script_data_hash is None else tx.script_data_hash.hex(),
        "requiredExtraSignatories": [signer.hex() for signer in tx.required_signers],
        "scripts": {script.hash.hex(): script_json(script) for script in witnesses.scripts},
        "datums": {blake2b_256(datum).hex(): datum.hex() for datum in witnesses.datums},
        "redeemers": [_redeemer_json(*item) for item in sorted(witnesses.redeemers.items())],
    }
    shown.update({key: value for key, value in optional.items() if value})
    return shown
