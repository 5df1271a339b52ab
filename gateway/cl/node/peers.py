"""R4. Connections to peers: one session each, sends in order, reconnects by itself; knows nothing of channels.

A message is handed to the transport only by `send`, which never waits for the peer (send_queue); what was not
delivered is repeated by the channels themselves when the peer is back, so nothing here is stored.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.cl.data.types import ChannelId
from gateway.cl.net.tcp import TcpListener, TcpTransport
from gateway.cl.node.send_queue import SendQueue
from gateway.cl.ports import Clock, Connection
from gateway.cl.wire import session, session_messages
from gateway.cl.wire.codec import Envelope
from gateway.errors import Action, Fault, Refused, Rejection, define

log = structlog.get_logger("gateway.peers")

NOT_CONNECTED = define(
    "cl.peer.not_connected", Fault.ENVIRONMENT, Action.RETRY,
    "the peer is not connected", "Wait for it to come back, or connect with gateway peer connect.", 409,
)  # fmt: skip
SELF = define(
    "cl.peer.self", Fault.LOCAL, Action.REFUSE,
    "a node cannot connect to itself", "Use another node's id.", 400,
)  # fmt: skip

FIRST_PAUSE_S, LONGEST_PAUSE_S, TICK_S = 0.5, 60.0, 2.0
STEADY_S = 10.0  # a link that ended sooner may end so again: no storm of them
BOTH_DIALLED_S = 5.0  # two links this close in time were dialled by both ends


class Events(Protocol):
    """Who is told: in order for each peer."""

    async def peer_connected(self, node_id: bytes, remote: session_messages.Init) -> None: ...
    async def peer_disconnected(self, node_id: bytes) -> None: ...
    async def peer_message(self, node_id: bytes, envelope: Envelope) -> None: ...


@dataclass(frozen=True, slots=True)
class PeerView:
    node_id: bytes
    host: str
    port: int
    connected: bool
    inbound: bool


class _Link:
    """One live connection."""

    def __init__(self, connection: Connection, state: session.State, inbound: bool) -> None:
        self.connection, self.state, self.inbound = connection, state, inbound
        self.queue = SendQueue(connection)
        self.ready = asyncio.Event()
        self.since = asyncio.get_running_loop().time()


class Peers:
    """`start` listens; `connect` keeps a peer connected for as long as the node runs."""

    def __init__(
        self,
        node_id: bytes,
        transport: TcpTransport,
        init: session_messages.Init,
        events: Events,
        clock: Clock,
        timing: session.Timing | None = None,
    ) -> None:
        self._node_id, self._transport, self._init = node_id, transport, init
        self._events, self._clock = events, clock
        self._timing = timing or session.Timing()
        self._links: dict[bytes, _Link] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._keepers: dict[bytes, asyncio.Task[None]] = {}
        self._wake: dict[bytes, asyncio.Event] = {}
        self._listener: TcpListener | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        self._listener = await self._transport.listen(host, port, self._incoming)
        return self._listener.address

    async def stop(self) -> None:
        for task in self._keepers.values():
            task.cancel()
        for task in self._keepers.values():
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(link.queue.flush() for link in self._links.values()))
        await self._transport.close()

    def views(self) -> tuple[PeerView, ...]:
        known = {**dict.fromkeys(self._links, ("", 0)), **self._places}
        views = []
        for node_id, (host, port) in sorted(known.items()):
            link = self._links.get(node_id)
            ready = link is not None and link.ready.is_set()
            views.append(PeerView(node_id, host, port, ready, bool(link and link.inbound)))
        return tuple(views)

    def is_connected(self, node_id: bytes) -> bool:
        link = self._links.get(node_id)
        return link is not None and link.ready.is_set()

    def remote_init(self, node_id: bytes) -> session_messages.Init | None:
        link = self._links.get(node_id)
        return link.state.remote if link and isinstance(link.state, session.Ready) else None

    # -- staying connected ----------------------------------------------------------------------

    def keep(self, node_id: bytes, host: str, port: int) -> None:
        """Connects now and again whenever the link is lost."""
        if node_id == self._node_id:
            raise Refused(SELF(field="node_id", got=node_id.hex()))
        self._places[node_id] = (host, port)
        if node_id not in self._keepers:
            self._wake[node_id] = asyncio.Event()
            self._keepers[node_id] = asyncio.create_task(self._keep(node_id))
        self._wake[node_id].set()

    async def connect(self, node_id: bytes, host: str, port: int, within_s: float = 15.0) -> None:
        """As `keep`, and waits until the peer's init is in; raises the reason when it does not come."""
        if self.is_connected(node_id):
            self._places[node_id] = (host, port)
            return
        connection = await self._transport.connect(node_id, host, port)
        task = asyncio.create_task(self._run(connection, inbound=False))
        end = asyncio.get_running_loop().time() + within_s
        while not self.is_connected(node_id):
            lost = task.done() and node_id not in self._links
            if lost or asyncio.get_running_loop().time() > end:
                raise Refused(NOT_CONNECTED(field="node_id", got=node_id.hex(), detail="no init from it"))
            await asyncio.sleep(0.01)
        self.keep(node_id, host, port)

    async def _keep(self, node_id: bytes) -> None:
        pause = FIRST_PAUSE_S
        while True:
            if node_id in self._links:
                pause = FIRST_PAUSE_S
                await self._pause(node_id, 1.0)
                continue
            host, port = self._places[node_id]
            began = asyncio.get_running_loop().time()
            try:
                connection = await self._transport.connect(node_id, host, port)
                await self._run(connection, inbound=False)
                if asyncio.get_running_loop().time() - began > STEADY_S:
                    pause = FIRST_PAUSE_S
            except Refused as refused:
                log.info("peer.unreachable", peer=node_id.hex(), code=refused.rejection.code)
            await self._pause(node_id, pause * (0.75 + random.random() / 2))  # noqa: S311 - spreads load
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _pause(self, node_id: bytes, seconds: float) -> None:
        wake = self._wake[node_id]
        wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), seconds)

    # -- one connection -------------------------------------------------------------------------

    async def _incoming(self, connection: Connection) -> None:
        await self._run(connection, inbound=True)

    async def _run(self, connection: Connection, *, inbound: bool) -> None:
        node_id = connection.remote_node_id
        old = self._links.get(node_id)
        if old is not None:
            if self._both_dialled(node_id, old, inbound):
                await connection.close()
                return
            # the newer connection wins: the older is often a dead one that TCP has not noticed
            await old.connection.close()
        local = session.Local(self._init, initiator=not inbound, timing=self._timing)
        state, outputs = session.start(local, self._clock.now())
        link = _Link(connection, state, inbound)
        self._links[node_id] = link
        ticker = asyncio.create_task(self._ticks(link))
        try:
            await self._perform(link, outputs)
            while not isinstance(link.state, session.Ended):
                raw = await connection.receive()
                link.state, outputs = session.receive(link.state, raw, self._clock.now())
                await self._perform(link, outputs)
        except Refused as refused:
            log.info("peer.lost", peer=node_id.hex(), code=refused.rejection.code)
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker
            await link.queue.stop()
            with suppress(Refused):
                await connection.close()
            if self._links.get(node_id) is link:
                del self._links[node_id]
                if link.ready.is_set():
                    await self._events.peer_disconnected(node_id)

    def _both_dialled(self, node_id: bytes, old: _Link, inbound: bool) -> bool:
        """Two nodes that dial each other at once would close both links: that of the smaller id's call stays."""
        young = asyncio.get_running_loop().time() - old.since < BOTH_DIALLED_S
        ours_is_smaller = self._node_id < node_id
        return young and old.inbound != inbound and old.inbound != ours_is_smaller

    async def _ticks(self, link: _Link) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            link.state, outputs = session.tick(link.state, self._clock.now(), secrets.randbits(63))
            with suppress(Refused):
                await self._perform(link, outputs)

    async def _perform(self, link: _Link, outputs: tuple[session.Output, ...]) -> None:
        node_id = link.connection.remote_node_id
        for output in outputs:
            match output:
                case session.Transmit(raw):
                    link.queue.put(raw)
                case session.Connected(remote):
                    link.ready.set()
                    log.info("peer.connected", peer=node_id.hex(), inbound=link.inbound)
                    await self._events.peer_connected(node_id, remote)
                case session.Deliver(envelope):
                    await self._events.peer_message(node_id, envelope)
                case session.Noted(rejection):
                    log.warning("peer.bad_message", peer=node_id.hex(), code=rejection.code)
                case session.Cut(rejection):
                    log.warning("peer.cut", peer=node_id.hex(), code=rejection.code)
                    await link.queue.flush()
                    await link.connection.close()

    async def send(self, node_id: bytes, envelope: Envelope) -> None:
        """Raises Refused when the peer is away or the message is refused by our own codec."""
        link = self._links.get(node_id)
        if link is None or not link.ready.is_set():
            raise Refused(NOT_CONNECTED(field="node_id", got=node_id.hex()))
        raw = session.send(link.state, envelope)
        if isinstance(raw, Rejection):
            raise Refused(raw)
        link.queue.put(raw)
        await asyncio.sleep(0)  # the writer's turn: a long answer is no backlog

    async def ask(self, node_id: bytes, message: object, channel: ChannelId | None = None) -> int:
        """Sends a message that starts a conversation; returns its number."""
        link = self._links.get(node_id)
        if link is None or not isinstance(link.state, session.Ready):
            raise Refused(NOT_CONNECTED(field="node_id", got=node_id.hex()))
        link.state, number = session.open_conversation(link.state)
        await self.send(node_id, Envelope(message, channel, number))
        return number
