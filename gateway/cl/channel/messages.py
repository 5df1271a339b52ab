"""R2. What partners say about one channel. The envelope names the channel; signatures never cover these bytes.

Every message may come twice, late, or after one that was sent later; each is idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import Cheque as ChequeData
from gateway.cl.data.types import OutputRef, Signature, SignedSnapshot, VerificationKey
from gateway.hashlock import Preimage
from gateway.units import Lovelace, Ms, PosixMs


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """Under which terms would you accept a channel?"""


@dataclass(frozen=True, slots=True)
class Terms:
    """An invitation, not a promise: a proposal that fits may still be refused."""

    least_funding: Lovelace
    least_respond_period: Ms
    most_pending: int
    least_cheque: Lovelace
    least_cheque_life: Ms
    most_cheque_life: Ms


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """The opener proposes. The channel id follows from `seed`, an output that the opener will spend."""

    seed: OutputRef
    opener_key: VerificationKey
    amount: Lovelace  # the opener's funds, the gift included
    gift: Lovelace  # of that, the partner's from the start
    respond_period: Ms
    min_ada: Lovelace  # the opener's, for the worst case of every stage


@dataclass(frozen=True, slots=True)
class AcceptChannel:
    key: VerificationKey


@dataclass(frozen=True, slots=True)
class RefuseChannel:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Staged:
    """The opening transaction is on its way; the partner believes its own chain, not this."""

    funding: OutputRef


@dataclass(frozen=True, slots=True)
class AddCheque:
    """A cheque of the sender. The same index again: the same cheque, or one that lives longer."""

    cheque: ChequeData
    signature: Signature


@dataclass(frozen=True, slots=True)
class Fulfil:
    """The receiver opens a cheque; the issuer answers with a squash that covers it."""

    index: int
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class AskExtension:
    """The receiver asks for the same cheque with this later timeout; the issuer may answer with AddCheque."""

    index: int
    timeout: PosixMs


@dataclass(frozen=True, slots=True)
class AskResolution:
    """The issuer asks the receiver to fulfil or to cancel now; a cheque that is answered is answered again."""

    index: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Decision 5: the receiver's snapshot covers its own index at null. `code` says why."""

    index: int
    code: str
    signed: SignedSnapshot


@dataclass(frozen=True, slots=True)
class Squashed:
    """A newer snapshot of the sender: it dominates all that the sender signed before."""

    signed: SignedSnapshot


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The issuer saw its cheque expire at safe depth; its next snapshot covers it at null (decision 6)."""

    index: int
    deadline: PosixMs


@dataclass(frozen=True, slots=True)
class Reestablish:
    """What the sender holds: the last index that it received, the last that it issued, and the newest
    snapshot of the partner's."""

    last_received: int
    last_issued: int
    held: SignedSnapshot | None


@dataclass(frozen=True, slots=True)
class Closing:
    """No new cheques from either side. `now`: the sender closes at once and does not wait for pending ones."""

    now: bool
    code: str


@dataclass(frozen=True, slots=True)
class EndQuery:
    """The sender has nothing pending and would end the channel together: where shall it pay?"""


@dataclass(frozen=True, slots=True)
class EndPayout:
    """The sender has nothing pending either; its share goes to this address."""

    address: str


@dataclass(frozen=True, slots=True)
class ProposeEnd:
    terms: EndTerms


@dataclass(frozen=True, slots=True)
class EndSignature:
    """The sender's Ed25519 signature over the id of the proposed transaction."""

    signature: Signature


@dataclass(frozen=True, slots=True)
class RefuseEnd:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ChannelFailed:
    """A rule was broken; the sender closes on chain."""

    code: str
    detail: str


ChannelMessage = (
    QueryTerms
    | Terms
    | OpenChannel
    | AcceptChannel
    | RefuseChannel
    | Staged
    | AddCheque
    | Fulfil
    | AskExtension
    | AskResolution
    | Cancel
    | Squashed
    | TimedOut
    | Reestablish
    | Closing
    | EndQuery
    | EndPayout
    | ProposeEnd
    | EndSignature
    | RefuseEnd
    | ChannelFailed
)
