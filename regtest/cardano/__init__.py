"""The embedded Cardano development chain: Ogmios v6 and Kupo over a Conway ledger in Python."""

from regtest.cardano.devnet import Devnet, DevnetOptions, Judge
from regtest.cardano.params import Params

__all__ = ["Devnet", "DevnetOptions", "Judge", "Params"]
