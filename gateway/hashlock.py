"""R0. The one lock that both networks share: sha-256 of a 32-byte preimage (decision 2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hashlock:
    """32 bytes, the sha-256 of a preimage; BOLT 11 calls it the payment hash."""

    raw: bytes

    def __post_init__(self) -> None:
        if type(self.raw) is not bytes or len(self.raw) != 32:
            raise ValueError("a hashlock has 32 bytes")

    def hex(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True, slots=True)
class Preimage:
    """32 bytes. Its repr shows the lock only: a preimage in a log is money in a log."""

    raw: bytes

    def __post_init__(self) -> None:
        if type(self.raw) is not bytes or len(self.raw) != 32:
            raise ValueError("a preimage has 32 bytes")

    @property
    def hashlock(self) -> Hashlock:
        return Hashlock(hashlib.sha256(self.raw).digest())

    def opens(self, lock: Hashlock) -> bool:
        return self.hashlock == lock

    def hex(self) -> str:
        return self.raw.hex()

    def __repr__(self) -> str:
        return f"Preimage(of {self.hashlock.hex()[:16]}…)"
