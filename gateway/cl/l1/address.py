"""R2. Cardano addresses between text and bytes (CIP 19): payment part, staking part, network."""

from __future__ import annotations

from dataclasses import dataclass

from bech32 import bech32_decode, bech32_encode, convertbits

from gateway.cl.l1.errors import BAD_INTENT
from gateway.errors import Refused

MAINNET_MAGIC = 764_824_073


@dataclass(frozen=True, slots=True)
class StakePart:
    """A staking credential: its 28-byte hash, of a key or of a script. Never a pointer (decision 12)."""

    hash: bytes
    is_script: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    payment: bytes  # 28 bytes
    is_script: bool
    stake: StakePart | None
    mainnet: bool

    @property
    def raw(self) -> bytes:
        if self.stake is None:
            kind = 7 if self.is_script else 6
        else:
            kind = int(self.is_script) + 2 * int(self.stake.is_script)
        tail = b"" if self.stake is None else self.stake.hash
        return bytes((kind << 4 | int(self.mainnet),)) + self.payment + tail

    def __str__(self) -> str:
        words = convertbits(self.raw, 8, 5) or []
        return str(bech32_encode("addr" if self.mainnet else "addr_test", words))


def script_address(policy: bytes, network_magic: int, stake: StakePart | None = None) -> Address:
    return Address(policy, True, stake, network_magic == MAINNET_MAGIC)


def key_address(key_hash: bytes, network_magic: int) -> Address:
    return Address(key_hash, False, None, network_magic == MAINNET_MAGIC)


def read_address(text: str) -> Address:
    """Raises `Refused` (cl.l1.bad_intent) on all but bech32 addresses of kinds 0-3, 6 and 7."""
    prefix, words = bech32_decode(text) if len(text) <= 128 else (None, None)
    found = convertbits(words, 5, 8, False) if words else None
    raw = bytes(found or ())
    kind, network = (raw[0] >> 4, raw[0] & 15) if raw else (15, 15)
    size = 57 if kind < 4 else 29
    if kind not in (0, 1, 2, 3, 6, 7) or network > 1 or len(raw) != size:
        raise Refused(BAD_INTENT(field="address", got=text[:64], allowed="a bech32 payment address"))
    if prefix != ("addr" if network else "addr_test"):
        raise Refused(BAD_INTENT(field="address", got=text[:64], allowed="the prefix of its own network"))
    stake = StakePart(raw[29:], bool(kind & 2)) if kind < 4 else None
    return Address(raw[1:29], bool(kind & 1), stake, network == 1)
