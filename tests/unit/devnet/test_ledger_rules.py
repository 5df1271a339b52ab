"""Every ledger rule of the devnet: a healthy transaction, and one change for each rule that breaks it.

Each is given to scalus's emulator as well; a difference must be a line of docs/judges.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from regtest.cardano.cbor import array, mapping, octets, uint
from regtest.cardano.chain import Chain
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.failure import Failure
from regtest.cardano.ledger import add_assets, min_fee, min_lovelace
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Pointer, Ref, Script, blake2b_256, decode_tx
from regtest.judge.known import KNOWN, explained
from regtest.judge.scalus import Emulator, utxo_cbor
from tests.support.devnet_drafts import (
    ALWAYS_V2,
    ALWAYS_V3,
    NEVER_V3,
    UNIT,
    Draft,
    key,
    key_address,
    key_hash,
    make_output,
    script_address,
)
from tests.support.scalus import new_judge

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ALICE, BOB = key("alice"), key("bob")
ADA = 1_000_000
TIP_SLOT = 1_000
ROOT = Path(__file__).resolve().parents[3]
TOKEN = ALWAYS_V3.hash + b"token"
SIGNED_BY_ALICE = Script(0, array([uint(0), octets(key_hash(ALICE))]))
AFTER_500 = Script(0, array([uint(1), array([SIGNED_BY_ALICE.content, array([uint(4), uint(500)])])]))
BIG_NATIVE = Script(0, array([uint(2), array([SIGNED_BY_ALICE.content] * 400)]))


def ref(name: str) -> Ref:
    return Ref(blake2b_256(name.encode()), 0)


def tokens(count: int, name_size: int = 32) -> dict[bytes, int]:
    return {ALWAYS_V3.hash + number.to_bytes(name_size, "big"): 1 for number in range(count)}


UTXO: dict[Ref, Output] = {
    ref("alice"): make_output(key_address(ALICE), 100 * ADA),
    ref("bob"): make_output(key_address(BOB), 100 * ADA),
    ref("collateral"): make_output(key_address(ALICE), 10 * ADA),
    **{ref(f"collateral {n}"): make_output(key_address(ALICE), 10 * ADA) for n in range(4)},
    ref("tokens"): make_output(key_address(ALICE), 10 * ADA, {TOKEN: 5}),
    ref("many tokens"): make_output(key_address(ALICE), 200 * ADA, tokens(150)),
    ref("v3"): make_output(script_address(ALWAYS_V3), 20 * ADA, datum=UNIT),
    ref("v3 bare"): make_output(script_address(ALWAYS_V3), 20 * ADA),
    ref("v3 hash"): make_output(script_address(ALWAYS_V3), 20 * ADA, datum_hash=blake2b_256(UNIT)),
    ref("never"): make_output(script_address(NEVER_V3), 20 * ADA, datum=UNIT),
    ref("v2 bare"): make_output(script_address(ALWAYS_V2), 20 * ADA),
    ref("v2 hash"): make_output(script_address(ALWAYS_V2), 20 * ADA, datum_hash=blake2b_256(UNIT)),
    ref("native"): make_output(script_address(AFTER_500), 20 * ADA),
    ref("holds v3"): make_output(key_address(BOB), 20 * ADA, script=ALWAYS_V3),
    **{ref(f"holds big {n}"): make_output(key_address(BOB), 99 * ADA, script=BIG_NATIVE) for n in range(20)},
}


class Bench:
    """Both ledgers over the same outputs, at slot TIP_SLOT + 1."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.differed: list[str] = []
        self.chain = Chain(Params(), SlotTime(1_700_000_000_000), UTXO)
        self.chain.forge(TIP_SLOT)
        request = {"do": "begin", "utxo": utxo_cbor(UTXO), "zero_time": 1_700_000_000_000, "slot": 0}
        assert emulator.ask(request)["ok"]

    def submit(self, raw: bytes) -> Failure | None:
        outcome = self.chain.submit(raw)
        answer = self._emulator.ask({"do": "submit", "tx": raw.hex(), "slot": TIP_SLOT + 1})
        failure = outcome if isinstance(outcome, Failure) else None
        if (failure is None) != answer["ok"]:
            assert failure is not None, f"scalus refuses: {answer}"
            line = explained(failure)
            assert line is not None, f"scalus accepts; devnet: {failure}"
            assert f"| {line} |" in (ROOT / "docs" / "judges.md").read_text()
            self.differed.append(line)
        return failure


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    new_judge()
    running = Emulator()
    yield running
    running.close()


