"""R2. One channel's states, a frozen record each, and the books that its two partners keep of each other's cheques.

A cheque counts as owed from the moment its event is stored, sent or not. Signatures of ours are not
stored: Ed25519 is deterministic, so the shell signs again whenever it sends again.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import (
    ChannelId,
    Cheque,
    Datum,
    Entry,
    OutputRef,
    Signature,
    SignedCheque,
    SignedSnapshot,
    Snapshot,
    Squash,
    VerificationKey,
)
from gateway.hashlock import Preimage
from gateway.units import Lovelace, Ms, PosixMs

# -- cheques that we issued -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Live:
    """Owed if its lock is opened before its timeout."""


@dataclass(frozen=True, slots=True)
class Revealed:
    """Its preimage is known to us: owed in full, whatever else happens."""

    preimage: Preimage


@dataclass(frozen=True, slots=True)
class CancelSeen:
    """The receiver has signed it away, but not yet above everything that we have signed (decision 5)."""

    code: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Proven: it can never be claimed. Watched until its timeout is past at depth."""

    proof: str


@dataclass(frozen=True, slots=True)
class Issued:
    """`reference` is the owner's idempotency key: one cheque for each."""

    cheque: Cheque
    reference: bytes
    status: Live | Revealed | CancelSeen | Dead


# -- cheques that we hold ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Neither opened nor given back."""


@dataclass(frozen=True, slots=True)
class Fulfilled:
    """The preimage is out, the squash is not in: at risk, and the channel closes at `close_by` (decision 4)."""

    preimage: Preimage
    close_by: PosixMs


@dataclass(frozen=True, slots=True)
class Settled:
    """A squash of the issuer's covers it in full and dominates all that we signed; or paid on chain at depth."""

    proof: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """We signed it away; it is never fulfilled after that."""

    code: str


@dataclass(frozen=True, slots=True)
class Held:
    signed: SignedCheque
    status: Unanswered | Fulfilled | Settled | Cancelled

    @property
    def cheque(self) -> Cheque:
        return self.signed.cheque


@dataclass(frozen=True, slots=True)
class Books:
    """`issued_base` and `held_base` cover a prefix 1..index whole: what was resolved and forgotten."""

    local_deposit: Lovelace
    remote_deposit: Lovelace
    issued: tuple[Issued, ...] = ()
    held: tuple[Held, ...] = ()
    issued_base: Squash = Squash()
    held_base: Squash = Squash()
    last_issued: int = 0
    last_received: int = 0
    ours: Snapshot = Snapshot()  # the newest that we signed
    theirs: SignedSnapshot | None = None  # the newest of the partner's that we hold


# -- the agreement and the chain --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the opener asked for; the partner's key is still missing."""

    channel: ChannelId
    seed: OutputRef
    peer: bytes
    local_key: VerificationKey
    amount: Lovelace
    gift: Lovelace
    respond_period: Ms
    min_ada: Lovelace


@dataclass(frozen=True, slots=True)
class Agreement:
    """Fixed for the life of the channel. The min-ada is the opener's."""

    channel: ChannelId
    seed: OutputRef
    peer: bytes
    local_is_opener: bool
    local_key: VerificationKey
    remote_key: VerificationKey
    amount: Lovelace
    gift: Lovelace
    respond_period: Ms
    min_ada: Lovelace

    @property
    def opener_key(self) -> VerificationKey:
        return self.local_key if self.local_is_opener else self.remote_key

    @property
    def other_key(self) -> VerificationKey:
        return self.remote_key if self.local_is_opener else self.local_key


@dataclass(frozen=True, slots=True)
class Output:
    """The channel's unspent output. `first` and `second` are the entries behind the stage's commitments
    (Closed: the closer's; Resolved: the resolver's, the other's); `paid_held` are our cheques that were paid."""

    ref: OutputRef
    lovelace: Lovelace
    datum: Datum
    first: tuple[Entry, ...] = ()
    second: tuple[Entry, ...] = ()
    paid_held: tuple[int, ...] = ()
    staked: bool = False  # its address names a staking credential, as no opening of ours does (V13)


@dataclass(frozen=True, slots=True)
class Proposing:
    """Ours; the partner has not answered. Nothing is signed."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Funding:
    """Agreed; the output has not reached its depth. The opener publishes it, the partner waits for it, from
    `since` on for as long as the profile's funding_life."""

    agreement: Agreement
    since: PosixMs = PosixMs(0)  # the opener waits for nobody


TAKEN_BACK = "a rollback took the channel's opening away"  # the one reason of `frozen` that passes


@dataclass(frozen=True, slots=True)
class Normal:
    """Open. `frozen` names why no new cheque may be signed or taken, empty when they may."""

    agreement: Agreement
    books: Books
    output: Output
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Draining:
    """No new cheques; ends once none is pending. `by_us`: our owner asked for it, not the partner."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str
    by_us: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """Nothing is pending: the two agree on an end, else we close alone at `until`. `by_us`: we build it and pay its
    fee. Nothing of it is signed; snapshots may still cross."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str
    by_us: bool
    until: PosixMs


@dataclass(frozen=True, slots=True)
class EndProposed:
    """We built `terms` and told the partner; our signature stays here until we have its own."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str
    terms: EndTerms
    until: PosixMs


@dataclass(frozen=True, slots=True)
class EndSigned:
    """We signed the partner's `terms`: it may send them to the chain until they expire. Frozen for good."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str
    terms: EndTerms


@dataclass(frozen=True, slots=True)
class EndHeld:
    """The partner signed our `terms`: we send them to the chain until they expire."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str
    terms: EndTerms
    signature: Signature


@dataclass(frozen=True, slots=True)
class Closing:
    """We close, or have closed and are not in a block. No cancel counts any more (decision 5.2)."""

    agreement: Agreement
    books: Books
    output: Output
    reason: str


@dataclass(frozen=True, slots=True)
class OnChain:
    """A close is in a block; the chain settles. A rollback may bring the stage back to Opened."""

    agreement: Agreement
    books: Books
    output: Output
    closed_by_us: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The thread token is burnt. Cheques are watched until each is proven one way."""

    agreement: Agreement
    books: Books
    tx_id: bytes


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Never funded."""

    channel: ChannelId
    peer: bytes
    code: str
    detail: str


Open = Normal | Draining | Ending
Agreed = EndProposed | EndSigned | EndHeld
WithOutput = Open | Agreed | Closing | OnChain
WithBooks = WithOutput | Ended
State = Proposing | Funding | WithBooks | Abandoned
FINAL = (Abandoned,)
