"""R2. What a swap asks of the world. Each is idempotent: the outbox may deliver it more than once."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.btc.ports import HoldInvoice, PaymentRequest
from gateway.cl.data.types import ChannelId
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, PosixMs


@dataclass(frozen=True, slots=True)
class MakeInvoice:
    invoice: HoldInvoice


@dataclass(frozen=True, slots=True)
class PayInvoice:
    """Asks LND's record first: only a payment that LND never knew may be sent (X5, X6)."""

    request: PaymentRequest


@dataclass(frozen=True, slots=True)
class LookUpPayment:
    hashlock: Hashlock


@dataclass(frozen=True, slots=True)
class LookUpInvoice:
    hashlock: Hashlock


@dataclass(frozen=True, slots=True)
class OfferCheque:
    """`reference` makes it idempotent: the channel signs at most one cheque for it."""

    channel: ChannelId
    reference: bytes
    hashlock: Hashlock
    amount: Lovelace
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class FulfilCheque:
    channel: ChannelId
    index: int
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class CancelCheque:
    channel: ChannelId
    index: int
    code: str


@dataclass(frozen=True, slots=True)
class AskExtension:
    """Ask the payer to sign the cheque that we hold again with this later timeout."""

    channel: ChannelId
    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class AskResolution:
    """Ask the receiver of our cheque to fulfil or cancel it."""

    channel: ChannelId
    index: int


@dataclass(frozen=True, slots=True)
class ExtendCheque:
    """Sign our cheque again with this later timeout."""

    channel: ChannelId
    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class ClaimOnChain:
    """Close the channel now: the close carries every cheque that we have the preimage of."""

    channel: ChannelId
    reason: str


@dataclass(frozen=True, slots=True)
class SettleInvoice:
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class CancelInvoice:
    hashlock: Hashlock


@dataclass(frozen=True, slots=True)
class Alarm:
    """For the operator: what is at risk, since when, what to do. Never changes the swap."""

    code: str
    detail: str


Effect = (
    MakeInvoice
    | PayInvoice
    | LookUpPayment
    | LookUpInvoice
    | OfferCheque
    | FulfilCheque
    | CancelCheque
    | AskExtension
    | AskResolution
    | ClaimOnChain
    | SettleInvoice
    | CancelInvoice
    | Alarm
)
