"""The Lab over real LND and btcd. A network takes twenty seconds to come up, so one per version serves a whole run:
it lives in a thread of its own, and each test leaves it as it was (nodes up, nothing held, balances even)."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from gateway.btc import stubs
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.daemons import LndNode
from regtest.bitcoin.network import NAMES, BitcoinRegtest, RegtestOptions
from tests.support.btc_lab import Lab, LabTimes

T = TypeVar("T")
SMALL_SAT, LARGE_SAT = 1_000_000, 10_000_000
CHANNELS = (("gateway", "hub", SMALL_SAT), ("gateway", "hub", SMALL_SAT), ("hub", "alice", LARGE_SAT))
MAX_HTLC_MSAT = 450_000_000  # more goes in parts, however the balances stand
NEAR_MSAT = 150_000_000  # the gateway's balance may be this far off before it is put right


class _Shared:
    """One network in its own loop and thread, until the process ends."""

    def __init__(self, version: str) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name=f"lnd-{version}").start()
        self._directory = tempfile.TemporaryDirectory(prefix=f"lnd-{version}-")
        options = RegtestOptions(version=version, encrypted=frozenset({"gateway"}), channels=CHANNELS)
        self.network = BitcoinRegtest(Path(self._directory.name), options)
        self.middle_msat = 0
        atexit.register(self._end)
        self.wait(self._start(), 180)

    async def _start(self) -> None:
        await self.network.start()
        pb, nodes = stubs.lightning_pb2, self.network.nodes.values()
        policy = pb.PolicyUpdateRequest(
            base_fee_msat=1_000,
            fee_rate_ppm=1,
            time_lock_delta=80,
            max_htlc_msat=MAX_HTLC_MSAT,
            **{"global": True},
        )
        for node in nodes:
            await node.rpc("UpdateChannelPolicy", policy)
        for node in nodes:
            await self.network.until(lambda n=node: _limited(n), f"{node.name} to know the largest HTLC")  # type: ignore[misc]

    def wait(self, work: Coroutine[Any, Any, T], within_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """From a test's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            self.wait(self.network.stop(), 60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._directory.cleanup()


_networks: dict[str, _Shared] = {}


def _shared(version: str) -> _Shared:
    if version not in _networks:
        _networks[version] = _Shared(version)
    return _networks[version]


