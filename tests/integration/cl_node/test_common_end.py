"""An end that both partners sign, on the devnet: one transaction, to the lovelace, through kills and rollbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from tests.support.cl_node import ADA, Side, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        yield running


def ended(world: World, channel: t.ChannelId) -> bool:
    return all(isinstance(side.state(channel), s.Ended) for side in world.sides)


async def steps(side: Side) -> list[str]:
    return [tx.purpose.split()[0] for tx in await side.sent()]


async def changes(world: World, start: dict[str, int]) -> dict[str, int]:
    return {side.name: side.funds() - start[side.name] + await side.fees() for side in world.sides}


async def asks(side: Side, channel: t.ChannelId) -> None:
    await side.channels.close(channel, now=False, reason="closed by the owner")


async def paid(world: World, channel: t.ChannelId, amount: int = 7 * ADA) -> None:
    """Alice pays Bob over the channel; nothing is pending after it."""
    index = await world.cheque(channel, world.alice, 1, amount)
    await world.bob.channels.fulfil(channel, index, secret(1))
    await until("the squash", lambda: _settled(world.bob, channel))


async def together(world: World, channel: t.ChannelId, first: Side) -> None:
    """A block lets `first` begin; the talk takes real time, the next block the transaction."""
    await world.mine()
    await until("the end in the mempool", lambda: ended(world, channel) or _held(world, channel, first))
    await world.mine()
    assert ended(world, channel)


def _held(world: World, channel: t.ChannelId, side: Side) -> bool:
    return isinstance(side.state(channel), s.EndHeld) and _pool(world)


def _pool(world: World) -> bool:
    return bool(world.devnet.chain.pool)


def _settled(side: Side, channel: t.ChannelId) -> bool:
    return all(isinstance(one.status, s.Settled) for one in books(side, channel).held)


@pytest.mark.threat("P16")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("asker", ["alice", "bob"])
async def test_a_close_that_both_agree_on_is_one_transaction(world: World, asker: str) -> None:
    """The asker pays the fee; the partner's wallet signs nothing; no respond period passes."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    await paid(world, channel)
    first = world.alice if asker == "alice" else world.bob
    await asks(first, channel)
    await together(world, channel, first)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert (await steps(first)).count("MutualEnd") == 1
    assert "MutualEnd" not in await steps(world.other(first))
    assert [side.alarms for side in world.sides] == [[], []]


@pytest.mark.kind("IT")
async def test_both_ask_at_once_and_the_opener_builds(world: World) -> None:
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    for side in world.sides:
        await asks(side, channel)
    await together(world, channel, world.alice)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -30 * ADA, "bob": 30 * ADA}
    assert (await steps(world.alice)).count("MutualEnd") == 1
    assert await steps(world.bob) == []


@pytest.mark.kind("IT")
async def test_pending_cheques_end_before_the_channel_does(world: World) -> None:
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    await asks(world.alice, channel)
    await world.mine(3)
    assert isinstance(world.alice.state(channel), s.Draining)
    await world.bob.channels.fulfil(channel, index, secret(1))
    await until("the squash", lambda: _settled(world.bob, channel))
    await together(world, channel, world.alice)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert (await steps(world.alice)).count("MutualEnd") == 1


