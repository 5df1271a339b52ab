"""Two Cardano Lightning sides on one devnet: real channels, chain service, store and signer; wires in memory.

world.mine(…) makes blocks one by one and waits until each running side has told its channels of the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from gateway.cl.chain.clock import ChainClock
from gateway.cl.chain.several import Several
from gateway.cl.channel import effects as f
from gateway.cl.channel import state as s
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.data.types import ChannelId, VerificationKey
from gateway.cl.l1.evaluate import AikenEvaluator
from gateway.cl.l1.sizing import channel_min_ada
from gateway.cl.net.memory import MemoryNetwork, MemoryTransport
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.node import chain_rows, wallet
from gateway.cl.node import codecs as channel_codecs
from gateway.cl.node.chain_service import ChainService
from gateway.cl.node.channels import Channels
from gateway.cl.node.ending import held_outputs
from gateway.cl.node.open_policy import OpenPolicy
from gateway.cl.node.peers import Events, Peers
from gateway.cl.signer.file_signer import FileSigner
from gateway.cl.signer.guard import FileGuard
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.cl.signer.verify import verify
from gateway.cl.wire import session_messages
from gateway.hashlock import Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.dispatcher import Dispatcher
from gateway.store.store import Store
from gateway.units import Lovelace, Ms, PosixMs
from regtest.cardano import Devnet
from tests.support.chain_providers import alone
from tests.support.devnet import judged_devnet

ADA = 1_000_000
FAUCET = (400 * ADA, 300 * ADA, 200 * ADA)
PERIOD = Ms(300_000)
PATIENCE_S = 20.0
Line = Callable[[Channels], Events]
_CHEAP = Cost(4)
_WORDS = {
    "alice": "abandon " * 23 + "art",
    "bob": "zoo " * 23 + "vote",
}


async def until(what: str, holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    end = asyncio.get_running_loop().time() + within_s
    while not holds():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"waited {within_s:g} s for {what}")
        await asyncio.sleep(0.005)


def secret(n: int) -> Preimage:
    return Preimage(n.to_bytes(32, "big"))


class Side:
    """One node. `kill` ends it as kill -9 would: nothing is drained; `start` goes on from its directory."""

    def __init__(
        self, name: str, directory: Path, devnet: Devnet, network: MemoryNetwork, line: Line
    ) -> None:
        self.name, self._directory, self._devnet, self._network = name, directory, devnet, network
        self._line = line
        self._blueprint = load_blueprint()
        directory.mkdir(parents=True)
        self.notices: list[f.Notice] = []
        self.alarms: list[tuple[str, str]] = []
        self.news: list[Any] = []
        self.connect: Callable[[Devnet], Several] = alone
        self.told = b""  # the hash of the newest block whose tick is over
        self.running = False
        self._keystore = Keystore.create(directory / "keys", "regtest", "x", _WORDS[name], _CHEAP)

    async def start(self) -> None:
        codecs = Codecs()
        for room in (channel_codecs, chain_rows, wallet):
            room.register(codecs)
        self._keystore = Keystore.open(self._directory / "keys", "regtest", "x")
        self.store = await Store.open(
            f"sqlite:///{self._directory / 'node.db'}", network="regtest", codecs=codecs
        )
        self._guard = FileGuard(self._directory / "signatures")
        self.signer = FileSigner(self._keystore, self._guard, self._blueprint.hash)
        self.node_id = await self.signer.node_id()
        self.address = self.signer.wallet_address(REGTEST.cardano_magic)
        self.provider = self.connect(self._devnet)
        self.clock = ChainClock()
        self.chain = ChainService(
            self.store, self.provider, self.signer, self.clock, REGTEST, self._blueprint, AikenEvaluator(),
            verify, wallet_address=self.address, on_channel=self._news, on_block=self._block,
            held_seeds=lambda: held_outputs(self.channels.states().values()),
            doubt=self.provider.doubt, is_sure=self.provider.is_sure,
        )  # fmt: skip
        least = channel_min_ada(await self.provider.params())
        policy = OpenPolicy(Lovelace(10 * ADA), PERIOD, Ms(10 * PERIOD.value), least)
        self.channels = Channels(
            self.store, self.signer, self.chain, self.clock, REGTEST, policy, verify, notify=self._notified,
            on_change=lambda *_: None, on_swap=self._no_swap,
            on_alarm=lambda _, code, detail: self.alarms.append((code, detail)),
        )  # fmt: skip
        hello = session_messages.Init(
            1, REGTEST.cardano_magic, REGTEST.bitcoin_network, (self._blueprint.hash,), software="gateway"
        )
        transport = cast(TcpTransport, MemoryTransport(self._network, self.node_id))
        self.peers = Peers(self.node_id, transport, hello, self._line(self.channels), self.clock)
        self.dispatcher = Dispatcher(self.store, self.channels.deliver, first_pause_s=0.05)
        await self.channels.start(self.peers)
        await self.chain.start()
        await self.peers.start(self.name, 1)
        await self.dispatcher.start()
        self.running = True
        await self.reached()

    async def kill(self) -> None:
        self.running = False
        await self.dispatcher.stop()
        await self.chain.stop()
        await self.peers.stop()
        await self.provider.close()
        await self.store.close()
        self._guard.close()

    # -- what the node's parts call ----------------------------------------------------------------

    async def _news(self, channel: ChannelId, given: Any) -> None:
        self.news.append(given)
        await self.channels.chain_news(channel, given)

    async def _block(self) -> None:
        at = self.chain._view.newest
        self.news.append(self.chain.settled_time())
        await self.channels.on_block()
        assert at is not None
        self.told = at.point.block_hash

    async def _notified(self, state: s.State, notice: f.Notice) -> None:
        self.notices.append(notice)

    async def _no_swap(self, node_id: bytes, envelope: Any) -> None:
        raise AssertionError(f"a swap message: {envelope}")

    # -- what tests ask ----------------------------------------------------------------------------

    async def reached(self) -> None:
        """Until the service stands at the devnet's tip and its effects are performed."""
        await until(f"{self.name} at the tip", lambda: self._height() == self._devnet.tip.height)
        async with asyncio.timeout(PATIENCE_S):
            await self.dispatcher.drain()

    def _height(self) -> int:
        return int(self.chain.health()["height"])

    async def ticked(self) -> None:
        await until(f"{self.name}'s tick", lambda: self.told == self._devnet.tip.hash)
        async with asyncio.timeout(PATIENCE_S):
            await self.dispatcher.drain()

    def state(self, channel: ChannelId) -> s.State:
        found = self.channels.state(channel)
        assert found is not None
        return found

    def key(self, channel: ChannelId) -> VerificationKey:
        state = self.state(channel)
        assert isinstance(state, s.WithBooks)
        return state.agreement.local_key

    async def sent(self) -> list[wallet.OwnTx]:
        """Every transaction that this side ever stored, oldest first."""
        async with self.store.read() as tx:
            rows = await tx.list(wallet.KIND, live_only=False)
        return [row.state for row in rows]

    def funds(self) -> int:
        """On the chain itself, not by what the node says."""
        return sum(out.lovelace for _, out in self.outputs())

    def outputs(self) -> list[tuple[Any, Any]]:
        from gateway.cl.chain.address import address_bytes

        mine = address_bytes(self.address)
        return [(ref, out) for ref, out in self._devnet.chain.utxo.items() if out.address == mine]

    async def fees(self) -> int:
        """What this side's transactions that are on the chain paid."""
        ours = {tx.tx_id for tx in await self.sent()}
        block, paid = self._devnet.tip, 0
        while block.parent is not None:
            paid += sum(tx.fee for tx in block.txs if tx.id in ours)
            block = block.parent
        return paid


