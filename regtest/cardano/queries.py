"""Ogmios queries that look into the ledger: UTxO sets and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regtest.cardano import witnessing
from regtest.cardano.cbor import CborError, array, mapping, octets, parse, uint
from regtest.cardano.chain import MAX_SUBMITTED_BYTES, Block, Chain
from regtest.cardano.evaluate import Evaluated, ScriptFailed, evaluate
from regtest.cardano.failure import Failure, undecodable
from regtest.cardano.kupo import decode_address
from regtest.cardano.params import LANGUAGES
from regtest.cardano.transaction import Output, Ref, Tx, decode_output, decode_tx
from regtest.cardano.views import pointer_json, refs_json, units_json, utxo_json


class RpcError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data

    @classmethod
    def of(cls, failure: Failure) -> RpcError:
        error = cls(failure.code, failure.message)
        error.error = failure.error()
        return error


@dataclass(frozen=True, slots=True, eq=False)
class LedgerView:
    """The UTxO set after one block. That of the tip is the live one, which is never changed in a query."""

    block: Block
    utxo: Mapping[Ref, Output]

    @classmethod
    def at(cls, chain: Chain, block: Block) -> LedgerView:
        return cls(block, chain.utxo_at(block))


def parse_point(given: Any) -> tuple[int, bytes]:
    return int(given["slot"]), bytes.fromhex(given["id"])


def parse_ref(given: Any) -> Ref:
    return Ref(bytes.fromhex(given["transaction"]["id"]), int(given["index"]))


def utxo_query(ledger: LedgerView, params: dict[str, Any]) -> list[dict[str, Any]]:
    if "outputReferences" in params:
        wanted = {parse_ref(item) for item in params["outputReferences"]}
        return utxo_json({ref: ledger.utxo[ref] for ref in wanted if ref in ledger.utxo})
    if "addresses" in params:
        addresses = {decode_address(item) for item in params["addresses"]}
        return utxo_json({ref: out for ref, out in ledger.utxo.items() if out.address in addresses})
    return utxo_json(ledger.utxo)


def output_from_json(given: dict[str, Any]) -> Output:
    """An additional output of an evaluation request, in the form of Babbage."""
    value = dict(given["value"])
    lovelace = int(value.pop("ada")["lovelace"])
    amount = uint(lovelace)
    if value:
        policies = [
            (
                octets(bytes.fromhex(policy)),
                mapping((octets(bytes.fromhex(name)), uint(int(n))) for name, n in sorted(names.items())),
            )
            for policy, names in sorted(value.items())
        ]
        amount = array([amount, mapping(policies)])
    fields = [(uint(0), octets(decode_address(given["address"]))), (uint(1), amount)]
    if "datum" in given:
        fields.append((uint(2), array([uint(1), b"\xd8\x18" + octets(bytes.fromhex(given["datum"]))])))
    elif "datumHash" in given:
        fields.append((uint(2), array([uint(0), octets(bytes.fromhex(given["datumHash"]))])))
    if "script" in given:
        language = LANGUAGES.index(given["script"]["language"])
        content = bytes.fromhex(given["script"]["cbor"])
        inner = array([uint(language), octets(content) if language else content])
        fields.append((uint(3), b"\xd8\x18" + octets(inner)))
    return decode_output(parse(mapping(fields)))


def evaluation(chain: Chain, raw: bytes, additional: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """evaluateTransaction: exact units of each redeemer, over the mempool's view and the given outputs."""
    try:
        if len(raw) > MAX_SUBMITTED_BYTES:
            raise CborError(f"{len(raw)} bytes")
        tx = decode_tx(raw)
    except CborError as error:
        raise RpcError.of(undecodable(str(error))) from error
    extra = {parse_ref(item): output_from_json(item) for item in additional}
    if overlap := sorted(ref for ref in extra if ref in chain.pool_utxo):
        data = {"overlappingOutputReferences": refs_json(overlap)}
        raise RpcError(3002, "Some user-provided additional UTxO entries overlap with those known.", data)
    utxo = {**chain.pool_utxo, **extra}
    if unknown := sorted(ref for ref in {*tx.inputs, *tx.references} if ref not in utxo):
        data = {"unknownOutputReferences": refs_json(unknown)}
        raise RpcError(3117, "The transaction contains unknown UTxO references as inputs.", data)
    return _run(chain, tx, {ref: utxo[ref] for ref in {*tx.inputs, *tx.references}})


def _run(chain: Chain, tx: Tx, resolved: dict[Ref, Output]) -> list[dict[str, Any]]:
    known = witnessing.reference_scripts(tx, resolved) | {s.hash: s for s in tx.witnesses.scripts}
    needed = witnessing.needed_scripts(tx, resolved)
    plutus = {at for at, hash_ in needed.items() if hash_ not in known or known[hash_].language > 0}
    if extra := sorted(set(tx.witnesses.redeemers) - plutus):
        data = {"extraneousRedeemers": [pointer_json(pointer) for pointer in extra]}
        raise RpcError(3110, "Extraneous (non-required) redeemers found in the transaction.", data)
    rows = sorted(pointer for pointer in plutus if needed[pointer] not in known)
    if rows:
        missing = {"missingScripts": [pointer_json(pointer) for pointer in rows]}
        error = {"code": 3011, "message": "An associated script witness is missing.", "data": missing}
        problems = [{"validator": pointer_json(pointer), "error": error} for pointer in rows]
        raise RpcError(3010, "Some scripts of the transactions terminated with error(s).", problems)
    outcome = evaluate(tx, resolved, chain.params, chain.time)
    match outcome:
        case Evaluated(units):
            return [
                {"validator": pointer_json(pointer), "budget": units_json(*used)}
                for pointer, used in sorted(units.items())
            ]
        case ScriptFailed(message, culprit):
            pointers = [culprit] if culprit is not None else sorted(tx.witnesses.redeemers)
            details: dict[str, Any] = {"validationError": message, "traces": []}
            error = {"code": 3012, "message": "Some of the scripts failed to evaluate.", "data": details}
            problems = [{"validator": pointer_json(pointer), "error": error} for pointer in pointers]
            raise RpcError(3010, "Some scripts of the transactions terminated with error(s).", problems)
