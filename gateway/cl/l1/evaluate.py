"""R3. Phase 2 on this machine: the native Aiken evaluator inside biglup-cometa, with exact units.

Its Python wrapper scales budgets and results by 1.025; the foreign function below it scales nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cbor2
from cometa._aiken_ffi import aiken_ffi, aiken_lib

from gateway.cl.l1.body import utxo_bytes
from gateway.cl.l1.errors import EVALUATOR, SCRIPT_FAILED
from gateway.cl.l1.protocol import read_figures
from gateway.cl.ports import ChainParams, ExUnits, Utxo
from gateway.errors import Refused

_TAGS = {0: "spend", 1: "mint", 2: "publish", 3: "withdraw", 4: "vote", 5: "propose"}


class AikenEvaluator:
    """Implements `Evaluator`. Blocks for about a millisecond per script; holds no state."""

    def evaluate(self, tx_cbor: bytes, resolved: Sequence[Utxo], params: ChainParams) -> dict[str, ExUnits]:
        """`resolved`: every input and reference input. Raises `Refused` (cl.l1.script_failed, .evaluator)."""
        figures = read_figures(params)
        ordered = sorted({u.ref: u for u in resolved}.items(), key=lambda p: (p[0].tx_id, p[0].index))
        refs = cbor2.dumps([[r.tx_id, r.index] for r, _ in ordered])
        outputs = _array_head(len(ordered)) + b"".join(utxo_bytes(u) for _, u in ordered)
        models = cbor2.dumps({2: list(figures.cost_model_v3)})
        era = params.eras[-1]
        slots = aiken_ffi.new("SlotConfig*")
        slots.slot_length = era.slot_length_ms
        slots.zero_slot = era.start_slot.value
        slots.zero_time = era.start_ms.value
        budget = aiken_ffi.new("InitialBudget*")
        budget.mem, budget.cpu = figures.max_mem, figures.max_steps
        pointer = aiken_lib.eval_phase_two(
            _text(tx_cbor), _text(refs), _text(outputs), _text(models), budget, slots
        )
        try:
            answer: dict[str, Any] = json.loads(aiken_ffi.string(pointer))
        except ValueError as e:
            raise Refused(EVALUATOR(detail=str(e))) from e
        finally:
            aiken_lib.drop_char_pointer(pointer)
        if str(answer.get("status", "")).upper() != "SUCCESS":
            raise Refused(SCRIPT_FAILED(detail=str(answer.get("error", answer))[:2_000]))
        return _units(answer.get("redeemer_cbor"))


def _array_head(count: int) -> bytes:
    return bytes(cbor2.dumps(list(range(count))))[: 1 if count < 24 else 2 if count < 256 else 3]


def _text(raw: bytes) -> bytes:
    return raw.hex().encode() + b"\0"


def _units(redeemer_hex: object) -> dict[str, ExUnits]:
    try:
        found = cbor2.loads(bytes.fromhex(str(redeemer_hex)))
        rows = (
            [(k[0], k[1], v[1]) for k, v in found.items()]
            if isinstance(found, dict)
            else [(r[0], r[1], r[3]) for r in found]
        )
        return {f"{_TAGS[tag]}:{index}": ExUnits(int(u[0]), int(u[1])) for tag, index, u in rows}
    except (ValueError, KeyError, IndexError, TypeError) as e:
        raise Refused(EVALUATOR(detail=repr(e)[:200])) from e