class World:
    def __init__(self, devnet: Devnet, directory: Path, line: Line) -> None:
        self.devnet, self.network = devnet, MemoryNetwork()
        self.alice = Side("alice", directory / "alice", devnet, self.network, line)
        self.bob = Side("bob", directory / "bob", devnet, self.network, line)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.alice, self.bob

    async def start(self) -> None:
        self.devnet.mine()
        for side in self.sides:
            await side.start()
        self.devnet.faucet([(side.address, coins) for side in self.sides for coins in FAUCET])
        await self.connect()
        await self.settled()

    async def connect(self) -> None:
        await self.alice.peers.connect(self.bob.node_id, "bob", 1)
        await until("bob's link", lambda: self.bob.peers.is_connected(self.alice.node_id))

    async def settled(self) -> None:
        """Every running side has told its channels of the tip, and both have said all they had to say."""
        for side in self.sides:
            if side.running:
                await side.ticked()

    async def mine(self, blocks: int = 1, ms: int = 1_000) -> None:
        """`blocks`, `ms` apart; each is heard before the next comes."""
        for _ in range(blocks):
            self.devnet.advance(ms, 1)
            await self.settled()

    async def mine_until(
        self, what: str, holds: Callable[[], bool], *, most: int = 60, ms: int = 1_000
    ) -> None:
        for _ in range(most):
            if holds():
                return
            await self.mine(ms=ms)
        states = [(side.name, side.channels.states()) for side in self.sides if side.running]
        raise AssertionError(f"{most} blocks and not {what}: {states}")

    async def skip_to(self, moment: PosixMs) -> None:
        """Just past `moment`, in one stride of five blocks."""
        left = moment.value + 2_000 - self.devnet.now_ms()
        if left > 0:
            await self.mine(5, max(left // 5, 1_000))

    async def open(self, amount: int = 100 * ADA, gift: int = 30 * ADA) -> ChannelId:
        """Alice opens to Bob; open on both sides."""
        channel = await self.alice.channels.open(self.bob.node_id, Lovelace(amount), Lovelace(gift), None)
        await until("an answer", lambda: isinstance(self.alice.state(channel), s.Funding))
        await self.alice.dispatcher.drain()
        await self.mine_until(
            "open on both sides",
            lambda: all(isinstance(side.channels.state(channel), s.Normal) for side in self.sides),
        )
        return channel

    async def cheque(
        self, channel: ChannelId, issuer: Side, n: int, amount: int, life_ms: int = 200_000
    ) -> int:
        """A cheque of `issuer`'s that the other side holds; answers its index."""
        holder = self.bob if issuer is self.alice else self.alice
        timeout = PosixMs(self.devnet.now_ms() + life_ms)
        lock = secret(n).hashlock
        index = await issuer.channels.offer(channel, b"ref %d" % n, lock, Lovelace(amount), timeout)
        assert isinstance(index, int), index
        await until("the cheque", lambda: any(h.cheque.lock == lock for h in _books(holder, channel).held))
        return index

    def other(self, side: Side) -> Side:
        return self.bob if side is self.alice else self.alice


def _books(side: Side, channel: ChannelId) -> s.Books:
    state = side.state(channel)
    assert isinstance(state, s.WithBooks), state
    return state.books


books = _books


@asynccontextmanager
async def two_sides(directory: Path, line: Line = lambda channels: channels) -> AsyncIterator[World]:
    """Both running, funded and connected; `line` may stand before a side's channels. The judge's verdict comes at
    the end."""
    async with judged_devnet() as devnet:
        world = World(devnet, directory, line)
        await world.start()
        try:
            yield world
        finally:
            for side in world.sides:
                if side.running:
                    await side.kill()
