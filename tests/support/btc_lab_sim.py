"""The Lab over the simulated network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from lndgrpc.compiled import walletunlocker_pb2, walletunlocker_pb2_grpc

from regtest.bitcoin.simulated.backend import SimulatedBitcoin, SimulationOptions
from regtest.bitcoin.simulated.server import PASSWORD
from tests.support.btc_lab import Lab, LabTimes

SIDE_MSAT = 400_000_000
OPTIONS = SimulationOptions(
    channels=(
        ("gateway", "hub", SIDE_MSAT, SIDE_MSAT),
        ("gateway", "hub", SIDE_MSAT, SIDE_MSAT),
        ("hub", "alice", 10 * SIDE_MSAT, 10 * SIDE_MSAT),
    ),
    part_hold_ms=4_000,
    seed="contract",
)


class SimulatedLab(Lab):
    times = LabTimes(patience_s=30.0, part_hold_s=4.0)

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.bitcoin = SimulatedBitcoin(directory, OPTIONS)

    async def start_network(self) -> None:
        await self.bitcoin.start()

    async def stop_network(self) -> None:
        self.balanced()
        await self.bitcoin.stop()

    async def reload(self) -> None:
        """Everything from the file again, as after a kill of the whole process."""
        await self.bitcoin.stop()
        self.bitcoin = SimulatedBitcoin(self._directory, OPTIONS)
        await self.bitcoin.start()

    def balanced(self) -> None:
        """The oracle: both sides and the HTLCs of a channel are its capacity, always."""
        network = self.bitcoin.world.network
        for channel in network.rows.channels.values():
            locked = sum(h.amount_msat for _, h in network.pending(channel.chan_id))
            assert channel.a_msat + channel.b_msat + locked == channel.capacity_sat * 1000, channel.chan_id

    def describe(self) -> dict[str, Any]:
        return self.bitcoin.describe()

    async def stop_node(self, name: str) -> None:
        await self.bitcoin.nodes[name].stop()

    async def start_node(self, name: str, *, locked: bool = False, hold_delta: int | None = None) -> None:
        if hold_delta is not None:
            with self.bitcoin.world.change() as network:
                network.set_node(name, hold_delta=hold_delta)
        await self.bitcoin.nodes[name].start(locked=locked)

    async def unlock(self, name: str) -> None:
        node = self.node(name)
        certificate = self.bitcoin.nodes[name].files.tls_cert_pem
        credentials = grpc.ssl_channel_credentials(certificate)
        async with grpc.aio.secure_channel(f"{node['host']}:{node['port']}", credentials) as channel:
            stub = walletunlocker_pb2_grpc.WalletUnlockerStub(channel)
            await stub.UnlockWallet(walletunlocker_pb2.UnlockWalletRequest(wallet_password=PASSWORD))

    async def height(self) -> int:
        return await self.bitcoin.height()

    async def mine(self, blocks: int) -> None:
        await self.bitcoin.mine(blocks, blocks * 2_000)

    async def reorganise(self, depth: int) -> None:
        await self.bitcoin.reorganise(depth)

    async def break_route(self) -> None:
        with self.bitcoin.world.change() as network:
            network.disable("hub", True)

    async def mend_route(self) -> None:
        with self.bitcoin.world.change() as network:
            network.disable("hub", False)

    async def send_part(self, invoice: str, amount_msat: int) -> None:
        with self.bitcoin.world.change() as network:
            network.send_part("alice", invoice, amount_msat, self.bitcoin.world.now_ms())

    def weak_macaroon(self) -> Path:
        return self.bitcoin.nodes["gateway"].files.weak_macaroon
