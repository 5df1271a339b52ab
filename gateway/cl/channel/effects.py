"""R2. What a channel asks of its shell. Each may be performed more than once.

`Send*` without a signature is signed by the shell as it goes out; a peer that is away gets it all again
on PeerBack, so a send that fails is done. Notices must be delivered until the receiver has stored them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.channel.messages import ChannelMessage
from gateway.cl.data.types import Cheque, Snapshot
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, PosixMs


@dataclass(frozen=True, slots=True)
class Send:
    message: ChannelMessage


@dataclass(frozen=True, slots=True)
class SendCheque:
    """Sign and send AddCheque."""

    cheque: Cheque


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Sign and send Squashed."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class SendCancel:
    index: int
    code: str
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class PublishOpening:
    """Build, sign and submit the opening transaction; again until its output is seen."""


@dataclass(frozen=True, slots=True)
class TellPayout:
    """Send the address at which an end shall pay us."""


@dataclass(frozen=True, slots=True)
class BuildEnd:
    """Build the end that pays the partner `payout` at `address`; answer with EndBuilt or EndFailed."""

    address: str
    payout: Lovelace


@dataclass(frozen=True, slots=True)
class SignEnd:
    """Rebuild the accepted terms, sign and send the signature; what is refused is refused to the partner too."""


@dataclass(frozen=True, slots=True)
class PublishEnd:
    """Add our signature to the partner's and submit; again until it is in a block."""


@dataclass(frozen=True, slots=True)
class NoticeLocked:
    """We hold a new cheque."""

    index: int
    lock: Hashlock
    amount: Lovelace
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class NoticeExtended:
    """A cheque that we hold lives longer."""

    index: int
    lock: Hashlock
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class NoticeExtensionAsked:
    """The receiver of our cheque asks for a later timeout; its owner decides."""

    index: int
    lock: Hashlock
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class NoticePreimage:
    """A cheque of ours was opened."""

    lock: Hashlock
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class NoticeDead:
    """A cheque of ours is proven dead."""

    index: int
    lock: Hashlock
    proof: str


@dataclass(frozen=True, slots=True)
class NoticeSettled:
    """A cheque that we fulfilled is ours for good."""

    index: int
    lock: Hashlock
    proof: str


@dataclass(frozen=True, slots=True)
class NoticeReleased:
    """A cheque that we held is given back."""

    index: int
    lock: Hashlock
    proof: str


@dataclass(frozen=True, slots=True)
class Alarm:
    code: str
    detail: str


Notice = (
    NoticeLocked
    | NoticeExtended
    | NoticeExtensionAsked
    | NoticePreimage
    | NoticeDead
    | NoticeSettled
    | NoticeReleased
)
EndEffect = TellPayout | BuildEnd | SignEnd | PublishEnd
Effect = Send | SendCheque | SendSnapshot | SendCancel | PublishOpening | EndEffect | Notice | Alarm
