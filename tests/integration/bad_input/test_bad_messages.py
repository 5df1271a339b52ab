"""Messages of a peer that break a rule, over the wire to a running node: named, forgiven or not, nothing lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.bolt import crypto
from gateway.cl.channel import messages as m
from gateway.cl.data import types as t
from gateway.cl.data.codec import cheque_message
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.wire import codec, session_messages
from gateway.cl.wire.codec import Envelope
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.gateway_world import GatewayWorld, until

pytestmark = [pytest.mark.devnet, pytest.mark.asyncio(loop_scope="module")]


async def stranger(world: GatewayWorld) -> Any:
    """A connection to the gateway with a key of its own, and the gateway's init."""
    secret = b"\x07" * 32

    async def ecdh(point: bytes) -> bytes:
        shared = crypto.ecdh(secret, point)
        assert shared is not None
        return shared

    transport = TcpTransport(crypto.public_key(secret), ecdh)
    line = await transport.connect(world.gateway.running.node_id, "127.0.0.1", world.gateway.port)
    return transport, line, await line.receive()


def warned(raw: bytes) -> str:
    told = codec.decode(raw)
    assert isinstance(told, Envelope), told
    assert isinstance(told.message, (session_messages.Warning, session_messages.Error)), told
    return told.message.code


async def heard(line: Any) -> str:
    """The code in the next warning or error; pings and the like pass by."""
    while True:
        told = codec.decode(await asyncio.wait_for(line.receive(), 10))
        assert isinstance(told, Envelope)
        if isinstance(told.message, (session_messages.Warning, session_messages.Error)):
            return told.message.code


MESSAGES = [
    ("truncated", "cl.wire."),
    ("unknown", "cl.wire.unknown_type"),
    ("garbage", "cl.wire."),
    ("repeated init", "cl.session.init_repeated"),
    ("cheque for no channel", "cl.channel.message"),
]


@pytest.mark.parametrize(("name", "code"), MESSAGES)
async def test_a_bad_message_is_named_and_harms_nobody_else(
    world: GatewayWorld, name: str, code: str
) -> None:
    transport, line, init = await stranger(world)
    channel = t.ChannelId(bytes.fromhex(world.channel))
    cheque = t.Cheque(1, PosixMs(10**13), Hashlock(b"\x01" * 32), Lovelace(5))
    good = codec.encode(Envelope(m.AddCheque(cheque, t.Signature(b"\x01" * 64)), channel))
    raws = {
        "truncated": good[:-7],
        "unknown": b"\xfa\x7f\x02\x08\x01",
        "garbage": b"\xff" * 300,
        "repeated init": init,
        "cheque for no channel": good,
    }
    try:
        await line.send(init)
        await line.send(raws[name])
        assert (await heard(line)).startswith(code)
    finally:
        await line.close()
        await transport.close()


async def test_a_frame_that_is_too_long_never_leaves(world: GatewayWorld) -> None:
    transport, line, init = await stranger(world)
    try:
        await line.send(init)
        with pytest.raises(Refused) as caught:
            await line.send(b"\x00" * 65_536)
        assert caught.value.rejection.code in ("cl.net.too_long", "bolt8.frame.too_long")
    finally:
        await line.close()
        await transport.close()


async def named(logs: list[Any], code: str) -> str:
    """What the gateway told the user's node under this code."""

    async def told() -> str:
        return next((one["text"] for one in logs if one["event"] == "peer.says" and one["code"] == code), "")

    text: str = await until(f"the gateway to say {code}", told)
    return text


def timeout_of(world: GatewayWorld, ms: int) -> PosixMs:
    return world.user.running.clock.now() + Ms(ms)


async def of_the_users(world: GatewayWorld, number: int, timeout: PosixMs, lovelace: int = 2_000_000) -> Any:
    """A cheque through the user's own books, so that both sides count alike; as it stands once it is given back."""
    user, channel = world.user.running, t.ChannelId(bytes.fromhex(world.channel))
    lock = Hashlock(number.to_bytes(32, "big"))
    index = await user.channels.offer(channel, lock.raw, lock, Lovelace(lovelace), timeout)
    assert isinstance(index, int), index

    async def given_back() -> Any:
        state: Any = user.channels.state(channel)
        found = next(one for one in state.books.issued if one.cheque.index == index)
        return found if type(found.status).__name__ == "Dead" else None

    return await until("the cheque to come back", given_back)


