"""R1. What the gateway needs of a Bitcoin Lightning node: payments and hold invoices, as facts.

A payment has three results: settled, failed, unknown. Failed carries its proof; anything
that we cannot read as final is Unknown (threats X5). Streams are hints, look-ups are the truth.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.hashlock import Hashlock, Preimage
from gateway.units import BlockDelta, BlockHeight, Msat, PosixMs


@dataclass(frozen=True, slots=True)
class NodeInfo:
    node_id: bytes  # 33 bytes
    alias: str
    version: str
    network: str  # "mainnet", "testnet", "signet", "regtest"
    height: BlockHeight
    best_header_ms: PosixMs
    synced: bool


@dataclass(frozen=True, slots=True)
class TimeConstants:
    """What LND keeps for itself; the cancel delta of accepted hold invoices is D in docs/swaps."""

    hold_cancel: BlockDelta  # it cancels accepted hold invoices this many blocks before expiry
    intercept_reject: BlockDelta  # it refuses to offer an HTLC with less left
    intercept_cancel: BlockDelta  # it fails held intercepted HTLCs this many blocks before expiry
    min_final_cltv: BlockDelta  # least min_final_cltv_expiry_delta that it accepts
    warning: str = ""  # non-empty when a value had to be assumed


@dataclass(frozen=True, slots=True)
class Balances:
    """Sums over channels that can be used now; local can be sent, remote can be received."""

    local: Msat
    remote: Msat
    pending_htlcs: int


@dataclass(frozen=True, slots=True)
class PendingHtlc:
    """In a commitment of one of our channels, also once it is settled: until the peer has signed it away."""

    hashlock: bytes
    incoming: bool
    amount: Msat  # in whole satoshis, rounded down


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that is ours in Lightning channels, whatever is in flight: it changes only by payments that ended, by what
    the node routes for others, and when `channels` changes. On-chain funds are not in it."""

    owned: Msat  # local balances, our HTLCs in flight, and the commitment fees that we pay
    channels: tuple[str, ...]  # funding outputs, sorted
    slack: Msat  # `owned` may be off by this much: the node tells some of its parts in whole satoshis
    pending: tuple[PendingHtlc, ...] = ()  # `owned` holds the outgoing ones and none of the incoming


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    invoice: str  # BOLT 11
    hashlock: Hashlock
    amount: Msat
    fee_limit: Msat
    cltv_limit: BlockDelta  # total time lock from the current height, final hop included
    timeout_s: int = 60

    def __post_init__(self) -> None:
        if (
            self.cltv_limit.value < 1
        ):  # LND reads 0 as its own maximum: the payment could outlive what pays for it
            raise ValueError("a payment needs a time lock limit of at least one block")


NEVER_SENT = "never_sent"  # the reason of a failure whose proof is that the node has no record


@dataclass(frozen=True, slots=True)
class PaymentSettled:
    preimage: Preimage
    fee: Msat


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """Proven: the node says FAILED with no attempt in flight, or never knew the payment 60 s after the
    connection that sent it had died. `proof` is the node's own words, stored and shown."""

    reason: str  # "no_route", "insufficient_balance", "timeout", "incorrect_details", "error", "never_sent"
    proof: str


@dataclass(frozen=True, slots=True)
class PaymentUnknown:
    """`known`: the node has a record of this attempt, or had one: that it has none later proves nothing."""

    why: str
    known: bool = False


PaymentResult = PaymentSettled | PaymentFailed | PaymentUnknown


@dataclass(frozen=True, slots=True)
class HoldInvoice:
    hashlock: Hashlock
    amount: Msat
    memo: str
    expiry_s: int
    min_final_cltv: BlockDelta


@dataclass(frozen=True, slots=True)
class InvoiceOpen:
    """`memo`, here and below: of LND's record. LND makes one invoice for a hash, and not always for us."""

    invoice: str
    memo: str


@dataclass(frozen=True, slots=True)
class InvoiceAccepted:
    """All parts are held; `expiry` is the lowest real expiry of them."""

    invoice: str
    amount: Msat
    expiry: BlockHeight
    memo: str


@dataclass(frozen=True, slots=True)
class InvoiceSettled:
    preimage: Preimage
    amount: Msat
    memo: str


@dataclass(frozen=True, slots=True)
class InvoiceCancelled:
    memo: str


@dataclass(frozen=True, slots=True)
class InvoiceNotFound:
    pass


InvoiceState = InvoiceOpen | InvoiceAccepted | InvoiceSettled | InvoiceCancelled | InvoiceNotFound


@dataclass(frozen=True, slots=True)
class BlockEpoch:
    height: BlockHeight
    block_hash: bytes


class BitcoinLightning(Protocol):
    """One LND. Every method raises `Refused` with a btc.* code when the node cannot answer;
    a raise says nothing about a payment. `pay` and `track` never raise: doubt is PaymentUnknown."""

    async def info(self) -> NodeInfo: ...
    async def time_constants(self) -> TimeConstants: ...
    async def balances(self) -> Balances: ...
    async def holdings(self) -> Holdings: ...
    async def pay(self, request: PaymentRequest) -> PaymentResult: ...
    async def track(self, hashlock: Hashlock) -> PaymentResult:
        """The node's record now; PaymentUnknown while in flight. Never waits for the end."""
        ...

    async def add_hold_invoice(self, invoice: HoldInvoice) -> str:
        """Returns the BOLT 11 string; the same hash again returns the same invoice or raises btc.invoice.exists."""
        ...

    async def lookup_invoice(self, hashlock: Hashlock) -> InvoiceState: ...
    def watch_invoice(self, hashlock: Hashlock) -> AsyncIterator[InvoiceState]: ...
    async def settle_invoice(self, preimage: Preimage) -> None:
        """Idempotent. The truth about it is lookup_invoice."""
        ...

    async def cancel_invoice(self, hashlock: Hashlock) -> None: ...
    def watch_blocks(self) -> AsyncIterator[BlockEpoch]: ...
    async def close(self) -> None: ...
