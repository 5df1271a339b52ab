"""R3. BOLT 8 over TCP: the Transport port on asyncio streams.

A peer costs bounded memory (one frame, and the stream buffers), bounded time before it is
known (handshake_s) and bounded patience after (idle_s, message_s, send_s). Every end of a
connection is a Refused with a cl.net.* or bolt8.* code.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.bolt import bolt8, crypto
from gateway.cl.net import errors
from gateway.cl.net.limits import MAX_MESSAGE, Limits
from gateway.cl.ports import Connection
from gateway.errors import Refused, Rejection

_CHUNK = 16_384
_BUFFER = 65_536  # asyncio pauses reading the socket at twice this

T = TypeVar("T")
Ecdh = Callable[[bytes], Awaitable[bytes]]
OnConnection = Callable[[Connection], Awaitable[None]]


def random_secret() -> bytes:
    """A fresh ephemeral private key."""
    while not crypto.is_secret(secret := secrets.token_bytes(32)):
        pass
    return secret


class TcpConnection:
    """One reader at a time may wait in `receive`; `send` may be called from anywhere."""

    def __init__(
        self,
        session: bolt8.Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        on_close: Callable[[], None],
    ) -> None:
        self._session, self._reader, self._writer = session, reader, writer
        self._limits = limits
        self._on_close = on_close
        self._sending = asyncio.Lock()
        self._ended: Rejection | None = None

    @property
    def remote_node_id(self) -> bytes:
        return self._session.remote_static

    async def send(self, message: bytes) -> None:
        """Raises Refused: cl.net.closed, .slow, .too_long. Sent does not mean received."""
        if len(message) > MAX_MESSAGE:
            raise Refused(
                errors.TOO_LONG(field="message", got=f"{len(message)} bytes", allowed=f"{MAX_MESSAGE}")
            )
        async with self._sending:  # frames must leave in the order in which they were sealed
            self._raise_if_ended()
            frame = self._session.seal(message)
            assert isinstance(frame, bytes)  # the length was checked
            try:
                self._writer.write(frame)
                async with asyncio.timeout(self._limits.send_s):
                    await self._writer.drain()
            except TimeoutError:
                self.cut(errors.SLOW(field="send", allowed=f"{self._limits.send_s:g} s"))
            except OSError as error:
                self.cut(errors.CLOSED(detail=type(error).__name__))
            self._raise_if_ended()

    async def receive(self) -> bytes:
        """The next message. Raises Refused: cl.net.closed, .truncated, .idle, .slow, bolt8.frame.mac."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        mid_message_since = began if self._session.is_mid_message else None
        while True:
            message = self._session.take()
            if isinstance(message, bytes):
                return message
            if isinstance(message, Rejection):
                self.cut(message)
            self._raise_if_ended()
            if self._session.is_mid_message and mid_message_since is None:
                mid_message_since = loop.time()
            if mid_message_since is None:
                await self._read(began + self._limits.idle_s, errors.IDLE, self._limits.idle_s)
            else:
                deadline = mid_message_since + self._limits.message_s
                await self._read(deadline, errors.SLOW, self._limits.message_s)

    async def _read(self, deadline: float, code: Callable[..., Rejection], allowed_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                data = await self._reader.read(_CHUNK)
        except TimeoutError:
            self.cut(code(field="receive", allowed=f"{allowed_s:g} s"))
            return
        except OSError as error:
            self.cut(errors.CLOSED(detail=type(error).__name__))
            return
        if data:
            self._session.feed(data)
        else:
            self.cut(errors.TRUNCATED() if self._session.is_mid_message else errors.CLOSED())

    async def close(self) -> None:
        """Idempotent. What was sent before still goes out, within close_s."""
        if self._ended is None:
            self._ended = errors.CLOSED(detail="closed by this node")
            self._on_close()
            self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._limits.close_s):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    def cut(self, why: Rejection) -> None:
        """At once: whoever is slow or lies gets no time to drain what waits for it."""
        if self._ended is None:
            self._ended = why
            self._on_close()
            self._writer.transport.abort()

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise Refused(self._ended)


