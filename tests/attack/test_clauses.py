"""Every clause of the validator bites: its transaction is decided by it alone (threats V2-V14 at clause level)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cl.data.blueprint import load_blueprint
from tests.support import phase2
from tests.support.clause_attacks import HONEST, REFUSED
from validators import variants

ROOT = Path(__file__).parents[2]
FINDINGS = {
    "In.3": "F1",
    "Out.7": "F2",
    "Out.3": "F3",
    "Mint.2": "F3",
    "Mint.3": "F3",
    "Entries.1": "F5",
    "Cheque.3": "F5",
    "Respond.3": "F7",
    "Respond.5": "F7",
    "Elapse.3": "F7",
    "Elapse.4": "F7",
} | {f"Open.{n}": "F6" for n in range(5, 16)}
TABLES = {"honest": HONEST, "refused": REFUSED}
THREATS = {
    "Mint": ("V2",),
    "In": ("V2",),
    "Open": ("V12",),
    "Squash": ("V7",),
    "Cheque": ("V10",),
    "Entries": ("V10",),
    "Out.1": ("V14",),
    "Out.2": ("V2",),
    "Out.3": ("V2",),
    "Out.4": ("V14",),
    "Out.7": ("V3",),
    "Out.8": ("V13",),
}


def cases(names: list[str]) -> list[object]:
    found = []
    for name in names:
        ids = THREATS.get(name, THREATS.get(name.split(".")[0], ()))
        marks = [pytest.mark.threat(i) for i in ids]
        label = f"{name}-{FINDINGS[name]}" if name in FINDINGS else name
        found.append(pytest.param(name, id=label, marks=marks))
    return found


@pytest.mark.kind("MUT")
@pytest.mark.parametrize("clause", cases(list(REFUSED)))
def test_clause_refuses(clause: str) -> None:
    ran = phase2.run(REFUSED[clause](load_blueprint().script))
    assert not ran.ok
    assert "RedeemerError" in ran.message, ran.message


@pytest.mark.kind("MUT")
@pytest.mark.parametrize("clause", cases(list(HONEST)))
def test_clause_admits_the_honest(clause: str) -> None:
    ran = phase2.run(HONEST[clause](load_blueprint().script))
    assert ran.ok, ran.message


@pytest.mark.daemons  # needs the Aiken compiler, which `make validators-check` installs
@pytest.mark.parametrize("clause", sorted(REFUSED | HONEST))
def test_without_the_clause_its_test_fails(clause: str) -> None:
    script = variants.script_without(clause)
    assert script != load_blueprint().script
    build = (REFUSED | HONEST)[clause]
    ran = phase2.run(build(script))
    assert ran.ok == (clause in REFUSED), ran.message


def test_every_clause_has_a_variant_and_a_test() -> None:
    assert not REFUSED.keys() & HONEST.keys()
    assert set(variants.clauses()) == set(REFUSED | HONEST)


def test_each_finding_of_the_reference_has_tests_by_its_name() -> None:
    """F1, F4, F7: the honest act is accepted; F2, F3, F5, F6: the attack is refused; F8: both edges."""
    by_clause = {kind: {FINDINGS[c] for c in table if c in FINDINGS} for kind, table in TABLES.items()}
    assert by_clause["honest"] >= {"F1", "F7"}
    assert by_clause["refused"] >= {"F2", "F3", "F5", "F6"}
    text = "".join(path.read_text() for path in (ROOT / "tests" / "attack").glob("test_*.py"))
    names = re.findall(r"def (test_\w+)\(", text)
    named = {part.upper() for name in names for part in name.split("_") if re.fullmatch("f[1-8]", part)}
    assert named >= {"F4", "F5", "F7", "F8"}


def test_a_variant_lacks_its_clause_and_nothing_else() -> None:
    tree = variants.build.sources()
    for clause in variants.clauses(tree).values():
        changed = variants.without(clause, tree)
        assert [p for p in tree if tree[p] != changed[p]] == [clause.path]
        assert set(variants.clauses(changed)) == set(variants.clauses(tree)) - {clause.name}


CITED = re.compile(
    r"\b(?:Squash|Mint|In|Out|Spend|Entries|Unlock|Sift|Cheque|Open|Add|Close|Respond|RespondEnd|Elapse|ElapseEnd"
    r"|FreeInClosed|FreeInResolved|End|MutualEnd)\.[1-9]\d*\b"
)


def test_every_cited_clause_exists() -> None:
    known = set(variants.clauses())
    files = [*(ROOT / "gateway" / "cl").rglob("*.py"), ROOT / "docs" / "validator.md"]
    cited = {(f.name, c) for f in files for c in CITED.findall(f.read_text())}
    assert {c for _, c in cited} & known
    assert not [(f, c) for f, c in cited if c not in known]


def test_docs_name_every_clause() -> None:
    text = (ROOT / "docs" / "validator.md").read_text()
    assert sorted(set(variants.clauses()) - set(CITED.findall(text))) == []
