"""The simulated network as a Bitcoin Lightning backend of regtest: gateway — hub — alice, each with an LND's face."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.profile import REGTEST
from regtest.bitcoin.simulated.network import Network
from regtest.bitcoin.simulated.server import NodeServer
from regtest.bitcoin.simulated.world import World

NAMES = ("gateway", "hub", "alice")
SIDE_MSAT = 5_000_000 * 1000  # each side of each channel: 0.05 bitcoin


@dataclass(frozen=True)
class SimulationOptions:
    """`channels`: (node, node, msat of the first, msat of the second); `part_hold_ms`: LND's 120 s for parts."""

    channels: tuple[tuple[str, str, int, int], ...] = (
        ("gateway", "hub", SIDE_MSAT, SIDE_MSAT),
        ("hub", "alice", SIDE_MSAT, SIDE_MSAT),
    )
    part_hold_ms: int = 120_000
    seed: str = ""  # fresh keys when empty


class SimulatedBitcoin:
    """Implements regtest.process.Bitcoin. What happened survives `stop`, and a kill, in DIRECTORY/network.sqlite."""

    most_blocks: int | None = 302_400  # a week's: some seconds

    def __init__(self, directory: Path, options: SimulationOptions | None = None) -> None:
        self._directory = directory.resolve()  # paths in `describe` hold anywhere
        self._options = options or SimulationOptions()
        self._world: World | None = None
        self.nodes: dict[str, NodeServer] = {}

    @property
    def world(self) -> World:
        assert self._world is not None, "it runs between start and stop"
        return self._world

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        options = self._options
        seed = options.seed or secrets.token_hex(16)
        self._world = World(self._directory / "network.sqlite", seed, options.part_hold_ms)
        if self._world.is_new:
            with self._world.change() as network:
                self._found(network)
        self._world.start()
        for name in self._world.network.rows.nodes:
            self.nodes[name] = NodeServer(self._world, name, self._directory / name, self._old_port(name))
            await self.nodes[name].start()
            self._port_file(name).write_text(str(self.nodes[name].port))

    def _found(self, network: Network) -> None:
        network.start_chain(REGTEST.bitcoin.start_height + 1, self.world.now_ms())
        for name in NAMES:
            network.add_node(name)
        for a, b, a_msat, b_msat in self._options.channels:
            network.add_channel(a, b, a_msat, b_msat)

    def _port_file(self, name: str) -> Path:
        return self._directory / name / "port"

    def _old_port(self, name: str) -> int:
        """A gateway's configuration names its LND's port: it stays over restarts."""
        try:
            return int(self._port_file(name).read_text())
        except (OSError, ValueError):
            return 0

    async def stop(self) -> None:
        for node in self.nodes.values():
            await node.stop()
        self.nodes.clear()
        if self._world is not None:
            await self._world.stop()
            self._world = None

    def describe(self) -> dict[str, Any]:
        rows = self.world.network.rows
        return {
            "backend": "embedded",
            "version": rows.nodes["gateway"].version,
            "height": self.world.network.height,
            "nodes": {
                name: {
                    "pubkey": rows.nodes[name].pubkey,
                    "host": "127.0.0.1",
                    "port": server.port,
                    "tls_cert": str(server.files.tls_cert),
                    "macaroon": str(server.files.macaroon),
                    "p2p": f"127.0.0.1:{server.port}",
                }
                for name, server in self.nodes.items()
            },
        }

    async def height(self) -> int:
        return self.world.network.height

    def follow(self, now_ms: int) -> None:
        self.world.set_clock(now_ms)

    async def mine(self, blocks: int, span_ms: int) -> None:
        with self.world.change() as network:
            network.mine(blocks, span_ms, self.world.now_ms())

    async def reorganise(self, depth: int) -> None:
        with self.world.change() as network:
            network.reorganise(depth, self.world.now_ms())
