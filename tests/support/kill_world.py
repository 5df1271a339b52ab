"""Both chains and a user's node in this process, and a gateway as a child that may be killed at any write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.app.bus import Bus
from gateway.app.init import CONFIG, KEYS, parse_settings
from gateway.app.running import Running
from gateway.cl.channel import state as c
from gateway.cl.channel.ledger import Balance
from gateway.cl.data.types import ChannelId
from gateway.cl.signer.keys import new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.config import dump, load
from gateway.hashlock import Hashlock, Preimage
from gateway.swap.inputs import ChequeNotOffered, ChequeOffered
from gateway.swap.ports import ChannelLegs, ChannelStanding
from gateway.units import Lovelace, PosixMs
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.simulated.backend import SimulatedBitcoin
from regtest.cardano import Devnet, DevnetOptions
from regtest.process import Bitcoin
from regtest.supervisor import free_port
from tests.support.kill_child import KILLED, PASSWORD
from tests.support.scalus import new_judge

CHEAP = Cost(1, 8_192)  # argon2id's least: throw-away keys
FAUCET, CHANNEL, ADDED = 2_000_000_000, 800_000_000, 600_000_000
LEAPS_S = 900
SETTINGS = (
    "swap.enabled=true",
    "swap.rate_lovelace=13",
    "swap.rate_msat=100",
    "swap.base_fee_lovelace=1000",
    "swap.quote_life_ms=60000",
    "swap.receive_life_ms=120000",
)


class Stuck(AssertionError):
    """What had to happen did not happen in a bounded time."""


async def until(what: str, check: Callable[[], Awaitable[Any]], within_s: float = 20.0) -> Any:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        found = await check()
        if found:
            return found
        if loop.time() > end:
            raise Stuck(f"waited {within_s:.0f} s for {what}")
        await asyncio.sleep(0.02)


class GatedLegs:
    """The user's channels; its answers to the gateway's cheques wait until the gate opens."""

    def __init__(self, legs: ChannelLegs) -> None:
        self._legs = legs
        self.open, self.waiting = asyncio.Event(), asyncio.Event()
        self.open.set()

    def close(self) -> None:
        self.open.clear()
        self.waiting.clear()

    async def standing(self, channel: ChannelId) -> ChannelStanding | None:
        return await self._legs.standing(channel)

    async def standings(self) -> tuple[ChannelStanding, ...]:
        return await self._legs.standings()

    async def offer_cheque(
        self, channel: ChannelId, reference: bytes, hashlock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> ChequeOffered | ChequeNotOffered:
        return await self._legs.offer_cheque(channel, reference, hashlock, amount, timeout)

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> None:
        await self._pass()
        await self._legs.fulfil_cheque(channel, index, preimage)

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> None:
        await self._pass()
        await self._legs.cancel_cheque(channel, index, code)

    async def top_up(self, channel: ChannelId, lovelace: Lovelace) -> None:
        await self._legs.top_up(channel, lovelace)

    async def _pass(self) -> None:
        self.waiting.set()
        await self.open.wait()


class GatewayProcess:
    """`start`, `ask`, and a death that it announces: `killed` when a trap did it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.killed = False
        self.pid = 0
        self.node_id = b""
        self._server: asyncio.subprocess.Process | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self) -> None:
        self._server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.kill_child",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
        )  # fmt: skip
        assert self._server.stdout is not None
        assert await asyncio.wait_for(self._server.stdout.readline(), 60) == b"ready\n"

    async def start(self, **order: Any) -> None:
        """Forks a gateway; an `order` (point, times) holds from its first write."""
        assert self._server is not None
        assert self._server.stdin is not None
        path = str(self.directory / "control")
        connected: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        listener = await asyncio.start_unix_server(lambda r, w: connected.set_result((r, w)), path)
        job = {"directory": str(self.directory), "socket": path}
        self._server.stdin.write(json.dumps(job).encode() + b"\n")
        self._streams = await asyncio.wait_for(connected, 30)
        listener.close()
        self.killed = False
        hello = await self._talk({"do": "order", **order})
        if hello is not None:
            self.pid, self.node_id = int(hello["pid"]), bytes.fromhex(hello["node_id"])

    async def ask(self, do: str, **order: Any) -> dict[str, Any] | None:
        """None: it is dead."""
        return await self._talk({"do": do, **order})

    async def _talk(self, order: dict[str, Any]) -> dict[str, Any] | None:
        if self._streams is None:
            return None
        reader, writer = self._streams
        raw = b""
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(order).encode() + b"\n")
            raw = await asyncio.wait_for(reader.readline(), 30)
        if raw:
            answer: dict[str, Any] = json.loads(raw)
            return answer
        await self._ended()
        return None

    async def dead(self) -> bool:
        return self._streams is None or await self.ask("look") is None

    async def _ended(self) -> None:
        assert self._streams is not None
        self._streams[1].close()
        self._streams = None
        self.killed = (self.directory / KILLED).exists()
        (self.directory / KILLED).unlink(missing_ok=True)
        if not self.killed:
            raise AssertionError(f"the gateway ended by itself: {self.log_tail()}")
        await until("the killed process to be gone", self._gone)

    async def _gone(self) -> bool:
        if not self.pid:
            await asyncio.sleep(0.1)
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.directory / "child.log").read_text(errors="replace")[-1500:]
        return ""

    async def stop(self) -> None:
        with contextlib.suppress(AssertionError, TimeoutError):
            await self.ask("stop")
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            await self._server.wait()


