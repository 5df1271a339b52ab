"""The chain service when things go wrong: rollbacks, ends of the process, lost transactions, a lost provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.cl.l1.errors import NO_FUNDS
from gateway.errors import Refused
from gateway.store.hooks import HookPoint
from gateway.units import Lovelace
from tests.support.cl_node import ADA, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        yield running


def ended(world: World, channel: t.ChannelId) -> bool:
    return all(isinstance(side.state(channel), s.Ended) for side in world.sides)


@pytest.mark.threat("W1")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("drop", [False, True])
async def test_rollbacks_while_a_channel_settles(world: World, drop: bool) -> None:
    """The close, the respond and the claim are each taken back once; the money ends where it belongs."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.bob.channels.fulfil(channel, index, secret(1))
    for _ in range(3):
        await world.mine(2)
        world.devnet.rollback(2, drop)
        for side in world.sides:
            await side.reached()
            await side.chain.rebroadcast()
    await world.mine_until("ended", lambda: ended(world, channel), ms=10_000)
    await world.mine(5)
    changes = {side.name: side.funds() - start[side.name] + await side.fees() for side in world.sides}
    assert changes == {"alice": -37 * ADA, "bob": 37 * ADA}
    assert [h.status for h in books(world.bob, channel).held]
    assert world.bob.alarms == []


@pytest.mark.threat("W1")
@pytest.mark.kind("IT")
async def test_an_opening_that_a_rollback_takes_away_once_used(world: World) -> None:
    """Both ends freeze, the opener publishes again, and value moves on once it lies deep."""
    channel = await world.open()
    await world.mine()
    world.devnet.rollback(3, True)
    world.devnet.mine()
    await until("both ends to freeze", lambda: _frozen(world, channel) == s.TAKEN_BACK)
    assert world.bob.alarms == [("cl.channel.frozen", s.TAKEN_BACK)]
    await world.mine_until("the thaw", lambda: _frozen(world, channel) == "", ms=1_000)
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    await world.bob.channels.fulfil(channel, index, secret(1))
    await until("the squash", lambda: books(world.bob, channel).theirs is not None)


def _frozen(world: World, channel: t.ChannelId) -> str:
    """The reason, once both ends have the same."""
    found = {getattr(side.state(channel), "frozen", "?") for side in world.sides}
    return found.pop() if len(found) == 1 else "they differ"


@pytest.mark.threat("W10")
@pytest.mark.kind("CR")
async def test_the_end_of_the_process_between_storing_and_sending(world: World) -> None:
    """The transaction was stored: the next run sends those very bytes, once."""
    channel = await world.open()
    real = world.bob.provider.submit
    lost: list[bytes] = []

    async def gone(tx_cbor: bytes) -> object:
        lost.append(tx_cbor)
        raise KeyError("the process ended here")

    world.bob.provider.submit = gone  # type: ignore[method-assign,assignment]
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    world.devnet.advance(1_000, 1)
    await until("the send", lambda: bool(lost))
    await world.bob.kill()
    world.bob.provider.submit = real  # type: ignore[method-assign]
    await world.bob.start()
    await world.bob.chain.rebroadcast()
    assert [tx.raw for tx in world.devnet.chain.pool] == lost
    await world.mine()
    assert isinstance(world.alice.state(channel), s.OnChain)


@pytest.mark.threat("W10")
@pytest.mark.kind("CR")
async def test_a_node_that_was_away_answers_a_close_on_its_return(world: World) -> None:
    """Alice closes while Bob's node is down; Bob comes back to a chain that went on, and claims in time."""
    start = {side.name: side.funds() for side in world.sides}
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA, life_ms=280_000)
    await world.bob.kill()
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine(4)
    await world.bob.start()
    await world.connect()
    await world.mine()
    await world.bob.channels.fulfil(channel, index, secret(1))
    await world.mine_until("ended", lambda: ended(world, channel), ms=10_000)
    await world.mine(5)
    changes = {side.name: side.funds() - start[side.name] + await side.fees() for side in world.sides}
    assert changes == {"alice": -37 * ADA, "bob": 37 * ADA}


