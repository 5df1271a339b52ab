"""The production adapters of chain providers, each connected to the devnet's door for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cl.chain.blockfrost import Blockfrost
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.kupo import Kupo
from gateway.cl.chain.ogmios import Ogmios
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.ports import ChainProvider
from regtest.cardano import Devnet

POLL_S = 0.02
Make = Callable[[Devnet, float, int], ChainProvider]


@dataclass(frozen=True)
class Kind:
    """`down`: the devnet's faults that take a part of this provider away, the one that serves blocks first."""

    name: str
    make: Make
    down: tuple[str, ...]

    def connect(self, devnet: Devnet, *, timeout_s: float = 10.0, magic: int | None = None) -> ChainProvider:
        return self.make(devnet, timeout_s, devnet.options.network_magic if magic is None else magic)


def ogmios_kupo(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> OgmiosKupo:
    ogmios = Ogmios(devnet.ogmios_url, timeout_s=timeout_s)
    return OgmiosKupo(ogmios, Kupo(devnet.kupo_url, timeout_s=timeout_s), magic)


def blockfrost(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> Blockfrost:
    http = JsonHttp(devnet.blockfrost_url, "blockfrost", timeout_s=timeout_s)
    return Blockfrost(http, magic, poll_s=POLL_S)


KINDS = (
    Kind("ogmios_kupo", ogmios_kupo, ("ogmios_down", "kupo_down")),
    Kind("blockfrost", blockfrost, ("blockfrost_down",)),
)
