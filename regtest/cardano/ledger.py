"""Phase 1 of the Conway ledger, as far as payments, minting and Plutus scripts go.

Every rule is named by the ledger's predicate. Certificates, withdrawals and governance are refused by
name: this chain has no stake and no votes. `check` collects every failure, as the ledger does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from regtest.cardano import witnessing
from regtest.cardano.cbor import head, uint
from regtest.cardano.failure import Failure
from regtest.cardano.params import Params, ada
from regtest.cardano.transaction import Assets, Output, Ref, Tx
from regtest.cardano.views import (
    address_text,
    network_name,
    output_json,
    refs_json,
    units_json,
    value_json,
)

FORECAST_SLOTS = 129_600  # 3k/f: how far after the tip the ledger can turn slots into time


@dataclass(frozen=True, slots=True)
class Context:
    """What a transaction is checked against: `slot` is that of the block it would be in."""

    params: Params
    slot: int
    tip_slot: int
    utxo: Mapping[Ref, Output] = field(hash=False)
    network: int = 0


def check(tx: Tx, at: Context) -> list[Failure]:
    """All phase-1 failures; an empty list is a yes."""
    failures = _unsupported(tx) + _inputs(tx, at)
    failures += _interval(tx, at) + _sizes(tx, at) + _network(tx, at) + _outputs(tx, at)
    resolved = {ref: at.utxo[ref] for ref in _all_refs(tx) if ref in at.utxo}
    failures += _fee(tx, at, resolved) + _collateral(tx, at, resolved) + _conservation(tx, resolved)
    failures += _signatures(tx, resolved) + witnessing.check(tx, at.params, resolved)
    return failures


def _all_refs(tx: Tx) -> set[Ref]:
    return {*tx.inputs, *tx.references, *tx.collateral}


def _unsupported(tx: Tx) -> list[Failure]:
    if not tx.unsupported:
        return []
    reason = f"this development chain has no {', '.join(tx.unsupported)}"
    return [Failure(3997, "ConwayMempoolFailure", "Unsupported transaction", {"error": reason})]


def _inputs(tx: Tx, at: Context) -> list[Failure]:
    failures: list[Failure] = []
    if not tx.inputs:
        failures.append(Failure(3121, "InputSetEmptyUTxO", "Transaction must have at least one input."))
    elif not any(ref in at.utxo for ref in tx.inputs):
        # The node's mempool says this first, so that a repeated submission is recognised.
        reason = "All inputs are spent. Transaction has probably already been included"
        failures.append(Failure(3997, "ConwayMempoolFailure", "Unexpected mempool error.", {"error": reason}))
    if unknown := sorted(ref for ref in _all_refs(tx) if ref not in at.utxo):
        failures.append(
            Failure(
                3117,
                "BadInputsUTxO",
                "The transaction contains unknown UTxO references as inputs.",
                {"unknownOutputReferences": refs_json(unknown)},
            )
        )
    if both := sorted(set(tx.inputs) & set(tx.references)):
        failures.append(
            Failure(
                3164,
                "BabbageNonDisjointRefInputs",
                "Identical UTxO references were found in both the transaction inputs and references.",
                {"conflictingReferences": refs_json(both)},
            )
        )
    return failures


def _interval(tx: Tx, at: Context) -> list[Failure]:
    too_early = tx.invalid_before is not None and at.slot < tx.invalid_before
    too_late = tx.invalid_after is not None and at.slot >= tx.invalid_after  # exclusive
    failures: list[Failure] = []
    if too_early or too_late:
        bounds = {"invalidBefore": tx.invalid_before, "invalidAfter": tx.invalid_after}
        interval = {name: slot for name, slot in bounds.items() if slot is not None}
        failures.append(
            Failure(
                3118,
                "OutsideValidityIntervalUTxO",
                "The transaction is outside of its validity interval.",
                {"validityInterval": interval, "currentSlot": at.slot},
            )
        )
    last = tx.invalid_after if tx.witnesses.redeemers else None
    if last is not None and last > at.tip_slot + FORECAST_SLOTS:
        message = "One of the transaction validity bound is outside any foreseeable future."
        failures.append(Failure(3130, "OutsideForecast", message, {"unforeseeableSlot": last}))
    return failures


def _sizes(tx: Tx, at: Context) -> list[Failure]:
    params, failures = at.params, []
    if tx.size > params.max_tx_size:
        failures.append(
            Failure(
                3119,
                "MaxTxSizeUTxO",
                "The transaction exceeds the maximum size allowed by the protocol.",
                {
                    "measuredTransactionSize": {"bytes": tx.size},
                    "maximumTransactionSize": {"bytes": params.max_tx_size},
                },
            )
        )
    mem = sum(redeemer.mem for redeemer in tx.witnesses.redeemers.values())
    steps = sum(redeemer.steps for redeemer in tx.witnesses.redeemers.values())
    if mem > params.max_tx_mem or steps > params.max_tx_steps:
        failures.append(
            Failure(
                3134,
                "ExUnitsTooBigUTxO",
                "The transaction execution budget for scripts execution is above the allowed limit.",
                {
                    "providedExecutionUnits": units_json(mem, steps),
                    "maximumExecutionUnits": units_json(params.max_tx_mem, params.max_tx_steps),
                },
            )
        )
    return failures


def _network(tx: Tx, at: Context) -> list[Failure]:
    expected, failures = network_name(at.network), []
    outputs = [*tx.outputs, *([tx.collateral_return] if tx.collateral_return else [])]
    foreign = [out for out in outputs if out.address[0] >> 4 < 8 and out.address[0] & 15 != at.network]
    if foreign:
        data: dict[str, Any] = {
            "expectedNetwork": expected,
            "discriminatedType": "address",
            "invalidEntities": [address_text(output.address) for output in foreign],
        }
        failures.append(Failure(3124, "WrongNetwork", "An address belongs to another network.", data))
    if tx.network is not None and tx.network != at.network:
        data = {"expectedNetwork": expected, "discriminatedType": "transaction"}
        failures.append(Failure(3124, "WrongNetworkInTxBody", "The body names another network.", data))
    return failures


def min_lovelace(output: Output, params: Params) -> int:
    """Babbage: 160 bytes of overhead and the output as it stands in the transaction."""
    return (160 + len(output.raw)) * params.coins_per_utxo_byte


def _list_head(size: int) -> int:
    return 1 if size <= 23 else 2  # the ledger writes longer maps as indefinite ones


def value_size(output: Output) -> int:
    """Of the value serialised again by the ledger, whatever form the transaction used."""
    size = len(uint(output.lovelace))
    if not output.assets:
        return size
    policies: dict[bytes, Assets] = {}
    for key, quantity in output.assets.items():
        policies.setdefault(key[:28], {})[key[28:]] = quantity
    size += 1 + _list_head(len(policies))
    for names in policies.values():
        size += 30 + _list_head(len(names))
        size += sum(len(head(2, len(name))) + len(name) + len(uint(n)) for name, n in names.items())
    return size


def _outputs(tx: Tx, at: Context) -> list[Failure]:
    outputs = [*tx.outputs, *([tx.collateral_return] if tx.collateral_return else [])]
    failures: list[Failure] = []
    poor = [output for output in outputs if output.lovelace < min_lovelace(output, at.params)]
    if poor:
        rows = [
            {"output": output_json(output), "minimumRequiredValue": ada(min_lovelace(output, at.params))}
            for output in poor
        ]
        failures.append(
            Failure(
                3125,
                "BabbageOutputTooSmallUTxO",
                "Some outputs have an insufficient amount of Ada attached to them.",
                {"insufficientlyFundedOutputs": rows},
            )
        )
    if large := [output for output in outputs if value_size(output) > at.params.max_value_size]:
        failures.append(
            Failure(
                3120,
                "OutputTooBigUTxO",
                "Some output values in the transaction are too large.",
                {"excessivelyLargeOutputs": [output_json(output) for output in large]},
            )
        )
    return failures


def ref_script_bytes(tx: Tx, resolved: Mapping[Ref, Output]) -> int:
    """Scripts held by inputs and reference inputs: once per output, even when two hold the same script."""
    outputs = (resolved[ref] for ref in {*tx.inputs, *tx.references} if ref in resolved)
    return sum(len(output.script.content) for output in outputs if output.script is not None)


def ref_script_fee(size: int, params: Params) -> int:
    """Each further 25,600 bytes cost 1.2 times the tier before (Conway `tierRefScriptFee`)."""
    price, total = Fraction(params.ref_script_base), Fraction(0)
    while size > 0:
        taken = min(size, params.ref_script_range)
        total += taken * price
        size, price = size - taken, price * params.ref_script_multiplier
    return floor(total)


def min_fee(tx: Tx, params: Params, resolved: Mapping[Ref, Output]) -> int:
    redeemers = tx.witnesses.redeemers.values()
    units = (
        sum(r.mem for r in redeemers) * params.price_mem
        + sum(r.steps for r in redeemers) * params.price_steps
    )
    linear = tx.size * params.min_fee_coefficient + params.min_fee_constant
    return linear + ceil(units) + ref_script_fee(ref_script_bytes(tx, resolved), params)


def _fee(tx: Tx, at: Context, resolved: Mapping[Ref, Output]) -> list[Failure]:
    failures: list[Failure] = []
    required = min_fee(tx, at.params, resolved)
    if tx.fee < required:
        data: dict[str, Any] = {"minimumRequiredFee": ada(required), "providedFee": ada(tx.fee)}
        failures.append(Failure(3122, "FeeTooSmallUTxO", "Insufficient fee!", data))
    size = ref_script_bytes(tx, resolved)
    if size > at.params.max_ref_script_size:
        data = {
            "measuredReferenceScriptsSize": {"bytes": size},
            "maximumReferenceScriptsSize": {"bytes": at.params.max_ref_script_size},
        }
        message = "Total size of reference scripts is above the limit."
        failures.append(Failure(3166, "ConwayTxRefScriptsSizeTooBig", message, data))
    return failures


def add_assets(total: Assets, more: Assets, sign: int = 1) -> Assets:
    """The sum, without the assets that came to nothing."""
    summed = dict(total)
    for key, quantity in more.items():
        summed[key] = summed.get(key, 0) + sign * quantity
    return {key: quantity for key, quantity in summed.items() if quantity}


def _collateral(tx: Tx, at: Context, resolved: Mapping[Ref, Output]) -> list[Failure]:
    if not tx.witnesses.redeemers:
        return []
    failures: list[Failure] = []
    maximum = at.params.max_collateral_inputs
    if not tx.collateral:
        failures.append(Failure(3132, "NoCollateralInputs", "The transaction provides no collateral inputs."))
    if len(tx.collateral) > maximum:
        data: dict[str, Any] = {
            "maximumCollateralInputs": maximum,
            "countedCollateralInputs": len(tx.collateral),
        }
        failures.append(Failure(3131, "TooManyCollateralInputs", "Too many collateral inputs.", data))
    held = {ref: resolved[ref] for ref in tx.collateral if ref in resolved}
    if locked := sorted(ref for ref, out in held.items() if out.payment is not None and out.payment[0]):
        data = {"unsuitableCollateralInputs": refs_json(locked)}
        failures.append(
            Failure(3129, "ScriptsNotPaidUTxO", "A collateral input is locked by a script.", data)
        )
    lovelace, assets = sum(output.lovelace for output in held.values()), Assets()
    for output in held.values():
        assets = add_assets(assets, output.assets)
    if tx.collateral_return is not None:
        lovelace -= tx.collateral_return.lovelace
        assets = add_assets(assets, tx.collateral_return.assets, -1)
    if assets:
        data = {"unsuitableCollateralValue": value_json(lovelace, assets)}
        failures.append(Failure(3133, "CollateralContainsNonADA", "Collateral carries other assets.", data))
    required = ceil(Fraction(tx.fee * at.params.collateral_percent, 100))
    if lovelace < required:
        data = {"providedCollateral": ada(lovelace), "minimumRequiredCollateral": ada(required)}
        failures.append(Failure(3128, "InsufficientCollateral", "Insufficient collateral value.", data))
    if tx.total_collateral is not None and tx.total_collateral != lovelace:
        data = {
            "declaredTotalCollateral": ada(tx.total_collateral),
            "computedTotalCollateral": ada(lovelace),
        }
        message = "The declared total collateral differs from the computed one."
        failures.append(Failure(3135, "IncorrectTotalCollateralField", message, data))
    return failures


def _conservation(tx: Tx, resolved: Mapping[Ref, Output]) -> list[Failure]:
    consumed, consumed_assets = 0, {key: n for key, n in tx.mint.items() if n > 0}
    for ref in tx.inputs:
        if ref in resolved:
            consumed += resolved[ref].lovelace
            consumed_assets = add_assets(consumed_assets, resolved[ref].assets)
    produced, produced_assets = tx.fee, {key: -n for key, n in tx.mint.items() if n < 0}
    for output in tx.outputs:
        produced += output.lovelace
        produced_assets = add_assets(produced_assets, output.assets)
    if (consumed, consumed_assets) == (produced, produced_assets):
        return []
    data = {
        "valueConsumed": value_json(consumed, consumed_assets),
        "valueProduced": value_json(produced, produced_assets),
    }
    return [Failure(3123, "ValueNotConservedUTxO", "In and out value not conserved.", data)]


def _signatures(tx: Tx, resolved: Mapping[Ref, Output]) -> list[Failure]:
    failures: list[Failure] = []
    wrong: list[str] = []
    for key, signature in tx.witnesses.vkeys:
        try:
            crypto_sign_open(signature + tx.id, key)
        except BadSignatureError:
            wrong.append(key.hex())
    if wrong:
        data: dict[str, Any] = {"invalidSignatories": wrong}
        failures.append(Failure(3100, "InvalidWitnessesUTXOW", "Some signatures are invalid.", data))
    needed = set(tx.required_signers)
    for ref in (*tx.inputs, *tx.collateral):
        payment = resolved[ref].payment if ref in resolved else None
        if payment is not None and not payment[0]:
            needed.add(payment[1])
    if missing := sorted(needed - witnessing.key_hashes(tx)):
        data = {"missingSignatories": [key_hash.hex() for key_hash in missing]}
        failures.append(Failure(3101, "MissingVKeyWitnessesUTXOW", "Some signatures are missing.", data))
    return failures
