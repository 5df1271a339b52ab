"""Provocations of the outer rooms: wire formats, store codec, configuration, command line, process, LND's answers."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import grpc.aio

from gateway import config
from gateway.api.models import QuoteRequest
from gateway.app import process
from gateway.app.node import GatewayNode
from gateway.app.running import Running
from gateway.bolt import bech32, bigsize, bolt11, tlv
from gateway.btc.lnd import Lnd, LndOptions
from gateway.btc.rpc import LndChannel
from gateway.cl.node.channels import Channels
from gateway.cl.node.open_policy import OpenPolicy
from gateway.cl.node.peers import Peers
from gateway.cl.wire import session
from gateway.cl.wire import session_messages as m
from gateway.cl.wire.codec import Envelope
from gateway.cli import commands_ledger, commands_node, commands_regtest
from gateway.cli.client import Client
from gateway.config import Settings
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.provoke import arefused, provokes, refused

NODE = b"\x02" * 33


# -- wire formats -------------------------------------------------------------------------------


@provokes("bolt.bigsize.truncated", "bolt.bigsize.not_minimal")
def bigsizes(_: Path) -> Any:
    return [bigsize.decode(b"\xfd\x01"), bigsize.decode(b"\xfd\x00\x01")]


@provokes("bolt.tlv.order", "bolt.tlv.truncated", "bolt.tlv.unknown_even", "bolt.tlv.value")
def tlv_streams(_: Path) -> Any:
    known = {1: tlv.fixed(2), 3: tlv.fixed(0)}
    streams = ("03000102abcd", "0105ab", "0200", "0101ab")
    return [tlv.decode(bytes.fromhex(one), known) for one in streams]


@provokes("bolt11.bech32", "bolt11.checksum", "bolt11.too_short", "bolt11.too_long")
def texts_that_are_no_invoice(_: Path) -> Any:
    good = bech32.encode("lnbcrt", [1] * 20)
    spoiled = good[:-1] + ("q" if good[-1] != "q" else "p")
    return [bolt11.decode(text) for text in ("no invoice", spoiled, good, "l" * 100_000)]


@provokes("cl.session.not_ready")
def a_message_before_the_peers_init(_: Path) -> Any:
    init = m.Init(m.VERSION, 42, "regtest", (b"\x01" * 28,), frozenset(), "a test")
    state, _outputs = session.start(session.Local(init, True), PosixMs(0))
    return session.send(state, Envelope(m.Error("a")))


@provokes("store.codec.malformed", "store.codec.newer_version", "store.codec.unknown_type")
def rows_that_this_version_cannot_read(_: Path) -> Any:
    from gateway.cl.data.types import Squash

    codecs = Codecs()
    codecs.register_all("cl", Squash)
    rows = (b"{", b'{"t":"cl.Squash","v":2,"d":{}}', b'{"t":"cl.Other","v":1,"d":{}}')
    return [refused(partial(codecs.decode, row)) for row in rows]


# -- configuration and command line ---------------------------------------------------------------


@provokes("config.unreadable", "config.invalid", "config.mainnet_refused")
def configurations(directory: Path) -> Any:
    none = refused(lambda: config.load(directory, {}))
    (directory / "config.toml").write_text("api_port = 'high'")
    bad = refused(lambda: config.load(directory, {}))
    (directory / "config.toml").write_text('network = "mainnet"')
    return [none, bad, refused(lambda: config.load(directory, {}))]


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    kept = {k: v for k, v in os.environ.items() if k not in values}
    with mock.patch.dict(os.environ, {**kept, **{k: v for k, v in values.items() if v}}, clear=True):
        yield


@provokes("cli.password.mode", "cli.password.missing", "cli.password.unreadable", "cli.init.exists")
def making_a_node(directory: Path) -> Any:
    """The commands themselves, under what the command line hands them."""
    open_file = directory / "password"
    open_file.write_text("x")
    open_file.chmod(0o644)
    init = getattr(commands_node.init, "__wrapped__", commands_node.init)
    no_terminal = mock.patch("sys.stdin", mock.Mock(isatty=lambda: False))
    with environment(GATEWAY_PASSWORD=None, CREDENTIALS_DIRECTORY=None), no_terminal:
        mode = refused(lambda: commands_node.find_password(open_file))
        missing = refused(lambda: init(directory / "new"))
        gone = refused(lambda: commands_node.find_password(directory / "gone"))
        (directory / "config.toml").write_text("")
        exists = refused(lambda: init(directory))
    return [mode, missing, gone, exists]


@provokes("cli.incident.malformed")
def a_file_that_is_no_incident(directory: Path) -> Any:
    file = directory / "incident.json"
    answers = []
    for text in ("{", "[]", '{"incident": 1, "network": "regtest"}', '{"incident": 2}'):
        file.write_text(text)
        answers.append(refused(lambda: commands_ledger.decided_again(file)))
    return answers


@provokes("cli.regtest.span", "cli.regtest.missing")
def regtest_commands(_: Path) -> Any:
    def gone(name: str, *more: Any) -> Any:
        raise ImportError(name)

    span = refused(lambda: commands_regtest.span_ms("3 weeks"))
    with mock.patch.object(importlib, "import_module", gone):
        return [span, refused(commands_regtest._supervisor)]


@contextmanager
def http_server(answer: bytes) -> Iterator[int]:
    """Answers one request with these bytes."""
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(answer)
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(5)
        listener.close()


@provokes("cli.bad_answer", "cli.unreachable")
def a_node_that_answers_oddly_or_not_at_all(directory: Path) -> Any:
    token = directory / "api.token"
    token.write_text("t" * 64)
    token.chmod(0o600)

    def ask(port: int) -> Any:
        (directory / "config.toml").write_text(f'network = "regtest"\napi_port = {port}\n')
        return Client(directory, 5).get("/status")

    with environment(GATEWAY_API_PORT=None):
        with http_server(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops") as port:
            odd = refused(lambda: ask(port))
        return [odd, refused(lambda: ask(1))]


# -- the process ------------------------------------------------------------------------------------


@provokes("api.port")
async def the_port_is_taken(directory: Path) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(api_port=taken.getsockname()[1])
        return await arefused(process._main(directory, settings, None))


@provokes("node.locked", "node.draining")
async def a_node_that_is_not_open(directory: Path) -> Any:
    node = GatewayNode(directory, Settings(), asyncio.Event())
    locked = await arefused(node.wallet_address())
    await node.drain()
    return [locked, await arefused(node.wallet_address())]


@provokes("cl.channel.unknown")
async def a_channel_that_is_not_there(directory: Path) -> Any:
    node = GatewayNode(directory, Settings(), asyncio.Event())
    channels = mock.Mock(spec=Channels, states=dict)
    node._running = mock.Mock(spec=Running, channels=channels)
    return await arefused(node.channel("ab"))


@provokes("swap.no_gateway")
async def a_quote_of_a_node_without_an_lnd(directory: Path) -> Any:
    node = GatewayNode(directory, Settings(), asyncio.Event())
    node._running = mock.Mock(spec=Running, engine=None)
    return await arefused(node.quote(QuoteRequest(invoice="lnbcrt1x")))


@provokes("cl.peer.self", "cl.peer.not_connected")
async def peers_that_are_none(_: Path) -> Any:
    transport: Any = mock.Mock()
    events: Any = mock.Mock()
    clock: Any = mock.Mock()
    init = m.Init(m.VERSION, 42, "regtest", (b"\x01" * 28,), frozenset(), "a test")
    peers = Peers(NODE, transport, init, events, clock)
    return [
        refused(lambda: peers.keep(NODE, "127.0.0.1", 1)),
        await arefused(peers.send(b"\x03" * 33, Envelope(m.Error("a")))),
    ]


@provokes("cl.open.terms")
def an_opening_outside_the_terms(_: Path) -> Any:
    from gateway.cl.channel import messages
    from gateway.cl.data.types import OutputRef, VerificationKey

    policy = OpenPolicy(Lovelace(5_000_000), REGTEST.min_respond_period, Ms(10**9), Lovelace(3_000_000))
    seed = OutputRef(b"\x01" * 32, 0)
    proposal = messages.OpenChannel(
        seed,
        VerificationKey(b"\x01" * 32),
        Lovelace(1),
        Lovelace(0),
        REGTEST.min_respond_period,
        Lovelace(3_000_000),
    )
    return policy.refusal(proposal)


# -- LND ----------------------------------------------------------------------------------------------


@contextmanager
def lnd_files(directory: Path) -> Iterator[tuple[str, str]]:
    from regtest.bitcoin.simulated.server import NodeFiles

    files = NodeFiles(directory)
    (directory / "macaroon").write_bytes(files.macaroon.read_bytes())
    yield str(directory / "tls.cert"), str(directory / "macaroon")


@provokes("btc.timeout", "btc.starting", "btc.malformed", "btc.macaroon", "btc.certificate")
async def what_lnds_failures_mean(directory: Path) -> Any:
    """The texts are LND's (rpcperms/interceptor.go, macaroons/service.go) and gRPC's own."""
    code = grpc.StatusCode
    failures = (
        (code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (code.UNKNOWN, "the RPC server is in the process of starting up, but not yet ready to accept calls"),
        (code.INTERNAL, "something else"),
        (code.UNKNOWN, "verification failed: signature mismatch after caveat verification"),
        (code.UNAVAILABLE, "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: certificate verify failed"),
    )
    with lnd_files(directory) as (cert, macaroon):
        channel = LndChannel("127.0.0.1", 1, cert, macaroon)
        try:
            none = grpc.aio.Metadata()
            errors = [grpc.aio.AioRpcError(c, none, none, text) for c, text in failures]
            return [await channel.meaning(error, "GetInfo") for error in errors]
        finally:
            await channel.close()


@provokes("btc.file", "btc.unavailable")
async def no_files_then_no_node(directory: Path) -> Any:
    gone = str(directory / "gone")
    missing = refused(lambda: LndChannel("127.0.0.1", 1, gone, gone))
    with lnd_files(directory) as (cert, macaroon):
        lnd = Lnd(LndOptions("127.0.0.1", 1, cert, macaroon))
        try:
            return [missing, await arefused(lnd.info())]
        finally:
            await lnd.close()


@provokes("btc.certificate")
def a_certificate_that_is_none(directory: Path) -> Any:
    with lnd_files(directory) as (cert, macaroon):
        return refused(lambda: LndChannel("127.0.0.1", 1, macaroon, cert))


@provokes("btc.network")
async def an_lnd_of_another_network(directory: Path) -> Any:
    from regtest.bitcoin.simulated.backend import SimulatedBitcoin
    from tests.support.btc_lab_sim import OPTIONS

    bitcoin = SimulatedBitcoin(directory, OPTIONS)
    await bitcoin.start()
    node = bitcoin.describe()["nodes"]["gateway"]
    lnd = Lnd(LndOptions(node["host"], node["port"], node["tls_cert"], node["macaroon"], network="mainnet"))
    try:
        return await arefused(lnd.info())
    finally:
        await lnd.close()
        await bitcoin.stop()
