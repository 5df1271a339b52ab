"""The chains behind the regtest process: the embedded devnet, and a Bitcoin Lightning backend by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.profile import REGTEST
from regtest.cardano import Devnet, DevnetOptions
from regtest.process import Bitcoin, Cardano

if TYPE_CHECKING:
    from regtest.judge.scalus import ScalusJudge

# A move of weeks need not be a million blocks: this many are enough for every depth that the profile asks for.
MOST_BLOCKS_A_MOVE = 64
JUDGED, VERDICT = "GATEWAY_JUDGE", "judge.json"  # 1: a second ledger sees every transaction


class EmbeddedCardano:
    """The devnet under the supervisor's clock: one block a slot while time passes, a few over a long move."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._verdict = directory / VERDICT
        self._judge = _judge()
        self._devnet = Devnet(DevnetOptions(journal=directory / "chain.journal"), self._judge)

    async def start(self) -> None:
        self._verdict.unlink(missing_ok=True)  # an earlier run's
        await self._devnet.start()

    async def stop(self) -> None:
        await self._devnet.stop()
        if self._judge is not None:
            found = {"judged": self._judge.findings.judged, "problem": self._judge.verdict()}
            self._verdict.write_text(json.dumps(found) + "\n")

    def describe(self) -> dict[str, Any]:
        return {
            "ogmios_url": self._devnet.ogmios_url,
            "kupo_url": self._devnet.kupo_url,
            "blockfrost_url": self._devnet.blockfrost_url,
            "control_url": self._devnet.control_url,
            "network_magic": self._devnet.options.network_magic,
        }

    def tip(self) -> dict[str, int]:
        tip = self._devnet.tip
        return {"height": tip.height, "slot": tip.slot, "time_ms": self._devnet.now_ms()}

    async def advance(self, span_ms: int) -> None:
        blocks = min(max(1, span_ms // REGTEST.cardano.slot_ms), MOST_BLOCKS_A_MOVE)
        self._devnet.advance(span_ms, blocks)

    async def rollback(self, depth: int) -> None:
        self._devnet.rollback(depth)

    async def faucet(self, address: str, lovelace: int) -> str:
        return self._devnet.faucet({address: lovelace}).id.hex()


def _judge() -> ScalusJudge | None:
    """Needs Node.js, so only when asked for: the network itself runs on Python alone."""
    if os.environ.get(JUDGED) != "1":
        return None
    from regtest.judge.scalus import ScalusJudge

    return ScalusJudge()


def cardano_backend(directory: Path) -> Cardano:
    return EmbeddedCardano(directory)


def bitcoin_backend(directory: Path, bln: str, lnd_version: str) -> Bitcoin:
    """The simulated LND needs Python alone; the real one its built daemons."""
    directory.mkdir(parents=True, exist_ok=True)
    if bln == "lnd":
        from regtest.bitcoin.backend import RealBitcoin

        return RealBitcoin(directory, lnd_version)
    from regtest.bitcoin.simulated.backend import SimulatedBitcoin

    return SimulatedBitcoin(directory)
