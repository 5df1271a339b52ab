"""btc_to_cl into a channel where the gateway has nothing: it adds what is missing within its limit, or says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.app.bus import Bus
from gateway.app.init import CONFIG, KEYS, parse_settings
from gateway.app.running import Running
from gateway.cl.channel import state as c
from gateway.cl.data.types import ChannelId
from gateway.cl.signer.keys import new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.config import dump, load
from gateway.swap import payee
from gateway.units import Lovelace
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.simulated.backend import SimulatedBitcoin
from regtest.cardano import Devnet
from tests.support.devnet import judged_devnet

pytestmark = [pytest.mark.devnet, pytest.mark.node]
CHANNEL, WANTED = 100_000_000, 20_000_000


async def until(what: str, check: Callable[[], Awaitable[Any]], within_s: float = 30) -> Any:
    end = asyncio.get_running_loop().time() + within_s
    while not (found := await check()):
        assert asyncio.get_running_loop().time() < end, f"waited for {what}"
        await asyncio.sleep(0.05)
    return found


def prepare(directory: Path, settings: list[str]) -> Keystore:
    directory.mkdir()
    raw = {"network": "regtest", **parse_settings([*settings, "listen_port=0"])}
    (directory / CONFIG).write_text(dump(raw))
    return Keystore.create(directory / KEYS, "regtest", "pw", new_words(), Cost(1, 8_192))


async def node(directory: Path, settings: list[str]) -> Running:
    keystore = prepare(directory, settings)
    running = Running(directory, load(directory, {}), keystore, Bus())
    await running.start()
    return running


class Pair:
    """A user's node and a gateway on the simulated LND, with one open channel that the user funded."""

    def __init__(self, user: Running, gateway: Running, alice: LndClient) -> None:
        self.user, self.gateway, self.alice = user, gateway, alice
        self.channel = ChannelId(bytes(20))

    async def open(self, devnet: Devnet) -> None:
        devnet.faucet({self.user.wallet_address: 500_000_000, self.gateway.wallet_address: 500_000_000})
        await until("funds", self._funded)
        host, port = self.gateway.listen.split(":")
        await self.user.peers.connect(self.gateway.node_id, host, int(port))
        self.channel = await self.user.channels.open(
            self.gateway.node_id, Lovelace(CHANNEL), Lovelace(0), None
        )
        await until("the channel", self._opened)

    async def _funded(self) -> bool:
        return bool(await self.user.chain.utxos() and await self.gateway.chain.utxos())

    async def _opened(self) -> bool:
        both = (self.user.channels, self.gateway.channels)
        return all(isinstance(side.state(self.channel), c.Normal) for side in both)

    async def receive(self, lovelace: int) -> Any:
        """The receipt once it is decided: an invoice, or a refusal."""
        key = await self.user.client.receive(Lovelace(lovelace), self.channel)

        async def decided() -> Any:
            state = await self.user.client.runner.state_of(key)
            return None if isinstance(state, payee.AwaitingInvoice) else state

        return await until("an answer", decided, 60)


@asynccontextmanager
async def pair(tmp_path: Path, limit: int) -> AsyncIterator[Pair]:
    async with judged_devnet() as devnet, _pair(devnet, tmp_path, limit) as one:
        yield one


@asynccontextmanager
async def _pair(devnet: Devnet, tmp_path: Path, limit: int) -> AsyncIterator[Pair]:
    bitcoin = SimulatedBitcoin(tmp_path / "bitcoin")
    await bitcoin.start()
    nodes = bitcoin.describe()["nodes"]
    cardano = [f"cardano.ogmios_url={devnet.ogmios_url}", f"cardano.kupo_url={devnet.kupo_url}"]
    lnd = [f"bitcoin.{key}={nodes['gateway'][key]}" for key in ("host", "port", "tls_cert", "macaroon")]
    swap = ["bitcoin.enabled=true", "swap.enabled=true", f"swap.auto_add_most_lovelace={limit}"]

    async def beat() -> None:
        while True:
            devnet.advance(1_000, 1)
            await asyncio.sleep(0.3)

    pulse = asyncio.create_task(beat())
    user = await node(tmp_path / "user", cardano)
    gateway = await node(tmp_path / "gateway", [*cardano, *lnd, *swap])
    one = Pair(user, gateway, LndClient(nodes["alice"]))
    try:
        await one.open(devnet)
        yield one
    finally:
        await asyncio.gather(user.stop(1), gateway.stop(1), one.alice.close())
        pulse.cancel()
        with suppress(asyncio.CancelledError):
            await pulse
        await bitcoin.stop()


async def test_what_is_missing_is_added_and_the_payment_comes_in(tmp_path: Path) -> None:
    async with pair(tmp_path, WANTED * 2) as one:
        state = await one.receive(WANTED)
        assert isinstance(state, payee.InvoiceReady), state
        balance = one.gateway.channels.balance(one.channel)
        assert balance is not None
        assert balance.local.value == WANTED  # no more than was needed
        result = await one.alice.pay(state.invoice, 1_000_000)
        assert result.settled

        async def arrived() -> bool:
            mine = one.user.channels.balance(one.channel)
            return mine is not None and mine.local.value == CHANNEL + WANTED

        await until("the ada to be the user's", arrived)


async def test_beyond_the_limit_the_refusal_says_what_is_missing(tmp_path: Path) -> None:
    async with pair(tmp_path, WANTED - 1) as one:
        state = await one.receive(WANTED)
        assert isinstance(state, payee.Refused), state
        assert state.code == "swap.liquidity.cardano"
        assert f"missing {WANTED} lovelace" in state.detail
        balance = one.gateway.channels.balance(one.channel)
        assert balance is not None
        assert balance.local.value == 0
