"""Both chains in this process; a gateway and a user's node as children that may be killed at any write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.app.init import CONFIG, KEYS, parse_settings
from gateway.cl.signer.keys import new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.config import dump
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.simulated.backend import SimulatedBitcoin
from regtest.cardano import Devnet, DevnetOptions
from regtest.process import Bitcoin
from regtest.supervisor import free_port
from tests.support.kill_child import PASSWORD
from tests.support.kill_process import ForkServer, NodeProcess, until
from tests.support.scalus import new_judge

CHEAP = Cost(1, 8_192)  # argon2id's least: throw-away keys
FAUCET, CHANNEL, ADDED = 2_000_000_000, 800_000_000, 600_000_000
LEAPS_S, FAST_BEAT_S = 900, 0.1
SETTINGS = (
    "swap.enabled=true",
    "swap.rate_lovelace=13",
    "swap.rate_msat=100",
    "swap.base_fee_lovelace=1000",
    "swap.quote_life_ms=60000",
    "swap.receive_life_ms=120000",
)


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
        self._server = ForkServer()
        self.gateway = NodeProcess(self._server, directory / "gateway")
        self.user = NodeProcess(self._server, directory / "user")
        self.lnd: dict[str, LndClient] = {}
        self.channel = ""
        self.beat_s = FAST_BEAT_S
        self._gate = True
        self._port = free_port()
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
        self._make(self.gateway.directory, [*cardano, *bitcoin, *SETTINGS])
        self._make(self.user.directory, [*cardano, *SETTINGS[1:3], "listen_port=0"])
        await self._server.start()
        await self.gateway.start()
        await self.user.start()
        self._pulse = asyncio.create_task(self._beat())
        await self._fund()
        await self.open()
        self.beat_s = 1.0

    @staticmethod
    def _make(directory: Path, settings: list[str]) -> None:
        directory.mkdir(parents=True)
        Keystore.create(directory / KEYS, "regtest", PASSWORD, new_words(), CHEAP)
        (directory / CONFIG).write_text(dump({"network": "regtest", **parse_settings(settings)}))

    async def _beat(self) -> None:
        """A Cardano block a beat: ten times as fast while the channel opens, in real time afterwards."""
        while True:
            self.devnet.advance(1_000, 1)
            await asyncio.sleep(self.beat_s)

    async def _fund(self) -> None:
        views = [await node.must("look") for node in (self.user, self.gateway)]
        self.devnet.faucet({view["address"]: FAUCET for view in views})
        await self.user.must("connect", peer=self.gateway.node_id.hex(), port=self._port)
        await until("the faucet's ada", self._funded)
        await until("the gateway's reference script", self._published, 60)  # no write of any swap

    async def open(self, added: int = ADDED, **terms: int) -> None:
        """A new channel takes the place of the one before; the gateway adds so much of its own."""
        made = await self.user.must("open", peer=self.gateway.node_id.hex(), lovelace=CHANNEL, **terms)
        self.channel = made["channel"]
        await until("the channel to open", lambda: self._balanced(CHANNEL, 0), 60)
        if added:
            await self.gateway.must("add_funds", channel=self.channel, lovelace=added)
            await until("the gateway's own funds", lambda: self._balanced(CHANNEL, added), 60)
        self.devnet.advance(20_000, 20)  # what the opening left to watch is over before the first swap

    async def _funded(self) -> bool:
        return int((await self.user.must("funds"))["lovelace"]) >= FAUCET

    async def _published(self) -> bool:
        return any(output.script is not None for output in self.devnet.chain.utxo.values())

    async def _balanced(self, user: int, gateway: int) -> bool:
        ours, theirs = await self.look_user(), await self.look()
        if ours is None or theirs is None or ours["channel"] != "Normal":
            return False
        return bool(ours["balance"] == [user, gateway] and theirs["balance"] == [gateway, user])

    async def restart(self, **order: Any) -> None:
        """Whoever is dead; the `order` holds for both."""
        for node in (self.gateway, self.user):
            if await node.dead():
                await node.start(gate=self._gate, **order)
        await self.dial()

    async def dial(self) -> None:
        """As its keeper does, only sooner."""
        await self.user.ask("keep", peer=self.gateway.node_id.hex(), port=self._port)

    async def connected(self) -> bool:
        view = await self.look_user()
        if view is not None and view["connected"]:
            return True
        await self.dial()
        return False

    async def gate(self, is_open: bool) -> None:
        """Of the user's answers to the gateway's cheques; a user who is dead finds it so when it starts."""
        self._gate = is_open
        await self.user.ask("gate", open=is_open)

    async def look(self, payment_hash: str = "") -> dict[str, Any] | None:
        """The gateway's view; None when it is dead."""
        return await self.gateway.ask("look", hash=payment_hash, channel=self.channel)

    async def look_user(self, payment_hash: str = "") -> dict[str, Any] | None:
        peer = self.gateway.node_id.hex()
        return await self.user.ask("look", hash=payment_hash, channel=self.channel, peer=peer)

    async def money(self) -> Money:
        """Needs a user who lives."""
        mine = await self.look_user()
        assert mine is not None
        return Money(
            await self.lnd["gateway"].channel_balance(),
            await self.lnd["alice"].channel_balance(),
            *mine["balance"],
        )

    async def stop(self) -> None:
        await self.gateway.stop()
        if self._pulse is not None:
            self._pulse.cancel()
        await self.user.stop()
        await self._server.stop()
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
