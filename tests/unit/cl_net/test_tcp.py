"""What only TCP has: strangers that stall, tamper or crowd; bounded memory and time."""

import asyncio
import contextlib
import socket

import pytest

from gateway.bolt import bolt8, crypto
from gateway.cl.net.limits import Limits
from gateway.cl.net.memory import MemoryNetwork, MemoryTransport
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.ports import Connection
from gateway.errors import Refused, Rejection

HOST = "127.0.0.1"
BOB_KEY, EVE_KEY = b"\x0b" * 32, b"\x0e" * 32
BOB, EVE = crypto.public_key(BOB_KEY), crypto.public_key(EVE_KEY)


async def _ecdh(point: bytes) -> bytes:
    shared = crypto.ecdh(BOB_KEY, point)
    assert shared is not None
    return shared


async def _start(
    limits: Limits,
) -> tuple[TcpTransport, tuple[str, int], "asyncio.Queue[str | bytes]"]:
    """A node that reports each message, and then the code that ended the connection."""
    seen: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def report(connection: Connection) -> None:
        try:
            while True:
                seen.put_nowait(await connection.receive())
        except Refused as refused:
            seen.put_nowait(refused.rejection.code)

    bob = TcpTransport(BOB, _ecdh, limits)
    listener = await bob.listen(HOST, 0, report)
    return bob, listener.address, seen


async def _by_hand(
    address: tuple[str, int],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bolt8.Session]:
    """A peer that shakes hands and then does as the test likes."""
    reader, writer = await asyncio.open_connection(*address)
    started = bolt8.start_initiator(BOB, EVE, b"\x05" * 32)
    assert not isinstance(started, Rejection)
    writer.write(started[0])
    asked = started[1].feed(await reader.readexactly(50))
    assert not isinstance(asked, Rejection)
    shared = crypto.ecdh(EVE_KEY, asked.point)
    assert shared is not None
    done = asked.provide(shared)
    writer.write(done.output)
    return reader, writer, done.session


def _frame(session: bolt8.Session, message: bytes) -> bytes:
    frame = session.seal(message)
    assert isinstance(frame, bytes)
    return frame


@pytest.mark.threat("P13")
@pytest.mark.kind("IT")
async def test_slow_loris_in_the_handshake() -> None:
    bob, address, _ = await _start(Limits(handshake_s=0.2))
    reader, writer = await asyncio.open_connection(*address)

    async def trickle() -> None:
        for _ in range(100):
            writer.write(b"\x00")
            await asyncio.sleep(0.02)

    task = asyncio.ensure_future(trickle())
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert not task.done()
    assert bob.open_connections == 0
    task.cancel()
    writer.close()
    await bob.close()


@pytest.mark.threat("P13")
@pytest.mark.kind("IT")
async def test_slow_loris_in_a_message() -> None:
    bob, address, seen = await _start(Limits(message_s=0.2, idle_s=60))
    _, writer, session = await _by_hand(address)
    writer.write(_frame(session, b"whole"))
    frame = _frame(session, bytes(1000))

    async def trickle() -> None:
        for byte in frame:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    task = asyncio.ensure_future(trickle())
    assert await asyncio.wait_for(seen.get(), 5) == b"whole"
    assert await asyncio.wait_for(seen.get(), 5) == "cl.net.slow"
    assert not task.done()
    task.cancel()
    writer.close()
    await bob.close()


async def test_a_message_in_pieces_arrives() -> None:
    bob, address, seen = await _start(Limits())
    _, writer, session = await _by_hand(address)
    for byte in _frame(session, b"piece by piece"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert await asyncio.wait_for(seen.get(), 5) == b"piece by piece"
    writer.close()
    await bob.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda frame: frame[:-1], "cl.net.truncated"),
        (lambda frame: frame[:1], "cl.net.truncated"),
        (lambda frame: bytes([frame[0] ^ 1]) + frame[1:], "bolt8.frame.mac"),
        (lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]), "bolt8.frame.mac"),
        (lambda frame: b"", "cl.net.closed"),
    ],
)
async def test_spoiled_frames(spoil, code: str) -> None:  # type: ignore[no-untyped-def]
    bob, address, seen = await _start(Limits())
    _, writer, session = await _by_hand(address)
    writer.write(spoil(_frame(session, b"message")))
    writer.write_eof()
    assert await asyncio.wait_for(seen.get(), 5) == code
    assert bob.open_connections == 0
    writer.close()
    await bob.close()


async def test_reset_by_peer() -> None:
    bob, address, seen = await _start(Limits())
    _, writer, session = await _by_hand(address)
    writer.write(_frame(session, b"hello"))
    assert await asyncio.wait_for(seen.get(), 5) == b"hello"
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
    assert await asyncio.wait_for(seen.get(), 5) in {"cl.net.closed"}
    await bob.close()


@pytest.mark.threat("P13")
@pytest.mark.kind("IT")
async def test_half_open_handshakes_of_one_host_are_few() -> None:
    bob, address, seen = await _start(Limits(handshakes_per_host=3, handshake_s=0.5))
    stalled = [await asyncio.open_connection(*address) for _ in range(3)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection(*address)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)  # refused at once, not after the handshake time
    writer.close()
    for one, _ in stalled:
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(one.read(), 5)
    _, good, session = await _by_hand(address)  # their time is over: there is room again
    good.write(_frame(session, b"now"))
    assert await asyncio.wait_for(seen.get(), 5) == b"now"
    for _, w in [*stalled, (reader, good)]:
        w.close()
    await bob.close()


async def test_a_server_that_never_answers() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    bob = TcpTransport(BOB, _ecdh, Limits(handshake_s=0.1))
    with pytest.raises(Refused) as raised:
        await bob.connect(EVE, HOST, port)
    assert raised.value.rejection.code == "cl.net.handshake_timeout"
    server.close()
    await bob.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(60), b"\x00" * 50, b"\x01" * 50]
)
async def test_a_server_that_speaks_something_else(answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(50)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(other, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    bob = TcpTransport(BOB, _ecdh)
    with pytest.raises(Refused) as raised:
        await bob.connect(EVE, HOST, port)
    assert raised.value.rejection.code in {"bolt8.handshake.version", "bolt8.handshake.key"}
    server.close()
    await bob.close()


async def test_a_node_id_that_is_no_point() -> None:
    bob, address, _ = await _start(Limits())
    with pytest.raises(Refused) as raised:
        await bob.connect(b"\x05" * 33, *address)
    assert raised.value.rejection.code == "bolt8.handshake.key"
    await bob.close()


async def test_no_delay_is_set() -> None:
    bob, address, seen = await _start(Limits())
    connection = await bob.connect(BOB, *address)
    sock = connection._writer.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    await connection.send(b"x")
    assert await asyncio.wait_for(seen.get(), 5) == b"x"
    await connection.close()
    await bob.close()


async def test_cutting_a_memory_network() -> None:
    network = MemoryNetwork()
    left, right = MemoryTransport(network, EVE), MemoryTransport(network, BOB)

    async def hold(connection: Connection) -> None:
        await connection.receive()

    listener = await right.listen("bob", 9735, hold)
    link = await left.connect(BOB, *listener.address)
    network.cut_all()
    with pytest.raises(Refused) as raised:
        await link.receive()
    assert raised.value.rejection.code == "cl.net.closed"
    assert not network.links
    await left.close()
    await right.close()
