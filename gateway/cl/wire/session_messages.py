"""R2. Messages of a connection as a whole: who is there, is it alive, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1

# Feature bits, in pairs as in BOLT 9: even = required of the peer, odd = offered.
SWAPS = 1  # quotes and swaps between this channel and Bitcoin Lightning: a gateway


@dataclass(frozen=True, slots=True)
class Init:
    """The first message in both directions. `validators`: script hashes (28 bytes) of channels that it can serve."""

    version: int
    cardano_magic: int
    bitcoin_network: str  # "mainnet", "testnet", "signet", "regtest"
    validators: tuple[bytes, ...]
    features: frozenset[int] = frozenset()
    software: str = ""  # for people only; never decides anything


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a Pong with `pong_bytes` of padding and the same nonce."""

    nonce: int
    pong_bytes: int = 0
    padding: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong:
    nonce: int
    padding: bytes = b""


@dataclass(frozen=True, slots=True)
class Error:
    """Of the channel named by the envelope, or of the whole connection; `code` is a stable dotted code."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Warning:
    """As Error, but what it concerns goes on."""

    code: str
    text: str = ""


SessionMessage = Init | Ping | Pong | Error | Warning