@pytest.mark.kind("IT")
@pytest.mark.parametrize("how", ["away", "refuses"])
async def test_without_the_partner_the_channel_closes_alone(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    await paid(world, channel)
    if how == "away":
        await world.bob.kill()
        await until("the link's end", lambda: not world.alice.peers.is_connected(world.bob.node_id))
    else:
        monkeypatch.setattr(type(world.bob.chain), "payout_address", "addr_test1nonsense")
    await asks(world.alice, channel)
    await world.mine_until("the close", lambda: isinstance(world.alice.state(channel), s.OnChain), most=8)
    if how == "away":
        await world.bob.start()
        await world.connect()
    await world.mine_until("ended", lambda: ended(world, channel), most=80, ms=10_000)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert "MutualEnd" not in await steps(world.alice)


STATES = {"Ending": s.Ending, "EndProposed": s.EndProposed, "EndSigned": s.EndSigned, "EndHeld": s.EndHeld}


def _stop_at(side: Side, name: str) -> None:
    """Effects and messages that would lead on from this state are lost, as if the process had ended just then."""
    if name in ("EndProposed", "EndSigned"):
        real = side.peers.send

        async def send(peer: bytes, envelope: object) -> None:
            if not isinstance(getattr(envelope, "message", None), (m.ProposeEnd, m.EndSignature)):
                await real(peer, envelope)  # type: ignore[arg-type]

        side.peers.send = send  # type: ignore[method-assign]
    else:

        async def nothing(*_: object) -> None:
            raise KeyError("the process ends here")

        which = {"Ending": "build_end", "EndHeld": "publish_end"}[name]
        setattr(side.chain, which, nothing)


@pytest.mark.threat("W10")
@pytest.mark.kind("CR")
@pytest.mark.parametrize("name", list(STATES))
async def test_killed_in_each_state_of_a_common_end(world: World, name: str) -> None:
    """Alice asks; the side that stands in the state is killed there and goes on from its store."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    await paid(world, channel)
    side = world.bob if name == "EndSigned" else world.alice
    _stop_at(side, name)
    await asks(world.alice, channel)
    world.devnet.advance(1_000, 1)
    await until(name, lambda: isinstance(side.state(channel), STATES[name]))
    await side.kill()
    await side.start()
    assert isinstance(side.state(channel), STATES[name])
    await world.connect()
    await together(world, channel, world.alice)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert (await steps(world.alice)).count("MutualEnd") == 1


@pytest.mark.threat("W1")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("drop", [False, True])
async def test_a_rollback_takes_the_end_back(world: World, drop: bool) -> None:
    """It comes again, or the channel closes alone: the money is the same."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    await paid(world, channel)
    await asks(world.bob, channel)
    await together(world, channel, world.bob)
    await world.mine()
    world.devnet.rollback(3, drop)
    for side in world.sides:
        await side.reached()
        await side.chain.rebroadcast()
    await world.mine_until("ended again", lambda: ended(world, channel), most=80, ms=5_000)
    await world.mine(5)
    assert ended(world, channel)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}


@pytest.mark.kind("IT")
async def test_an_end_that_never_arrives_is_followed_by_a_close(world: World) -> None:
    """The mempool forgets it until its time is past; the partner that signed waits as long and closes too."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    await paid(world, channel)
    world.devnet.set_faults(drop_submits=1)
    await asks(world.alice, channel)
    await world.mine()
    await until("Alice's try", lambda: isinstance(world.alice.state(channel), s.EndHeld))
    await world.alice.dispatcher.drain()
    await world.mine_until("ended", lambda: ended(world, channel), most=80, ms=10_000)
    await world.mine(5)
    assert await changes(world, start) == {"alice": -37 * ADA, "bob": 37 * ADA}


@pytest.mark.threat("P16")
@pytest.mark.kind("IT")
async def test_no_cheque_is_signed_once_an_end_is(world: World) -> None:
    """Neither by the channel nor by the signer itself."""
    channel = await world.open()
    _stop_at(world.bob, "EndSigned")
    await asks(world.alice, channel)
    await world.mine()
    await until("Bob's signature", lambda: isinstance(world.bob.state(channel), s.EndSigned))
    await world.bob.dispatcher.drain()
    refused = await world.bob.channels.offer(
        channel, b"late", secret(9).hashlock, t.Lovelace(ADA), world.bob.clock.now() + t.Ms(200_000)
    )
    assert not isinstance(refused, int)
    assert refused.code == "cl.channel.frozen"
    cheque = t.Cheque(1, world.bob.clock.now() + t.Ms(200_000), secret(9).hashlock, t.Lovelace(ADA))
    with pytest.raises(Exception, match="an end of this channel was signed"):
        await world.bob.signer.sign_cheque(world.bob.key(channel), channel, cheque)
