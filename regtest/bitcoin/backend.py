"""Real LND and btcd as a Bitcoin Lightning backend of regtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regtest.bitcoin import record
from regtest.bitcoin.build import NEWEST
from regtest.bitcoin.network import BitcoinRegtest, RegtestOptions


class RealBitcoin:
    """Implements regtest.process.Bitcoin. `version`: one of regtest.bitcoin.build.VERSIONS; empty: that of the
    network in `directory`, else the newest. What happened survives `stop`, and a kill, in the directory."""

    most_blocks: int | None = 2016  # LND follows some hundred blocks a second

    def __init__(self, directory: Path, version: str = "") -> None:
        if not version:
            found = record.load(directory)
            version = found.version if found else NEWEST
        self.network = BitcoinRegtest(directory, RegtestOptions(version=version))
        self._height = 0

    async def start(self) -> None:
        await self.network.start()
        self._height = await self.network.height()

    async def stop(self) -> None:
        await self.network.stop()

    def describe(self) -> dict[str, Any]:
        """`height`: at its last start, mining or look."""
        return {
            "backend": "lnd",
            "version": self.network.nodes["gateway"].version,
            "height": self._height,
            "nodes": self.network.describe(),
        }

    async def height(self) -> int:
        self._height = await self.network.height()
        return self._height

    def follow(self, now_ms: int) -> None:
        """LND and btcd go by the machine's clock, which is not ours to set: see docs/cli.md."""

    async def mine(self, blocks: int, span_ms: int) -> None:
        """btcd stamps blocks with the time of their making, whatever the span."""
        await self.network.mine(blocks)
        await self.height()