@pytest.fixture
def bench(emulator: Emulator) -> Bench:
    return Bench(emulator)


def payment() -> Draft:
    outputs = [make_output(key_address(BOB), 30 * ADA), make_output(key_address(ALICE), 70 * ADA - 300_000)]
    return Draft(inputs=[ref("alice")], outputs=outputs, signers=[ALICE], network=0)


def paid(source: int, fee: int, **fields: object) -> list[Output]:
    return [make_output(key_address(ALICE), source - fee, **fields)]  # type: ignore[arg-type]


BUDGET = (10_000, 10_000_000)
SPEND = {Pointer(0, 0): (UNIT, *BUDGET)}


def spend(name: str = "v3", script: Script = ALWAYS_V3) -> Draft:
    """A script input, by the script in the witnesses."""
    return Draft(
        inputs=[ref(name)],
        outputs=paid(20 * ADA, 300_000),
        signers=[ALICE],
        collateral=[ref("collateral")],
        redeemers=dict(SPEND),
        scripts=[script],
        languages={script.language},
    )


def by_reference() -> Draft:
    draft = spend()
    draft.scripts, draft.references = [], [ref("holds v3")]
    return draft


def minting() -> Draft:
    draft = payment()
    draft.mint = {TOKEN: 3}
    draft.outputs = [make_output(key_address(ALICE), 100 * ADA - 300_000, {TOKEN: 3})]
    draft.redeemers = {Pointer(1, 0): (UNIT, *BUDGET)}
    draft.scripts, draft.languages, draft.collateral = [ALWAYS_V3], {3}, [ref("collateral")]
    return draft


def native() -> Draft:
    return Draft(
        inputs=[ref("native")],
        outputs=paid(20 * ADA, 300_000),
        signers=[ALICE],
        scripts=[AFTER_500],
        invalid_before=500,
    )


def with_metadata() -> Draft:
    return replace(payment(), auxiliary=mapping([(uint(1), b"\x63abc")]))


def with_return() -> Draft:
    draft = spend()
    draft.collateral_return = make_output(key_address(ALICE), 9 * ADA)
    draft.total_collateral = ADA
    return draft


def failing_script() -> Draft:
    draft = spend("never", NEVER_V3)
    draft.is_valid = False
    return draft


def datum_by_hash() -> Draft:
    return replace(spend("v3 hash"), datums=[UNIT])


def burning() -> Draft:
    draft = minting()
    draft.inputs, draft.mint = [ref("tokens")], {TOKEN: -5}
    draft.outputs = paid(10 * ADA, 300_000)
    return draft


HEALTHY: list[Callable[[], Draft]] = [
    payment, spend, by_reference, minting, native, with_metadata, with_return, failing_script, datum_by_hash,
    burning, lambda: spend("v3 bare"), lambda: replace(spend("v2 hash", ALWAYS_V2), datums=[UNIT]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HEALTHY)))
def test_healthy(bench: Bench, number: int) -> None:
    assert bench.submit(HEALTHY[number]().build()) is None


def change(draft: Draft, **fields: object) -> Draft:
    return replace(draft, **fields)  # type: ignore[arg-type]


def repaid(draft: Draft, source: int, fee: int) -> Draft:
    return change(draft, fee=fee, outputs=paid(source, fee))


def lowest(draft: Draft) -> Output:
    """An output of exactly the minimum."""
    output = make_output(key_address(BOB), ADA)
    return make_output(key_address(BOB), min_lovelace(output, Params()))


def two_outputs(first: Output) -> list[Output]:
    return [first, make_output(key_address(ALICE), 100 * ADA - 300_000 - first.lovelace)]


