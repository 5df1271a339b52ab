"""R3. The Transport port without sockets: bounded queues between transports of one MemoryNetwork.

It passes the same contract suite as TCP. For many nodes in one process, and for tests that
must decide what is delivered: a network can drop all its links at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

from gateway.bolt import errors as bolt_errors
from gateway.cl.net import errors
from gateway.cl.net.limits import MAX_MESSAGE, Limits
from gateway.cl.ports import Connection
from gateway.errors import Refused, Rejection

_QUEUE = 64  # messages in flight each way before `send` waits, as a socket buffer would

OnConnection = Callable[[Connection], Awaitable[None]]


class MemoryConnection:
    def __init__(self, remote_node_id: bytes, limits: Limits) -> None:
        self._remote_node_id = remote_node_id
        self._limits = limits
        self._inbox: deque[bytes] = deque()
        self._arrived, self._space = asyncio.Event(), asyncio.Event()
        self._ended: Rejection | None = None
        self._other: MemoryConnection = self
        self.on_close: Callable[[], None] = lambda: None

    @staticmethod
    def pair(left: bytes, right: bytes, limits: Limits) -> tuple[MemoryConnection, MemoryConnection]:
        """(what the node `left` holds, what `right` holds)."""
        one, two = MemoryConnection(right, limits), MemoryConnection(left, limits)
        one._other, two._other = two, one
        return one, two

    @property
    def remote_node_id(self) -> bytes:
        return self._remote_node_id

    async def send(self, message: bytes) -> None:
        if len(message) > MAX_MESSAGE:
            raise Refused(
                errors.TOO_LONG(field="message", got=f"{len(message)} bytes", allowed=f"{MAX_MESSAGE}")
            )
        other = self._other
        while self._ended is None and len(other._inbox) >= _QUEUE:
            await self._wait(other._space, self._limits.send_s, errors.SLOW, "send")
        if self._ended is not None:
            raise Refused(self._ended)
        other._inbox.append(message)
        other._arrived.set()

    async def receive(self) -> bytes:
        while not self._inbox:
            if self._ended is not None:
                raise Refused(self._ended)
            await self._wait(self._arrived, self._limits.idle_s, errors.IDLE, "receive")
        self._space.set()
        return self._inbox.popleft()

    async def _wait(
        self, event: asyncio.Event, allowed_s: float, code: Callable[..., Rejection], field: str
    ) -> None:
        """Until the event; the link ends when that takes too long."""
        event.clear()
        try:
            async with asyncio.timeout(allowed_s):
                await event.wait()
        except TimeoutError:
            self.cut(code(field=field, allowed=f"{allowed_s:g} s"))

    async def close(self) -> None:
        self.cut(errors.CLOSED(detail="closed by this node"))

    def cut(self, why: Rejection) -> None:
        """Ends both ends; what was sent before can still be received."""
        for side, reason in ((self, why), (self._other, errors.CLOSED())):
            if side._ended is None:
                side._ended = reason
                side._arrived.set()
                side._space.set()
                side.on_close()


class MemoryListener:
    def __init__(self, network: MemoryNetwork, address: tuple[str, int]) -> None:
        self._network, self._address = network, address

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    async def close(self) -> None:
        self._network.listening.pop(self._address, None)


class MemoryNetwork:
    """The wires of one process: who listens where, and every open link."""

    def __init__(self) -> None:
        self.listening: dict[tuple[str, int], tuple[MemoryTransport, OnConnection]] = {}
        self.links: set[MemoryConnection] = set()
        self._next_port = 1

    def free_port(self) -> int:
        self._next_port += 1
        return self._next_port

    def cut_all(self) -> None:
        """Every link ends, as when a cable is pulled."""
        for link in tuple(self.links):
            link.cut(errors.CLOSED(detail="link cut"))


class MemoryTransport:
    def __init__(self, network: MemoryNetwork, node_id: bytes, limits: Limits | None = None) -> None:
        self._network, self.node_id = network, node_id
        self._limits = limits or Limits()
        self._open: set[MemoryConnection] = set()
        self._listeners: list[MemoryListener] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def connect(self, node_id: bytes, host: str, port: int) -> MemoryConnection:
        self._raise_if_full()
        found = self._network.listening.get((host, port))
        if found is None:
            raise Refused(errors.UNREACHABLE(field="address", got=f"{host}:{port}", detail="nobody listens"))
        remote, on_connection = found
        if remote.node_id != node_id:
            raise Refused(bolt_errors.ACT_SHORT(field="act two", detail="the peer has another node id"))
        if remote.open_connections >= remote._limits.connections:
            raise Refused(bolt_errors.ACT_SHORT(field="act two", detail="the peer is full"))
        ours, theirs = MemoryConnection.pair(self.node_id, node_id, self._limits)
        self._adopt(ours)
        remote._adopt(theirs)
        remote._spawn(remote._serve(theirs, on_connection))
        return ours

    async def listen(self, host: str, port: int, on_connection: OnConnection) -> MemoryListener:
        address = (host, port or self._network.free_port())
        if address in self._network.listening:
            raise Refused(errors.LISTEN(field="listen", got=f"{host}:{port}", detail="address in use"))
        self._network.listening[address] = (self, on_connection)
        listener = MemoryListener(self._network, address)
        self._listeners.append(listener)
        return listener

    async def close(self) -> None:
        for listener in self._listeners:
            await listener.close()
        for connection in tuple(self._open):
            await connection.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _adopt(self, connection: MemoryConnection) -> None:
        def forget() -> None:
            self._open.discard(connection)
            self._network.links.discard(connection)

        connection.on_close = forget
        self._open.add(connection)
        self._network.links.add(connection)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _serve(connection: MemoryConnection, on_connection: OnConnection) -> None:
        try:
            await on_connection(connection)
        except Refused:
            pass  # the link's end, which the handler need not catch
        finally:
            await connection.close()

    def _raise_if_full(self) -> None:
        if len(self._open) >= self._limits.connections:
            raise Refused(errors.TOO_MANY(field="connections", allowed=self._limits.connections))
