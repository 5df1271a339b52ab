"""A Conway transaction written byte by byte and run by the native evaluator with exact units.

Nothing here knows what a channel is: tests may put anything into any place.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from cometa._aiken_ffi import aiken_ffi, aiken_lib

from gateway.cl.data.plutus import Data, serialise

SLOT_ZERO_MS = 1_700_000_000_000
SLOT_MS = 1_000
MAX_MEM, MAX_STEPS = 16_500_000, 10_000_000_000
_MODELS = json.loads((Path(__file__).parents[2] / "regtest" / "cardano" / "cost_models.json").read_text())

Ref = tuple[bytes, int]
Value = tuple[int, dict[bytes, dict[bytes, int]]]  # lovelace, policy -> name -> quantity


def head(major: int, value: int) -> bytes:
    for limit, code, size in (
        (24, None, 0),
        (1 << 8, 24, 1),
        (1 << 16, 25, 2),
        (1 << 32, 26, 4),
        (1 << 64, 27, 8),
    ):
        if value < limit:
            if code is None:
                return bytes((major << 5 | value,))
            return bytes((major << 5 | code,)) + value.to_bytes(size, "big")
    raise OverflowError(value)


def integer(value: int) -> bytes:
    return head(0, value) if value >= 0 else head(1, -1 - value)


def octets(raw: bytes) -> bytes:
    return head(2, len(raw)) + raw


def array(*items: bytes) -> bytes:
    return head(4, len(items)) + b"".join(items)


def mapping(pairs: dict[bytes, bytes]) -> bytes:
    return head(5, len(pairs)) + b"".join(
        k + v for k, v in sorted(pairs.items(), key=lambda p: (len(p[0]), p[0]))
    )


def tagged(tag: int, item: bytes) -> bytes:
    return head(6, tag) + item


def _assets(tokens: dict[bytes, dict[bytes, int]]) -> bytes:
    return mapping(
        {octets(p): mapping({octets(n): integer(q) for n, q in names.items()}) for p, names in tokens.items()}
    )


@dataclass
class Output:
    address: bytes
    lovelace: int
    tokens: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    datum: Data | None = None
    datum_hash: bytes | None = None
    script: bytes | None = None  # a Plutus V3 reference script

    def cbor(self) -> bytes:
        tokens = {p: n for p, n in self.tokens.items() if n}
        value = array(integer(self.lovelace), _assets(tokens)) if tokens else integer(self.lovelace)
        pairs = {integer(0): octets(self.address), integer(1): value}
        if self.datum_hash is not None:
            pairs[integer(2)] = array(integer(0), octets(self.datum_hash))
        elif self.datum is not None:
            pairs[integer(2)] = array(integer(1), tagged(24, octets(serialise(self.datum))))
        if self.script is not None:
            pairs[integer(3)] = tagged(24, octets(array(integer(3), octets(self.script))))
        return mapping(pairs)


@dataclass
class Spend:
    ref: Ref
    output: Output
    redeemer: Data | None = None  # of a script input


@dataclass
class Tx:
    script: bytes  # given by a reference input
    inputs: list[Spend] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    mint: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    mint_redeemers: dict[bytes, Data] = field(default_factory=dict)  # policy -> redeemer
    lower_slot: int | None = None
    upper_slot: int | None = None  # exclusive
    signers: list[bytes] = field(default_factory=list)  # 28-byte key hashes
    fee: int = 400_000
    more_scripts: list[bytes] = field(default_factory=list)  # other Plutus V3 scripts, as witnesses


@dataclass(frozen=True)
class Ran:
    ok: bool
    units: dict[tuple[int, int], tuple[int, int]]  # (tag, index) -> (mem, steps)
    message: str
    size: int

    def total(self) -> tuple[int, int]:
        return sum(m for m, _ in self.units.values()), sum(s for _, s in self.units.values())


SCRIPT_REF: Ref = (b"\xee" * 32, 0)
SCRIPT_HOLDER = bytes.fromhex("60") + b"\x77" * 28


def ref_cbor(ref: Ref) -> bytes:
    return array(octets(ref[0]), integer(ref[1]))


def redeemer_rows(tx: Tx) -> list[tuple[int, int, Data]]:
    """(tag, index, data), in the ledger's order."""
    spends = sorted(tx.inputs, key=lambda s: s.ref)
    rows: list[tuple[int, int, Data]] = [
        (0, i, s.redeemer) for i, s in enumerate(spends) if s.redeemer is not None
    ]
    return rows + [
        (1, i, tx.mint_redeemers[p]) for i, p in enumerate(sorted(tx.mint)) if p in tx.mint_redeemers
    ]


