"""R2. A transaction as a frozen draft, and its bytes through pycardano's data types.

pycardano only encodes here: its builder counts a shared reference script once per input and dumps itself
to the log when it fails. Data (datums, redeemers) passes through as the bytes that our codec wrote.
Its types are checked by mypy here, so its checks at run time (half of a build's time) are off while it encodes.
CBOR_C_EXTENSION must stay unset: it changes the bytes of large transactions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pycardano import (
    Address,
    Asset,
    AssetName,
    ExecutionUnits,
    MultiAsset,
    NativeScript,
    PlutusV1Script,
    PlutusV2Script,
    PlutusV3Script,
    RedeemerKey,
    RedeemerMap,
    RedeemerTag,
    RedeemerValue,
    ScriptHash,
    TransactionBody,
    TransactionId,
    TransactionInput,
    TransactionOutput,
    TransactionWitnessSet,
    Value,
    VerificationKeyHash,
    script_data_hash,
)
from pycardano.hash import DatumHash
from pycardano.serialization import NonEmptyOrderedSet, OrderedSet, RawCBOR
from typeguard import suppress_type_checks

from gateway.cl.data.types import OutputRef
from gateway.cl.l1.errors import BAD_INTENT
from gateway.cl.ports import ExUnits, Utxo
from gateway.errors import Refused

SPEND, MINT = "spend", "mint"
Assets = tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Out:
    """An output to be made. `script`: a Plutus V3 reference script."""

    address: str
    lovelace: int
    assets: Assets = ()
    datum: bytes | None = None
    script: bytes | None = None


@dataclass(frozen=True, slots=True)
class Redeemer:
    tag: str  # SPEND or MINT
    index: int
    data: bytes
    units: ExUnits

    @property
    def name(self) -> str:
        return f"{self.tag}:{self.index}"


@dataclass(frozen=True, slots=True)
class Draft:
    """Inputs and reference inputs are sorted; so are mint and signers."""

    inputs: tuple[OutputRef, ...]
    outputs: tuple[Out, ...]
    fee: int
    lb_slot: int | None = None
    ub_slot: int | None = None
    mint: Assets = ()
    signers: tuple[bytes, ...] = ()  # 28-byte key hashes
    references: tuple[OutputRef, ...] = ()
    collateral: tuple[OutputRef, ...] = ()
    collateral_return: Out | None = None
    total_collateral: int | None = None
    redeemers: tuple[Redeemer, ...] = ()
    script: bytes | None = None  # the validator as a witness, when no reference holds it


def _inputs(refs: Iterable[OutputRef]) -> list[Any]:
    return [TransactionInput(TransactionId(r.tx_id), r.index) for r in refs]


def _multi_asset(assets: Assets) -> Any:
    grouped: dict[bytes, list[tuple[bytes, int]]] = {}
    for unit, quantity in sorted(assets):
        grouped.setdefault(unit[:28], []).append((unit[28:], quantity))
    return MultiAsset(
        {ScriptHash(p): Asset({AssetName(n): q for n, q in sorted(rows)}) for p, rows in grouped.items()}
    )


def _value(lovelace: int, assets: Assets) -> Any:
    return Value(lovelace, _multi_asset(assets)) if assets else Value(lovelace)


def _output(out: Out) -> Any:
    return TransactionOutput(
        Address.decode(out.address),
        _value(out.lovelace, out.assets),
        datum=None if out.datum is None else RawCBOR(out.datum),
        script=None if out.script is None else PlutusV3Script(out.script),
        post_alonzo=True,
    )


@suppress_type_checks
def output_bytes(out: Out) -> bytes:
    return bytes(_output(out).to_cbor())


def script_of(script_ref_cbor: bytes) -> tuple[int, bytes]:
    """Language and content of a reference script, `[language, script]` in CBOR."""
    if script_ref_cbor[:1] != b"\x82" or len(script_ref_cbor) < 3:
        raise Refused(
            BAD_INTENT(field="script_ref", got=script_ref_cbor[:8].hex(), allowed="[language, script]")
        )
    language, rest = script_ref_cbor[1], script_ref_cbor[2:]
    if language == 0:
        return 0, rest
    size = {0x58: 1, 0x59: 2, 0x5A: 4}.get(rest[0], 0)
    return language, rest[1 + size :]


_PLUTUS = {1: PlutusV1Script, 2: PlutusV2Script, 3: PlutusV3Script}


def utxo_bytes(utxo: Utxo) -> bytes:
    """The output that `utxo` describes; equal in meaning to the one on chain, for the evaluator."""
    script: Any = None
    if utxo.script_ref_cbor is not None:
        language, content = script_of(utxo.script_ref_cbor)
        script = _PLUTUS[language](content) if language else NativeScript.from_cbor(content)
    output = TransactionOutput(
        Address.decode(utxo.address),
        _value(utxo.lovelace.value, utxo.assets),
        datum_hash=None if utxo.datum_hash is None else DatumHash(utxo.datum_hash),
        datum=None if utxo.datum_cbor is None else RawCBOR(utxo.datum_cbor),
        script=script,
        post_alonzo=True,
    )
    return bytes(output.to_cbor())


def _redeemers(draft: Draft) -> Any:
    tags = {SPEND: RedeemerTag.SPEND, MINT: RedeemerTag.MINT}
    return RedeemerMap(
        {
            RedeemerKey(tags[r.tag], r.index): RedeemerValue(
                RawCBOR(r.data), ExecutionUnits(r.units.mem, r.units.steps)
            )
            for r in draft.redeemers
        }
    )


def _body(draft: Draft, cost_model: Sequence[int]) -> Any:
    body = TransactionBody(
        inputs=OrderedSet(_inputs(draft.inputs)),
        outputs=[_output(o) for o in draft.outputs],
        fee=draft.fee,
        ttl=draft.ub_slot,
        validity_start=draft.lb_slot,
    )
    if draft.mint:
        body.mint = _multi_asset(draft.mint)
    if draft.redeemers:
        body.script_data_hash = script_data_hash(_redeemers(draft), [], {2: list(cost_model)})
    if draft.collateral:
        body.collateral = NonEmptyOrderedSet(_inputs(draft.collateral))
        body.total_collateral = draft.total_collateral
    if draft.collateral_return is not None:
        body.collateral_return = _output(draft.collateral_return)
    if draft.signers:
        body.required_signers = NonEmptyOrderedSet([VerificationKeyHash(s) for s in draft.signers])
    if draft.references:
        body.reference_inputs = NonEmptyOrderedSet(_inputs(draft.references))
    return body


@suppress_type_checks
def encode(draft: Draft, cost_model: Sequence[int]) -> tuple[bytes, bytes]:
    """(transaction without key witnesses, transaction id)."""
    body = bytes(_body(draft, cost_model).to_cbor())
    witnesses = TransactionWitnessSet()
    if draft.redeemers:
        witnesses.redeemer = _redeemers(draft)
    if draft.script is not None:
        witnesses.plutus_v3_script = [PlutusV3Script(draft.script)]
    # pycardano's `Transaction` writes these very bytes, but encodes (and checks) the body a second time for its id
    tx = b"\x84" + body + bytes(witnesses.to_cbor()) + b"\xf5\xf6"
    return tx, hashlib.blake2b(body, digest_size=32).digest()


def key_witness_bytes(count: int) -> int:
    """What `count` (at least one) key witnesses add: key 0 and tag 258, the array's head, and for each a pair of
    32 and 64 bytes."""
    head = 1 if count < 24 else 2 if count < 256 else 3
    return 4 + head + count * (1 + 34 + 66)
