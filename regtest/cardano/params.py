"""Protocol parameters: the defaults are those of the emulator in npm scalus 0.17.0 (Conway, version 10.0).

Names and shapes towards clients are Ogmios v6.14's. Rates are integer ratios.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from regtest.cardano.cbor import array, head, mapping, octets, uint

_MODELS: dict[str, list[int]] = json.loads((Path(__file__).parent / "cost_models.json").read_text())
LANGUAGES = ("native", "plutus:v1", "plutus:v2", "plutus:v3")


def default_cost_models() -> dict[int, tuple[int, ...]]:
    return {number: tuple(_MODELS[LANGUAGES[number]]) for number in (1, 2, 3)}


@dataclass(frozen=True, slots=True)
class Params:
    min_fee_coefficient: int = 44
    min_fee_constant: int = 155_381
    coins_per_utxo_byte: int = 4_310
    max_block_body_size: int = 90_112
    max_block_header_size: int = 1_100
    max_tx_size: int = 16_384
    max_value_size: int = 5_000
    collateral_percent: int = 150
    max_collateral_inputs: int = 3
    price_mem: Fraction = Fraction(577, 10_000)
    price_steps: Fraction = Fraction(721, 10_000_000)
    max_tx_mem: int = 16_500_000
    max_tx_steps: int = 10_000_000_000
    max_block_mem: int = 72_000_000
    max_block_steps: int = 20_000_000_000
    ref_script_base: int = 15
    ref_script_range: int = 25_600
    ref_script_multiplier: Fraction = Fraction(6, 5)
    max_ref_script_size: int = 204_800
    version: tuple[int, int] = (10, 0)
    cost_models: dict[int, tuple[int, ...]] = field(default_factory=default_cost_models, hash=False)

    def ogmios(self) -> dict[str, Any]:
        """queryLedgerState/protocolParameters. Governance figures are mainnet's and bind nothing here."""
        pools, dreps = _pool_thresholds(), _drep_thresholds()
        return {
            "minFeeCoefficient": self.min_fee_coefficient,
            "minFeeConstant": ada(self.min_fee_constant),
            "minFeeReferenceScripts": {
                "range": self.ref_script_range,
                "base": float(self.ref_script_base),
                "multiplier": float(self.ref_script_multiplier),
            },
            "minUtxoDepositCoefficient": self.coins_per_utxo_byte,
            "minUtxoDepositConstant": ada(0),
            "maxBlockBodySize": {"bytes": self.max_block_body_size},
            "maxBlockHeaderSize": {"bytes": self.max_block_header_size},
            "maxTransactionSize": {"bytes": self.max_tx_size},
            "maxValueSize": {"bytes": self.max_value_size},
            "extraEntropy": "neutral",
            "stakeCredentialDeposit": ada(2_000_000),
            "stakePoolDeposit": ada(500_000_000),
            "stakePoolRetirementEpochBound": 18,
            "stakePoolPledgeInfluence": "3/10",
            "minStakePoolCost": ada(170_000_000),
            "desiredNumberOfStakePools": 500,
            "monetaryExpansion": "3/1000",
            "treasuryExpansion": "1/5",
            "collateralPercentage": self.collateral_percent,
            "maxCollateralInputs": self.max_collateral_inputs,
            "plutusCostModels": {LANGUAGES[n]: list(model) for n, model in sorted(self.cost_models.items())},
            "scriptExecutionPrices": {"memory": ratio(self.price_mem), "cpu": ratio(self.price_steps)},
            "maxExecutionUnitsPerTransaction": {"memory": self.max_tx_mem, "cpu": self.max_tx_steps},
            "maxExecutionUnitsPerBlock": {"memory": self.max_block_mem, "cpu": self.max_block_steps},
            "maxReferenceScriptsSize": {"bytes": self.max_ref_script_size},
            "stakePoolVotingThresholds": pools,
            "constitutionalCommitteeMinSize": 7,
            "constitutionalCommitteeMaxTermLength": 146,
            "governanceActionLifetime": 6,
            "governanceActionDeposit": ada(100_000_000_000),
            "delegateRepresentativeVotingThresholds": dreps,
            "delegateRepresentativeDeposit": ada(500_000_000),
            "delegateRepresentativeMaxIdleTime": 20,
            "version": {"major": self.version[0], "minor": self.version[1]},
        }

    def cost_models_cbor(self) -> bytes:
        """{0: [..], 1: [..], 2: [..]} as in a transaction or an update."""
        return mapping(
            (uint(language - 1), array(uint(cost) for cost in model))
            for language, model in sorted(self.cost_models.items())
        )

    def language_views(self, languages: set[int]) -> bytes:
        """Canonical `getLanguageView` of the ledger. V1 keeps Alonzo's oddity: its key and its
        indefinite list are wrapped in byte strings, which also sorts it last (longer key)."""
        views = [
            (uint(language - 1), array(uint(cost) for cost in self.cost_models[language]))
            for language in sorted(languages - {0, 1})
        ]
        if 1 in languages:
            costs = b"".join(uint(cost) for cost in self.cost_models[1])
            views.append((octets(uint(0)), octets(b"\x9f" + costs + b"\xff")))
        return head(5, len(views)) + b"".join(key + value for key, value in views)


def ada(lovelace: int) -> dict[str, Any]:
    return {"ada": {"lovelace": lovelace}}


def ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _pool_thresholds() -> dict[str, Any]:
    return {
        "noConfidence": "51/100",
        "constitutionalCommittee": {"default": "51/100", "stateOfNoConfidence": "51/100"},
        "hardForkInitiation": "51/100",
        "protocolParametersUpdate": {"security": "51/100"},
    }


def _drep_thresholds() -> dict[str, Any]:
    return {
        "noConfidence": "67/100",
        "constitution": "3/4",
        "constitutionalCommittee": {"default": "67/100", "stateOfNoConfidence": "3/5"},
        "hardForkInitiation": "3/5",
        "protocolParametersUpdate": {
            "network": "67/100",
            "economic": "67/100",
            "technical": "67/100",
            "governance": "3/4",
        },
        "treasuryWithdrawals": "67/100",
    }
