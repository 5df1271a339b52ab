"""Phase 2 by the native Aiken evaluator, with exact units.

The Python wrapper of biglup-cometa scales the budget and the result by 1.025; the foreign
function below it is called here directly, so nothing is scaled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cometa._aiken_ffi import aiken_ffi, aiken_lib

from regtest.cardano.cbor import CborError, array, parse
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Pointer, Ref, Tx


@dataclass(frozen=True, slots=True)
class SlotTime:
    """Slot 0 begins at `system_start_ms`; every slot lasts `slot_length_ms`."""

    system_start_ms: int
    slot_length_ms: int = 1_000

    def slot_at(self, now_ms: int) -> int:
        return (now_ms - self.system_start_ms) // self.slot_length_ms

    def start_of(self, slot: int) -> int:
        return self.system_start_ms + slot * self.slot_length_ms


@dataclass(frozen=True, slots=True)
class Evaluated:
    units: dict[Pointer, tuple[int, int]]  # (memory, steps)


@dataclass(frozen=True, slots=True)
class ScriptFailed:
    """The evaluator names one failing redeemer when it can; `message` carries the traces."""

    message: str
    pointer: Pointer | None = None


def evaluate(
    tx: Tx, resolved: Mapping[Ref, Output], params: Params, time: SlotTime
) -> Evaluated | ScriptFailed:
    """Runs every redeemer's script within the budget of a whole transaction.
    `resolved` holds all inputs and reference inputs."""
    if not tx.witnesses.redeemers:
        return Evaluated({})
    refs = sorted(set(tx.inputs) | set(tx.references))
    slot_config = aiken_ffi.new("SlotConfig*")
    slot_config.slot_length = time.slot_length_ms
    slot_config.zero_slot = 0
    slot_config.zero_time = time.system_start_ms
    budget = aiken_ffi.new("InitialBudget*")
    budget.mem = params.max_tx_mem
    budget.cpu = params.max_tx_steps
    pointer = aiken_lib.eval_phase_two(
        _text(tx.raw),
        _text(array(ref.cbor() for ref in refs)),
        _text(array(resolved[ref].raw for ref in refs)),
        _text(params.cost_models_cbor()),
        budget,
        slot_config,
    )
    try:
        answer: dict[str, Any] = json.loads(aiken_ffi.string(pointer))
    finally:
        aiken_lib.drop_char_pointer(pointer)
    if str(answer.get("status", "")).upper() != "SUCCESS":
        return ScriptFailed(str(answer.get("error", answer)), _culprit(tx, str(answer.get("error", ""))))
    return Evaluated(_units(bytes.fromhex(answer["redeemer_cbor"])))


def _text(data: bytes) -> bytes:
    return data.hex().encode() + b"\0"


def _units(redeemers: bytes) -> dict[Pointer, tuple[int, int]]:
    found: dict[Pointer, tuple[int, int]] = {}
    for item in parse(redeemers).items():
        tag, index, _, units = item.items()
        mem, steps = units.items()
        found[Pointer(tag.uint(), index.uint())] = (mem.uint(), steps.uint())
    if not found:
        raise CborError("the evaluator answered without redeemers")
    return found


_NAMES = {"Spend": 0, "Mint": 1, "Cert": 2, "Reward": 3, "Vote": 4, "Propose": 5}


def _culprit(tx: Tx, message: str) -> Pointer | None:
    """The evaluator's text begins with the redeemer, as in «Spend[0]»."""
    for pointer in sorted(tx.witnesses.redeemers):
        for name, tag in _NAMES.items():
            if tag == pointer.tag and f"{name}[{pointer.index}]" in message:
                return pointer
    return min(tx.witnesses.redeemers) if len(tx.witnesses.redeemers) == 1 else None
