"""R1. Channel data as the validator and both partners see it (no bytes here: see codec).

Books: A issues cheques to B; a *squash for B* sums what B received from A over the indices
it covers. Amounts are in the channel's asset, lovelace for an ada channel.
Sources: docs/validator.md (ours), the reference's l1-spec for what peers sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, PosixMs

MAX_PENDING = 20  # decision 3: pending cheques a side, checked by the validator
MAX_EXCLUDES = 20  # decision 3: excludes a side, checked by the validator


def _sized(name: str, raw: bytes, size: int) -> None:
    if type(raw) is not bytes or len(raw) != size:
        raise ValueError(f"{name} has {size} bytes")


@dataclass(frozen=True, slots=True, order=True)
class ChannelId:
    """20 bytes: blake2b-256(index byte ‖ serialised seed output reference)[:20]."""

    raw: bytes

    def __post_init__(self) -> None:
        _sized("a channel id", self.raw, 20)

    def hex(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True, slots=True, order=True)
class VerificationKey:
    """An Ed25519 key of one partner of a channel (Open.6, Open.7: its size); ordered as bytes (snapshot order)."""

    raw: bytes

    def __post_init__(self) -> None:
        _sized("a verification key", self.raw, 32)

    def hex(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True, slots=True)
class Signature:
    raw: bytes

    def __post_init__(self) -> None:
        _sized("a signature", self.raw, 64)


@dataclass(frozen=True, slots=True)
class OutputRef:
    """A transaction output: 32-byte transaction id and index."""

    tx_id: bytes
    index: int

    def __post_init__(self) -> None:
        _sized("a transaction id", self.tx_id, 32)

    def __str__(self) -> str:
        return f"{self.tx_id.hex()}#{self.index}"


@dataclass(frozen=True, slots=True)
class Squash:
    """Covers the indices 1..index less `exclude`; canonical: excludes strictly rise, 1 <= e < index."""

    amount: Lovelace = Lovelace(0)
    index: int = 0
    exclude: tuple[int, ...] = ()

    def is_canonical(self) -> bool:
        if self.index < 0 or len(self.exclude) > MAX_EXCLUDES:
            return False
        previous = 0
        for e in self.exclude:
            if not previous < e < self.index:
                return False
            previous = e
        return True

    def covers(self, index: int) -> bool:
        return 1 <= index <= self.index and index not in self.exclude

    def covers_all_of(self, other: Squash) -> bool:
        """Coverage is a superset of `other`'s."""
        if self.index < other.index:
            return False
        return all(e > other.index or e in other.exclude for e in self.exclude)

    def dominates(self, other: Squash) -> bool:
        """amount >= and coverage a superset: the validator and both partners order squashes by this."""
        return self.amount >= other.amount and self.covers_all_of(other)

    def with_covered(self, indices: Iterable[int], amount: Lovelace) -> Squash:
        """The canonical squash that covers this one's indices and `indices`, with `amount` in all."""
        add = set(indices)
        top = max(add | {self.index})
        gaps = (
            [i for i in range(1, top) if not self.covers(i) and i not in add]
            if top > self.index or self.exclude
            else []
        )
        return Squash(amount, top, tuple(gaps))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Two squashes, the one *received by the smaller verification key* first (reference's order)."""

    first: Squash = Squash()
    second: Squash = Squash()

    @staticmethod
    def of(received: dict[VerificationKey, Squash]) -> Snapshot:
        """From the squash that each key received; needs exactly two different keys."""
        small, large = sorted(received)
        return Snapshot(received[small], received[large])

    def received_by(self, key: VerificationKey, other: VerificationKey) -> Squash:
        """The squash of the cheques that `key` received from `other`."""
        return self.first if key < other else self.second

    def union(self, other: Snapshot) -> Snapshot:
        """Per side the dominating squash, picked whole; where neither dominates, ours stays."""
        return Snapshot(
            other.first if other.first.dominates(self.first) else self.first,
            other.second if other.second.dominates(self.second) else self.second,
        )


@dataclass(frozen=True, slots=True)
class Cheque:
    """A hash time locked promise: usable iff timeout >= ub, expired iff timeout <= lb (decision 2)."""

    index: int
    timeout: PosixMs
    lock: Hashlock
    amount: Lovelace


@dataclass(frozen=True, slots=True)
class SignedCheque:
    cheque: Cheque
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedSnapshot:
    snapshot: Snapshot
    signature: Signature


@dataclass(frozen=True, slots=True)
class PresentedCheque:
    """A cheque as a receipt shows it: locked (no secret) or unlocked by its secret."""

    signed: SignedCheque
    secret: Preimage | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one partner presents: a snapshot signed by the other, and the other's live cheques, indices rising."""

    snapshot: SignedSnapshot | None = None
    cheques: tuple[PresentedCheque, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One presented cheque as Closed and Resolved remember it (committed, packed fixed-width)."""

    index: int
    amount: Lovelace
    timeout: PosixMs
    lock: Hashlock
    paid: bool


@dataclass(frozen=True, slots=True)
class Commitment:
    """What the datum keeps of a list of entries: its hash and the totals (decision 11)."""

    hash: bytes  # blake2b-256 over the packed entries; of the empty string for none
    pending: Lovelace  # sum of the entries still locked
    paid: Lovelace  # sum of the entries paid


@dataclass(frozen=True, slots=True)
class Opened:
    """keys = (opener, non-opener)."""

    non_opener_amount: Lovelace
    snapshot: Snapshot
    respond_period: Ms


@dataclass(frozen=True, slots=True)
class Closed:
    """keys = (closer, responder). The closer's books are
    deposit + closer_squash.amount - responder_squash.amount + entries.paid; pends come on top."""

    closer_deposit: Lovelace  # the closer's share of the total before any squash or cheque
    closer_squash: Squash  # received by the closer, as the close used it
    responder_squash: Squash  # received by the responder, as the close used it
    elapse_after: PosixMs  # the closer may elapse once this is <= lb
    entries: Commitment  # the closer's presented cheques

    @property
    def closer_amount(self) -> Lovelace:
        return (
            self.closer_deposit + self.closer_squash.amount - self.responder_squash.amount + self.entries.paid
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """keys = (resolver, other). The resolver is paid; `other_amount` is what the other may still take."""

    other_amount: Lovelace
    resolver_entries: Commitment  # cheques received by the resolver
    other_entries: Commitment  # cheques received by the other


Stage = Opened | Closed | Resolved


@dataclass(frozen=True, slots=True)
class Datum:
    own_hash: bytes  # 28 bytes
    keys: tuple[VerificationKey, VerificationKey]  # order by stage, see there
    stage: Stage
    min_ada: Lovelace  # never changes by a datum edit (decision 7, F2)
    min_ada_owner: int  # 0 or 1: index into keys


# Steps: what the mint redeemer lists, one for each channel input, in input order.


@dataclass(frozen=True, slots=True)
class Add:
    by_opener: bool
    snapshot: SignedSnapshot | None = None  # signed by the partner of who adds


@dataclass(frozen=True, slots=True)
class Close:
    by_opener: bool
    receipt: Receipt = Receipt()


@dataclass(frozen=True, slots=True)
class Respond:
    """`receipt` is signed by the closer. Each flag says whether that side of its snapshot applies.
    `entries` re-presents the closer's list; needed when its squash changes or expired ones are dropped."""

    receipt: Receipt = Receipt()
    use_closer_squash: bool = False
    use_responder_squash: bool = False
    drop_expired: bool = False
    entries: tuple[Entry, ...] | None = None


@dataclass(frozen=True, slots=True)
class Unlock:
    """The entry at `position` (0-based) of the presented list is opened by `secret`."""

    position: int
    secret: Preimage


@dataclass(frozen=True, slots=True)
class Elapse:
    entries: tuple[Entry, ...] | None = None  # needed only with unlocks
    unlocks: tuple[Unlock, ...] = ()


@dataclass(frozen=True, slots=True)
class FreeInClosed:
    entries: tuple[Entry, ...]
    unlocks: tuple[Unlock, ...]


@dataclass(frozen=True, slots=True)
class FreeInResolved:
    """`own` are the actor's entries (unlocked by secrets), `other` the partner's (dropped once expired)."""

    by_resolver: bool
    own: tuple[Entry, ...] | None = None
    unlocks: tuple[Unlock, ...] = ()
    other: tuple[Entry, ...] | None = None  # presented iff expired ones are dropped


@dataclass(frozen=True, slots=True)
class EndResolved:
    own: tuple[Entry, ...] | None = None
    unlocks: tuple[Unlock, ...] = ()
    other: tuple[Entry, ...] | None = None


@dataclass(frozen=True, slots=True)
class ElapseEnd:
    entries: tuple[Entry, ...] | None = None
    unlocks: tuple[Unlock, ...] = ()


@dataclass(frozen=True, slots=True)
class RespondEnd:
    receipt: Receipt = Receipt()
    use_closer_squash: bool = False
    use_responder_squash: bool = False
    entries: tuple[Entry, ...] | None = None


@dataclass(frozen=True, slots=True)
class MutualEnd:
    """Signed by both partners, from any stage (decision 9)."""


ContinuingStep = Add | Close | Respond | Elapse | FreeInClosed | FreeInResolved
EndStep = EndResolved | ElapseEnd | RespondEnd | MutualEnd
Step = ContinuingStep | EndStep


@dataclass(frozen=True, slots=True)
class MintRedeemer:
    seed: OutputRef | None  # of an input spent, iff channels are opened
    steps: tuple[Step, ...]
