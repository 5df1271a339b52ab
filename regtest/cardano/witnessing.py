"""Phase 1, UTXOW: scripts, redeemers, datums, native scripts, the integrity hash, auxiliary data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtest.cardano.cbor import CborError, Kind, Node, parse, walk
from regtest.cardano.failure import Failure
from regtest.cardano.params import Params
from regtest.cardano.transaction import (
    Output,
    Pointer,
    Ref,
    Script,
    Tx,
    blake2b_224,
    blake2b_256,
)
from regtest.cardano.views import pointer_json, ref_json, refs_json


def key_hashes(tx: Tx) -> set[bytes]:
    return {blake2b_224(key) for key, _ in tx.witnesses.vkeys}


def needed_scripts(tx: Tx, resolved: Mapping[Ref, Output]) -> dict[Pointer, bytes]:
    """What each purpose runs: a spent output's script, a minted policy (`getConwayScriptsNeeded`)."""
    needed: dict[Pointer, bytes] = {}
    for index, ref in enumerate(tx.inputs):
        payment = resolved[ref].payment if ref in resolved else None
        if payment is not None and payment[0]:
            needed[Pointer(0, index)] = payment[1]
    for index, policy in enumerate(sorted({key[:28] for key in tx.mint})):
        needed[Pointer(1, index)] = policy
    return needed


def reference_scripts(tx: Tx, resolved: Mapping[Ref, Output]) -> dict[bytes, Script]:
    outputs = (resolved[ref] for ref in (*tx.inputs, *tx.references) if ref in resolved)
    return {output.script.hash: output.script for output in outputs if output.script is not None}


def check(tx: Tx, params: Params, resolved: Mapping[Ref, Output]) -> list[Failure]:
    given = {script.hash: script for script in tx.witnesses.scripts}
    referenced = reference_scripts(tx, resolved)
    known = {**referenced, **given}
    needed = needed_scripts(tx, resolved)
    failures = _scripts(needed, given, referenced)
    failures += _redeemers(tx, needed, known)
    failures += _datums(tx, resolved, needed, known)
    failures += _integrity(tx, params, needed, known)
    failures += _native(tx, needed, known)
    return failures + _malformed(tx) + _auxiliary(tx)


def _hex(hashes: set[bytes]) -> list[str]:
    return [item.hex() for item in sorted(hashes)]


def _scripts(
    needed: dict[Pointer, bytes], given: Mapping[bytes, Script], referenced: Mapping[bytes, Script]
) -> list[Failure]:
    failures: list[Failure] = []
    wanted = set(needed.values())
    if missing := wanted - set(given) - set(referenced):
        data: dict[str, Any] = {"missingScripts": _hex(missing)}
        failures.append(Failure(3102, "MissingScriptWitnessesUTXOW", "Some scripts are missing.", data))
    # A script given although a reference holds it is not wanted either (Babbage).
    if extraneous := set(given) - (wanted - set(referenced)):
        data = {"extraneousScripts": _hex(extraneous)}
        failures.append(Failure(3104, "ExtraneousScriptWitnessesUTXOW", "Extraneous scripts found.", data))
    return failures


def _purpose_json(tx: Tx, pointer: Pointer, script: bytes) -> dict[str, Any]:
    if pointer.tag == 0:
        return {"purpose": "spend", "outputReference": ref_json(tx.inputs[pointer.index])}
    return {"purpose": "mint", "policy": script.hex()}


def _redeemers(tx: Tx, needed: dict[Pointer, bytes], known: Mapping[bytes, Script]) -> list[Failure]:
    failures: list[Failure] = []
    plutus = {at: hash_ for at, hash_ in needed.items() if hash_ in known and known[hash_].language > 0}
    given = tx.witnesses.redeemers
    if missing := sorted(set(plutus) - set(given)):
        data: dict[str, Any] = {"missingRedeemers": [_purpose_json(tx, at, plutus[at]) for at in missing]}
        failures.append(Failure(3109, "MissingRedeemers", "Missing required redeemers.", data))
    if extra := sorted(set(given) - set(plutus)):
        data = {"extraneousRedeemers": [pointer_json(pointer) for pointer in extra]}
        failures.append(Failure(3110, "ExtraRedeemers", "Extraneous redeemers found.", data))
    return failures


def _datums(
    tx: Tx, resolved: Mapping[Ref, Output], needed: dict[Pointer, bytes], known: Mapping[bytes, Script]
) -> list[Failure]:
    failures: list[Failure] = []
    required: set[bytes] = set()
    orphans: list[Ref] = []
    for pointer, hash_ in needed.items():
        script = known.get(hash_)
        if pointer.tag != 0 or script is None or script.language == 0:
            continue
        ref = tx.inputs[pointer.index]
        output = resolved[ref]
        if output.datum_hash is not None:
            required.add(output.datum_hash)
        elif output.datum is None and script.language < 3:  # V3 may do without (CIP 69)
            orphans.append(ref)
    given = {blake2b_256(datum) for datum in tx.witnesses.datums}
    if orphans:
        data: dict[str, Any] = {"orphanScriptInputs": refs_json(orphans)}
        failures.append(Failure(3114, "UnspendableUTxONoDatumHash", "Script inputs without a datum.", data))
    if missing := required - given:
        data = {"missingDatums": _hex(missing)}
        failures.append(Failure(3111, "MissingRequiredDatums", "Missing datums.", data))
    outputs = [*tx.outputs, *([tx.collateral_return] if tx.collateral_return else [])]
    outputs += [resolved[ref] for ref in tx.references if ref in resolved]
    allowed = required | {output.datum_hash for output in outputs if output.datum_hash is not None}
    if extraneous := given - allowed:
        data = {"extraneousDatums": _hex(extraneous)}
        failures.append(Failure(3112, "NotAllowedSupplementalDatums", "Extraneous datums found.", data))
    return failures


