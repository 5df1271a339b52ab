"""The demo's record: its form, and that nothing off by one passes for right."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from regtest.demo import __main__ as demo
from regtest.demo import audit, ledger, steps, terms
from regtest.demo.audit import Row

NAMES = (
    "networks", "nodes", "channel_open", "pay_bitcoin", "receive_bitcoin", "failed_payment_back", "crash_resume",
    "force_close", "audit",
)  # fmt: skip


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Steps that do nothing, balances as the test says; `run` gives the exit status and the record."""
    told: dict[str, Any] = {"rows": [row(0), row(0)], "fails": None}

    async def step(name: str, on: steps.Stage) -> steps.Proof:
        on.network = {"bitcoin": {"version": "a version"}}
        if told["fails"] == name:
            raise steps.Failed("not so")
        return "done", {"tx": "ab"}

    async def balances(_: steps.Stage) -> list[Row]:
        return list(told["rows"])

    async def at_once(what: str, check: Any, *_: Any, **__: Any) -> Any:
        if found := await check():
            return found
        raise steps.Failed(what)

    async def close(_: steps.Stage) -> None: ...

    plan = tuple((name, title, lambda s, name=name: step(name, s)) for name, title, _ in demo.STEPS)
    monkeypatch.setattr(demo, "STEPS", plan)
    monkeypatch.setattr(audit, "balances", balances)
    monkeypatch.setattr(audit, "eventually", at_once)
    monkeypatch.setattr(steps.Stage, "close", close)

    def run(backend: str = "embedded") -> tuple[int, dict[str, Any]]:
        record = tmp_path / "build" / "demo.json"
        monkeypatch.setattr("sys.argv", ["demo", "--bln", backend, "--record", str(record)])
        status = demo.main()
        return status, json.loads(record.read_text())

    told["run"] = run
    return told


def row(off: int, unit: str = "lovelace") -> Row:
    return Row("user", "Cardano wallet", unit, 500_000_000, 500_000_000 + off)


@pytest.mark.parametrize("backend", ["embedded", "lnd"])
def test_the_record_has_the_agreed_form(stage: dict[str, Any], backend: str) -> None:
    status, record = stage["run"](backend)
    assert status == 0
    assert list(record) == ["backend", "versions", "seconds", "steps", "balances", "ok"]
    assert (record["backend"], record["ok"]) == (backend, True)
    assert {"python", "gateway", "validator", "bitcoin"} <= record["versions"].keys()
    assert tuple(step["name"] for step in record["steps"]) == NAMES
    for step in record["steps"]:
        assert list(step) == ["name", "ok", "seconds", "detail", "evidence"]
        assert step["ok"] is True
    for balance in record["balances"]:
        assert list(balance) == ["who", "where", "unit", "expected", "actual"]
        assert isinstance(balance["expected"], int)
        assert isinstance(balance["actual"], int)


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("unit", ["lovelace", "msat"])
@pytest.mark.parametrize("place", [0, 1])
def test_off_by_one_is_not_ok_and_the_exit_status_says_so(
    stage: dict[str, Any], off: int, unit: str, place: int
) -> None:
    stage["rows"][place] = row(off, unit)
    status, record = stage["run"]()
    assert status == 1
    assert record["ok"] is False
    assert record["steps"][-1]["ok"] is False
    assert f"{off:+} {unit}" in record["steps"][-1]["detail"]
    assert len(record["balances"]) == 2


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_step_that_fails_fails_the_demo(stage: dict[str, Any], name: str) -> None:
    stage["fails"] = name
    status, record = stage["run"]()
    assert (status, record["ok"]) == (1, False)
    assert [step["name"] for step in record["steps"]] == list(NAMES[: NAMES.index(name) + 1])
    assert record["steps"][-1]["detail"] == "Failed: not so"


def test_no_balance_is_no_success(stage: dict[str, Any]) -> None:
    stage["rows"].clear()
    status, record = stage["run"]()
    assert (status, record["ok"]) == (1, False)


def test_the_audit_asks_neither_a_node_of_ours_nor_its_database() -> None:
    """`actual` is Kupo's and the Lightning nodes' own word; `expected` is arithmetic."""
    used = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(inspect.getsource(audit)))
        if isinstance(node, ast.Call)
    }
    sources = {"ledger.lovelace_at", "stage.lnd[name].channel_balance", "terms.crossed"}
    assert sources <= used
    assert not [n for n in used - sources if n.endswith((".get", ".post", "_channel", "_balance", ".cli"))]
    for module in (terms, ledger):
        roots = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
            + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        }
        assert not roots & {"gateway", "regtest"}


def test_what_crosses_follows_from_the_inputs_by_hand() -> None:
    """13 lovelace for 10 msat; base fee 1,000 lovelace; 5,000 ppm; a routing budget of 1,000 msat and 5,000 ppm."""
    budget = 1_000 + 20_000_000 * 5_000 // 1_000_000
    converted = -(-(20_000_000 + budget) * 13 // 10)
    assert terms.price(20_000_000) == converted + 1_000 + -(-converted * 5_000 // 1_000_000) == 26_262_957
    assert terms.invoice_for(10_000_000) == 7_732_000
    moves = terms.bitcoin_moves()
    assert moves.gateway + moves.hub + moves.alice == 0
