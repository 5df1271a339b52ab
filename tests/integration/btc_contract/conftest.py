"""Every contract test runs against the simulated network, and against real LNDs where `-m daemons` asks for it.

A process starts one network for each version that it meets: run the versions beside each other as two processes
(`-k lnd-0.20`, `-k lnd-0.21`), not with -n 2, which would start four networks.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.btc_lab import Lab, running
from tests.support.btc_lab_sim import SimulatedLab
from tests.support.btc_steps import new_secrets

REAL = ("0.20", "0.21")


def _lab(name: str, directory: Path) -> Lab:
    if name == "embedded":
        return SimulatedLab(directory)
    from tests.support.btc_lab_real import RealLab

    real: Lab = RealLab(name.removeprefix("lnd-"), directory)
    return real


@pytest.fixture(
    params=["embedded", *(pytest.param(f"lnd-{version}", marks=pytest.mark.daemons) for version in REAL)]
)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    new_secrets()
    async with running(_lab(request.param, tmp_path)) as one:
        yield one


@pytest.fixture
async def simulated(tmp_path: Path) -> AsyncIterator[SimulatedLab]:
    """For what only the simulation can show."""
    lab = SimulatedLab(tmp_path)
    async with running(lab):
        yield lab