class TcpListener:
    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @property
    def address(self) -> tuple[str, int]:
        """Host and port actually bound (port 0 chooses a free one)."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def close(self) -> None:
        """No new connections; open ones stay."""
        self._server.close()


class TcpTransport:
    """`node_id` and `ecdh` are the signer's: the node key never comes here."""

    def __init__(
        self,
        node_id: bytes,
        ecdh: Ecdh,
        limits: Limits | None = None,
        new_ephemeral: Callable[[], bytes] = random_secret,
    ) -> None:
        self._node_id, self._ecdh = node_id, ecdh
        self._limits = limits or Limits()
        self._new_ephemeral = new_ephemeral
        self._open: set[TcpConnection] = set()
        self._handshakes: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[TcpListener] = []

    async def connect(self, node_id: bytes, host: str, port: int) -> TcpConnection:
        """Raises Refused: cl.net.unreachable, .handshake_timeout, .too_many, bolt8.handshake.*"""
        self._raise_if_full()
        try:
            async with asyncio.timeout(self._limits.connect_s):
                reader, writer = await asyncio.open_connection(host, port, limit=_BUFFER)
        except (OSError, TimeoutError, UnicodeError, OverflowError) as error:
            raise Refused(
                errors.UNREACHABLE(field="address", got=f"{host}:{port}", detail=str(error) or "timed out")
            ) from error
        return await self._establish(reader, writer, lambda: self._initiate(node_id, reader, writer))

    async def listen(self, host: str, port: int, on_connection: OnConnection) -> TcpListener:
        """Each peer that has proven its node id is given to `on_connection`, in a task of its own;
        the connection is closed when that returns. Raises Refused: cl.net.listen."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._accept(reader, writer, on_connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        try:
            server = await asyncio.start_server(accepted, host, port, limit=_BUFFER)
        except (OSError, OverflowError) as error:
            raise Refused(errors.LISTEN(field="listen", got=f"{host}:{port}", detail=str(error))) from error
        listener = TcpListener(server)
        self._listeners.append(listener)
        return listener

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def close(self) -> None:
        """Ends the listeners, unfinished handshakes and all connections."""
        for listener in self._listeners:
            await listener.close()
        await asyncio.gather(*(connection.close() for connection in tuple(self._open)))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_connection: OnConnection
    ) -> None:
        peer = writer.get_extra_info("peername")
        host = str(peer[0]) if peer else ""
        # P13: strangers may hold only so many half-open handshakes, and one address only a few of them.
        crowded = (
            len(self._open) >= self._limits.connections
            or self._handshakes.total() >= self._limits.handshakes
            or self._handshakes[host] >= self._limits.handshakes_per_host
        )
        if crowded:
            writer.transport.abort()
            return
        self._handshakes[host] += 1
        try:
            connection = await self._establish(reader, writer, lambda: self._respond(reader, writer))
        except Refused:
            return  # BOLT 8: terminate without any further message
        finally:
            self._handshakes[host] -= 1
            self._handshakes += Counter()  # forgets addresses at zero
        try:
            await on_connection(connection)
        except Refused:
            pass  # the connection's end, which the handler need not catch
        finally:
            await connection.close()

    async def _establish(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        shake: Callable[[], Awaitable[bolt8.Session]],
    ) -> TcpConnection:
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                session = await shake()
            self._raise_if_full()
        except TimeoutError as error:
            writer.transport.abort()
            allowed = f"{self._limits.handshake_s:g} s"
            raise Refused(errors.HANDSHAKE_TIMEOUT(field="handshake", allowed=allowed)) from error
        except BaseException:
            writer.transport.abort()
            raise
        connection = TcpConnection(
            session, reader, writer, self._limits, lambda: self._open.discard(connection)
        )
        self._open.add(connection)
        return connection

    async def _initiate(
        self, node_id: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bolt8.Session:
        act_one, state = _unwrap(bolt8.start_initiator(node_id, self._node_id, self._new_ephemeral()))
        writer.write(act_one)
        asked = _unwrap(state.feed(await _exactly(reader, state.wants)))
        finished = asked.provide(await self._ecdh(asked.point))
        writer.write(finished.output)
        return finished.session

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bolt8.Session:
        state = bolt8.start_responder(self._node_id, self._new_ephemeral())
        asked = _unwrap(state.feed(await _exactly(reader, state.wants)))
        act_two, last = _unwrap(asked.provide(await self._ecdh(asked.point)))
        writer.write(act_two)
        return _unwrap(last.feed(await _exactly(reader, last.wants))).session

    def _raise_if_full(self) -> None:
        if len(self._open) >= self._limits.connections:
            raise Refused(errors.TOO_MANY(field="connections", allowed=self._limits.connections))


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    """`size` bytes, or what came before the end of the stream (the handshake then says it is short)."""
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except OSError:
        return b""  # a reset is an end, too


def _unwrap(value: T | Rejection) -> T:
    if isinstance(value, Rejection):
        raise Refused(value)
    return value
