"""R2. Messages between a channel's partner and a gateway about swaps; the cheques themselves are channel messages.

A question may be asked again: the same hash gets the same quote while it is valid, the same status
after. The gateway's node key signs each quote over `quote_digest`, never over protobuf bytes
(they are not canonical).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from gateway.bolt import tlv
from gateway.cl.data.types import ChannelId
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, Msat, PosixMs, Rate

_TAG = b"cardano-lightning/swap-quote/2"


class SwapDirection(StrEnum):
    CL_TO_BTC = "cl_to_btc"
    BTC_TO_CL = "btc_to_cl"


@dataclass(frozen=True, slots=True)
class SwapPayRequest:
    """cl_to_btc: what does it cost to have this BOLT 11 invoice paid from our channel?"""

    invoice: str


@dataclass(frozen=True, slots=True)
class SwapReceiveRequest:
    """btc_to_cl: an invoice, please, by which a Bitcoin payer pays us `receive` under `hashlock`."""

    hashlock: Hashlock
    receive: Lovelace
    memo: str = ""


@dataclass(frozen=True, slots=True)
class SwapQuote:
    """The gateway's binding terms. cl_to_btc: `invoice` is the payee's and the cheque needs `cheque_timeout`
    or later; btc_to_cl: `invoice` is the gateway's hold invoice, to be shown to the payer, and the timeout 0."""

    id: bytes  # 32 bytes
    direction: SwapDirection
    hashlock: Hashlock
    bitcoin: Msat
    cardano: Lovelace
    rate: Rate
    base_fee: Lovelace
    proportional_fee: Lovelace
    routing_budget: Msat
    invoice: str
    cheque_timeout: PosixMs
    valid_until: PosixMs
    eps_denominator: int  # the block law's error probability is 1 / this
    spread_fee: Lovelace
    inventory_fee: Lovelace
    option_fee: Lovelace
    lock_life: Ms  # what the option is priced for; btc_to_cl: the cheque's longest life
    signature: bytes  # 65 bytes, recoverable, by the gateway's node key


@dataclass(frozen=True, slots=True)
class SwapAccept:
    """The peer takes the quote and will act on it: the gateway may keep the amounts free until it expires."""

    quote_id: bytes


@dataclass(frozen=True, slots=True)
class SwapRefused:
    """Why there is no quote or swap: the fields of a problem document."""

    hashlock: Hashlock | None
    code: str
    field: str = ""
    got: str = ""
    allowed: str = ""
    detail: str = ""
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SwapStatusRequest:
    hashlock: Hashlock


class SwapPhase(StrEnum):
    """What the peer may know of a swap. `UNKNOWN`: this gateway has no swap with that hash."""

    UNKNOWN = "unknown"
    QUOTED = "quoted"
    LOCKED = "locked"  # the incoming leg is locked
    IN_FLIGHT = "in_flight"  # the outgoing leg is intended or sent
    SETTLING = "settling"  # the preimage is known
    DONE = "done"
    REFUSED = "refused"  # nothing was ever locked
    RELEASING = "releasing"  # the outgoing leg is proven dead
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class SwapStatus:
    """`code` says why, in phases that need a reason; the preimage only once it may be known."""

    hashlock: Hashlock
    phase: SwapPhase
    quote_id: bytes = b""  # 32 bytes, or empty
    code: str = ""
    preimage: Preimage | None = None


SwapMessage = (
    SwapPayRequest
    | SwapReceiveRequest
    | SwapQuote
    | SwapAccept
    | SwapRefused
    | SwapStatusRequest
    | SwapStatus
)


def quote_digest(channel: ChannelId, quote: SwapQuote) -> bytes:
    """The 32 bytes that the gateway signs: sha-256 of a tag, the channel and every field as a TLV stream."""

    def number(kind: int, value: int) -> tlv.Record:
        return tlv.Record(kind, value.to_bytes(8, "big"))

    fields = tlv.encode(
        (
            tlv.Record(1, channel.raw),
            tlv.Record(3, quote.id),
            tlv.Record(5, quote.direction.value.encode()),
            tlv.Record(7, quote.hashlock.raw),
            number(9, quote.bitcoin.value),
            number(11, quote.cardano.value),
            number(13, quote.rate.lovelace),
            number(15, quote.rate.msat),
            number(17, quote.base_fee.value),
            number(19, quote.proportional_fee.value),
            number(21, quote.routing_budget.value),
            tlv.Record(23, quote.invoice.encode()),
            number(25, quote.cheque_timeout.value),
            number(27, quote.valid_until.value),
            number(29, quote.eps_denominator),
            number(31, quote.spread_fee.value),
            number(33, quote.inventory_fee.value),
            number(35, quote.option_fee.value),
            number(37, quote.lock_life.value),
        )
    )
    return hashlib.sha256(hashlib.sha256(_TAG).digest() + fields).digest()
