"""R2. The figures of the protocol parameters that a transaction needs, exact (Ogmios v6 names and shapes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

from gateway.cl.l1.errors import PARAMS
from gateway.cl.ports import ChainParams, ExUnits
from gateway.errors import Refused

OUTPUT_OVERHEAD = 160  # Babbage: bytes added to an output's own for the least lovelace


@dataclass(frozen=True, slots=True)
class Figures:
    fee_coefficient: int
    fee_constant: int
    ref_base: Fraction
    ref_range: int
    ref_multiplier: Fraction
    max_ref_size: int
    price_mem: Fraction
    price_steps: Fraction
    max_mem: int
    max_steps: int
    max_tx_size: int
    max_value_size: int
    utxo_byte: int
    utxo_constant: int
    collateral_percent: int
    max_collateral_inputs: int
    cost_model_v3: tuple[int, ...] = field(repr=False)

    def min_utxo(self, output_bytes: int) -> int:
        """Least lovelace of an output that serialises to so many bytes (its lovelace included)."""
        return self.utxo_constant + (OUTPUT_OVERHEAD + output_bytes) * self.utxo_byte

    def ref_script_fee(self, size: int) -> int:
        """Conway: each further range of bytes costs `multiplier` times the one before; floored."""
        price, total = self.ref_base, Fraction(0)
        while size > 0:
            taken = min(size, self.ref_range)
            total += taken * price
            size, price = size - taken, price * self.ref_multiplier
        return floor(total)

    def units_fee(self, units: ExUnits) -> int:
        return ceil(units.mem * self.price_mem + units.steps * self.price_steps)

    def fee(self, tx_bytes: int, units: ExUnits, ref_bytes: int) -> int:
        linear = self.fee_constant + self.fee_coefficient * tx_bytes
        return linear + self.units_fee(units) + self.ref_script_fee(ref_bytes)

    def collateral(self, fee: int) -> int:
        return -(-fee * self.collateral_percent // 100)


def _at(protocol: dict[str, Any], *path: str) -> Any:
    value: Any = protocol
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise Refused(PARAMS(field=".".join(path), got="missing"))
        value = value[name]
    return value


def _ratio(protocol: dict[str, Any], *path: str) -> Fraction:
    value = _at(protocol, *path)
    try:
        found = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        found = Fraction(-1)
    if found < 0:
        raise Refused(PARAMS(field=".".join(path), got=str(value)[:40], allowed="a ratio >= 0"))
    return found


def _count(protocol: dict[str, Any], *path: str) -> int:
    found = _ratio(protocol, *path)
    if found.denominator != 1:
        raise Refused(PARAMS(field=".".join(path), got=found, allowed="a whole number"))
    return found.numerator


def read_figures(params: ChainParams) -> Figures:
    """Raises `Refused` (cl.l1.params) naming the figure that is missing or malformed."""
    p = params.protocol
    costs = _at(p, "plutusCostModels", "plutus:v3")
    if not isinstance(costs, list) or not all(type(c) is int for c in costs):
        raise Refused(PARAMS(field="plutusCostModels.plutus:v3", allowed="a list of integers"))
    ref = "minFeeReferenceScripts"
    return Figures(
        fee_coefficient=_count(p, "minFeeCoefficient"),
        fee_constant=_count(p, "minFeeConstant", "ada", "lovelace"),
        ref_base=_ratio(p, ref, "base"),
        ref_range=max(_count(p, ref, "range"), 1),
        ref_multiplier=_ratio(p, ref, "multiplier"),
        max_ref_size=_count(p, "maxReferenceScriptsSize", "bytes"),
        price_mem=_ratio(p, "scriptExecutionPrices", "memory"),
        price_steps=_ratio(p, "scriptExecutionPrices", "cpu"),
        max_mem=_count(p, "maxExecutionUnitsPerTransaction", "memory"),
        max_steps=_count(p, "maxExecutionUnitsPerTransaction", "cpu"),
        max_tx_size=_count(p, "maxTransactionSize", "bytes"),
        max_value_size=_count(p, "maxValueSize", "bytes"),
        utxo_byte=_count(p, "minUtxoDepositCoefficient"),
        utxo_constant=_count(p, "minUtxoDepositConstant", "ada", "lovelace"),
        collateral_percent=_count(p, "collateralPercentage"),
        max_collateral_inputs=_count(p, "maxCollateralInputs"),
        cost_model_v3=tuple(costs),
    )