def body(tx: Tx) -> dict[bytes, bytes]:
    """The fields that phase 2 sees."""
    spends = sorted(tx.inputs, key=lambda s: s.ref)
    found = {
        integer(0): tagged(258, array(*(ref_cbor(s.ref) for s in spends))),
        integer(1): array(*(o.cbor() for o in tx.outputs)),
        integer(2): integer(tx.fee),
        integer(18): tagged(258, array(ref_cbor(SCRIPT_REF))),
    }
    if tx.mint:
        found[integer(9)] = _assets(tx.mint)
    if tx.upper_slot is not None:
        found[integer(3)] = integer(tx.upper_slot)
    if tx.lower_slot is not None:
        found[integer(8)] = integer(tx.lower_slot)
    if tx.signers:
        found[integer(14)] = tagged(258, array(*(octets(s) for s in sorted(set(tx.signers)))))
    return found


def build(tx: Tx) -> bytes:
    budget = array(integer(MAX_MEM), integer(MAX_STEPS))
    rows = redeemer_rows(tx)
    witnesses = {
        integer(5): array(*(array(integer(t), integer(i), serialise(d), budget) for t, i, d in rows))
    }
    if tx.more_scripts:
        witnesses[integer(7)] = tagged(258, array(*(octets(s) for s in tx.more_scripts)))
    return array(mapping(body(tx)), mapping(witnesses), b"\xf5", b"\xf6")


def run(tx: Tx) -> Ran:
    """Phase 2 of the whole transaction; `message` is the evaluator's word on a failure."""
    raw = build(tx)
    resolved = [(s.ref, s.output.cbor()) for s in sorted(tx.inputs, key=lambda s: s.ref)]
    resolved.append((SCRIPT_REF, Output(SCRIPT_HOLDER, 50_000_000, script=tx.script).cbor()))
    config = aiken_ffi.new("SlotConfig*")
    config.slot_length, config.zero_slot, config.zero_time = SLOT_MS, 0, SLOT_ZERO_MS
    budget = aiken_ffi.new("InitialBudget*")
    budget.mem, budget.cpu = MAX_MEM, MAX_STEPS
    models = mapping({integer(2): array(*(integer(v) for v in _MODELS["plutus:v3"]))})
    pointer = aiken_lib.eval_phase_two(
        _text(raw),
        _text(array(*(ref_cbor(r) for r, _ in resolved))),
        _text(array(*(o for _, o in resolved))),
        _text(models),
        budget,
        config,
    )
    try:
        answer = json.loads(aiken_ffi.string(pointer))
    finally:
        aiken_lib.drop_char_pointer(pointer)
    if str(answer.get("status", "")).upper() != "SUCCESS":
        return Ran(False, {}, str(answer.get("error", answer)), len(raw))
    return Ran(True, _units(bytes.fromhex(answer["redeemer_cbor"])), "", len(raw))


def _text(raw: bytes) -> bytes:
    return raw.hex().encode() + b"\0"


def _units(raw: bytes) -> dict[tuple[int, int], tuple[int, int]]:
    import cbor2

    found = cbor2.loads(raw)
    rows = found.items() if isinstance(found, dict) else [((r[0], r[1]), (r[2], r[3])) for r in found]
    return {(k[0], k[1]): (v[1][0], v[1][1]) for k, v in rows}


def script_hash(script: bytes) -> bytes:
    return hashlib.blake2b(b"\x03" + script, digest_size=28).digest()
