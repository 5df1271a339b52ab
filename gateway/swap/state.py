"""R2. The states of a swap, one frozen record each, holding only what exists in it.

Both directions share them: Quoted -> IncomingLocked -> OutgoingIntended -> OutgoingInFlight -> PreimageKnown
-> IncomingClaiming -> Done; exits (Withdrawing ->) Refused, OutgoingProvenDead -> IncomingReleasing -> Released.
After PreimageKnown there is no failure state, and no timer moves a swap (docs/swaps.md, the law).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.data.types import ChannelId
from gateway.hashlock import Preimage
from gateway.swap.quote import Quote
from gateway.units import BlockDelta, BlockHeight, Msat, PosixMs


@dataclass(frozen=True, slots=True)
class ChequeIn:
    """cl_to_btc's incoming leg: the partner's cheque, held by us."""

    channel: ChannelId
    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class HoldIn:
    """btc_to_cl's incoming leg: all parts held by LND under one invoice."""

    amount: Msat
    expiry: BlockHeight


Incoming = ChequeIn | HoldIn


@dataclass(frozen=True, slots=True)
class PaymentOut:
    """cl_to_btc's outgoing leg, as LND was asked for it."""

    fee_limit: Msat
    cltv_limit: BlockDelta
    latest: BlockHeight  # whenever it is sent, no part of it expires above this; 0: not known (older rows)


@dataclass(frozen=True, slots=True)
class ChequeOut:
    """btc_to_cl's outgoing leg, as the channel was asked for it."""

    channel: ChannelId
    timeout: PosixMs


Outgoing = PaymentOut | ChequeOut


@dataclass(frozen=True, slots=True)
class Quoted:
    """Nothing is locked. btc_to_cl: `quote.invoice` is set once LND has made it."""

    quote: Quote


@dataclass(frozen=True, slots=True)
class Withdrawing:
    """btc_to_cl: written before LND is asked to cancel the invoice: from here on no cheque follows a payment that
    LND may have accepted a moment before. `code` and `detail` say why the quote was withdrawn."""

    quote: Quote
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class IncomingLocked:
    """The incoming leg binds the payer; nothing of ours is out."""

    quote: Quote
    incoming: Incoming


@dataclass(frozen=True, slots=True)
class OutgoingIntended:
    """Written before the send: from here on the outgoing leg may be live."""

    quote: Quote
    incoming: Incoming
    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class OutgoingInFlight:
    """Known to be live. `index` is the outgoing cheque's, 0 for an LND payment."""

    quote: Quote
    incoming: Incoming
    outgoing: Outgoing
    index: int


@dataclass(frozen=True, slots=True)
class PreimageKnown:
    """Durable before anything else is done with it."""

    quote: Quote
    incoming: Incoming
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class IncomingClaiming:
    quote: Quote
    incoming: Incoming
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class Done:
    quote: Quote
    preimage: Preimage
    proof: str


@dataclass(frozen=True, slots=True)
class OutgoingProvenDead:
    quote: Quote
    incoming: Incoming
    proof: str


@dataclass(frozen=True, slots=True)
class IncomingReleasing:
    quote: Quote
    incoming: Incoming
    proof: str


@dataclass(frozen=True, slots=True)
class Released:
    """Both legs are proven dead; the hash may be used again in a new attempt."""

    quote: Quote
    proof: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was ever locked on the outgoing side, nothing is locked on the incoming one."""

    quote: Quote
    code: str
    detail: str


State = (
    Quoted
    | Withdrawing
    | IncomingLocked
    | OutgoingIntended
    | OutgoingInFlight
    | PreimageKnown
    | IncomingClaiming
    | Done
    | OutgoingProvenDead
    | IncomingReleasing
    | Released
    | Refused
)
FINAL = (Done, Released, Refused)
