"""With real LND: the gateway dies as a swap enters each of its states."""

from pathlib import Path

import pytest

from regtest.bitcoin.backend import RealBitcoin
from tests.support.kill_matrix import run
from tests.support.kill_world import world


@pytest.mark.daemons
@pytest.mark.timeout(3600)
@pytest.mark.threat("X4")
@pytest.mark.threat("X5")
@pytest.mark.threat("X8")
@pytest.mark.kind("CR")
@pytest.mark.kind("IT")
async def test_with_real_lnd_every_state_survives_a_kill(tmp_path: Path) -> None:
    """One network for both directions: it takes twenty seconds to start."""
    async with world(tmp_path, bitcoin=RealBitcoin(tmp_path / "bitcoin")) as made:
        out = await run(made, "cl_to_btc", "lnd", "sqlite", ("state",))
        back = await run(made, "btc_to_cl", "lnd", "sqlite", ("state",))
    out.check(least_kills=8)
    back.check(least_kills=8)
