"""The same on a real PostgreSQL: a commit is there and the process is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kill_matrix import WRITES, run
from tests.support.kill_swaps import Direction
from tests.support.kill_world import world
from tests.support.postgres import Cluster, cluster


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.mark.daemons
@pytest.mark.timeout(3600)
@pytest.mark.threat("P2")
@pytest.mark.threat("X5")
@pytest.mark.kind("CR")
@pytest.mark.parametrize("direction", ["cl_to_btc", "btc_to_cl"])
async def test_a_gateway_on_postgresql_survives_its_kills(
    direction: Direction, postgres: Cluster, tmp_path: Path
) -> None:
    async with world(tmp_path, database_url=postgres.create()) as made:
        record = await run(made, direction, "embedded", "postgresql", WRITES, every=5)
    record.check(least_kills=12)
