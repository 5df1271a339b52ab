"""The gateway dies at its writes between the asking for a close and the channel's end."""

from pathlib import Path

import pytest

from tests.support.kill_close import Way, run
from tests.support.kill_world import world


@pytest.mark.devnet
@pytest.mark.timeout(3600)
@pytest.mark.threat("P2")
@pytest.mark.threat("W8")
@pytest.mark.kind("CR")
async def test_a_close_with_a_pending_cheque_survives_its_kills(tmp_path: Path) -> None:
    ways: tuple[Way, ...] = ("gone", "respond", "late")
    async with world(tmp_path) as made:
        records = [await run(made, way) for way in ways]
    for record in records:
        record.check(least_kills=8)
