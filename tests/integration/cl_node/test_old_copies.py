"""P4 with real nodes: what an old copy of a node's data may do, and how its owner gets out of it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.cl.channel import state as s
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused
from gateway.units import Lovelace, PosixMs
from tests.support.cl_node import ADA, Side, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.threat("P4")]
AMOUNT, GIFT = 100 * ADA, 40 * ADA


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as made:
        yield made


async def paid(world: World, channel: ChannelId, n: int) -> None:
    """Bob pays Alice one ada; both have signed it."""
    index = await world.cheque(channel, world.bob, n, ADA)
    await world.alice.channels.fulfil(channel, index, secret(n))
    await until("both snapshots", lambda: _squashed(world, channel, index))


def _squashed(world: World, channel: ChannelId, index: int) -> bool:
    ours, theirs = books(world.bob, channel).ours, books(world.alice, channel).ours
    held = next(h for h in books(world.alice, channel).held if h.cheque.index == index)
    return ours == theirs and isinstance(held.status, s.Settled)


async def replaced(world: World, names: tuple[str, ...], channel: ChannelId, directory: Path) -> None:
    """Bob's files `names` are those of before his last two payments; he runs again and has heard nobody."""
    bob = world.bob
    await paid(world, channel, 1)
    await bob.kill()
    shutil.copytree(directory / "bob", directory / "old")
    await bob.start()
    await world.connect()
    for n in (2, 3):
        await paid(world, channel, n)
    await bob.kill()
    for file in (directory / "bob").iterdir():
        if file.name.startswith(names):
            file.unlink()
    for file in (directory / "old").iterdir():
        if file.name.startswith(names) and file.is_file():
            shutil.copy(file, directory / "bob" / file.name)
    (directory / "bob" / "node.db.lock").unlink(missing_ok=True)  # another disk, or PostgreSQL
    await bob.start()


async def refused_offer(world: World, side: Side, channel: ChannelId, n: int) -> str:
    timeout = PosixMs(world.devnet.now_ms() + 200_000)
    with pytest.raises(Refused) as caught:
        await side.channels.offer(channel, b"ref %d" % n, secret(n).hashlock, Lovelace(ADA), timeout)
    return caught.value.rejection.code


async def closed_by_its_owner(
    world: World, channel: ChannelId, alice_got: int, start: dict[str, int]
) -> None:
    """The one command that is left to Bob; Alice, who holds the newer books, loses nothing by it."""
    await world.bob.channels.close(channel, now=False, reason="closed by the owner")
    await world.mine_until(
        "the end on both sides",
        lambda: all(isinstance(side.state(channel), s.Ended) for side in world.sides),
        most=90,
        ms=20_000,
    )
    await world.mine(5)
    change = world.alice.funds() + await world.alice.fees() - start["alice"]
    assert change == -GIFT + alice_got
    assert world.bob.funds() + await world.bob.fees() - start["bob"] == GIFT - alice_got


def signed(directory: Path) -> bytes:
    return (directory / "bob" / "signatures").read_bytes()


async def test_an_old_database_beside_the_signers_record_is_frozen_before_any_peer_speaks(
    world: World, tmp_path: Path
) -> None:
    start = {side.name: side.funds() + await side.fees() for side in world.sides}
    channel = await world.open(AMOUNT, GIFT)
    await replaced(world, ("node.db",), channel, tmp_path)
    before = signed(tmp_path)
    state = world.bob.state(channel)
    assert isinstance(state, s.Normal)
    assert state.frozen.startswith("cl.channel.stale")
    await until("the owner to be told", lambda: [c for c, _ in world.bob.alarms] == ["cl.channel.stale"])
    # not "none was signed": that would be a false proof for a swap
    assert await refused_offer(world, world.bob, channel, 2) == "cl.channel.stale"
    await world.connect()
    await world.mine(3)
    assert world.bob.peers.is_connected(world.alice.node_id)
    assert signed(tmp_path) == before
    await closed_by_its_owner(world, channel, 3 * ADA, start)


async def test_a_whole_old_directory_signs_nothing_before_its_partner_has_spoken(
    world: World, tmp_path: Path
) -> None:
    """Its own signer's record is as old, so nothing in it shows its age."""
    start = {side.name: side.funds() + await side.fees() for side in world.sides}
    channel = await world.open(AMOUNT, GIFT)
    await replaced(world, ("node.db", "signatures"), channel, tmp_path)
    state = world.bob.state(channel)
    assert isinstance(state, s.Normal)
    assert not state.frozen
    before = signed(tmp_path)
    assert await refused_offer(world, world.bob, channel, 5) == "cl.channel.unheard"
    await world.connect()
    await until(
        "the freeze", lambda: getattr(world.bob.state(channel), "frozen", "").startswith("cl.channel.stale")
    )
    assert await refused_offer(world, world.bob, channel, 5) == "cl.channel.stale"
    await world.mine(2)
    assert signed(tmp_path) == before
    await closed_by_its_owner(world, channel, 3 * ADA, start)


async def test_a_node_that_was_only_restarted_goes_on(world: World) -> None:
    channel = await world.open(AMOUNT, GIFT)
    await paid(world, channel, 1)
    for side in world.sides:
        await side.kill()
        await side.start()
    await world.connect()
    await paid(world, channel, 2)
    assert not any(side.alarms for side in world.sides)


async def test_what_was_made_longer_before_the_partner_spoke_is_said_once_it_has(world: World) -> None:
    """An extension carries an index that the partner has: its answer to what we hold would not name it."""
    channel = await world.open(AMOUNT, GIFT)
    index = await world.cheque(channel, world.bob, 1, ADA)
    await world.bob.kill()
    await world.bob.start()
    longer = PosixMs(world.devnet.now_ms() + 400_000)
    await world.bob.channels.extend(channel, index, longer)
    await world.connect()

    def extended() -> bool:
        held = next(h for h in books(world.alice, channel).held if h.cheque.index == index)
        return held.cheque.timeout == longer

    await until("the later timeout", extended)
