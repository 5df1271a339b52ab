"""R2. What happened to a channel; each is one row of its log."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.channel.state import Agreement, Output, Proposal
from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import Cheque, Signature, SignedCheque, SignedSnapshot, Snapshot, VerificationKey
from gateway.hashlock import Preimage
from gateway.units import PosixMs


@dataclass(frozen=True, slots=True)
class OpenProposed:
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class OpenAgreed:
    """The partner's key came (opener)."""

    remote_key: VerificationKey


@dataclass(frozen=True, slots=True)
class OpenAccepted:
    """We said yes (the other side)."""

    agreement: Agreement
    at: PosixMs


@dataclass(frozen=True, slots=True)
class OpenAbandoned:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    output: Output


@dataclass(frozen=True, slots=True)
class OutputChanged:
    """Another output with the stage Opened: funds were added, or a rollback took them back.
    `deep`: it lies deep enough for its funds to be counted."""

    output: Output
    deep: bool


@dataclass(frozen=True, slots=True)
class ChequeIssued:
    cheque: Cheque
    reference: bytes


@dataclass(frozen=True, slots=True)
class ChequeProlonged:
    """A live cheque of ours lives longer: same index, lock and amount. Its latest timeout is the one that counts."""

    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class ChequeReceived:
    signed: SignedCheque


@dataclass(frozen=True, slots=True)
class ChequeExtended:
    """A held cheque lives longer: same index, lock and amount."""

    signed: SignedCheque


@dataclass(frozen=True, slots=True)
class ChequeRevealed:
    """The preimage of a cheque of ours is known."""

    index: int
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class CancelWasSeen:
    index: int
    code: str


@dataclass(frozen=True, slots=True)
class ChequeDied:
    index: int
    proof: str


@dataclass(frozen=True, slots=True)
class HeldFulfilled:
    index: int
    preimage: Preimage
    close_by: PosixMs


@dataclass(frozen=True, slots=True)
class HeldCancelled:
    index: int
    code: str


@dataclass(frozen=True, slots=True)
class HeldSettled:
    index: int
    proof: str


@dataclass(frozen=True, slots=True)
class SnapshotSigned:
    """Owed from here on, sent or not."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class SnapshotHeld:
    signed: SignedSnapshot


@dataclass(frozen=True, slots=True)
class ChannelFrozen:
    reason: str


@dataclass(frozen=True, slots=True)
class DrainStarted:
    reason: str
    by_us: bool


@dataclass(frozen=True, slots=True)
class EndBegun:
    """Nothing is pending on our side; the two have until then to agree."""

    by_us: bool
    until: PosixMs


@dataclass(frozen=True, slots=True)
class EndOffered:
    """We built these terms."""

    terms: EndTerms


@dataclass(frozen=True, slots=True)
class EndAccepted:
    """The partner built these terms, and we sign them."""

    terms: EndTerms


@dataclass(frozen=True, slots=True)
class EndCountersigned:
    signature: Signature


@dataclass(frozen=True, slots=True)
class CloseDecided:
    reason: str


@dataclass(frozen=True, slots=True)
class StageSeen:
    """The output on chain is past Opened, or came back from there."""

    output: Output
    closed_by_us: bool


@dataclass(frozen=True, slots=True)
class ChannelEnded:
    tx_id: bytes


@dataclass(frozen=True, slots=True)
class HistoryFolded:
    """Resolved cheques that both squashes cover and whose timeouts are past at depth leave the books."""

    issued_up_to: int
    held_up_to: int


Event = (
    OpenProposed
    | OpenAgreed
    | OpenAccepted
    | OpenAbandoned
    | ChannelOpened
    | OutputChanged
    | ChequeIssued
    | ChequeProlonged
    | ChequeReceived
    | ChequeExtended
    | ChequeRevealed
    | CancelWasSeen
    | ChequeDied
    | HeldFulfilled
    | HeldCancelled
    | HeldSettled
    | SnapshotSigned
    | SnapshotHeld
    | ChannelFrozen
    | DrainStarted
    | EndBegun
    | EndOffered
    | EndAccepted
    | EndCountersigned
    | CloseDecided
    | StageSeen
    | ChannelEnded
    | HistoryFolded
)
