"""Deadlines against an adversary, a full mempool, a provider that is away, spent coins, parameters that change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.l1.address import script_address
from gateway.cl.l1.build import build
from gateway.cl.l1.evaluate import AikenEvaluator
from gateway.cl.l1.intents import BuiltTx, Pay
from gateway.cl.l1.validity import Window, choose_window
from gateway.cl.signer.verify import verify
from gateway.profile import REGTEST
from gateway.units import Lovelace
from regtest.cardano import Devnet
from regtest.cardano.failure import Failure
from regtest.cardano.params import Params
from tests.support.cl_node import ADA, PERIOD, Side, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.kind("IT")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        yield running


def before_each_submit(side: Side, act: Callable[[bytes], Awaitable[None]]) -> None:
    """`act` comes first at the provider, as a rival with a faster link would."""
    real = side.provider.submit

    async def submit(tx_cbor: bytes) -> Any:
        await act(tx_cbor)
        return await real(tx_cbor)

    side.provider.submit = submit  # type: ignore[method-assign]


async def closes(side: Side) -> list[t.ChannelId]:
    """Channels whose close by this side is in a block, in the order of blocks."""
    own = {tx.tx_id: tx for tx in await side.sent() if "Close" in tx.purpose}
    on_chain = {tx.id for block in side._devnet.chain.blocks for tx in block.txs}
    return [part for tx_id, tx in own.items() if tx_id in on_chain for part in channels_in(tx.purpose)]


def channels_in(purpose: str) -> list[t.ChannelId]:
    return [t.ChannelId(bytes.fromhex(part.split()[1])) for part in purpose.split(", ")]


async def paid_out(world: World, start: dict[str, int], moved: int) -> None:
    await world.mine(5)
    changes = {side.name: side.funds() - start[side.name] + await side.fees() for side in world.sides}
    assert changes == {"alice": -moved, "bob": moved}


async def bob_has_all(world: World, start: dict[str, int], due: int) -> None:
    """Alice's node is gone, so the channel's end, hers to make, never comes; what is Bob's is in his wallet."""
    for _ in range(60):
        gained = world.bob.funds() - start["bob"] + await world.bob.fees()
        if gained >= due:
            break
        await world.mine(ms=10_000)
    assert gained == due


def funds(world: World) -> dict[str, int]:
    return {side.name: side.funds() for side in world.sides}


def ended(world: World, *channels: t.ChannelId) -> bool:
    return all(isinstance(side.state(c), s.Ended) for side in world.sides for c in channels)


@pytest.mark.threat("V16", "W4")
async def test_a_claim_lands_on_top_of_the_partners_unconfirmed_adds(world: World) -> None:
    """Alice adds one lovelace whenever Bob is about to close, in every block. His close builds on her add."""
    start = funds(world)
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    await world.bob.channels.fulfil(channel, index, secret(1))
    adds: list[int] = []

    async def spam(tx_cbor: bytes) -> None:
        height = world.devnet.tip.height
        if height not in adds and len(adds) < 6:
            adds.append(height)
            await world.alice.chain.add_funds(channel, Lovelace(1))

    before_each_submit(world.bob, spam)
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine(2)
    assert adds, "the adversary never came first"
    assert await closes(world.bob) == [channel]
    own = {tx.tx_id for tx in await world.bob.sent() if "Close" in tx.purpose}
    closing = next(b for b in world.devnet.chain.blocks if own & {tx.id for tx in b.txs})
    assert _chained(closing) in own  # it spends what the add in the same block made
    await world.mine_until("ended", lambda: ended(world, channel), ms=10_000)
    await paid_out(world, start, 37 * ADA)


def _chained(block: Any) -> bytes | None:
    """The transaction of `block` that spends an output which another one of the same block made."""
    made = {tx.id for tx in block.txs}
    return next((tx.id for tx in block.txs if any(ref.tx_id in made for ref in tx.inputs)), None)


@pytest.mark.threat("V17", "V15")
async def test_closes_share_a_transaction_and_one_that_was_overtaken_stands_alone(world: World) -> None:
    """Three channels close in one tick, beside 1,000 junk outputs at the script; one partner spends his first."""
    policy = load_blueprint().hash
    junk = str(script_address(policy, REGTEST.cardano_magic))
    for _ in range(8):
        world.devnet.faucet([(junk, ADA)] * 125)
    await world.settled()
    start = funds(world)
    channels = [await world.open(20 * ADA, 5 * ADA) for _ in range(3)]
    tried: list[bytes] = []

    async def overtake(tx_cbor: bytes) -> None:
        tried.append(tx_cbor)
        if len(tried) == 1:
            await world.alice.chain.add_funds(channels[1], Lovelace(1))

    before_each_submit(world.bob, overtake)
    for channel in channels:
        await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine(2)
    sent = [channels_in(tx.purpose) for tx in await world.bob.sent() if "Close" in tx.purpose]
    assert sorted(channels) in [sorted(together) for together in sent]  # composed, refused by the ledger
    assert sorted(await closes(world.bob)) == sorted(channels)
    assert len(tried) <= 6
    await world.mine_until("ended", lambda: ended(world, *channels), ms=10_000)
    await paid_out(world, start, 15 * ADA)
    assert world.bob.alarms == []


