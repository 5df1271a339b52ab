"""The user's node dies at each of its own writes, and both nodes at once at a few of the gateway's."""

from pathlib import Path

import pytest

from tests.support.kill_matrix import WRITES, run
from tests.support.kill_swaps import Direction
from tests.support.kill_world import world


@pytest.mark.devnet
@pytest.mark.timeout(3600)
@pytest.mark.threat("P2")
@pytest.mark.threat("X6")
@pytest.mark.kind("CR")
@pytest.mark.parametrize("direction", ["cl_to_btc", "btc_to_cl"])
async def test_a_user_and_both_nodes_survive_their_kills(direction: Direction, tmp_path: Path) -> None:
    """Every fourth of the user's writes, every twelfth of the gateway's with both; GATEWAY_KILLS=all: each."""
    async with world(tmp_path) as made:
        user = await run(made, direction, "embedded", "sqlite", WRITES, every=4, victim="user")
        both = await run(made, direction, "embedded", "sqlite", WRITES, every=12, victim="both")
    user.check(least_kills=5)
    both.check(least_kills=5)
