"""R2. What a channel is told: by its owner, its partner, the chain and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cl.channel.messages import ChannelMessage
from gateway.cl.channel.state import Agreement, Output, Proposal
from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import Signature, VerificationKey
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import NetworkProfile
from gateway.units import Lovelace, PosixMs

Verify = Callable[[VerificationKey, bytes, Signature], bool]


@dataclass(frozen=True, slots=True)
class Context:
    """The moment of a decision. `settled`: time of the newest block at safe depth; what is older is final."""

    now: PosixMs
    settled: PosixMs
    profile: NetworkProfile
    verify: Verify
    least_cheque: Lovelace = Lovelace(1)


@dataclass(frozen=True, slots=True)
class ProposeOpen:
    """Ours: open with these terms."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class AcceptOpen:
    """Theirs, judged by the shell against our terms, with a fresh key of ours."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class OfferCheque:
    """Issue a cheque; `reference` makes it idempotent."""

    reference: bytes
    lock: Hashlock
    amount: Lovelace
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class FulfilHeld:
    index: int
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class CancelHeld:
    index: int
    code: str


@dataclass(frozen=True, slots=True)
class ExtendIssued:
    """Ours to give: sign our cheque again with a later timeout (decision 12: by the origin alone)."""

    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class AskForExtension:
    """Ours to ask: a cheque that we hold should live until `timeout`."""

    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class AskForResolution:
    """Ours to ask: the receiver of our cheque should fulfil or cancel it."""

    index: int


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """`now`: with whatever is pending."""

    now: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PeerSaid:
    message: ChannelMessage


@dataclass(frozen=True, slots=True)
class PeerBack:
    """The connection is up: say what we hold, send again what may be lost."""


@dataclass(frozen=True, slots=True)
class OutputSeen:
    """The channel's output is this one now, `depth` blocks deep; also after a rollback."""

    output: Output
    depth: int


@dataclass(frozen=True, slots=True)
class TokenBurnt:
    """The channel has ended in a block, `depth` blocks deep."""

    tx_id: bytes
    paid_held: tuple[int, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class OutputGone:
    """After a rollback the chain shows nothing of the channel any more."""


@dataclass(frozen=True, slots=True)
class SecretsSeen:
    """Preimages in a redeemer of this channel, at any depth: a preimage never becomes unknown again."""

    preimages: tuple[Preimage, ...]


@dataclass(frozen=True, slots=True)
class OldCopy:
    """The database is older than what was signed by it: `why` says what shows that (P4)."""

    why: str


@dataclass(frozen=True, slots=True)
class EndBuilt:
    """The end that BuildEnd asked for."""

    terms: EndTerms


@dataclass(frozen=True, slots=True)
class EndFailed:
    """The end that we should build, sign or send is refused here, by the wallet, the ledger or the signer."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `peer_here`: the partner is connected."""

    peer_here: bool = True


Input = (
    ProposeOpen
    | AcceptOpen
    | OfferCheque
    | FulfilHeld
    | CancelHeld
    | ExtendIssued
    | AskForExtension
    | AskForResolution
    | CloseAsked
    | PeerSaid
    | PeerBack
    | OutputSeen
    | OutputGone
    | TokenBurnt
    | SecretsSeen
    | OldCopy
    | EndBuilt
    | EndFailed
    | Tick
)
