"""A cheque in, a payment out: the gateway dies at each of its writes."""

from pathlib import Path

import pytest

from tests.support.kill_matrix import WRITES, run
from tests.support.kill_world import world


@pytest.mark.devnet
@pytest.mark.timeout(3600)
@pytest.mark.threat("X5")
@pytest.mark.threat("X6")
@pytest.mark.threat("X8")
@pytest.mark.threat("P2")
@pytest.mark.kind("CR")
async def test_cl_to_btc_survives_a_kill_at_every_write(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        record = await run(made, "cl_to_btc", "embedded", "sqlite", WRITES)
    record.check(least_kills=50)
