"""R2. What a swap is told. Everything here may come twice, late or out of order."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.btc.ports import InvoiceState, PaymentResult
from gateway.cl.data.types import ChannelId
from gateway.hashlock import Preimage
from gateway.swap.risk import Risk
from gateway.units import Lovelace, PosixMs


@dataclass(frozen=True, slots=True)
class InvoiceCreated:
    """btc_to_cl: LND answered AddHoldInvoice."""

    invoice: str


@dataclass(frozen=True, slots=True)
class ChequeLocked:
    """The channel holds a cheque of the partner for this hash (persisted there)."""

    peer: bytes
    channel: ChannelId
    index: int
    amount: Lovelace
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class ChequeExtended:
    """The payer signed the cheque that we hold again with a later timeout (persisted in the channel)."""

    channel: ChannelId
    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class ExtensionAsked:
    """The receiver of our cheque asks for a later timeout."""

    channel: ChannelId
    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class PaymentAnswer:
    """What LND says of the payment: the stream's last word or a look-up."""

    result: PaymentResult


@dataclass(frozen=True, slots=True)
class InvoiceAnswer:
    """What LND says of the hold invoice: a hint from the stream or a look-up."""

    state: InvoiceState


@dataclass(frozen=True, slots=True)
class ChequeOffered:
    """The channel signed our cheque under this index: it is owed from now on."""

    index: int


@dataclass(frozen=True, slots=True)
class ChequeNotOffered:
    """The channel refused before signing anything: nothing of ours is out."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PreimageSeen:
    """From the partner's fulfil or from any redeemer on the chain."""

    preimage: Preimage


@dataclass(frozen=True, slots=True)
class OutgoingChequeDead:
    """One of the three Cardano proofs (docs/swaps.md), as the channel stored it. A hash may have had a cheque before:
    only the end of the swap's own ends its leg."""

    channel: ChannelId
    index: int
    proof: str


@dataclass(frozen=True, slots=True)
class IncomingChequeSettled:
    """A squash of the partner covers the cheque with its full amount, or we were paid on chain."""

    channel: ChannelId
    index: int
    proof: str


@dataclass(frozen=True, slots=True)
class IncomingChequeReleased:
    """Our cancel of the partner's cheque is signed and stored, or the cheque is dead by its own proof. A partner may
    issue a second cheque with the same lock: the end of that one says nothing of the first."""

    channel: ChannelId
    index: int
    proof: str


@dataclass(frozen=True, slots=True)
class RiskSeen:
    """What the swap risks now, computed at every Bitcoin block. `blocks_to_cancel`: of the held payment, if any."""

    risk: Risk
    blocks_to_cancel: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed or the operator looks: a chance to ask again, never to give up a leg."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The operator or the peer would rather not; honoured only where nothing can be lost."""


Input = (
    InvoiceCreated
    | ChequeLocked
    | ChequeExtended
    | ExtensionAsked
    | PaymentAnswer
    | InvoiceAnswer
    | ChequeOffered
    | ChequeNotOffered
    | PreimageSeen
    | OutgoingChequeDead
    | IncomingChequeSettled
    | IncomingChequeReleased
    | RiskSeen
    | Tick
    | CancelAsked
)
