"""Real LND and btcd as a Bitcoin Lightning backend of regtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regtest.bitcoin.build import NEWEST
from regtest.bitcoin.network import BitcoinRegtest, RegtestOptions


class RealBitcoin:
    """Implements regtest.process.Bitcoin. `version`: one of regtest.bitcoin.build.VERSIONS, empty: the newest."""

    def __init__(self, directory: Path, version: str = "") -> None:
        self.network = BitcoinRegtest(directory, RegtestOptions(version=version or NEWEST))

    async def start(self) -> None:
        await self.network.start()

    async def stop(self) -> None:
        await self.network.stop()

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "lnd",
            "version": self.network.nodes["gateway"].version,
            "nodes": self.network.describe(),
        }

    async def height(self) -> int:
        return await self.network.height()

    async def mine(self, blocks: int, span_ms: int) -> None:
        """btcd stamps blocks with the time of their making, whatever the span."""
        await self.network.mine(blocks)
