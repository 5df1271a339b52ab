"""The attack suite's own honesty: its judges say yes to the healthy, and what survives is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cl.data.blueprint import load_blueprint
from regtest.judge.scalus import Emulator
from tests.attack import report
from tests.support import attack_table, phase2, scalus, whole_tx
from tests.support.channel_world import PAYER, channel, healthy, opened, opening
from tests.support.healthy_moves import CONTINUING, MOVES
from validators import variants

ROOT = Path(__file__).parents[2]
LEAST = 220


@pytest.fixture
def emulator() -> object:
    scalus.require_judge()
    made = Emulator()
    yield made
    made.close()


def test_the_table_is_whole() -> None:
    found = attack_table.mutations()
    assert len(found) >= LEAST
    assert len({one.id for one in found}) == len(found)
    assert {one.clause for one in found} | set(attack_table.admitted()) == set(variants.clauses())
    assert set(attack_table.SIGNED_BY) == set(MOVES), "say which clause refuses a stranger's signature"
    assert set(attack_table.VALUE) == set(CONTINUING), "say which clause holds the value"


def test_no_two_mutations_are_one() -> None:
    script = load_blueprint().script
    seen: dict[object, str] = {}
    for one in attack_table.mutations():
        whole = whole_tx.whole(one.build(script), PAYER, attack_table.KEYS)
        key = (whole.raw, tuple(sorted((ref, out.raw) for ref, out in whole.utxo.items())))
        assert key not in seen, (one.id, seen[key])
        seen[key] = one.id


@pytest.mark.devnet
def test_both_judges_accept_every_healthy_move(emulator: Emulator) -> None:
    c = channel(opened())
    txs = {name: healthy([move("A")]) for name, move in MOVES.items()}
    txs["new"] = opening([c.datum] * 3, [c.lovelace] * 3)
    for name, tx in txs.items():
        one = whole_tx.whole(tx, PAYER, attack_table.KEYS)
        for verdict in (whole_tx.by_aiken(one), whole_tx.by_scalus(one, emulator)):
            assert verdict.ok, (name, verdict)


@pytest.mark.devnet
def test_a_survivor_a_toothless_clause_and_a_sick_mutation_are_told(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite fed with three lies: a healthy transaction, one that phase 1 stops, variants that lack nothing."""
    script = load_blueprint().script

    def harmless(code: bytes) -> phase2.Tx:
        return healthy([MOVES["add"]("A")], code)

    def expired(code: bytes) -> phase2.Tx:
        tx = harmless(code)
        tx.upper_slot = tx.lower_slot
        return tx

    found = [
        attack_table.Mutation("harmless", "Add.1", harmless),
        attack_table.Mutation("expired", "Add.2", expired),
    ]
    without: Callable[[str], bytes] = lambda clause: script  # noqa: E731
    told = report.attack(found, {"In.3": harmless}, without, script)
    assert told.survivors == ["harmless", "expired"]
    rows = {row.id: row for row in told.rows}
    assert rows["harmless"].aiken == rows["harmless"].scalus == "accepted"
    assert rows["expired"].aiken.startswith("phase 1")
    assert rows["expired"].scalus.startswith("phase 1")
    assert "Add.2" in told.toothless
    assert told.broken == ["In.3"]
    shown = json.loads(told.json())
    assert shown["survivors"] == 2
    assert set(shown["list"][0]) == {
        "id", "step", "clause", "aiken", "scalus", "reason", "accepted_without_clause"
    }  # fmt: skip
    monkeypatch.setattr(report, "attack", lambda *_: told)
    monkeypatch.setattr(report, "OUTPUT", report.ROOT / "build" / "attack-of-the-test.json")
    try:
        assert report.main() == 1
    finally:
        report.OUTPUT.unlink()
    assert "survives: harmless" in capsys.readouterr().out


# --- validator, builder and tests cite the same ids ------------------------------------------------


def cited(folders: list[Path], families: set[str]) -> set[str]:
    """Single ids, and ranges of one family written with a hyphen."""
    words = re.compile(
        rf"\b({'|'.join(sorted(families, key=len, reverse=True))})\.([1-9]\d*)(?:-([1-9]\d*))?\b"
    )
    found = set()
    for folder in folders:
        for path in folder.rglob("*.py"):
            for family, first, last in words.findall(path.read_text()):
                found |= {f"{family}.{n}" for n in range(int(first), int(last or first) + 1)}
    return found


@pytest.mark.parametrize("room", ["gateway/cl", "tests"])
def test_every_clause_is_cited_and_every_citation_exists(room: str) -> None:
    known = set(variants.clauses())
    named = cited([ROOT / room], {clause.split(".")[0] for clause in known})
    assert sorted(known - named) == [], f"clauses that nothing in {room} cites"
    assert sorted(named - known) == [], f"{room} cites what the validator has not"