@pytest.mark.threat("W3", "W8")
async def test_an_outage_of_nine_tenths_of_the_respond_window_costs_nothing(world: World) -> None:
    """Alice closes with an old snapshot while Bob's provider is away; at half of it he takes no new risk."""
    start = funds(world)
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA, life_ms=2 * PERIOD.value)
    await world.bob.channels.fulfil(channel, index, secret(1))
    await until("the squash", lambda: books(world.bob, channel).theirs is not None)
    await _cheat_close(world, channel)
    world.devnet.set_faults(ogmios_down=True, kupo_down=True)
    window = PERIOD.value * 9 // 10
    world.devnet.advance(window // 2, 20)
    assert isinstance(world.bob.state(channel), s.Normal)
    world.bob.chain._heard -= 61.0  # the machine's seconds pass with the ledger's
    assert world.bob.chain.blind() != ""
    world.devnet.advance(window - window // 2, 20)
    world.devnet.clear_faults()
    await world.alice.kill()
    await world.bob.reached()
    await bob_has_all(world, start, 37 * ADA)


async def _cheat_close(world: World, channel: t.ChannelId) -> None:
    """A close of Alice's that shows nothing of what was agreed since the opening."""
    state = world.alice.state(channel)
    assert isinstance(state, s.Normal)
    bare = settle.Intent(
        channel, state.output.ref, t.Close(True, t.Receipt(None, ())), world.alice.clock.now()
    )
    assert await world.alice.chain.perform((bare,)) == ()
    world.devnet.mine()
    await until("Alice's view of it", lambda: world.alice._height() == world.devnet.tip.height)


@pytest.mark.threat("W7")
async def test_a_full_mempool_alarms_at_half_the_margin_and_the_claim_still_lands(world: World) -> None:
    """Nobody takes transactions until half the margin is gone; then the same claim, and the balance is whole."""
    start = funds(world)
    channel = await world.open()
    margin = REGTEST.claim_margin.value
    index = await world.cheque(channel, world.alice, 1, 7 * ADA, life_ms=3 * margin)
    timeout = books(world.bob, channel).held[0].cheque.timeout.value
    await world.alice.kill()
    await world.bob.channels.fulfil(channel, index, secret(1))
    world.devnet.set_faults(refuse_submits=10_000)
    while timeout - world.devnet.now_ms() > margin * 2 // 5:
        await world.mine(ms=4_000)
        await world.bob.chain.rebroadcast()
        near = timeout - world.devnet.now_ms() <= margin // 2
        assert near or "cl.channel.deadline_near" not in [code for code, _ in world.bob.alarms]
    assert [code for code, _ in world.bob.alarms].count("cl.channel.deadline_near") == 1
    world.devnet.clear_faults()
    while not isinstance(world.bob.state(channel), s.OnChain):
        await world.bob.chain.rebroadcast()
        await world.mine(ms=2_000)
    assert world.devnet.now_ms() < timeout
    await bob_has_all(world, start, 37 * ADA)


@pytest.mark.threat("W7")
async def test_coins_and_collateral_spent_between_build_and_submit(world: World) -> None:
    """The wallet's keys act elsewhere: every coin of the close is gone when it arrives. It takes others at once."""
    channel = await world.open()
    rivals: list[bytes] = []

    async def rival(tx_cbor: bytes) -> None:
        if rivals:
            return
        bob = world.bob
        view = await bob.chain._wallet.frozen()
        view = replace(view, reserved=frozenset())
        window = choose_window(view.params, view.tip, view.now, REGTEST)
        assert isinstance(window, Window)
        made = build(view, [Pay(bob.address, Lovelace(3 * ADA))], window, AikenEvaluator(), verify)
        assert isinstance(made, BuiltTx)
        signed = await bob.signer.sign_transaction((), made.tx_cbor)
        rivals.append(transaction_id(signed))
        assert not isinstance(world.devnet.submit(signed), Failure)

    before_each_submit(world.bob, rival)
    await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine(2)
    assert rivals
    assert await closes(world.bob) == [channel]
    assert [tx for block in world.devnet.chain.blocks for tx in block.txs if tx.id in rivals]


def _dearer(params: Params) -> Params:
    """Script costs x 1.3, the price of a byte and the least lovelace up: what a vote or a hard fork may do."""
    models = {
        n: tuple(c * 13 // 10 if abs(c) < 1 << 62 else c for c in m) for n, m in params.cost_models.items()
    }
    return replace(params, cost_models=models, min_fee_coefficient=60, coins_per_utxo_byte=5_000)


@pytest.mark.threat("V20")
async def test_parameters_that_change_between_build_and_submit(tmp_path: Path) -> None:
    """What was built for yesterday's costs is refused; the next block's try reads them anew. Not judged: the
    emulator's parameters are fixed."""
    async with Devnet() as devnet:
        world = World(devnet, tmp_path, lambda channels: channels)
        await world.start()
        try:
            channel = await world.open()
            changed: list[bytes] = []

            async def vote(tx_cbor: bytes) -> None:
                if not changed:
                    changed.append(tx_cbor)
                    devnet.chain.params = _dearer(devnet.chain.params)

            before_each_submit(world.bob, vote)
            await world.bob.channels.close(channel, now=True, reason="cl.channel.close_asked")
            await world.mine(3)
            assert changed
            assert await closes(world.bob) == [channel]
            tries = [tx for tx in await world.bob.sent() if tx.purpose.startswith("Close")]
            assert len(tries) == 2
            await world.mine_until("ended", lambda: ended(world, channel), ms=10_000)
        finally:
            for side in world.sides:
                await side.kill()
