"""What the chain says of its own beginning, as Ogmios shows it, and the faucet's funds."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from nacl.signing import SigningKey

from regtest.cardano.cbor import array, mapping, octets, parse, uint
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Ref, blake2b_224, blake2b_256, decode_output

ERAS = ("byron", "shelley", "allegra", "mary", "alonzo", "babbage", "conway")
EPOCH_SLOTS = 86_400
SAFE_ZONE = 129_600
SECURITY_PARAMETER = 2_160
FAUCET_OUTPUTS = 20
FAUCET_LOVELACE = 500_000_000_000_000
FAUCET_KEY = SigningKey(sha256(b"cl-gateway development chain faucet").digest())


def faucet_address(network: int = 0) -> bytes:
    return bytes([0x60 | network]) + blake2b_224(bytes(FAUCET_KEY.verify_key))


def build_output(address: bytes, lovelace: int) -> Output:
    raw = mapping([(uint(0), octets(address)), (uint(1), uint(lovelace))])
    return decode_output(parse(raw))


def genesis_utxo(network: int = 0) -> dict[Ref, Output]:
    origin = blake2b_256(b"cl-gateway development chain genesis")
    output = build_output(faucet_address(network), FAUCET_LOVELACE)
    return {Ref(origin, index): output for index in range(FAUCET_OUTPUTS)}


def iso_time(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def era_summaries(time: SlotTime) -> list[dict[str, Any]]:
    """All eras before Conway are over at slot 0; the present one has no end."""
    zero = {"time": {"seconds": 0}, "slot": 0, "epoch": 0}
    shown: list[dict[str, Any]] = []
    for era in ERAS:
        byron = era == "byron"
        parameters = {
            "epochLength": 21_600 if byron else EPOCH_SLOTS,
            "slotLength": {"milliseconds": 20_000 if byron else time.slot_length_ms},
            "safeZone": 4_320 if byron else SAFE_ZONE,
        }
        summary: dict[str, Any] = {"start": zero, "parameters": parameters}
        if era != ERAS[-1]:
            summary["end"] = zero
        shown.append(summary)
    return shown


def genesis_configuration(
    era: str, params: Params, time: SlotTime, network_magic: int
) -> dict[str, Any] | None:
    """None for an era without a genesis file."""
    shown = params.ogmios()
    if era == "byron":
        return {
            "era": "byron",
            "genesisKeyHashes": [],
            "genesisDelegations": {},
            "startTime": iso_time(time.system_start_ms),
            "initialFunds": {},
            "initialVouchers": {},
            "securityParameter": SECURITY_PARAMETER,
            "networkMagic": network_magic,
            "updatableParameters": {},
        }
    if era == "shelley":
        return _shelley(shown, time, network_magic)
    if era == "alonzo":
        names = (
            "minUtxoDepositCoefficient", "collateralPercentage", "plutusCostModels", "maxCollateralInputs",
            "maxExecutionUnitsPerBlock", "maxExecutionUnitsPerTransaction", "maxValueSize",
            "scriptExecutionPrices",
        )  # fmt: skip
        return {"era": "alonzo", "updatableParameters": {name: shown[name] for name in names}}
    if era == "conway":
        return _conway(shown)
    return None


def _shelley(shown: dict[str, Any], time: SlotTime, network_magic: int) -> dict[str, Any]:
    return {
        "era": "shelley",
        "startTime": iso_time(time.system_start_ms),
        "networkMagic": network_magic,
        "network": "testnet",
        "activeSlotsCoefficient": "1/20",
        "securityParameter": SECURITY_PARAMETER,
        "epochLength": EPOCH_SLOTS,
        "slotsPerKesPeriod": 129_600,
        "maxKesEvolutions": 62,
        "slotLength": {"milliseconds": time.slot_length_ms},
        "updateQuorum": 5,
        "maxLovelaceSupply": 45_000_000_000_000_000,
        "initialParameters": shown,
        "initialDelegates": [],
        "initialFunds": {},
        "initialStakePools": {"stakePools": {}, "delegators": {}},
    }


def _conway(shown: dict[str, Any]) -> dict[str, Any]:
    names = (
        "stakePoolVotingThresholds", "constitutionalCommitteeMinSize", "constitutionalCommitteeMaxTermLength",
        "governanceActionLifetime", "governanceActionDeposit", "delegateRepresentativeVotingThresholds",
        "delegateRepresentativeDeposit", "delegateRepresentativeMaxIdleTime", "minFeeReferenceScripts",
    )  # fmt: skip
    updatable = {name: shown[name] for name in names}
    updatable["plutusCostModels"] = {"plutus:v3": shown["plutusCostModels"]["plutus:v3"]}
    return {
        "era": "conway",
        "constitution": {"metadata": {"url": "", "hash": "00" * 32}, "guardrails": None},
        "constitutionalCommittee": {"members": [], "quorum": "2/3"},
        "updatableParameters": updatable,
    }


def faucet_transaction(
    params: Params, network: int, source: tuple[Ref, Output], targets: list[Output]
) -> bytes:
    """A signed payment from one of the faucet's outputs, the change back to it; pays its exact minimum fee."""
    ref, held = source
    spent = sum(target.lovelace for target in targets)
    fee = 200_000
    for _ in range(2):  # the second round knows the size
        change = build_output(faucet_address(network), held.lovelace - spent - fee)
        outputs = array(output.raw for output in (*targets, change))
        body = mapping([(uint(0), array([ref.cbor()])), (uint(1), outputs), (uint(2), uint(fee))])
        signature = FAUCET_KEY.sign(blake2b_256(body)).signature
        vkey = array([octets(bytes(FAUCET_KEY.verify_key)), octets(signature)])
        raw = b"\x84" + body + mapping([(uint(0), array([vkey]))]) + b"\xf5\xf6"
        fee = max(fee, (len(raw) - 1) * params.min_fee_coefficient + params.min_fee_constant)
    return raw