class RealLab(Lab):
    times = LabTimes(patience_s=90.0, part_hold_s=125.0)

    def __init__(self, version: str, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._shared = _shared(version)
        self._network = self._shared.network
        self._parts: list[asyncio.Task[Any]] = []

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "lnd",
            "version": self._network.nodes["gateway"].version,
            "nodes": self._network.describe(),
        }

    async def start_network(self) -> None:
        await self._heal()

    async def stop_network(self) -> None:
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        await self._heal()

    # -- the same state for every test -----------------------------------------------------------

    async def _heal(self) -> None:
        await self._shared.ask(self._healed())
        await self._rebalance()

    async def _healed(self) -> None:
        for name in NAMES:
            node = self._network.nodes[name]
            if node.extra:
                await node.kill()
                node.extra = ()
            if not node.running:
                await node.stop()
                await node.start()
            else:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await node.unlock_if_locked()
        await self._all_ready()

    async def _all_ready(self) -> None:
        height = await self._network.height()
        for node in self._network.nodes.values():
            if node.running:
                await self._network.until(lambda n=node: _at(n, height), f"{node.name} at {height}")  # type: ignore[misc]
        if all(node.running for node in self._network.nodes.values()):
            for node in self._network.nodes.values():
                await self._network.until(lambda n=node: self._network.ready(n), f"{node.name} ready")  # type: ignore[misc]
                await _forget_failures(node)

    async def _rebalance(self) -> None:
        gateway, alice = LndClient(self.node("gateway")), LndClient(self.node("alice"))
        try:
            await self.until(lambda: self._pending("gateway"), lambda n: n == 0, 150)
            balance = await gateway.channel_balance()
            if not self._shared.middle_msat:
                self._shared.middle_msat = balance
            off = balance - self._shared.middle_msat
            if abs(off) > NEAR_MSAT:
                payer, payee = (gateway, alice) if off > 0 else (alice, gateway)
                invoice = await payee.add_invoice(abs(off) // 1000 * 1000, "rebalance")
                result = await payer.pay(invoice, 10_000_000)
                assert result.settled, result
        finally:
            await gateway.close()
            await alice.close()

    async def _pending(self, name: str) -> int:
        pb = stubs.lightning_pb2
        answer = await self._shared.ask(
            self._network.nodes[name].rpc("ListChannels", pb.ListChannelsRequest())
        )
        return sum(len(channel.pending_htlcs) for channel in answer.channels)

    # -- operations ------------------------------------------------------------------------------

    async def stop_node(self, name: str) -> None:
        await self._shared.ask(self._network.nodes[name].kill())

    async def start_node(self, name: str, *, locked: bool = False, hold_delta: int | None = None) -> None:
        node = self._network.nodes[name]
        if hold_delta is not None:
            node.extra = (f"--invoices.holdexpirydelta={hold_delta}",)
        await self._shared.ask(self._start(node, locked))

    async def _start(self, node: LndNode, locked: bool) -> None:
        await node.start(unlock=not locked)
        if not locked:
            await self._all_ready()

    async def unlock(self, name: str) -> None:
        await self._shared.ask(self._network.nodes[name].unlock())

    async def height(self) -> int:
        return await self._shared.ask(self._network.height())

    async def mine(self, blocks: int) -> None:
        await self._shared.ask(self._mine(blocks))

    async def _mine(self, blocks: int) -> None:
        await self._network.mine(blocks)
        await self._seen()

    async def _seen(self) -> None:
        height = await self._network.height()
        for node in self._network.nodes.values():
            if node.running:
                await self._network.until(lambda n=node: _at(n, height), f"{node.name} at {height}")  # type: ignore[misc]

    async def reorganise(self, depth: int) -> None:
        async def work() -> None:
            await self._network.reorganise(depth)
            await self._seen()

        await self._shared.ask(work())

    async def break_route(self) -> None:
        """Alice goes away: the hub's channel with her is known, and cannot be used. Until the hub has noticed, it
        would take a payment for her and hold it."""
        alice = str(self.node("alice")["pubkey"])
        await self.stop_node("alice")
        hub, pb = self._network.nodes["hub"], stubs.lightning_pb2

        async def active() -> bool:
            answer = await self._shared.ask(hub.rpc("ListChannels", pb.ListChannelsRequest()))
            return any(one.active for one in answer.channels if one.remote_pubkey == alice)

        await self.until(active, lambda still: not still)

    async def mend_route(self) -> None:
        await self.start_node("alice")

    async def send_part(self, invoice: str, amount_msat: int) -> None:
        alice, gateway = self._network.nodes["alice"], self._network.nodes["gateway"]
        before = await self._pending("gateway")
        request = await self._shared.ask(_part(alice, gateway.pubkey, invoice, amount_msat))
        self._parts.append(asyncio.create_task(self._shared.ask(_send_part(alice, request))))
        sent = self._parts[-1]

        async def arrived() -> bool:
            return sent.done() or await self._pending("gateway") > before

        await self.until(arrived, bool)

    def weak_macaroon(self) -> Path:
        path = self._directory / "weak.macaroon"
        path.write_bytes(self._shared.wait(_bake(self._network.nodes["gateway"]), 30))
        return path


async def _at(node: LndNode, height: int) -> bool:
    info = await node.info()
    return bool(info.block_height >= height and info.synced_to_chain)


async def _limited(node: LndNode) -> bool:
    graph = await node.rpc("DescribeGraph", stubs.lightning_pb2.ChannelGraphRequest())
    ends = [policy for edge in graph.edges for policy in (edge.node1_policy, edge.node2_policy)]
    return all(policy.max_htlc_msat == MAX_HTLC_MSAT for policy in ends)


async def _forget_failures(node: LndNode) -> None:
    """Mission control would remember for an hour that the hub could not reach alice."""
    stub = stubs.router_pb2_grpc.RouterStub(node.channel)
    metadata = (("macaroon", node.macaroon.read_bytes().hex()),)
    await stub.ResetMissionControl(
        stubs.router_pb2.ResetMissionControlRequest(), metadata=metadata, timeout=10
    )


async def _part(alice: LndNode, payee: str, invoice: str, amount_msat: int) -> Any:
    pb = stubs.lightning_pb2
    wanted = await alice.rpc("DecodePayReq", pb.PayReqString(pay_req=invoice))
    query = pb.QueryRoutesRequest(
        pub_key=payee,
        amt_msat=amount_msat,
        final_cltv_delta=wanted.cltv_expiry + 3,
        use_mission_control=False,
    )
    route = (await alice.rpc("QueryRoutes", query)).routes[0]
    record = pb.MPPRecord(payment_addr=wanted.payment_addr, total_amt_msat=wanted.num_msat)
    route.hops[-1].mpp_record.CopyFrom(record)
    return stubs.router_pb2.SendToRouteRequest(payment_hash=bytes.fromhex(wanted.payment_hash), route=route)


async def _send_part(alice: LndNode, request: Any) -> Any:
    stub = stubs.router_pb2_grpc.RouterStub(alice.channel)
    metadata = (("macaroon", alice.macaroon.read_bytes().hex()),)
    with contextlib.suppress(grpc.aio.AioRpcError):
        return await stub.SendToRouteV2(request, metadata=metadata, timeout=300)


async def _bake(node: LndNode) -> bytes:
    pb = stubs.lightning_pb2
    permissions = [pb.MacaroonPermission(entity=entity, action="read") for entity in ("info", "offchain")]
    answer = await node.rpc("BakeMacaroon", pb.BakeMacaroonRequest(permissions=permissions))
    return bytes.fromhex(answer.macaroon)
