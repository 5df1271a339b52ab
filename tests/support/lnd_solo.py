"""One real LND on a btcd of its own, without channels: enough for its door, its options and its peer port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gateway.btc.lnd import Lnd, LndOptions
from regtest.bitcoin.build import programs
from regtest.bitcoin.coins import Miner
from regtest.bitcoin.daemons import Btcd, LndNode
from regtest.bitcoin.network import BitcoinRegtest


@dataclass(frozen=True)
class Solo:
    btcd: Btcd
    node: LndNode

    def adapter(self, macaroon: Path | None = None) -> Lnd:
        """Close it yourself."""
        port, path = self.node.rpc_port, macaroon or self.node.macaroon
        return Lnd(LndOptions("127.0.0.1", port, str(self.node.tls_cert), str(path)))

    async def synced(self) -> None:
        async def probe() -> bool:
            return bool((await self.node.info()).synced_to_chain)

        await BitcoinRegtest.until(probe, "LND to be synced")


@contextlib.asynccontextmanager
async def made(
    version: str, directory: Path, *, password: bool = False, extra: tuple[str, ...] = ()
) -> AsyncIterator[Solo]:
    """btcd runs; LND is not started yet."""
    found = programs(version)
    btcd = Btcd(found["btcd"], directory / "btcd", Miner().address)
    node = LndNode(found["lnd"], directory / "solo", btcd, password=password, extra=extra)
    try:
        await btcd.start()
        await btcd.call("generate", 3)  # LND serves nobody before it has seen a block of today
        yield Solo(btcd, node)
    finally:
        await node.stop()
        await btcd.stop()


@contextlib.asynccontextmanager
async def started(
    version: str, directory: Path, *, password: bool = False, extra: tuple[str, ...] = ()
) -> AsyncIterator[Solo]:
    async with made(version, directory, password=password, extra=extra) as solo:
        await solo.node.start()
        await solo.synced()
        yield solo
