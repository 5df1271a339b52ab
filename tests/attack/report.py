"""`make attack`: every named mutation before two judges, every clause taken out once; writes build/attack.json.

A mutation must pass phase 1 (balanced, hashed and signed anew) and die in phase 2, by the Aiken evaluator and scalus.
A clause bites when the validator compiled without it accepts one of its mutations, or, where it lets something
honest through, refuses that. Ends with status 1 and the culprits' names otherwise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.cl.data.blueprint import load_blueprint
from regtest.judge.scalus import Emulator
from tests.support import phase2, whole_tx
from tests.support.attack_table import KEYS, Mutation, admitted, mutations, step_of
from tests.support.channel_world import PAYER
from tests.support.clause_table import Build
from validators import variants

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "attack.json"
COMPILERS = 2


@dataclass(frozen=True)
class Row:
    """`aiken`, `scalus`: "refused", "accepted", or "phase 1: …", which is a fault of the mutation."""

    id: str
    step: str
    clause: str
    aiken: str
    scalus: str
    reason: str  # the Aiken evaluator's word
    accepted_without_clause: bool

    @property
    def survives(self) -> bool:
        return not self.aiken == self.scalus == "refused"


@dataclass(frozen=True)
class Admitted:
    clause: str
    step: str
    aiken: str
    scalus: str
    refused_without_clause: bool

    @property
    def holds(self) -> bool:
        return self.aiken == self.scalus == "accepted" and self.refused_without_clause


@dataclass(frozen=True)
class Report:
    rows: tuple[Row, ...]
    admitted: tuple[Admitted, ...]
    clauses: tuple[str, ...]

    @property
    def survivors(self) -> list[str]:
        return [row.id for row in self.rows if row.survives]

    @property
    def toothless(self) -> list[str]:
        """Clauses that nothing needs: no mutation of theirs comes through without them."""
        biting = {r.clause for r in self.rows if r.accepted_without_clause}
        return sorted(set(self.clauses) - biting - {a.clause for a in self.admitted if a.holds})

    @property
    def broken(self) -> list[str]:
        return [a.clause for a in self.admitted if not a.holds]

    def json(self) -> str:
        shown = {
            "mutations": len(self.rows),
            "clauses": len(self.clauses),
            "survivors": len(self.survivors),
            "toothless": self.toothless,
            "list": [asdict(row) for row in self.rows],
            "admitted": [asdict(row) for row in self.admitted],
        }
        return json.dumps(shown, indent=1, ensure_ascii=False) + "\n"


def _word(verdict: whole_tx.Verdict) -> str:
    if verdict.phase1:
        return f"phase 1: {', '.join(verdict.phase1)}"
    return "accepted" if verdict.ok else "refused"


def judged(build: Build, script: bytes, emulator: Emulator) -> tuple[phase2.Tx, str, str, str]:
    """The transaction, Aiken's verdict, scalus's, and Aiken's reason."""
    tx = build(script)
    one = whole_tx.whole(tx, PAYER, KEYS)
    aiken = whole_tx.by_aiken(one)
    return tx, _word(aiken), _word(whole_tx.by_scalus(one, emulator)), aiken.word


def _accepts(build: Build, script: bytes) -> bool:
    return whole_tx.by_aiken(whole_tx.whole(build(script), PAYER, KEYS)).ok


def attack(
    found: list[Mutation], honest: dict[str, Build], without: Callable[[str], bytes], script: bytes
) -> Report:
    clauses = tuple(sorted(variants.clauses()))
    with ThreadPoolExecutor(COMPILERS) as pool:
        variant = dict(zip(clauses, pool.map(without, clauses), strict=True))
    emulator = Emulator()
    try:
        rows, let_in = [], []
        for one in found:
            tx, aiken, scalus, why = judged(one.build, script, emulator)
            through = _accepts(one.build, variant[one.clause])
            rows.append(Row(one.id, step_of(tx), one.clause, aiken, scalus, why, through))
        for clause, build in honest.items():
            tx, aiken, scalus, _ = judged(build, script, emulator)
            let_in.append(Admitted(clause, step_of(tx), aiken, scalus, not _accepts(build, variant[clause])))
    finally:
        emulator.close()
    return Report(tuple(rows), tuple(let_in), clauses)


def main() -> int:
    report = attack(mutations(), admitted(), variants.script_without, load_blueprint().script)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(report.json())
    lines = [
        f"mutations {len(report.rows)}, clauses {len(report.clauses)}, survivors {len(report.survivors)}",
        *(f"survives: {name}" for name in report.survivors),
        *(f"nothing needs clause {name}" for name in report.toothless),
        *(f"clause {name} stops the honest, or lets nothing through" for name in report.broken),
        f"written to {OUTPUT.relative_to(ROOT)}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.survivors or report.toothless or report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
