"""One suite for every Transport: TCP with BOLT 8, and the in-memory one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.bolt import crypto
from gateway.cl.net.limits import MAX_MESSAGE, Limits
from gateway.cl.net.memory import MemoryNetwork, MemoryTransport
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.ports import Connection, Transport
from gateway.errors import Refused

KEYS = {"alice": b"\x0a" * 32, "bob": b"\x0b" * 32, "carol": b"\x0c" * 32}
IDS = {name: crypto.public_key(key) for name, key in KEYS.items()}
HOST = "127.0.0.1"
Make = Callable[..., Transport]


def tcp(name: str, limits: Limits | None = None) -> TcpTransport:
    async def ecdh(point: bytes) -> bytes:
        shared = crypto.ecdh(KEYS[name], point)
        assert shared is not None
        return shared

    return TcpTransport(IDS[name], ecdh, limits)


@pytest.fixture(params=["tcp", "memory"])
async def make(request: pytest.FixtureRequest) -> Make:
    made: list[Transport] = []
    network = MemoryNetwork()

    def of(name: str, limits: Limits | None = None) -> Transport:
        one = tcp(name, limits) if request.param == "tcp" else MemoryTransport(network, IDS[name], limits)
        made.append(one)
        return one

    yield of
    for one in made:
        await one.close()


async def echo(connection: Connection) -> None:
    while True:
        await connection.send(await connection.receive())


async def _code(work: Awaitable[object]) -> str:
    with pytest.raises(Refused) as raised:
        await work
    return raised.value.rejection.code


class Kept:
    """A handler that keeps what it is given open until told."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.release = asyncio.Event()

    async def __call__(self, connection: Connection) -> None:
        self.connections.put_nowait(connection)
        await self.release.wait()


async def test_messages_both_ways_in_order(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)
    back = await kept.connections.get()
    assert (out.remote_node_id, back.remote_node_id) == (IDS["bob"], IDS["alice"])
    for left, right in ((out, back), (back, out)):
        for number in range(50):
            await left.send(str(number).encode())
        assert [await right.receive() for _ in range(50)] == [str(n).encode() for n in range(50)]


async def test_the_largest_message_and_one_more(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    out = await alice.connect(IDS["bob"], *listener.address)
    for size in (0, 1, MAX_MESSAGE):
        await out.send(bytes(size))
        assert len(await out.receive()) == size
    assert await _code(out.send(bytes(MAX_MESSAGE + 1))) == "cl.net.too_long"
    await out.send(b"still open")
    assert await out.receive() == b"still open"


async def test_many_senders_do_not_mix(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    out = await alice.connect(IDS["bob"], *listener.address)
    sent = {bytes([n]) * 1000 for n in range(40)}
    await asyncio.gather(*(out.send(m) for m in sent))
    assert {await out.receive() for _ in sent} == sent


async def test_close_is_seen_by_both_and_what_was_sent_arrives(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)
    back = await kept.connections.get()
    await out.send(b"last words")
    await out.close()
    await out.close()
    assert await back.receive() == b"last words"
    assert await _code(back.receive()) == "cl.net.closed"
    assert await _code(out.send(b"x")) == "cl.net.closed"
    assert await _code(out.receive()) == "cl.net.closed"


async def test_a_waiting_reader_is_woken_by_close(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)
    await kept.connections.get()
    waiting = asyncio.ensure_future(_code(out.receive()))
    await asyncio.sleep(0)
    kept.release.set()  # the handler returns: the other end closes
    assert await asyncio.wait_for(waiting, 5) == "cl.net.closed"


async def test_a_cancelled_receive_loses_nothing(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)
    back = await kept.connections.get()
    for number in range(30):
        reading = asyncio.ensure_future(out.receive())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await back.send(bytes([number]))
        assert await out.receive() == bytes([number])


async def test_wrong_node_id(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    code = await _code(alice.connect(IDS["carol"], *listener.address))
    assert code == "bolt8.handshake.short"  # BOLT 8: the other side cuts without a word


async def test_nobody_listens(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    address = listener.address
    await listener.close()
    assert await _code(alice.connect(IDS["bob"], *address)) == "cl.net.unreachable"


async def test_address_in_use(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    assert await _code(alice.listen(*listener.address, echo)) == "cl.net.listen"


async def test_idle_peer_is_cut(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice", Limits(idle_s=0.05)), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)
    assert await _code(out.receive()) == "cl.net.idle"
    back = await kept.connections.get()
    assert await _code(back.receive()) == "cl.net.closed"


async def test_a_peer_that_does_not_read_is_cut(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice", Limits(send_s=0.2)), make("bob")
    listener = await bob.listen(HOST, 0, kept)
    out = await alice.connect(IDS["bob"], *listener.address)

    async def flood() -> None:
        for _ in range(2_000):
            await out.send(bytes(MAX_MESSAGE))

    assert await _code(flood()) == "cl.net.slow"


async def test_most_connections(make: Make) -> None:
    kept = Kept()
    alice, bob = make("alice"), make("bob", Limits(connections=2))
    listener = await bob.listen(HOST, 0, kept)
    first = [await alice.connect(IDS["bob"], *listener.address) for _ in range(2)]
    for _ in first:
        await kept.connections.get()
    assert (await _code(alice.connect(IDS["bob"], *listener.address))) == "bolt8.handshake.short"
    listener_of_alice = await alice.listen(HOST, 0, kept)
    assert await _code(bob.connect(IDS["alice"], *listener_of_alice.address)) == "cl.net.too_many"
    kept.release.set()
    assert await _code(first[0].receive()) == "cl.net.closed"
    third = await alice.connect(IDS["bob"], *listener.address)
    assert third.remote_node_id == IDS["bob"]


async def test_closing_the_transport_ends_everything(make: Make) -> None:
    alice, bob = make("alice"), make("bob")
    listener = await bob.listen(HOST, 0, echo)
    out = await alice.connect(IDS["bob"], *listener.address)
    address = listener.address
    await bob.close()
    assert await _code(out.receive()) == "cl.net.closed"
    assert await _code(alice.connect(IDS["bob"], *address)) == "cl.net.unreachable"
