"""A test's transaction made whole: balanced, hashed, signed, with collateral, so that phase 1 finds nothing.

What a mutation dies of is then the script, by every judge. Inputs are the test's own, so the balance is made on
the wallet's side: what outputs lack is put into the wallet's input, what is left over goes to its last output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from nacl.signing import SigningKey

from regtest.cardano.cbor import CborError, parse
from regtest.cardano.evaluate import Evaluated, SlotTime, evaluate
from regtest.cardano.ledger import Context, check
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Ref, decode_output, decode_tx
from regtest.judge.scalus import Emulator, utxo_cbor
from tests.support import phase2
from tests.support.phase2 import array, integer, mapping, octets, serialise, tagged

FEE = 3_000_000  # above any least fee, so that it needs no second round
SPEND_MEM, SPEND_STEPS = 60_000, 20_000_000
COLLATERAL: phase2.Ref = (b"\xcc" * 32, 0)
PARAMS = Params()
TIME = SlotTime(phase2.SLOT_ZERO_MS, phase2.SLOT_MS)
Units = dict[tuple[bytes, bytes], int]


def key_hash(key: SigningKey) -> bytes:
    return hashlib.blake2b(bytes(key.verify_key), digest_size=28).digest()


@dataclass(frozen=True)
class Whole:
    raw: bytes
    utxo: dict[Ref, Output]
    slot: int


@dataclass(frozen=True)
class Verdict:
    """`phase1`: the ledger's predicates that failed before any script ran. `word`: why phase 2 refused."""

    ok: bool
    phase1: tuple[str, ...]
    word: str


def whole(tx: phase2.Tx, wallet: SigningKey, keys: Iterable[SigningKey]) -> Whole:
    """`wallet` owns the first input and the collateral; `keys` are all that may have to sign."""
    tx = _balanced(replace(tx, fee=FEE), wallet)
    spends = sorted(tx.inputs, key=lambda s: s.ref)
    holder = phase2.Output(phase2.SCRIPT_HOLDER, 50_000_000, script=tx.script)
    pledge = phase2.Output(b"\x60" + key_hash(wallet), 5_000_000)
    redeemers = _redeemers(tx, spends)
    body = phase2.body(tx)
    body[integer(13)] = tagged(258, array(phase2.ref_cbor(COLLATERAL)))
    body[integer(11)] = octets(_integrity(redeemers))
    body_cbor = mapping(body)
    tx_id = hashlib.blake2b(body_cbor, digest_size=32).digest()
    by_hash = {key_hash(k): k for k in keys} | {key_hash(wallet): wallet}
    signing = [by_hash[h] for h in sorted({*tx.signers, key_hash(wallet)}) if h in by_hash]
    witnesses = {
        integer(0): tagged(
            258,
            array(*(array(octets(bytes(k.verify_key)), octets(k.sign(tx_id).signature)) for k in signing)),
        ),
        integer(5): redeemers,
    }
    if tx.more_scripts:
        witnesses[integer(7)] = tagged(258, array(*(octets(s) for s in tx.more_scripts)))
    known = {s.ref: s.output for s in spends} | {phase2.SCRIPT_REF: holder, COLLATERAL: pledge}
    utxo = {Ref(*ref): decode_output(parse(output.cbor())) for ref, output in known.items()}
    raw = array(body_cbor, mapping(witnesses), b"\xf5", b"\xf6")
    return Whole(raw, utxo, tx.lower_slot or 0)


def _units(output: phase2.Output) -> Units:
    return {(p, n): q for p, names in output.tokens.items() for n, q in names.items()}


