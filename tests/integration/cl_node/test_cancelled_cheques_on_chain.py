"""Decisions 4 and 5 on the devnet: a cancelled cheque that its receiver presents all the same, whoever closes.

The receiver is a real node that stops acting by itself, cheats once, and then goes on honestly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.errors import Refused
from tests.support.cl_node import ADA, Side, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as running:
        yield running


async def _cancelled(world: World) -> tuple[t.ChannelId, t.SignedCheque]:
    """A channel with one cheque of Alice's that Bob gave back: both have signed that it is dead."""
    channel = await world.open()
    index = await world.cheque(channel, world.alice, 1, 7 * ADA)
    signed = next(h.signed for h in books(world.bob, channel).held if h.cheque.index == index)
    await world.bob.channels.cancel(channel, index, "swap.payment.no_route")
    await until("it to be dead for the issuer", lambda: _dead(world.alice, channel, index))
    return channel, signed


def _dead(side: Side, channel: t.ChannelId, index: int) -> bool:
    return any(
        i.cheque.index == index and isinstance(i.status, s.Dead) for i in books(side, channel).issued
    ) or (books(side, channel).issued_base.covers(index))


def _stop_acting(side: Side) -> None:
    async def nothing() -> None:
        return None

    side.channels.on_block = nothing  # type: ignore[method-assign]


def _act_again(side: Side) -> None:
    del side.channels.on_block


async def _cheat(world: World, channel: t.ChannelId, step: t.Step, limit: t.Cheque | None) -> bool:
    """Whether Bob's node sent it."""
    state = world.bob.state(channel)
    assert isinstance(state, s.WithOutput)
    intent = settle.Intent(
        channel, state.output.ref, step, world.bob.clock.now(), usable_until=limit.timeout if limit else None
    )
    sent = len(await world.bob.sent())
    for _, refusal in await world.bob.chain.perform((intent,)):
        raise Refused(refusal)
    return len(await world.bob.sent()) > sent


async def _to_the_end(world: World, channel: t.ChannelId, start: dict[str, int]) -> None:
    """Alice gets back all that she had; Bob what was his without the cheque."""
    await world.mine_until(
        "ended on both sides",
        lambda: all(isinstance(side.state(channel), s.Ended) for side in world.sides),
        most=80,
        ms=10_000,
    )
    await world.mine(5)
    expected = {"alice": -30 * ADA, "bob": 30 * ADA}
    for side in world.sides:
        change = side.funds() - start[side.name] + await side.fees()
        assert change == expected[side.name], (side.name, change)


@pytest.mark.threat("V7")
@pytest.mark.parametrize("unlocked", [False, True], ids=["locked", "unlocked"])
async def test_cancelled_cheque_closer_is_the_receiver_who_presents_it(world: World, unlocked: bool) -> None:
    """Bob closes with nothing but the dead cheque; Alice's respond shows what he signed, and it falls out."""
    start = {side.name: side.funds() for side in world.sides}
    channel, signed = await _cancelled(world)
    _stop_acting(world.bob)
    shown = t.PresentedCheque(signed, secret(1) if unlocked else None)
    close = t.Close(False, t.Receipt(None, (shown,)))
    assert await _cheat(world, channel, close, signed.cheque if unlocked else None)
    await world.mine_until("the close", lambda: isinstance(world.alice.state(channel), s.OnChain))
    state = world.alice.state(channel)
    assert isinstance(state, s.OnChain)
    assert [entry.paid for entry in state.output.first] == [unlocked]  # the chain took it, for now
    _act_again(world.bob)
    await _to_the_end(world, channel, start)


@pytest.mark.threat("V7")
@pytest.mark.parametrize("unlocked", [False, True], ids=["locked", "unlocked"])
async def test_cancelled_cheque_closer_is_the_issuer_and_the_receiver_presents_it(
    world: World, unlocked: bool
) -> None:
    """Alice's close carries what Bob signed: no respond of his can present the dead cheque any more."""
    start = {side.name: side.funds() for side in world.sides}
    channel, signed = await _cancelled(world)
    _stop_acting(world.bob)
    await world.alice.channels.close(channel, now=True, reason="cl.channel.close_asked")
    await world.mine_until("the close", lambda: isinstance(world.bob.state(channel), s.OnChain))
    shown = t.PresentedCheque(signed, secret(1) if unlocked else None)
    for flags in ((False, False), (True, False), (False, True), (True, True)):
        respond = t.Respond(t.Receipt(None, (shown,)), *flags)
        with pytest.raises(Refused) as refused:
            await _cheat(world, channel, respond, signed.cheque if unlocked else None)
        assert refused.value.rejection.code == "cl.data.step_refused"
        assert refused.value.rejection.field == "Cheque.2"
    _act_again(world.bob)
    await _to_the_end(world, channel, start)
