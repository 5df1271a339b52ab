"""Two nodes, one devnet, a second ledger as judge: open, pay, close from either side, settle to the last lovelace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cl.channel import state as s
from tests.support.cl_node import ADA, World, books, secret, two_sides

pytestmark = [pytest.mark.devnet, pytest.mark.node]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        yield running


@pytest.mark.parametrize("closer", ["alice", "bob"])
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.kind("IT")
async def test_a_close_with_a_cheque_each_way(world: World, closer: str, claimed: bool) -> None:
    """Each side holds a locked cheque of the other's; opened ones are paid, locked ones go back, to the lovelace."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    to_bob = await world.cheque(channel, world.alice, 1, 7 * ADA)
    to_alice = await world.cheque(channel, world.bob, 2, 5 * ADA)
    first = world.alice if closer == "alice" else world.bob
    await first.channels.close(channel, now=True, reason="cl.channel.close_asked")
    if claimed:
        await world.bob.channels.fulfil(channel, to_bob, secret(1))
        await world.alice.channels.fulfil(channel, to_alice, secret(2))
    await world.mine_until(
        "ended on both sides",
        lambda: all(isinstance(side.state(channel), s.Ended) for side in world.sides),
        most=80,
        ms=10_000,
    )
    await world.mine(5)
    moved = 2 * ADA if claimed else 0
    expected = {"alice": -30 * ADA - moved, "bob": 30 * ADA + moved}
    for side in world.sides:
        change = side.funds() - start[side.name] + await side.fees()
        assert change == expected[side.name], (side.name, change)
        assert side.alarms == []
    for side, index in ((world.bob, to_bob), (world.alice, to_alice)):
        held = [h.status for h in books(side, channel).held if h.cheque.index == index]
        assert not claimed or all(isinstance(status, s.Settled) for status in held)
