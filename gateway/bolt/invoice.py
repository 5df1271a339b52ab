"""R2. A BOLT 11 invoice as data. Built by bolt11.decode; what we make starts as a Draft."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs

DEFAULT_EXPIRY = Ms(3_600_000)  # BOLT 11: x, default 3600 s
DEFAULT_MIN_FINAL_CLTV = BlockDelta(18)  # BOLT 11: c, default 18


class Network(StrEnum):
    """By the name that Lightning nodes use for it; the prefix on the wire is `prefix`."""

    MAINNET = "mainnet"
    TESTNET = "testnet"
    SIGNET = "signet"
    REGTEST = "regtest"

    @property
    def prefix(self) -> str:
        return _PREFIXES[self]


_PREFIXES = {
    Network.MAINNET: "lnbc",
    Network.TESTNET: "lntb",
    Network.SIGNET: "lntbs",
    Network.REGTEST: "lnbcrt",
}


class FieldType(IntEnum):
    """BOLT 11: tagged fields by their 5-bit type."""

    PAYMENT_HASH = 1  # p
    ROUTE = 3  # r
    FEATURES = 5  # 9
    EXPIRY = 6  # x
    FALLBACK = 9  # f
    DESCRIPTION = 13  # d
    PAYMENT_SECRET = 16  # s
    PAYEE = 19  # n
    DESCRIPTION_HASH = 23  # h
    MIN_FINAL_CLTV = 24  # c
    METADATA = 27  # m


@dataclass(frozen=True, slots=True)
class TaggedField:
    """A field as it stands in the invoice: type 0..31 and its data as 5-bit words."""

    type: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShortChannelId:
    """BOLT 7: block height (24 bits), transaction index (24), output index (16); also an alias."""

    value: int

    def __str__(self) -> str:
        return f"{self.value >> 40}x{self.value >> 16 & 0xFFFFFF}x{self.value & 0xFFFF}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One channel of a route hint: its start node and what that node asks for a forward."""

    node_id: bytes  # 33 bytes
    channel: ShortChannelId
    fee_base: Msat
    fee_proportional_millionths: int
    cltv_delta: BlockDelta


@dataclass(frozen=True, slots=True)
class Fallback:
    """On-chain address: witness version 0..16 and program, or 17 (p2pkh), 18 (p2sh) and its 20-byte hash."""

    version: int
    program: bytes


@dataclass(frozen=True, slots=True)
class Description:
    text: str


@dataclass(frozen=True, slots=True)
class DescriptionHash:
    """sha-256 of a description that is handed over elsewhere."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """What a maker of an invoice chooses. `name_payee` writes the n field (readers then skip recovery)."""

    network: Network
    amount: Msat | None
    created: PosixMs  # whole seconds
    hashlock: Hashlock
    payment_secret: bytes
    description: Description | DescriptionHash
    expiry: Ms = DEFAULT_EXPIRY  # whole seconds
    min_final_cltv: BlockDelta = DEFAULT_MIN_FINAL_CLTV
    features: frozenset[int] = frozenset({8, 14})
    hints: tuple[tuple[Hop, ...], ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    metadata: bytes | None = None
    name_payee: bool = False
    extra: tuple[TaggedField, ...] = ()  # of types that BOLT 11 leaves open


@dataclass(frozen=True, slots=True)
class Invoice:
    """A valid invoice: checksum, form and signature were checked. Expiry and payability were not:
    see `expires` and bolt11.check_payable. The description is the payee's text: escape it for display."""

    text: str  # lower case, without URI scheme
    network: Network
    amount: Msat | None  # None: the payer chooses
    created: PosixMs
    hashlock: Hashlock
    payment_secret: bytes  # 32 bytes
    description: Description | DescriptionHash
    expiry: Ms
    min_final_cltv: BlockDelta
    features: frozenset[int]  # bit numbers that are set
    hints: tuple[tuple[Hop, ...], ...]
    fallbacks: tuple[Fallback, ...]
    metadata: bytes | None
    payee: bytes  # 33-byte node id: the n field, or recovered from the signature
    signature: bytes  # 65 bytes: r, s, recovery id
    fields: tuple[TaggedField, ...]  # all, in order, known or not
    ignored: tuple[TaggedField, ...]  # unknown types, odd sizes and fallback versions: kept, never used

    @property
    def expires(self) -> PosixMs:
        return self.created + self.expiry

    def is_expired(self, now: PosixMs) -> bool:
        return now > self.expires