@pytest.mark.kind("IT")
async def test_a_step_that_never_arrived_is_built_again_from_the_same_coins(world: World) -> None:
    """Mempools forget. With one output in the wallet, the next try must take the coins of the one that expired."""
    channel = await world.open()
    funds = Lovelace(world.bob.funds() - 2 * ADA)
    await world.bob.chain.send(world.bob.address, funds)  # its three outputs become one, and change
    await world.mine(6)
    world.devnet.set_faults(drop_submits=1)
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine(2)
    lost = [tx for tx in await world.bob.sent() if tx.purpose.startswith("Close")]
    assert len(lost) == 1
    assert isinstance(world.bob.state(channel), s.Closing)
    await world.mine_until(
        "closed", lambda: isinstance(world.alice.state(channel), s.OnChain), ms=16_000, most=4
    )
    tries = [tx for tx in await world.bob.sent() if tx.purpose.startswith("Close")]
    assert len(tries) == 2
    both = set(tries[0].spent) & set(tries[1].spent)
    assert len(both) == 2  # the channel's output, and the wallet's one


@pytest.mark.kind("IT")
async def test_a_step_that_waits_in_the_mempool_is_kept(world: World) -> None:
    """A node refuses what it already holds in the words for spent inputs: no reason to build it anew."""
    channel = await world.open()
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    world.devnet.advance(1_000, 1)
    await until("the close in the mempool", lambda: len(world.devnet.chain.pool) == 1)
    for _ in range(2):
        await world.bob.chain.rebroadcast()
    (waiting,) = world.devnet.chain.pool
    kept = world.bob.chain._own.on_the_way(world.bob.clock.now(), purpose=f"Close {channel.hex()}")
    assert kept is not None
    assert kept.tx_id == waiting.id
    await world.mine()
    assert isinstance(world.alice.state(channel), s.OnChain)
    assert waiting not in world.devnet.chain.pool
    assert len([tx for tx in await world.bob.sent() if tx.purpose.startswith("Close")]) == 1


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_a_provider_that_is_away(world: World) -> None:
    """The node says so, keeps running, and goes on when the provider is back."""
    channel = await world.open()
    world.devnet.set_faults(ogmios_down=True)
    await until("the alarm", lambda: not world.bob.chain.health()["ok"])
    assert world.bob.chain.health()["detail"].startswith("cl.chain.")
    assert world.bob.chain.blind() == ""  # for a moment that is no reason
    world.bob.chain._heard -= 61.0
    assert world.bob.chain.blind() == "no Cardano block for 60 s"
    with pytest.raises(Refused) as refused:
        await world.bob.chain.send(world.alice.address, Lovelace(5 * ADA))
    assert refused.value.rejection.code.startswith("cl.chain.")
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    world.devnet.clear_faults()
    await world.mine(2)
    assert world.bob.chain.health()["ok"]
    assert world.bob.chain.blind() == ""
    await world.mine()
    assert isinstance(world.bob.state(channel), s.OnChain)


@pytest.mark.kind("CR")
async def test_a_block_whose_commit_fails_is_not_passed_over(world: World) -> None:
    """The database refuses the block, and then the look back at what it holds, too."""
    channel = await world.open()
    left = 1

    def full(point: HookPoint) -> None:
        nonlocal left
        if (point.stage, point.name) == ("before_commit", "chain.block") and left:
            left -= 1
            raise OSError("no space left on device")

    remove = world.bob.store.hooks.add(full)
    load = world.bob.chain._load
    failures = 2

    async def once() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("no space left on device")
        await load()

    world.bob.chain._load = once  # type: ignore[method-assign]
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    world.devnet.mine()
    await world.alice.ticked()
    world.devnet.mine()  # holds the close; Bob's database refuses one of these two
    await until("all failures", lambda: not left and not failures)
    await world.mine()
    remove()
    async with world.bob.store.read() as tx:
        heights = [point.height for point in await tx.chain.points()]
    assert heights == list(range(world.devnet.tip.height, heights[-1] - 1, -1))
    assert isinstance(world.bob.state(channel), s.OnChain)
    assert world.bob.chain.health()["ok"]