@dataclass(frozen=True, slots=True)
class Money:
    """Who has what: millisatoshi in Lightning channels, lovelace in the Cardano channel."""

    gateway_msat: int
    alice_msat: int
    user: int
    gateway: int

    def since(self, other: Money) -> Money:
        return Money(
            self.gateway_msat - other.gateway_msat,
            self.alice_msat - other.alice_msat,
            self.user - other.user,
            self.gateway - other.gateway,
        )


class World:
    """One network for many kills; every swap has its own hash."""

    def __init__(self, directory: Path, bitcoin: Bitcoin, database_url: str) -> None:
        self.directory, self.bitcoin, self.database_url = directory, bitcoin, database_url
        # Behind real time, which LND's invoices go by: the leaps of a test must not make them expire.
        self.judge = new_judge()
        self.devnet = Devnet(DevnetOptions(start_ms=(int(time.time()) - LEAPS_S) * 1_000), self.judge)
        self.child = GatewayProcess(directory / "gateway")
        self.lnd: dict[str, LndClient] = {}
        self.channel = ChannelId(bytes(20))
        self._port = free_port()
        self._beat_s = 0.1
        self._pulse: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.gather(self.devnet.start(), self.bitcoin.start())
        cardano = [f"cardano.ogmios_url={self.devnet.ogmios_url}", f"cardano.kupo_url={self.devnet.kupo_url}"]
        nodes = self.bitcoin.describe()["nodes"]
        for name in ("gateway", "alice"):
            self.lnd[name] = LndClient(nodes[name])
        node = nodes["gateway"]
        bitcoin = ["bitcoin.enabled=true", f"listen_port={self._port}"]
        bitcoin += [f"bitcoin.{key}={node[key]}" for key in ("host", "port", "tls_cert", "macaroon")]
        if self.database_url:
            bitcoin.append(f"database_url={self.database_url}")
        self._make(self.directory / "gateway", [*cardano, *bitcoin, *SETTINGS])
        keystore = self._make(self.directory / "user", [*cardano, "listen_port=0"])
        settings = load(self.directory / "user", {})
        self.user = Running(self.directory / "user", settings, keystore, Bus())
        await asyncio.gather(self.user.start(), self.child.serve())
        self.user.client._options = replace(self.user.client._options, tick_s=1.0)
        self.legs = GatedLegs(self.user.legs)
        self.user.client._legs = self.legs
        await self.child.start()
        self._pulse = asyncio.create_task(self._beat())
        await self._open()
        self._beat_s = 1.0

    @staticmethod
    def _make(directory: Path, settings: list[str]) -> Keystore:
        directory.mkdir(parents=True)
        keystore = Keystore.create(directory / KEYS, "regtest", PASSWORD, new_words(), CHEAP)
        (directory / CONFIG).write_text(dump({"network": "regtest", **parse_settings(settings)}))
        return keystore

    async def _beat(self) -> None:
        """A Cardano block a beat: ten times as fast while the channel opens, in real time afterwards."""
        while True:
            self.devnet.advance(1_000, 1)
            await asyncio.sleep(self._beat_s)

    async def _open(self) -> None:
        view = await self.look()
        assert view is not None
        self.devnet.faucet({str(self.user.wallet_address): FAUCET, view["address"]: FAUCET})
        await self.user.peers.connect(self.child.node_id, "127.0.0.1", self._port)
        await until("the faucet's ada", self._funded)
        self.channel = await self.user.channels.open(self.child.node_id, Lovelace(CHANNEL), Lovelace(0), None)
        await until("the channel to open", self._opened, 60)
        await self.child.ask("add_funds", channel=self.channel.hex(), lovelace=ADDED)
        await until("the gateway's own funds", self._added, 60)
        self.devnet.advance(20_000, 20)  # what the opening left to watch is over before the first swap

    async def _funded(self) -> bool:
        return sum(u.lovelace.value for u, _ in await self.user.chain.utxos()) >= FAUCET

    async def _opened(self) -> bool:
        view = await self.look()
        ours = isinstance(self.user.channels.state(self.channel), c.Normal)
        return ours and view is not None and view["balance"] is not None

    async def _added(self) -> bool:
        view = await self.look()
        seen = self.balance().remote.value == ADDED
        return seen and view is not None and view["balance"] == [ADDED, CHANNEL]

    async def restart(self, **order: Any) -> None:
        await self.child.start(**order)
        self.dial()

    def dial(self) -> None:
        """As its keeper does, only sooner."""
        self.user.peers.keep(self.child.node_id, "127.0.0.1", self._port)

    async def connected(self) -> bool:
        if self.user.peers.is_connected(self.child.node_id):
            return True
        self.dial()
        return False

    async def look(self, payment_hash: str = "") -> dict[str, Any] | None:
        return await self.child.ask("look", hash=payment_hash, channel=self.channel.hex())

    def balance(self) -> Balance:
        found = self.user.channels.balance(self.channel)
        assert found is not None
        return found

    async def money(self) -> Money:
        mine = self.balance()
        return Money(
            await self.lnd["gateway"].channel_balance(),
            await self.lnd["alice"].channel_balance(),
            mine.local.value,
            mine.remote.value,
        )

    async def stop(self) -> None:
        await self.child.stop()
        if self._pulse is not None:
            self._pulse.cancel()
        if hasattr(self, "user"):
            await self.user.stop(1.0)
        for client in self.lnd.values():
            await client.close()
        await asyncio.gather(self.devnet.stop(), self.bitcoin.stop())


@asynccontextmanager
async def world(
    directory: Path, *, bitcoin: Bitcoin | None = None, database_url: str = ""
) -> AsyncIterator[World]:
    made = World(directory, bitcoin or SimulatedBitcoin(directory / "bitcoin"), database_url)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
    assert made.judge.verdict() is None, made.judge.verdict()
    assert made.judge.findings.judged > 0
