"""Our transport in conversation with a Lightning node's peer port: handshake, init, pings (BOLT 8, BOLT 1)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.bolt import crypto
from gateway.cl.net.limits import Limits
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.ports import Connection
from tests.support import bolt1

# Odd bits that a node of 2023 and later wants to see offered (BOLT 9); we offer nothing as required.
OFFERED = {1, 5, 7, 9, 13, 15, 17, 23, 27, 45, 47}
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Talk:
    """What a conversation showed."""

    remote_node_id: bytes
    features: set[int]
    pongs: int


def transport(key: bytes) -> TcpTransport:
    async def ecdh(point: bytes) -> bytes:
        shared = crypto.ecdh(key, point)
        assert shared is not None
        return shared

    return TcpTransport(crypto.public_key(key), ecdh, Limits(handshake_s=PATIENCE_S))


async def _next(connection: Connection, wanted: int) -> bolt1.Message:
    """The next message of a type; pings of theirs are answered meanwhile, the rest is skipped."""
    while True:
        message = bolt1.split(await asyncio.wait_for(connection.receive(), PATIENCE_S))
        assert message.type != bolt1.ERROR, message.body
        if message.type == bolt1.PING:
            size = int.from_bytes(message.body[:2], "big")
            await connection.send(bolt1.pong(bytes(size)))
        if message.type == wanted:
            return message


async def talk(connection: Connection, pings: int) -> Talk:
    """Init both ways, then `pings` pings, each answered with as many bytes as it asks for."""
    await connection.send(bolt1.init(OFFERED))
    theirs = await _next(connection, bolt1.INIT)
    for number in range(pings):
        size = number % 50
        await connection.send(bolt1.ping(size, b"x" * (number % 7)))
        pong = await _next(connection, bolt1.PONG)
        assert pong.body == size.to_bytes(2, "big") + bytes(size)
    return Talk(connection.remote_node_id, bolt1.features_of(theirs.body), pings)


async def dial(key: bytes, node_id: bytes, host: str, port: int, pings: int) -> Talk:
    """We are the initiator."""
    ours = transport(key)
    try:
        return await talk(await ours.connect(node_id, host, port), pings)
    finally:
        await ours.close()


async def be_dialled(
    key: bytes, make_it_dial: Callable[[bytes, str, int], Awaitable[None]], pings: int
) -> Talk:
    """We are the responder; `make_it_dial` tells the other node our id, host and port."""
    ours = transport(key)
    result: asyncio.Future[Talk] = asyncio.get_running_loop().create_future()

    async def accept(connection: Connection) -> None:
        try:
            result.set_result(await talk(connection, pings))
        except Exception as error:
            result.set_exception(error)
            raise

    try:
        listener = await ours.listen("127.0.0.1", 0, accept)
        await make_it_dial(crypto.public_key(key), *listener.address)
        return await asyncio.wait_for(result, PATIENCE_S)
    finally:
        await ours.close()
