"""The judge of every devnet in the tests: absent is a failure, never a skip."""

from __future__ import annotations

import pytest

from regtest.judge import install
from regtest.judge.scalus import Disagreement, Report, ScalusJudge

__all__ = ["Disagreement", "Report", "ScalusJudge", "new_judge"]


def new_judge() -> ScalusJudge:
    if not install.installed():
        pytest.fail("the judge (npm scalus) is not installed: run `make judge`")
    return ScalusJudge()