async def test_a_cheque_out_of_order_is_named_and_not_taken(world: GatewayWorld) -> None:
    """Signed with the user's true key; what may be forgiven leaves the channel open."""
    user, channel = world.user.running, t.ChannelId(bytes.fromhex(world.channel))
    state: Any = user.channels.state(channel)
    index = state.books.last_issued + 5
    cheque = t.Cheque(index, timeout_of(world, 3_600_000), Hashlock(b"\x09" * 32), Lovelace(2_000_000))
    key = user.signer._keys[state.agreement.local_key]  # the signer itself would remember this one for good
    message = m.AddCheque(cheque, t.Signature(key.sign(cheque_message(channel, cheque)).signature))
    with capture_logs() as logs:
        await user.peers.send(world.gateway.running.node_id, Envelope(message, channel))
        text = await named(logs, "cl.cheque.index")
    assert f"index={index}" in text
    assert f"allowed: {index - 4}" in text


async def test_a_preimage_that_does_not_fit(world: GatewayWorld) -> None:
    user, gateway = world.user.running, world.gateway.running
    channel = t.ChannelId(bytes.fromhex(world.channel))
    lock = Hashlock(b"\x0c" * 32)
    index = await gateway.channels.offer(
        channel, lock.raw, lock, Lovelace(2_000_000), timeout_of(world, 3_600_000)
    )
    assert isinstance(index, int), index
    with capture_logs() as logs:
        message = Envelope(m.Fulfil(index, Preimage(b"\x01" * 32)), channel)
        await user.peers.send(gateway.node_id, message)
        assert "preimage=" in await named(logs, "cl.cheque.preimage")

    async def given_back() -> bool:
        state: Any = gateway.channels.state(channel)
        return any(
            one.cheque.index == index and type(one.status).__name__ == "Dead" for one in state.books.issued
        )

    await until("the cheque to come back", given_back)  # nobody asked the user for it


@pytest.mark.parametrize(
    ("ms", "code"), [(1_000, "cl.cheque.timeout_too_soon"), (10**12, "cl.cheque.timeout_too_far")]
)
async def test_a_peers_cheque_whose_timeout_is_outside_the_limits(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, ms: int, code: str
) -> None:
    """The user's node would not offer it: it runs here with limits of its own."""
    lax = replace(world.user.running.profile, min_cheque_life=Ms(1), max_cheque_life=Ms(10**13))
    monkeypatch.setattr(world.user.running.channels, "_profile", lax)
    one = await of_the_users(world, 100 + ms, timeout_of(world, ms))
    assert f"cancelled by the receiver ({code})" in one.status.proof


async def test_a_peers_cheque_below_the_least_amount(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = world.gateway.running.channels
    monkeypatch.setattr(channels, "policy", replace(channels.policy, least_cheque=Lovelace(1_000)))
    one = await of_the_users(world, 77, timeout_of(world, 3_600_000), lovelace=999)
    assert "cancelled by the receiver (cl.cheque.amount)" in one.status.proof


async def test_a_cheque_that_is_repeated_counts_once(world: GatewayWorld) -> None:
    user, channel = world.user.running, t.ChannelId(bytes.fromhex(world.channel))
    one = await of_the_users(world, 55, timeout_of(world, 3_600_000))
    state: Any = user.channels.state(channel)
    key = state.agreement.local_key
    again = m.AddCheque(one.cheque, await user.signer.sign_cheque(key, channel, one.cheque))
    for _ in range(3):
        await user.peers.send(world.gateway.running.node_id, Envelope(again, channel))


async def test_after_all_of_it_value_still_crosses(shared: GatewayWorld) -> None:
    before = await shared.money()
    await shared.still_pays()
    after = await shared.money()
    assert after[-1] == before[-1] + 2_000_000
    assert before[0] - after[0] == after[1] - before[1] > 0