@pytest.mark.kind("IT")
async def test_no_tick_before_everything_was_told(world: World) -> None:
    """A tick proves cheques dead: it must not overtake a preimage that stands in a block."""
    channel = await world.open()
    service, said = world.bob.chain, world.bob.news
    real, failing, tried = service._on_channel, True, 0

    async def deaf(cid: t.ChannelId, given: i.Input) -> None:
        nonlocal tried
        if failing:
            tried += 1
            raise Refused(NO_FUNDS())
        await real(cid, given)

    service._on_channel = deaf
    await world.alice.chain.add_funds(channel, Lovelace(3 * ADA))
    said.clear()
    for blocks in (1, 2):
        world.devnet.mine()
        await until("a try to tell", lambda blocks=blocks: tried == blocks)  # type: ignore[misc]
    assert said == []  # neither news nor a tick
    failing = False
    await world.mine()
    assert isinstance(said[0], i.OutputSeen)
    assert said[0].depth == 3
    assert isinstance(said[-1], type(service.settled_time()))


@pytest.mark.kind("IT")
async def test_an_opening_without_funds_holds_up_no_other_channel(world: World) -> None:
    """Its refusal at every block is its own affair: the other channel closes in time."""
    channel = await world.open()

    async def broke(agreement: s.Agreement) -> bytes:
        raise Refused(NO_FUNDS(field="lovelace", got=0, allowed="more"))

    world.alice.chain.publish_opening = broke  # type: ignore[method-assign]
    second = await world.alice.channels.open(world.bob.node_id, Lovelace(50 * ADA), Lovelace(0), None)
    await until("an answer", lambda: isinstance(world.alice.state(second), s.Funding))
    # told first, as it would be after a restart in that order
    states = world.alice.channels._states
    world.alice.channels._states = {second: states[second], **states}
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    for _ in range(2):  # the opening's effect stays undone: no waiting for that
        world.devnet.mine()
        await until("alice's tick", lambda: world.alice.told == world.devnet.tip.hash)
    assert isinstance(world.alice.state(channel), s.OnChain)
    assert world.alice.chain.health()["ok"]


@pytest.mark.kind("IT")
async def test_wallet_and_openings(world: World) -> None:
    """Script published once; a payment; an opening asked for twice; the smallest fit is the seed."""
    alice = world.alice
    await alice.chain.ensure_reference_script()
    await world.mine(2)
    await alice.kill()
    await alice.start()
    await alice.chain.ensure_reference_script()
    assert [tx.purpose for tx in await alice.sent()] == ["publish"]
    assert sum(1 for _, reserved in await alice.chain.utxos() if reserved) == 1
    await world.connect()
    seed = await alice.chain.pick_seed(Lovelace(150 * ADA))
    held = {utxo.ref: (utxo.lovelace.value, reserved) for utxo, reserved in await alice.chain.utxos()}
    assert held[seed] == (200 * ADA, True)
    with pytest.raises(Refused) as refused:
        await alice.chain.pick_seed(Lovelace(5_000 * ADA))
    assert refused.value.rejection.spec is NO_FUNDS
    alice.chain._wallet._picked.clear()
    channel = await alice.channels.open(world.bob.node_id, Lovelace(50 * ADA), Lovelace(0), None)
    await until("an answer", lambda: isinstance(alice.state(channel), s.Funding))
    funding = alice.state(channel)
    assert isinstance(funding, s.Funding)
    first = await alice.chain.publish_opening(funding.agreement)
    assert first == await alice.chain.publish_opening(funding.agreement)
    paid = world.bob.funds()
    await alice.chain.send(world.bob.address, Lovelace(5 * ADA))
    await world.mine(3)
    assert world.bob.funds() == paid + 5 * ADA
    assert first == await alice.chain.publish_opening(funding.agreement)
    opening = next(tx for tx in await alice.sent() if tx.purpose.startswith("open"))
    assert opening.tx_id == first
    assert funding.agreement.seed in opening.spent
    assert len(opening.tx_cbor) < 1_000  # by reference: the script alone is larger
    key = alice.key(channel)
    gone = replace(funding.agreement.seed, index=9)
    stale = settle.Intent(channel, gone, t.Add(True), alice.clock.now())
    assert key == funding.agreement.local_key
    sent = await alice.sent()
    assert await alice.chain.perform((stale,)) == ()
    assert await alice.sent() == sent
