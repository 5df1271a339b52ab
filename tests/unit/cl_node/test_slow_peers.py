"""A peer that sends and does not read: it is heard, it holds nobody up, and its link is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from gateway.bolt import crypto
from gateway.cl.channel import messages as m
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.node.peers import Peers
from gateway.cl.wire import codec, session_messages
from gateway.cl.wire.codec import Envelope
from gateway.errors import Refused
from gateway.units import PosixMs

pytestmark = [pytest.mark.threat("P13")]
KEYS = {name: bytes([number]) * 32 for number, name in enumerate(("node", "slow", "good"), 1)}
IDS = {name: crypto.public_key(key) for name, key in KEYS.items()}
HELLO = session_messages.Init(1, 42, "regtest", (b"\x01" * 28,), software="a test")
LONG = Envelope(session_messages.Warning("cl.test", "x" * 1_000))  # as long as a text of ours may be
AT_ONCE_S = 1.0  # far below the 30 s that a write may take


class Clock:
    def now(self) -> PosixMs:
        return PosixMs(int(asyncio.get_running_loop().time() * 1_000))

    async def sleep_until(self, moment: PosixMs) -> None:
        raise AssertionError("nobody sleeps by this clock")


class Answering:
    """Each message gets `answers` long answers, as a channel with long books gives."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.heard: dict[bytes, int] = {}
        self.gone = asyncio.Event()
        self.peers: Peers

    async def peer_connected(self, node_id: bytes, remote: session_messages.Init) -> None:
        self.heard[node_id] = 0

    async def peer_disconnected(self, node_id: bytes) -> None:
        self.gone.set()

    async def peer_message(self, node_id: bytes, envelope: Envelope) -> None:
        self.heard[node_id] += 1
        for _ in range(self.answers):
            await self.peers.send(node_id, LONG)


def transport(name: str) -> TcpTransport:
    async def ecdh(point: bytes) -> bytes:
        shared = crypto.ecdh(KEYS[name], point)
        assert shared is not None
        return shared

    return TcpTransport(IDS[name], ecdh)


@pytest_asyncio.fixture
async def node() -> AsyncIterator[tuple[Peers, Answering, tuple[str, int]]]:
    events = Answering(200)
    peers = Peers(IDS["node"], transport("node"), HELLO, events, Clock())
    events.peers = peers
    place = await peers.start("127.0.0.1", 0)
    yield peers, events, place
    await peers.stop()


async def dialled(name: str, place: tuple[str, int]) -> tuple[TcpTransport, Any]:
    mine = transport(name)
    line = await mine.connect(IDS["node"], *place)
    await line.send(codec.encode(Envelope(HELLO)))
    return mine, line


ASKS = codec.encode(Envelope(m.QueryTerms(), None, 0))


async def test_a_peer_that_never_reads_is_heard_and_then_cut(node: Any) -> None:
    peers, events, place = node
    mine, line = await dialled("slow", place)
    try:
        for _ in range(200):  # 40 MB of answers: more than any socket buffer takes
            with suppress(Refused):
                await line.send(ASKS)
        await asyncio.wait_for(events.gone.wait(), 8)
    finally:
        await mine.close()
    assert not peers.is_connected(IDS["slow"])
    assert 2 < events.heard[IDS["slow"]] < 100


async def test_nobody_waits_for_a_peer_that_does_not_read(node: Any) -> None:
    """What a block does to one channel must not hold up the others."""
    peers, events, place = node
    slow, _ = await dialled("slow", place)
    good, line = await dialled("good", place)
    events.answers = 1
    try:
        await asyncio.wait_for(_both(events), 5)
        loop, longest, refused = asyncio.get_running_loop(), 0.0, ""
        for number in range(20_000):
            began = loop.time()
            try:
                await asyncio.wait_for(peers.send(IDS["slow"], LONG), 5)
            except Refused as caught:
                refused = caught.rejection.code
                break
            longest = max(longest, loop.time() - began)
            if number % 20 == 0:
                await asyncio.sleep(0)
        assert longest < AT_ONCE_S
        assert refused == "cl.net.slow"
        await line.send(ASKS)
        await line.receive()  # its init
        answer = codec.decode(await asyncio.wait_for(line.receive(), 5))
        assert answer == LONG
    finally:
        await slow.close()
        await good.close()


async def _both(events: Answering) -> None:
    while len(events.heard) < 2:
        await asyncio.sleep(0.01)


async def _hear(line: Any, seen: list[object]) -> None:
    while True:
        told = codec.decode(await asyncio.wait_for(line.receive(), 5))
        assert isinstance(told, Envelope)
        seen.append(told.message)


async def test_what_was_said_before_a_cut_still_arrives(node: Any) -> None:
    """A broken rule is named to whoever broke it, though answers wait before the name."""
    _, events, place = node
    events.answers = 20
    mine, line = await dialled("good", place)
    try:
        await line.send(ASKS)
        await line.send(codec.encode(Envelope(HELLO)))  # a second init
        seen: list[object] = []
        with suppress(Refused):
            await _hear(line, seen)
        assert seen.count(LONG.message) == 20
        assert isinstance(seen[-1], session_messages.Error)
        assert seen[-1].code == "cl.session.init_repeated"
    finally:
        await mine.close()
