"""A user's node and a gateway in one process, over the judged devnet and the simulated LND, asked through the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.api.server import create_api
from gateway.app.init import CONFIG, KEYS, parse_settings
from gateway.app.node import GatewayNode
from gateway.app.running import Running
from gateway.cl.signer.keys import new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.config import dump, load
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.simulated.backend import SimulatedBitcoin
from regtest.cardano import Devnet
from regtest.supervisor import free_port
from tests.support.devnet import judged_devnet

PASSWORD, TOKEN = "of throw-away nodes", "t" * 64
CHEAP = Cost(1, 8_192)
FAUCET, CHANNEL = 2_000_000_000, 500_000_000
OWN_PRICE = ("swap.rate_lovelace=13", "swap.rate_msat=100")  # what bounds the user's payments
SWAPS = (
    "swap.enabled=true", "swap.rate_lovelace=13", "swap.rate_msat=100", "swap.least_msat=1000000",
    "swap.most_msat=20000000",
)  # fmt: skip


async def until(what: str, check: Callable[[], Awaitable[Any]], within_s: float = 30.0) -> Any:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not (found := await check()):
        if loop.time() > end:
            raise AssertionError(f"waited {within_s:.0f} s for {what}")
        await asyncio.sleep(0.03)
    return found


class Seat:
    """One node and its API. `open` and `shut` as often as wanted: the directory stays."""

    def __init__(self, directory: Path, settings: list[str]) -> None:
        self.directory, self.port = directory, free_port()
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / KEYS).exists():
            Keystore.create(directory / KEYS, "regtest", PASSWORD, new_words(), CHEAP)
        self.configure([*settings, f"listen_port={self.port}"])

    def configure(self, settings: list[str]) -> None:
        self._settings = settings
        (self.directory / CONFIG).write_text(dump({"network": "regtest", **parse_settings(settings)}))

    def change(self, name: str, value: str) -> None:
        kept = [one for one in self._settings if not one.startswith(f"{name}=")]
        self.configure([*kept, f"{name}={value}"])

    async def open(self, *, accept_old_copy: bool = False) -> None:
        settings = load(self.directory, {})
        self.node = GatewayNode(self.directory, settings, asyncio.Event(), accept_old_copy=accept_old_copy)
        transport = httpx.ASGITransport(app=create_api(self.node, TOKEN))
        self._http = httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:9912/v1",
            headers={"authorization": f"Bearer {TOKEN}"},
        )  # fmt: skip
        await self.node.unlock(PASSWORD)

    async def shut(self) -> None:
        await self.node.drain()
        await self._http.aclose()

    @property
    def running(self) -> Running:
        assert self.node._running is not None
        return self.node._running

    async def get(self, path: str) -> Any:
        answer = await self._http.get(path)
        assert answer.status_code < 400, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self._http.post(path, json=body)
        assert answer.status_code < 400, answer.text
        return answer.json()

    async def refused(self, path: str, **body: Any) -> dict[str, Any]:
        """The problem document: it must carry a code, and words that say what to do."""
        answer = await self._http.post(path, json=body)
        assert answer.status_code >= 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert problem["code"]
        assert problem["remedy"]
        return problem


class GatewayWorld:
    def __init__(
        self, directory: Path, devnet: Devnet, swaps: tuple[str, ...], gift: int, own_price: tuple[str, ...]
    ) -> None:
        self.directory, self.devnet = directory, devnet
        self._swaps, self._gift, self._own_price = swaps, gift, own_price
        self.bitcoin = SimulatedBitcoin(directory / "bitcoin")
        self._pulse: asyncio.Task[None] | None = None
        self._beat_s = 0.1

    async def start(self) -> None:
        await self.bitcoin.start()
        cardano = [f"cardano.ogmios_url={self.devnet.ogmios_url}", f"cardano.kupo_url={self.devnet.kupo_url}"]
        nodes = self.bitcoin.describe()["nodes"]
        self.alice, self.lnd = LndClient(nodes["alice"]), nodes["gateway"]
        bitcoin = [f"bitcoin.{key}={self.lnd[key]}" for key in ("host", "port", "tls_cert", "macaroon")]
        self.user = Seat(self.directory / "user", [*cardano, *self._own_price])
        self.gateway = Seat(
            self.directory / "gateway", [*cardano, *bitcoin, "bitcoin.enabled=true", *self._swaps]
        )
        await self.user.open()
        await self.gateway.open()
        self._pulse = asyncio.create_task(self._beat())
        await self._fund()
        self._beat_s = 0.5

    async def _beat(self) -> None:
        while True:
            self.devnet.advance(1_000, 1)
            await asyncio.sleep(self._beat_s)

    async def _fund(self) -> None:
        for seat in (self.user, self.gateway):
            self.devnet.faucet({(await seat.get("/wallet/address"))["address"]: FAUCET})
        await self.connect()
        await until("the faucet's ada", self._rich)
        peer = self.gateway.running.node_id.hex()
        opened = await self.user.post("/channels", peer=peer, lovelace=CHANNEL, gift_lovelace=self._gift)
        self.channel: str = opened["id"]
        await until("the channel to open", self._open)

    async def connect(self) -> None:
        node_id = self.gateway.running.node_id.hex()
        await self.user.post("/peers", node_id=node_id, host="127.0.0.1", port=self.gateway.port)

    async def connected(self) -> bool:
        self.user.running.peers.keep(self.gateway.running.node_id, "127.0.0.1", self.gateway.port)
        return self.user.running.peers.is_connected(self.gateway.running.node_id)

    async def _rich(self) -> bool:
        return bool((await self.user.get("/wallet/balance"))["lovelace"] >= FAUCET)

    async def _open(self) -> bool:
        found = [await seat.get("/channels") for seat in (self.user, self.gateway)]
        return all(any(one["state"] == "opened" for one in rows) for rows in found)

    async def money(self) -> tuple[int, ...]:
        """Both ends' view of the channel, and alice's balance: what no bad input may move."""
        views = [await seat.get(f"/channels/{self.channel}") for seat in (self.user, self.gateway)]
        ends = [one[name] for one in views for name in ("local_lovelace", "remote_lovelace")]
        return (*ends, await self.alice.channel_balance())

    async def pay(self, amount_msat: int = 2_000_000) -> dict[str, Any]:
        """A payment to alice, to its end."""
        invoice = await self.alice.add_invoice(amount_msat)
        started = await self.user.post("/payments", invoice=invoice)
        return await self.ended(started["payment_hash"])

    async def ended(self, payment_hash: str) -> dict[str, Any]:
        async def over() -> Any:
            found = await self.user.get(f"/payments/{payment_hash}")
            return found if found["status"] != "pending" else None

        found: dict[str, Any] = await until("the payment to end", over)
        return found

    async def still_pays(self) -> None:
        await until("the peers to be connected", self.connected)
        paid = await self.pay()
        assert paid["status"] == "paid", paid
        assert paid["lovelace"] > 0

    async def stop(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        for name in ("user", "gateway"):
            if seat := getattr(self, name, None):
                await seat.shut()
        await self.alice.close()
        await self.bitcoin.stop()


@asynccontextmanager
async def gateway_world(
    directory: Path,
    *,
    swaps: tuple[str, ...] = SWAPS,
    gift: int = CHANNEL // 2,
    own_price: tuple[str, ...] = OWN_PRICE,
) -> AsyncIterator[GatewayWorld]:
    """The user opens one channel; `gift` of it is the gateway's from the start."""
    async with judged_devnet() as devnet:
        world = GatewayWorld(directory, devnet, swaps, gift, own_price)
        try:
            await world.start()
            yield world
        finally:
            await world.stop()
