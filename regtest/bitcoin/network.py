"""A real Bitcoin Lightning network on this machine: btcd, and three LNDs gateway — hub — alice with open channels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio

from gateway.btc import stubs
from gateway.profile import REGTEST
from regtest.bitcoin import record
from regtest.bitcoin.archive import Archive
from regtest.bitcoin.build import NEWEST, programs
from regtest.bitcoin.coins import Miner
from regtest.bitcoin.daemons import Btcd, DaemonFailed, LndNode, port_is_free

NAMES = ("gateway", "hub", "alice")
CHANNEL_SAT = 10_000_000
WALLET_SAT = 100_000_000
SUBSIDY_SAT = 5_000_000_000
_AT_ONCE, _PAUSE_S = record.UNSEEN, 0.02
_PORTS_S = 30.0  # an earlier run that was killed ends within this


@dataclass(frozen=True, slots=True)
class RegtestOptions:
    """`encrypted` nodes have a wallet password; `extra` are further LND options by node; `channels` are
    (opener, partner, satoshis), half of them on each side."""

    version: str = NEWEST
    encrypted: frozenset[str] = frozenset()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    channels: tuple[tuple[str, str, int], ...] = (
        ("gateway", "hub", CHANNEL_SAT),
        ("hub", "alice", CHANNEL_SAT),
    )


class BitcoinRegtest:
    """`start` returns once a payment can go from any node to any other. Chain, wallets, channels and ports survive
    `stop`, and a kill, in DIRECTORY; a new object for the directory goes on with them."""

    def __init__(self, directory: Path, options: RegtestOptions | None = None) -> None:
        self.options = options or RegtestOptions()
        self._directory = directory.resolve()
        self._programs = programs(self.options.version)
        self._record = record.open_record(self._directory, self.options.version, ("btcd", *NAMES))
        self._archive = Archive(self._directory / "btcd" / "chain.txt")
        self._miner = Miner(bytes.fromhex(self._record.miner))
        self.btcd = Btcd(
            self._programs["btcd"], self._directory / "btcd", self._miner.address, self._record.ports["btcd"]
        )
        self.nodes: dict[str, LndNode] = {}

    async def start(self) -> None:
        try:
            old = self._record.founded
            if old:
                await self._ports_free()
            first_blocks = self._record.first_blocks if old else REGTEST.bitcoin.start_height - 10
            self._note(founded=old, clean=False)
            await self.btcd.start()
            # segwit is active only after some 432 blocks; the profile does not count these
            await self._replay()
            await self._generate(first_blocks)
            extra = dict(self.options.extra)
            for name in NAMES:
                self.nodes[name] = LndNode(
                    self._programs["lnd"], self._directory / name, self.btcd, ports=self._record.ports[name],
                    password=name in self.options.encrypted, extra=extra.get(name, ()),
                )  # fmt: skip
            await asyncio.gather(*(node.start() for node in self.nodes.values()))
            if old:
                await self.connect_all()
            else:
                await self._fund()
                await self._open_channels()
            self._note(founded=True, clean=False)
        except BaseException:
            await self.stop()
            raise

    async def _ports_free(self) -> None:
        """The gateway's configuration names its LND's port, so they stay over restarts."""
        for name, ports in self._record.ports.items():
            for port in ports:
                end = asyncio.get_running_loop().time() + _PORTS_S
                while not port_is_free(port):
                    if asyncio.get_running_loop().time() > end:
                        raise DaemonFailed(f"another process listens on {port}, the port of this {name}")
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        in_order = self.btcd.running and all(node.running for node in self.nodes.values())
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        await self.btcd.stop()
        if in_order and self._record.founded:
            self._note(founded=True, clean=True)

    def _note(self, *, founded: bool, clean: bool) -> None:
        self._record = record.note(self._directory, self._record, founded=founded, clean=clean)

    # -- chain ----------------------------------------------------------------------------------

    async def height(self) -> int:
        return int(await self.btcd.call("getblockcount"))

    async def mine(self, blocks: int) -> None:
        """In small batches: LND follows block by block."""
        while blocks > 0:
            count = min(blocks, _AT_ONCE)
            await self._generate(count)
            blocks -= count
            await asyncio.sleep(_PAUSE_S)

    async def reorganise(self, depth: int) -> None:
        """The last `depth` blocks lose against `depth + 1` others."""
        height = await self.height()
        first = await self.btcd.call("getblockhash", height - depth + 1)
        await self.btcd.call("invalidateblock", first)
        await self._generate(depth + 1)

    async def _generate(self, count: int) -> None:
        hashes = await self.btcd.call("generate", count)
        first = (await self.btcd.call("getblock", hashes[0], 1))["height"]
        self._archive.add(first, await self.btcd.call_each("getblock", [(one, 0) for one in hashes]))

    async def _replay(self) -> None:
        blocks = self._archive.blocks()
        for start in range(0, len(blocks), _AT_ONCE):
            rows = [(block,) for block in blocks[start : start + _AT_ONCE]]
            for refusal in await self.btcd.call_each("submitblock", rows):
                if refusal is not None:
                    raise DaemonFailed(f"btcd does not take a block of its own back: {refusal}")

    # -- set-up ---------------------------------------------------------------------------------

    async def _fund(self) -> None:
        outputs = []
        for node in self.nodes.values():
            await self.until(partial(_synced, node), f"{node.name} to be synced")
            answer = await node.rpc("NewAddress", stubs.lightning_pb2.NewAddressRequest(type=0))
            outputs += [(str(answer.address), WALLET_SAT)] * 2
        first = await self.btcd.call("getblock", await self.btcd.call("getblockhash", 1), 1)
        raw = self._miner.pay([(first["tx"][0], SUBSIDY_SAT)], outputs, 10_000)
        await self.btcd.call("sendrawtransaction", raw)
        await self.mine(3)
        for node in self.nodes.values():
            await self.until(partial(_funded, node), f"{node.name} to see its coins")

    async def _open_channels(self) -> None:
        pb = stubs.lightning_pb2
        for first, second, sat in self.options.channels:
            node, other = self.nodes[first], self.nodes[second]
            await self._connect(first, second)
            request = pb.OpenChannelRequest(
                node_pubkey=bytes.fromhex(other.pubkey), local_funding_amount=sat, push_sat=sat // 2
            )
            await self.until(partial(_open, node, request), f"{first} to open to {second}")
            await self.mine(1)  # a second channel of one pair needs the first one's change
        await self.mine(6)
        await self._all_ready()

    async def connect_all(self) -> None:
        """As at a start: LND itself would wait longer with each try."""
        for node in self.nodes.values():
            await self.until(partial(_synced, node), f"{node.name} to be synced")
        for first, second, _ in self.options.channels:
            await self._connect(first, second)
        await self._all_ready()

    async def _connect(self, first: str, second: str) -> None:
        node, other = self.nodes[first], self.nodes[second]
        host = f"127.0.0.1:{other.p2p_port}"
        address = stubs.lightning_pb2.LightningAddress(pubkey=other.pubkey, host=host)
        await self.until(partial(_connect, node, address), f"{first} to connect to {second}")

    async def _all_ready(self) -> None:
        for node in self.nodes.values():
            await self.until(partial(self.ready, node), f"{node.name} to know every channel")

    async def ready(self, node: LndNode) -> bool:
        pb = stubs.lightning_pb2
        mine = sum(node.name in (first, second) for first, second, _ in self.options.channels)
        active = await node.rpc("ListChannels", pb.ListChannelsRequest(active_only=True))
        graph = await node.rpc("DescribeGraph", pb.ChannelGraphRequest(include_unannounced=True))
        known = [e for e in graph.edges if e.HasField("node1_policy") and e.HasField("node2_policy")]
        return len(active.channels) == mine and len(known) == len(self.options.channels)

    @staticmethod
    async def until(check: Callable[[], Awaitable[bool]], what: str, within_s: float = 60) -> None:
        end = asyncio.get_running_loop().time() + within_s
        why = ""
        while asyncio.get_running_loop().time() < end:
            try:
                if await check():
                    return
            except grpc.aio.AioRpcError as error:
                why = str(error.details())
            await asyncio.sleep(0.1)
        raise DaemonFailed(f"waited {within_s:.0f} s for {what}: {why}")

    def describe(self) -> dict[str, Any]:
        return {name: node.describe() for name, node in self.nodes.items()}


async def _synced(node: LndNode) -> bool:
    return bool((await node.info()).synced_to_chain)


async def _funded(node: LndNode) -> bool:
    answer = await node.rpc("WalletBalance", stubs.lightning_pb2.WalletBalanceRequest())
    return int(answer.confirmed_balance) >= 2 * WALLET_SAT and await _synced(node)


async def _connect(node: LndNode, address: Any) -> bool:
    try:
        await node.rpc("ConnectPeer", stubs.lightning_pb2.ConnectPeerRequest(addr=address, timeout=10))
    except grpc.aio.AioRpcError as error:
        if "already connected" not in str(error.details()):
            raise
    return True


async def _open(node: LndNode, request: Any) -> bool:
    await node.rpc("OpenChannelSync", request)
    return True