def _balanced(tx: phase2.Tx, wallet: SigningKey) -> phase2.Tx:
    """The wallet's input is the first that no script guards; its change is the last output."""
    payer = next(i for i, s in enumerate(tx.inputs) if s.redeemer is None)
    address = b"\x60" + key_hash(wallet)
    spent = tx.inputs[payer]
    others = [s.output for i, s in enumerate(tx.inputs) if i != payer]
    outputs = list(tx.outputs)
    if outputs[-1].address != address:
        outputs.append(phase2.Output(address, 5_000_000))
    lovelace = sum(o.lovelace for o in outputs) + tx.fee - sum(o.lovelace for o in others)
    missing: Units = {}
    for output in outputs:
        for unit, quantity in _units(output).items():
            missing[unit] = missing.get(unit, 0) + quantity
    for output in others:
        for unit, quantity in _units(output).items():
            missing[unit] = missing.get(unit, 0) - quantity
    for policy, names in tx.mint.items():
        for name, quantity in names.items():
            missing[policy, name] = missing.get((policy, name), 0) - quantity
    paid = phase2.Output(address, max(lovelace, 5_000_000), _grouped(u for u in missing.items() if u[1] > 0))
    over = _grouped((unit, -q) for unit, q in missing.items() if q < 0)
    change = outputs[-1]
    tokens = {p: dict(names) for p, names in change.tokens.items()}
    for policy, names in over.items():
        for name, quantity in names.items():
            own = tokens.setdefault(policy, {})
            own[name] = own.get(name, 0) + quantity
    outputs[-1] = replace(change, lovelace=change.lovelace + paid.lovelace - lovelace, tokens=tokens)
    inputs = [*tx.inputs[:payer], phase2.Spend(spent.ref, paid), *tx.inputs[payer + 1 :]]
    return replace(tx, inputs=inputs, outputs=outputs)


def _grouped(units: Iterable[tuple[tuple[bytes, bytes], int]]) -> dict[bytes, dict[bytes, int]]:
    found: dict[bytes, dict[bytes, int]] = {}
    for (policy, name), quantity in units:
        found.setdefault(policy, {})[name] = quantity
    return found


def _redeemers(tx: phase2.Tx, spends: list[phase2.Spend]) -> bytes:
    """Budgets within one transaction's: a little for each deferring spend, the rest for the mint."""
    rows = phase2.redeemer_rows(tx)
    count = sum(tag == 0 for tag, _, _ in rows)
    mem, steps = phase2.MAX_MEM - count * SPEND_MEM, phase2.MAX_STEPS - count * SPEND_STEPS
    if count == len(rows):
        mem, steps = SPEND_MEM, SPEND_STEPS
    return array(
        *(
            array(
                integer(tag),
                integer(index),
                serialise(data),
                array(integer(SPEND_MEM if tag == 0 else mem), integer(SPEND_STEPS if tag == 0 else steps)),
            )
            for tag, index, data in rows
        )
    )


def _integrity(redeemers: bytes) -> bytes:
    model = PARAMS.cost_models[3]
    views = mapping({integer(2): array(*(integer(v) for v in model))})
    return hashlib.blake2b(redeemers + views, digest_size=32).digest()


def by_aiken(one: Whole) -> Verdict:
    """The devnet's phase 1, then the Aiken evaluator; a yes needs the budgets that the redeemers declare."""
    try:
        tx = decode_tx(one.raw)
    except CborError as error:
        return Verdict(False, (f"decoder: {error}",), "")
    failures = check(tx, Context(PARAMS, one.slot, one.slot, one.utxo))
    if failures:
        return Verdict(False, tuple(f.predicate for f in failures), "")
    result = evaluate(tx, one.utxo, PARAMS, TIME)
    if isinstance(result, Evaluated):
        return Verdict(True, (), "")
    return Verdict(False, (), " ".join(result.message.split())[:160])


PHASE_TWO = "Plutus script validation failed"  # scalus's word; any other refusal is of phase 1


def by_scalus(one: Whole, emulator: Emulator) -> Verdict:
    """The emulator's ledger rules, then scalus's own machine."""
    begun = emulator.ask(
        {"do": "begin", "utxo": utxo_cbor(one.utxo), "zero_time": phase2.SLOT_ZERO_MS, "slot": 0}
    )
    if not begun["ok"]:
        return Verdict(False, (f"scalus cannot begin: {begun['error']}",), "")
    answer = emulator.ask({"do": "submit", "tx": one.raw.hex(), "slot": one.slot})
    if answer["ok"]:
        return Verdict(True, (), "")
    word = " ".join(str(answer["error"]).split())
    return Verdict(False, () if word.startswith(PHASE_TWO) else (word[:160],), word[:400])