def integrity_hash(tx: Tx, params: Params, languages: set[int]) -> bytes | None:
    """Over the redeemers and datums as they stand in the transaction, and the views of the languages run."""
    witnesses = tx.witnesses
    if not witnesses.redeemers and not witnesses.datums and not languages:
        return None
    redeemers = witnesses.redeemers_raw or b"\xa0"  # Conway writes no redeemers as an empty map
    return blake2b_256(redeemers + witnesses.datums_raw + params.language_views(languages))


def languages_run(needed: dict[Pointer, bytes], known: Mapping[bytes, Script]) -> set[int]:
    return {known[hash_].language for hash_ in needed.values() if hash_ in known} - {0}


def _integrity(
    tx: Tx, params: Params, needed: dict[Pointer, bytes], known: Mapping[bytes, Script]
) -> list[Failure]:
    computed = integrity_hash(tx, params, languages_run(needed, known))
    if computed == tx.script_data_hash:
        return []
    data = {
        "providedScriptIntegrity": None if tx.script_data_hash is None else tx.script_data_hash.hex(),
        "computedScriptIntegrity": None if computed is None else computed.hex(),
    }
    return [Failure(3113, "PPViewHashesDontMatch", "The script integrity hash does not match.", data)]


def _native(tx: Tx, needed: dict[Pointer, bytes], known: Mapping[bytes, Script]) -> list[Failure]:
    signers = key_hashes(tx)
    failing: set[bytes] = set()
    for hash_ in set(needed.values()):
        script = known.get(hash_)
        if script is not None and script.language == 0 and not _holds(parse(script.content), tx, signers):
            failing.add(hash_)
    if not failing:
        return []
    data = {"failingNativeScripts": _hex(failing)}
    return [Failure(3103, "ScriptWitnessNotValidatingUTXOW", "A native script fails.", data)]


def _holds(node: Node, tx: Tx, signers: set[bytes]) -> bool:
    """Time locks are held against the validity interval, never against the present slot."""
    items = node.items()
    kind = items[0].uint()
    if kind == 0:
        return items[1].octets(28) in signers
    if kind in (1, 2):
        results = [_holds(item, tx, signers) for item in items[1].items()]
        return all(results) if kind == 1 else any(results)
    if kind == 3:
        return sum(_holds(item, tx, signers) for item in items[2].items()) >= items[1].integer()
    slot = items[1].uint()
    if kind == 4:
        return tx.invalid_before is not None and slot <= tx.invalid_before
    return kind == 5 and tx.invalid_after is not None and tx.invalid_after <= slot


def well_formed(script: Script) -> bool:
    """A byte string around flat code of a program version that the language knows (V1, V2: 1.0.0)."""
    if script.language == 0:
        return True
    try:
        flat = parse(script.content).octets()
    except CborError:
        return False
    versions = (b"\x01\x00\x00", b"\x01\x01\x00") if script.language == 3 else (b"\x01\x00\x00",)
    return len(flat) > 3 and flat[:3] in versions


def _malformed(tx: Tx) -> list[Failure]:
    outputs = [*tx.outputs, *([tx.collateral_return] if tx.collateral_return else [])]
    published = [output.script for output in outputs if output.script is not None]
    failures: list[Failure] = []
    for predicate, scripts in (
        ("MalformedScriptWitnesses", list(tx.witnesses.scripts)),
        ("MalformedReferenceScripts", published),
    ):
        if wrong := {script.hash for script in scripts if not well_formed(script)}:
            data = {"malformedScripts": _hex(wrong)}
            failures.append(Failure(3116, predicate, "Some Plutus scripts are malformed.", data))
    return failures


def _auxiliary(tx: Tx) -> list[Failure]:
    if tx.auxiliary_raw is None:
        if tx.auxiliary_hash is None:
            return []
        data: dict[str, Any] = {"metadata": {"hash": tx.auxiliary_hash.hex()}}
        return [Failure(3106, "MissingTxMetadata", "No metadata for the metadata hash.", data)]
    computed = blake2b_256(tx.auxiliary_raw)
    if tx.auxiliary_hash is None:
        data = {"metadata": {"hash": computed.hex()}}
        return [Failure(3105, "MissingTxBodyMetadataHash", "Missing metadata hash in the body.", data)]
    failures: list[Failure] = []
    if computed != tx.auxiliary_hash:
        data = {"provided": {"hash": tx.auxiliary_hash.hex()}, "computed": {"hash": computed.hex()}}
        failures.append(Failure(3107, "ConflictingMetadataHash", "The metadata hash does not match.", data))
    node = parse(tx.auxiliary_raw)
    if node.kind is Kind.TAG:
        metadata = node.value[1].by_uint().get(0)
    elif node.kind is Kind.ARRAY:
        metadata = node.items()[0]
    else:
        metadata = node
    if metadata is not None and any(_too_long(item) for item in walk(metadata)):
        failures.append(Failure(3108, "InvalidMetadata", "Invalid metadatum found in metadata."))
    return failures


def _too_long(node: Node) -> bool:
    if node.kind is Kind.BYTES:
        return len(node.value) > 64
    return node.kind is Kind.TEXT and len(node.value.encode()) > 64
