"""The judge of every devnet in the tests: absent is a failure, never a skip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regtest.backends import JUDGED, VERDICT
from regtest.judge import install
from regtest.judge.scalus import Disagreement, Report, ScalusJudge

__all__ = [
    "Disagreement",
    "Report",
    "ScalusJudge",
    "judge_networks",
    "new_judge",
    "require_judge",
    "require_verdict",
]


def require_judge() -> None:
    if not install.installed():
        pytest.fail("the judge (npm scalus) is not installed: run `make judge`")


def new_judge() -> ScalusJudge:
    require_judge()
    return ScalusJudge()


def judge_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every regtest process that is started from here on has its judge."""
    require_judge()
    monkeypatch.setenv(JUDGED, "1")


def require_verdict(network: Path) -> None:
    """`network`: the directory of a judged regtest process that has ended in order."""
    found = json.loads((network / "cardano" / VERDICT).read_text())
    assert found["problem"] is None, found["problem"]
    assert found["judged"] > 0, found
