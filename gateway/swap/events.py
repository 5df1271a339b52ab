"""R2. What happened to a swap; each is one row of its log. `evolve` in transitions.py folds them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.hashlock import Preimage
from gateway.swap.quote import Quote
from gateway.swap.state import Incoming, Outgoing
from gateway.units import Msat, PosixMs


@dataclass(frozen=True, slots=True)
class QuoteGiven:
    quote: Quote


@dataclass(frozen=True, slots=True)
class InvoiceMade:
    """btc_to_cl: LND's hold invoice exists."""

    invoice: str


@dataclass(frozen=True, slots=True)
class QuoteWithdrawn:
    """btc_to_cl: its invoice is about to be cancelled; nothing is signed for it any more."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class IncomingWasLocked:
    incoming: Incoming


@dataclass(frozen=True, slots=True)
class OutgoingWasIntended:
    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class OutgoingWasSent:
    index: int  # of the cheque; 0 for a payment


@dataclass(frozen=True, slots=True)
class IncomingWasExtended:
    """cl_to_btc: the cheque that pays for the swap lives longer."""

    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class PreimageLearned:
    preimage: Preimage
    fee: Msat | None = None  # cl_to_btc: what LND paid for routing; None: the preimage came another way


@dataclass(frozen=True, slots=True)
class ClaimStarted:
    pass


@dataclass(frozen=True, slots=True)
class IncomingClaimed:
    proof: str


@dataclass(frozen=True, slots=True)
class OutgoingProvedDead:
    proof: str


@dataclass(frozen=True, slots=True)
class ReleaseStarted:
    pass


@dataclass(frozen=True, slots=True)
class IncomingReleased:
    proof: str


@dataclass(frozen=True, slots=True)
class SwapRefused:
    code: str
    detail: str


Event = (
    QuoteGiven
    | InvoiceMade
    | QuoteWithdrawn
    | IncomingWasLocked
    | OutgoingWasIntended
    | OutgoingWasSent
    | IncomingWasExtended
    | PreimageLearned
    | ClaimStarted
    | IncomingClaimed
    | OutgoingProvedDead
    | ReleaseStarted
    | IncomingReleased
    | SwapRefused
)
