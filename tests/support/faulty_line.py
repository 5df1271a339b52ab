"""Between a node's links and its channels: what a peer says comes late, twice, out of order, or not at all."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gateway.cl.node.channels import Channels
from gateway.cl.node.peers import Events
from gateway.cl.wire import session_messages
from gateway.cl.wire.codec import Envelope


@dataclass
class Trouble:
    """Shared by the lines of one world; quiet until told. A dropped message is said again on the next link."""

    random: random.Random
    on: bool = False
    count: dict[str, int] = field(default_factory=dict)

    def pick(self) -> str:
        kinds, weights = ("pass", "twice", "late", "dropped"), (70, 12, 12, 6)
        kind = self.random.choices(kinds, weights)[0] if self.on else "pass"
        self.count[kind] = self.count.get(kind, 0) + 1
        return kind

    def line(self, channels: Channels) -> Events:
        return FaultyLine(channels, self)


class FaultyLine:
    """Implements peers.Events before `channels`."""

    def __init__(self, channels: Channels, trouble: Trouble) -> None:
        self._channels, self._trouble = channels, trouble
        self._late: list[tuple[bytes, Envelope]] = []

    async def peer_connected(self, node_id: bytes, remote: session_messages.Init) -> None:
        await self._channels.peer_connected(node_id, remote)

    async def peer_disconnected(self, node_id: bytes) -> None:
        await self._channels.peer_disconnected(node_id)

    async def peer_message(self, node_id: bytes, envelope: Envelope) -> None:
        kind = self._trouble.pick()
        if kind == "late":
            self._late.append((node_id, envelope))
            return
        for _ in range({"pass": 1, "twice": 2, "dropped": 0}[kind]):
            await self._channels.peer_message(node_id, envelope)
        while self._late:
            await self._channels.peer_message(*self._late.pop())