LONG = mapping([(uint(1), octets(bytes(65)))])
REFUSED: dict[str, tuple[int, str, Callable[[], Draft]]] = {
    "empty inputs": (3121, "InputSetEmptyUTxO", lambda: change(payment(), inputs=[])),
    "all inputs spent": (3997, "ConwayMempoolFailure", lambda: change(payment(), inputs=[ref("no")])),
    "one input spent": (
        3117, "BadInputsUTxO", lambda: change(payment(), inputs=[ref("alice"), ref("no")])),
    "reference missing": (
        3117, "BadInputsUTxO", lambda: change(payment(), references=[ref("no")])),
    "collateral missing": (3117, "BadInputsUTxO", lambda: change(spend(), collateral=[ref("no")])),
    "input is a reference too": (
        3164, "BabbageNonDisjointRefInputs", lambda: change(payment(), references=[ref("alice")])),
    "too early": (
        3118, "OutsideValidityIntervalUTxO", lambda: change(payment(), invalid_before=TIP_SLOT + 2)),
    "too late": (
        3118, "OutsideValidityIntervalUTxO", lambda: change(payment(), invalid_after=TIP_SLOT + 1)),
    "forecast": (3130, "OutsideForecast", lambda: change(spend(), invalid_after=TIP_SLOT + 129_601)),
    "tx size": (
        3119, "MaxTxSizeUTxO",
        lambda: change(payment(), fee=5 * ADA, outputs=paid(100 * ADA, 5 * ADA),
                       auxiliary=mapping((uint(n), octets(bytes(64))) for n in range(260)))),
    "budget memory": (
        3134, "ExUnitsTooBigUTxO",
        lambda: change(repaid(spend(), 20 * ADA, 5 * ADA),
                       redeemers={Pointer(0, 0): (UNIT, 16_500_001, 1_000_000)})),
    "budget steps": (
        3134, "ExUnitsTooBigUTxO",
        lambda: change(repaid(spend(), 20 * ADA, 5 * ADA),
                       redeemers={Pointer(0, 0): (UNIT, 10_000, 10_000_000_001)})),
    "foreign address": (
        3124, "WrongNetwork",
        lambda: change(payment(), outputs=two_outputs(make_output(key_address(BOB, 1), 30 * ADA)))),
    "foreign body": (3124, "WrongNetworkInTxBody", lambda: change(payment(), network=1)),
    "fee": (3122, "FeeTooSmallUTxO", lambda: repaid(payment(), 100 * ADA, 150_000)),
    "unbalanced ada": (3123, "ValueNotConservedUTxO", lambda: change(payment(), fee=300_001)),
    "unbalanced asset": (
        3123, "ValueNotConservedUTxO",
        lambda: change(minting(), mint={TOKEN: 4})),
    "lost tokens": (
        3123, "ValueNotConservedUTxO",
        lambda: change(payment(), inputs=[ref("tokens")], outputs=paid(10 * ADA, 300_000))),
    "output too small": (
        3125, "BabbageOutputTooSmallUTxO",
        lambda: change(payment(), outputs=two_outputs(
            make_output(key_address(BOB), lowest(payment()).lovelace - 1)))),
    "value too big": (
        3120, "OutputTooBigUTxO",
        lambda: change(payment(), inputs=[ref("many tokens")],
                       outputs=paid(200 * ADA, 300_000, assets=tokens(150)))),
    "no collateral": (3132, "NoCollateralInputs", lambda: change(spend(), collateral=[])),
    "little collateral": (
        3128, "InsufficientCollateral",
        lambda: change(with_return(), total_collateral=449_999,
                       collateral_return=make_output(key_address(ALICE), 10 * ADA - 449_999))),
    "script collateral": (
        3129, "ScriptsNotPaidUTxO", lambda: change(spend(), collateral=[ref("v3 bare")])),
    "token collateral": (
        3133, "CollateralContainsNonADA", lambda: change(spend(), collateral=[ref("tokens")])),
    "total collateral": (
        3135, "IncorrectTotalCollateralField", lambda: change(with_return(), total_collateral=ADA + 1)),
    "much collateral": (
        3131, "TooManyCollateralInputs",
        lambda: change(spend(), collateral=[ref(f"collateral {n}") for n in range(4)])),
    "big references": (
        3166, "ConwayTxRefScriptsSizeTooBig",
        lambda: change(repaid(payment(), 100 * ADA, 50 * ADA),
                       references=[ref(f"holds big {n}") for n in range(20)])),
    "unsigned": (3101, "MissingVKeyWitnessesUTXOW", lambda: change(payment(), signers=[])),
    "signed by another": (3101, "MissingVKeyWitnessesUTXOW", lambda: change(payment(), signers=[BOB])),
    "collateral unsigned": (
        3101, "MissingVKeyWitnessesUTXOW", lambda: change(spend(), collateral=[ref("bob")])),
    "required signer": (
        3101, "MissingVKeyWitnessesUTXOW",
        lambda: change(payment(), required_signers=[key_hash(BOB)])),
    "bad signature": (3100, "InvalidWitnessesUTXOW", lambda: change(payment(), spoil_signature=True)),
    "script missing": (3102, "MissingScriptWitnessesUTXOW", lambda: change(spend(), scripts=[], languages=set())),
    "script twice": (
        3104, "ExtraneousScriptWitnessesUTXOW", lambda: change(by_reference(), scripts=[ALWAYS_V3])),
    "script unneeded": (
        3104, "ExtraneousScriptWitnessesUTXOW",
        lambda: change(spend(), scripts=[ALWAYS_V3, SIGNED_BY_ALICE])),
    "redeemer missing": (3109, "MissingRedeemers", lambda: change(spend(), redeemers={})),
    "redeemer extra": (
        3110, "ExtraRedeemers",
        lambda: change(spend(), redeemers={**SPEND, Pointer(1, 0): (UNIT, *BUDGET)})),
    "datum missing": (3111, "MissingRequiredDatums", lambda: spend("v3 hash")),
    "datum extra": (
        3112, "NotAllowedSupplementalDatums", lambda: change(spend(), datums=[UNIT])),
    "V2 without datum": (3114, "UnspendableUTxONoDatumHash", lambda: spend("v2 bare", ALWAYS_V2)),
    "integrity wrong": (3113, "PPViewHashesDontMatch", lambda: change(spend(), integrity=bytes(32))),
    "integrity missing": (3113, "PPViewHashesDontMatch", lambda: change(spend(), omit_integrity=True)),
    "integrity unwanted": (3113, "PPViewHashesDontMatch", lambda: change(payment(), integrity=bytes(32))),
    "native time lock": (
        3103, "ScriptWitnessNotValidatingUTXOW", lambda: change(native(), invalid_before=499)),
    "native signature": (
        3103, "ScriptWitnessNotValidatingUTXOW", lambda: change(native(), signers=[])),
    "malformed script": (
        3116, "MalformedReferenceScripts",
        lambda: change(payment(), outputs=two_outputs(
            make_output(key_address(BOB), 30 * ADA, script=Script(3, b"\x43abc"))))),
    "metadata without hash": (
        3105, "MissingTxBodyMetadataHash", lambda: change(with_metadata(), auxiliary_hash=b"")),
    "hash without metadata": (
        3106, "MissingTxMetadata", lambda: change(payment(), auxiliary_hash=bytes(32))),
    "metadata hash": (
        3107, "ConflictingMetadataHash", lambda: change(with_metadata(), auxiliary_hash=bytes(32))),
    "long metadatum": (3108, "InvalidMetadata", lambda: change(payment(), auxiliary=LONG)),
    "script fails": (3136, "ValidationTagMismatch", lambda: spend("never", NEVER_V3)),
    "script succeeds": (3136, "ValidationTagMismatch", lambda: change(spend(), is_valid=False)),
    "budget too small": (
        3136, "ValidationTagMismatch",
        lambda: change(spend(), redeemers={Pointer(0, 0): (UNIT, 100, 10_000)})),
    "withdrawal": (
        3997, "ConwayMempoolFailure",
        lambda: change(payment(), extra={5: mapping([(octets(b"\xe0" + key_hash(ALICE)), uint(0))])})),
    "input twice": (-32602, "DecoderError", lambda: change(payment(), inputs=[ref("alice")] * 2)),
    "empty mint": (-32602, "DecoderError", lambda: change(payment(), extra={9: b"\xa0"})),
    "unknown field": (-32602, "DecoderError", lambda: change(payment(), extra={99: uint(1)})),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(bench: Bench, name: str) -> None:
    code, predicate, make = REFUSED[name]
    failure = bench.submit(make().build())
    assert failure is not None
    assert (failure.code, failure.predicate) == (code, predicate)


@pytest.mark.parametrize(
    ("name", "line"),
    [("forecast", "J1"), ("budget steps", "J2"), ("big references", "J3"), ("input twice", "J4")],
)
def test_known_differences_still_differ(bench: Bench, name: str, line: str) -> None:
    """A line that no longer applies (a newer scalus) must go."""
    bench.submit(REFUSED[name][2]().build())
    assert bench.differed == [line]
    assert line in {entry.line for entry in KNOWN}


def test_fee_edge(bench: Bench) -> None:
    """The exact minimum is taken, one lovelace less is not: reference scripts of one tier included."""
    draft = change(by_reference(), references=[ref("holds v3"), *(ref(f"holds big {n}") for n in range(4))])
    for _ in range(3):
        tx = decode_tx(draft.build())
        draft = repaid(draft, 20 * ADA, min_fee(tx, Params(), UTXO))
    low = bench.submit(repaid(draft, 20 * ADA, draft.fee - 1).build())
    assert low is not None
    assert low.predicate == "FeeTooSmallUTxO"
    assert bench.submit(draft.build()) is None


def test_min_output_edge(bench: Bench) -> None:
    assert bench.submit(change(payment(), outputs=two_outputs(lowest(payment()))).build()) is None


def test_collateral_edge(bench: Bench) -> None:
    back = make_output(key_address(ALICE), 10 * ADA - 450_000)  # 150 % of 300,000
    assert (
        bench.submit(change(with_return(), total_collateral=450_000, collateral_return=back).build()) is None
    )


def test_interval_edges(bench: Bench) -> None:
    draft = change(payment(), invalid_before=TIP_SLOT + 1, invalid_after=TIP_SLOT + 2)
    assert bench.submit(draft.build()) is None


def test_chained_in_the_mempool_and_repeated(bench: Bench) -> None:
    first = payment().build()
    assert bench.submit(first) is None
    second = Draft(
        inputs=[Ref(decode_tx(first).id, 1)], outputs=paid(70 * ADA - 300_000, 300_000), signers=[ALICE]
    )
    assert bench.submit(second.build()) is None
    again = bench.submit(first)
    assert again is not None
    assert again.code == 3997


def test_failed_script_takes_the_collateral(bench: Bench) -> None:
    draft = change(with_return(), inputs=[ref("never")], scripts=[NEVER_V3], is_valid=False)
    assert bench.submit(draft.build()) is None
    block, dropped = bench.chain.forge(TIP_SLOT + 5)
    assert (len(block.txs), dropped) == (1, ())
    left = bench.chain.utxo
    assert ref("never") in left
    assert ref("collateral") not in left
    assert left[Ref(block.txs[0].id, 1)].lovelace == 9 * ADA


def balanced(draft: Draft) -> Draft:
    """Outputs that hold all that the inputs and the mint bring, where that is possible."""
    inputs = sorted(set(draft.inputs))
    lovelace = sum(UTXO[item].lovelace for item in inputs if item in UTXO) - draft.fee
    assets = dict(draft.mint)
    for item in inputs:
        assets = add_assets(assets, UTXO[item].assets if item in UTXO else {})
    if lovelace < 2 * ADA or any(quantity < 0 for quantity in assets.values()):
        return draft
    return change(draft, inputs=inputs, outputs=[make_output(key_address(ALICE), lovelace, assets)])


def randomly_changed(rng: Random, draft: Draft) -> Draft:
    refs = list(UTXO)
    one: dict[Pointer, tuple[bytes, int, int]] = {Pointer(0, 1): (UNIT, *BUDGET)}
    options: dict[str, list[object]] = {
        "fee": [draft.fee - 1, draft.fee + 1, draft.fee + 5_000],
        "inputs": [[*draft.inputs, item] for item in refs],
        "references": [[*draft.references, item] for item in refs],
        "collateral": [[*draft.collateral, item] for item in refs],
        "signers": [[ALICE], [BOB], [ALICE, BOB], []],
        "invalid_after": [TIP_SLOT, TIP_SLOT + 1, TIP_SLOT + 2, None],
        "invalid_before": [499, 500, TIP_SLOT + 1, TIP_SLOT + 2, None],
        "mint": [{}, {TOKEN: 1}, {TOKEN: -1}, {SIGNED_BY_ALICE.hash + b"x": 3}],
        "scripts": [[], [ALWAYS_V3], [ALWAYS_V2], [NEVER_V3], [SIGNED_BY_ALICE], [ALWAYS_V3, ALWAYS_V2]],
        "languages": [set(), {2}, {3}, {2, 3}],
        "redeemers": [{}, SPEND, one, {**SPEND, **one}, {Pointer(1, 0): (UNIT, *BUDGET)}],
        "datums": [[], [UNIT], [b"\x01"], [UNIT, b"\x01"]],
        "is_valid": [not draft.is_valid],
        "required_signers": [[], [key_hash(BOB)], [key_hash(ALICE)]],
        "collateral_return": [None, make_output(key_address(ALICE), 9 * ADA, {TOKEN: 5})],
        "total_collateral": [None, ADA, 10 * ADA],
    }
    name = rng.choice(list(options))
    return change(draft, **{name: rng.choice(options[name])})


@pytest.mark.parametrize("seed", range(8))
def test_both_judges_agree_on_random_changes(emulator: Emulator, seed: int) -> None:
    """Up to four random changes of a known transaction; `submit` fails on an unexplained difference."""
    rng = Random(seed)
    makers = [*HEALTHY, *(make for _, _, make in REFUSED.values())]
    for _ in range(25):
        draft = rng.choice(makers)()
        for _ in range(rng.randint(1, 4)):
            draft = randomly_changed(rng, draft)
        Bench(emulator).submit((balanced(draft) if rng.random() < 0.7 else draft).build())
