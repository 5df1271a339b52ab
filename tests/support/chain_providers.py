"""The production adapters of chain providers, each connected to the devnet's door for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cl.chain.blockfrost import Blockfrost
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.koios import Koios
from gateway.cl.chain.kupo import Kupo
from gateway.cl.chain.ogmios import Ogmios
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.chain.seat import Seat
from gateway.cl.chain.several import Several
from gateway.cl.chain.u5c_link import U5cLink
from gateway.cl.chain.utxorpc import UtxoRpc
from gateway.cl.ports import ChainProvider
from regtest.cardano import Devnet

POLL_S = 0.02
Make = Callable[[Devnet, float, int], ChainProvider]


@dataclass(frozen=True)
class Kind:
    """`outages`: the devnet's faults that take this provider away, or a part of it (blocks in the first)."""

    name: str
    make: Make
    outages: tuple[tuple[str, ...], ...]

    def connect(self, devnet: Devnet, *, timeout_s: float = 10.0, magic: int | None = None) -> ChainProvider:
        return self.make(devnet, timeout_s, devnet.options.network_magic if magic is None else magic)

    def cut(self, devnet: Devnet, outage: int = 0) -> None:
        devnet.set_faults(**dict.fromkeys(self.outages[outage], True))


def ogmios_kupo(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> OgmiosKupo:
    ogmios = Ogmios(devnet.ogmios_url, timeout_s=timeout_s)
    return OgmiosKupo(ogmios, Kupo(devnet.kupo_url, timeout_s=timeout_s), magic)


def blockfrost(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> Blockfrost:
    http = JsonHttp(devnet.blockfrost_url, "blockfrost", timeout_s=timeout_s)
    return Blockfrost(http, magic, poll_s=POLL_S)


def koios(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> Koios:
    return Koios(JsonHttp(devnet.koios_url, "koios", timeout_s=timeout_s), magic, poll_s=POLL_S)


def utxorpc(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42) -> UtxoRpc:
    return UtxoRpc(U5cLink(devnet.utxorpc_url, "utxorpc", timeout_s=timeout_s), magic, poll_s=POLL_S)


def several(devnet: Devnet, timeout_s: float = 10.0, magic: int = 42, **options: float) -> Several:
    """Both at once, of which both must agree."""
    seats = [
        Seat("ours", "ogmios", devnet.ogmios_url, ogmios_kupo(devnet, timeout_s, magic)),
        Seat("hosted", "blockfrost", devnet.blockfrost_url, blockfrost(devnet, timeout_s, magic)),
    ]
    return Several(seats, 2, **options)


def alone(devnet: Devnet) -> Several:
    """As a node without further settings has it."""
    return Several([Seat("ogmios", "ogmios", devnet.ogmios_url, ogmios_kupo(devnet))], 1)


KINDS = (
    Kind("ogmios_kupo", ogmios_kupo, (("ogmios_down",), ("kupo_down",))),
    Kind("blockfrost", blockfrost, (("blockfrost_down",),)),
    Kind("koios", koios, (("koios_down",),)),
    Kind("utxorpc", utxorpc, (("utxorpc_down",),)),
    Kind("several", several, (("ogmios_down", "kupo_down", "blockfrost_down"),)),
)
