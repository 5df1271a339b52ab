"""R2. Arithmetic of the books: what each side owns, owes and has at risk; the squash that the books give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.cl.channel import state as s
from gateway.cl.data.types import MAX_PENDING, Snapshot, Squash
from gateway.units import Lovelace

_ZERO = Lovelace(0)


def squash_over(base: Squash, credited: Mapping[int, Lovelace]) -> Squash:
    """The canonical squash over the prefix of `base` and the indices of `credited`."""
    beyond = {i: a for i, a in credited.items() if i > base.index}
    if not beyond:
        return base
    top = max(beyond)
    amount = base.amount
    for value in beyond.values():
        amount += value
    return Squash(amount, top, tuple(i for i in range(base.index + 1, top) if i not in beyond))


def covered_beyond(base: Squash, squash: Squash) -> set[int]:
    """The indices after the base's prefix that `squash` covers. Bounded: callers check `squash.index` first."""
    return {i for i in range(base.index + 1, squash.index + 1) if squash.covers(i)}


def issued_credit(one: s.Issued) -> Lovelace | None:
    """What a squash that covers this cheque of ours credits for it; None while it must not be covered."""
    match one.status:
        case s.Revealed():
            return one.cheque.amount
        case s.CancelSeen() | s.Dead():
            return _ZERO
        case s.Live():
            return None


def held_credit(one: s.Held) -> Lovelace:
    """What a squash that covers this cheque of the partner's must credit for it."""
    match one.status:
        case s.Fulfilled() | s.Settled():
            return one.cheque.amount
        case s.Cancelled() | s.Unanswered():
            return _ZERO


def squash_for_partner(books: s.Books) -> Squash:
    """What we sign as issuer: everything resolved, and never below what the receiver signed (decision 5)."""
    credited = {}
    for one in books.issued:
        credit = issued_credit(one)
        if credit is not None:
            credited[one.cheque.index] = credit
    return squash_over(books.issued_base, credited)


def squash_for_us(books: s.Books, held: Squash) -> Squash:
    """What we sign as receiver: what the issuer's squash `held` covers, and what we cancelled."""
    credited = {
        one.cheque.index: held_credit(one)
        for one in books.held
        if isinstance(one.status, s.Cancelled) or held.covers(one.cheque.index)
    }
    return squash_over(books.held_base, credited)


@dataclass(frozen=True, slots=True)
class Sides:
    """Which half of a snapshot is whose."""

    agreement: s.Agreement

    def for_us(self, snapshot: Snapshot) -> Squash:
        return snapshot.received_by(self.agreement.local_key, self.agreement.remote_key)

    def for_partner(self, snapshot: Snapshot) -> Squash:
        return snapshot.received_by(self.agreement.remote_key, self.agreement.local_key)

    def pair(self, for_us: Squash, for_partner: Squash) -> Snapshot:
        return Snapshot.of({self.agreement.local_key: for_us, self.agreement.remote_key: for_partner})


def snapshot_due(agreement: s.Agreement, books: s.Books) -> Snapshot:
    """The snapshot that the books give now; signed when it differs from `books.ours`."""
    sides = Sides(agreement)
    held = sides.for_us(books.theirs.snapshot) if books.theirs else Squash()
    return sides.pair(squash_for_us(books, held), squash_for_partner(books))


@dataclass(frozen=True, slots=True)
class Balance:
    """`local` and `remote` can be spent now; what hangs in cheques is in `offered` and `held`."""

    local: Lovelace
    remote: Lovelace
    offered: Lovelace  # live cheques of ours: gone from `local`
    held: Lovelace  # unanswered cheques of the partner's: gone from `remote`
    at_risk: Lovelace  # fulfilled and not yet settled: owed to us, not counted in `local`
    slots_out: int
    slots_in: int


def balance(agreement: s.Agreement, books: s.Books) -> Balance:
    sent = books.issued_base.amount
    offered = _ZERO
    for one in books.issued:
        match one.status:
            case s.Revealed():
                sent += one.cheque.amount
            case s.Live() | s.CancelSeen():
                offered += one.cheque.amount
            case s.Dead():
                pass
    got, held, at_risk = books.held_base.amount, _ZERO, _ZERO
    for two in books.held:
        match two.status:
            case s.Settled():
                got += two.cheque.amount
            case s.Fulfilled():
                at_risk += two.cheque.amount
            case s.Unanswered():
                held += two.cheque.amount
            case s.Cancelled():
                pass
    return Balance(
        local=books.local_deposit + got - sent - offered,
        remote=books.remote_deposit + sent - got - held - at_risk,
        offered=offered,
        held=held,
        at_risk=at_risk,
        slots_out=MAX_PENDING - pending_out(books),
        slots_in=MAX_PENDING - pending_in(agreement, books),
    )


def end_shares(agreement: s.Agreement, books: s.Books, output: s.Output) -> tuple[Lovelace, Lovelace]:
    """(ours, the partner's) of an end with nothing pending: payouts are capped by what the output holds, and its
    min-ada goes to the opener (decision 9). Both sum to all that is in the output."""
    total = output.lovelace - output.datum.min_ada
    local = min(max(balance(agreement, books).local, _ZERO), total)
    ours, theirs = local, total - local
    opener = output.datum.min_ada
    return (ours + opener, theirs) if agreement.local_is_opener else (ours, theirs + opener)


def pending_out(books: s.Books) -> int:
    """Cheques of ours that the partner could still have to present."""
    return sum(isinstance(one.status, (s.Live, s.CancelSeen)) for one in books.issued)


def pending_in(agreement: s.Agreement, books: s.Books) -> int:
    """Cheques that we would present in a close: not given back, and no squash of the partner's covers them."""
    held = Sides(agreement).for_us(books.theirs.snapshot) if books.theirs else Squash()
    return sum(
        not held.covers(one.cheque.index) for one in books.held if not isinstance(one.status, s.Cancelled)
    )


def find_issued(books: s.Books, index: int) -> s.Issued | None:
    return next((one for one in books.issued if one.cheque.index == index), None)


def find_held(books: s.Books, index: int) -> s.Held | None:
    return next((one for one in books.held if one.cheque.index == index), None)
