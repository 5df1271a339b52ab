"""`make bench-l1`: the largest batch of each step that the protocol parameters allow; writes build/bench/l1.json.

Real transactions of our builders, fee input and collateral included, each accepted by the devnet's ledger with the
Aiken evaluator and by scalus's emulator. mem and cpu are a channel's share of the mint run (the
slope over the batch), as the reference's figures beside them are; ours with full lists.
Ends with status 1 when a judge refuses.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.cl.data.blueprint import load_blueprint
from regtest.judge.scalus import Emulator
from tests.bench.batches import LIMITS, STEPS, Batch, bound_by, largest, pendings
from tests.support.l1_world import PARAMS
from tests.support.whole_tx import by_aiken, by_scalus

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "bench" / "l1.json"
Figures = dict[int, tuple[int, int]]  # pending -> (mem, steps) of one channel
K, M = 1_000, 1_000_000


def _row(one: tuple[int, int] | None, ten: tuple[int, int], twenty: tuple[int, int]) -> Figures:
    given = {1: one, 10: ten, 20: twenty, 0: one}
    return {
        pending: (mem * K, cpu * M) for pending, figures in given.items() if figures for mem, cpu in [figures]
    }


REFERENCE: dict[str, Figures] = {
    "new": _row((89, 34), (89, 34), (89, 34)),
    "add": _row((329, 107), (329, 107), (329, 107)),
    "close": _row((414, 296), (556, 619), (717, 994)),
    "respond": _row((429, 268), (588, 615), (757, 983)),
    "respond_with_list": _row((429, 268), (588, 615), (757, 983)),
    "elapse": _row((343, 112), (357, 115), (357, 115)),
    "free_closed": _row((356, 115), (422, 135), (433, 138)),
    "free_resolved": _row(None, (401, 128), (401, 128)),
    "end": _row((239, 74), (261, 80), (260, 80)),
    "elapse_end": _row((269, 83), (263, 81), (265, 81)),
    "respond_end": _row((285, 184), (543, 828), (813, 1537)),
}


def measure(step: str, pending: int, emulator: Emulator, refused: list[str]) -> dict[str, Any]:
    one, most = largest(step, pending, one_key=True)
    _, apart = largest(step, pending, one_key=False)
    for name, made in (("one key", most), ("one key a channel", apart)):
        for judge, verdict in (("aiken", by_aiken(made.whole)), ("scalus", by_scalus(made.whole, emulator))):
            if not verdict.ok:
                refused.append(f"{step} {pending} {name}: {judge}: {verdict.phase1} {verdict.word}")
    mem, cpu = _slope(one, most)
    ref_mem, ref_cpu = REFERENCE.get(step, {}).get(pending, (None, None))
    return {
        "per_tx": most.count,
        "per_tx_one_key_a_channel": apart.count,
        "bytes": len(most.whole.raw),
        "mem": mem,
        "cpu": cpu,
        "ref_mem": ref_mem,
        "ref_cpu": ref_cpu,
        "ratio_mem": None if ref_mem is None else round(mem / ref_mem, 3),
        "ratio_cpu": None if ref_cpu is None else round(cpu / ref_cpu, 3),
        "fee_lovelace": most.built.fee.value,
        "bound_by": bound_by(most),
    }


def _slope(one: Batch, most: Batch) -> tuple[int, int]:
    """A channel's share of the mint run, rounded up."""
    if most.count == one.count:
        return one.mint_units
    more = most.count - one.count
    (m1, c1), (m2, c2) = one.mint_units, most.mint_units
    return -(-(m2 - m1) // more), -(-(c2 - c1) // more)


HEAD = (
    f"{'step':18}{'pending':>8}{'per tx':>8}{'own keys':>9}{'bytes':>7}{'mem':>9}{'ratio':>6}{'cpu':>13}{'ratio':>6}"
    f"{'fee':>9}  bound by"
)


def line(step: str, pending: int, row: dict[str, Any]) -> str:
    ratios = ["-" if row[name] is None else f"{row[name]:.2f}" for name in ("ratio_mem", "ratio_cpu")]
    return (
        f"{step:18}{pending:>8}{row['per_tx']:>8}{row['per_tx_one_key_a_channel']:>9}{row['bytes']:>7}{row['mem']:>9}"
        f"{ratios[0]:>6}{row['cpu']:>13}{ratios[1]:>6}{row['fee_lovelace']:>9}  {row['bound_by']}"
    )


def main() -> int:
    chosen = os.environ.get("GATEWAY_BENCH_STEPS", " ".join(STEPS)).split()
    emulator, refused, steps = Emulator(), [], {}
    sys.stdout.write(HEAD + "\n")
    try:
        for step in chosen:
            steps[step] = {}
            for pending in pendings(step):
                steps[step][str(pending)] = measure(step, pending, emulator, refused)
                sys.stdout.write(line(step, pending, steps[step][str(pending)]) + "\n")
                sys.stdout.flush()
    finally:
        emulator.close()
    limits = dict(zip(("bytes", "mem", "cpu"), LIMITS, strict=True))
    shown = {
        "script_bytes": len(load_blueprint().script),
        "params": {"limits": limits, "protocol": asdict(PARAMS)["protocol"]},
        "steps": steps,
        "refused": refused,
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(shown, indent=1, ensure_ascii=False, default=str) + "\n")
    words = [f"script: {shown['script_bytes']} bytes", *(f"refused: {one}" for one in refused)]
    sys.stdout.write("\n".join([*words, f"written to {OUTPUT.relative_to(ROOT)}"]) + "\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
