"""A modelled ledger for one channel and the two real machines above it, with every fault that a history may need.

The ledger applies steps by the validator's own arithmetic (books.apply_step), one block a second, and can be rolled
back. `Owner` is what the node above a channel remembers and never loses: the oracle speaks its language.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.cl.channel import effects as f
from gateway.cl.channel import errors, settle
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.ledger import balance
from gateway.cl.data import books
from gateway.cl.data import types as t
from gateway.cl.data.codec import cheque_message, commit
from gateway.cl.data.ending import EndTerms
from gateway.errors import Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.outcome import Continue, Reject, Wait
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.channel_pair import (
    CID,
    FUNDS,
    KEYS,
    MIN_ADA,
    START,
    End,
    Pair,
    lock,
    opened,
    preimage,
    sign,
    verify,
)

SLOT = Ms(1_000)
SECOND = Ms(1_000)
SAFE = REGTEST.safe_depth
Entries = tuple[t.Entry, ...]
BROKEN = {
    one.code
    for one in (
        errors.CHEQUE_AMOUNT, errors.CHEQUE_SLOTS, errors.CHEQUE_CONFLICT, errors.CHEQUE_SIGNATURE,
        errors.SNAPSHOT_SIGNATURE, errors.CHANNEL_STALE,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """The channel after one transaction. `wallets`: what each side took out;
    `deposits`: what each put in; `paid`: indices of the cheques that the chain paid to each."""

    since: PosixMs
    output: s.Output | None
    wallets: tuple[int, int] = (0, 0)
    deposits: tuple[int, int] = (FUNDS[0].value, FUNDS[1].value)
    paid: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    tx: int = 1


@dataclass
class Ledger:
    now: PosixMs = START
    points: list[Point] = field(default_factory=lambda: [Point(START, opened())])
    secrets: dict[Preimage, None] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    txs: int = 1

    @property
    def top(self) -> Point:
        return self.points[-1]

    @property
    def depth(self) -> int:
        return (self.now.value - self.top.since.value) // SLOT.value

    def submit(self, who: int, step: t.Step, lb: PosixMs, ub: PosixMs, add: int = 0) -> Rejection | None:
        """The step signed by `who` in a block now, or the clause that refuses it."""
        old = self.top
        assert old.output is not None
        datum = old.output.datum
        total = old.output.lovelace - datum.min_ada
        at = books.Situation(CID, total, {KEYS[who]}, verify, lb, ub, total + Lovelace(add))
        result = books.apply_step(datum, step, at)
        if isinstance(result, Rejection):
            self.refused.append(str(result))
            return result
        self.txs += 1
        self.secrets |= dict.fromkeys(_secrets(step))
        paid = [*old.paid]
        paid[who] = tuple(dict.fromkeys((*paid[who], *_paid_by(step, old.output))))
        wallets, deposits = [*old.wallets], [*old.deposits]
        output, left = None, Lovelace(0)
        if isinstance(result, books.Applied):
            left = result.least
            first, second = _lists(old.output, step, result.datum.stage, lb)
            ref = t.OutputRef(self.txs.to_bytes(32, "big"), 0)
            output = s.Output(ref, left + result.datum.min_ada, result.datum, first, second)
        wallets[who] += (total - left).value + add
        deposits[who] += add
        self.points.append(
            Point(
                self.now,
                output,
                (wallets[0], wallets[1]),
                (deposits[0], deposits[1]),
                (paid[0], paid[1]),
                self.txs,
            )
        )
        return None

    def end(self, proposer: int, terms: EndTerms) -> bool:
        """The transaction that both signed, in a block now, unless its output is gone or its time is past."""
        old = self.top
        if old.output is None or old.output.ref != terms.output or self.now >= terms.until:
            return False
        total = old.output.lovelace - MIN_ADA
        payout = terms.payout - (
            MIN_ADA if proposer == 1 else Lovelace(0)
        )  # the opener's, and 0 is the opener
        wallets = [*old.wallets]
        wallets[1 - proposer] += payout.value
        wallets[proposer] += (total - payout).value
        self.txs += 1
        self.points.append(Point(self.now, None, (wallets[0], wallets[1]), old.deposits, old.paid, self.txs))
        return True

    def rollback(self) -> bool:
        """Takes the newest transaction back for good, when it is young enough for an honest chain to do so."""
        if len(self.points) < 2:
            return False
        young = REGTEST.staged_depth if isinstance(_stage(self.top), t.Opened) else SAFE
        if self.depth >= young:
            return False
        self.points.pop()
        return True


def _stage(point: Point) -> t.Stage | None:
    return None if point.output is None else point.output.datum.stage


def _receipt(step: t.Step) -> t.Receipt:
    return step.receipt if isinstance(step, (t.Close, t.Respond, t.RespondEnd)) else t.Receipt()


def _unlocks(step: t.Step) -> tuple[t.Unlock, ...]:
    return () if isinstance(step, (t.Add, t.Close, t.Respond, t.RespondEnd)) else step.unlocks


def _secrets(step: t.Step) -> list[Preimage]:
    shown = [one.secret for one in _receipt(step).cheques if one.secret is not None]
    return shown + [one.secret for one in _unlocks(step)]


def _entries(receipt: t.Receipt) -> Entries:
    return tuple(
        t.Entry(c.signed.cheque.index, c.signed.cheque.amount, c.signed.cheque.timeout, c.signed.cheque.lock,
                c.secret is not None)
        for c in receipt.cheques
    )  # fmt: skip


def _opened(listed: Entries, unlocks: tuple[t.Unlock, ...]) -> Entries:
    at = {one.position for one in unlocks}
    return tuple(replace(entry, paid=True) if n in at else entry for n, entry in enumerate(listed))


def _own(step: t.Step, output: s.Output) -> Entries:
    """The actor's list on chain."""
    owner_second = isinstance(step, t.EndResolved) and output.datum.min_ada_owner == 1
    second = owner_second or (isinstance(step, t.FreeInResolved) and not step.by_resolver)
    return output.second if second else output.first


def _paid_by(step: t.Step, output: s.Output) -> list[int]:
    listed = _own(step, output)
    return [entry.index for entry in _entries(_receipt(step)) if entry.paid] + [
        listed[one.position].index for one in _unlocks(step)
    ]


def _lists(output: s.Output, step: t.Step, stage: t.Stage, lb: PosixMs) -> tuple[Entries, Entries]:
    """The lists behind the new stage's commitments, checked against them."""
    for first, second in _candidates(output, step, lb):
        match stage:
            case t.Opened():
                return (), ()
            case t.Closed(entries=entries) if commit(first) == entries:
                return first, ()
            case t.Resolved(_, own, other) if commit(first) == own and commit(second) == other:
                return first, second
            case _:
                pass
    raise AssertionError(f"no list fits what {type(step).__name__} left")


def _candidates(output: s.Output, step: t.Step, lb: PosixMs) -> list[tuple[Entries, Entries]]:
    def sifted(listed: Entries, squash: t.Squash) -> list[Entries]:
        return [books.sift_entries(listed, squash, bound) for bound in (books.NEVER_EXPIRED, lb)]

    match step:
        case t.Close(_, receipt):
            return [(_entries(receipt), ())]
        case t.Respond(receipt):
            locked = tuple(entry for entry in _entries(receipt) if not entry.paid)
            squashes = [t.Squash()]
            if receipt.snapshot is not None:
                squashes.append(receipt.snapshot.snapshot.received_by(*output.datum.keys))
            return [(locked, kept) for squash in squashes for kept in sifted(output.first, squash)]
        case t.FreeInResolved(by_resolver, _, unlocks):
            own = _opened(_own(step, output), unlocks)
            others = sifted(output.second if by_resolver else output.first, t.Squash())
            return [(own, other) if by_resolver else (other, own) for other in others]
        case _:
            return [(_opened(output.first, _unlocks(step)), ())]


@dataclass
class Owner:
    """What the node above one end was told and did, by lock; it survives every crash."""

    amounts: dict[Hashlock, int] = field(default_factory=dict)
    locked: dict[int, Hashlock] = field(default_factory=dict)
    fulfilled: dict[Hashlock, None] = field(default_factory=dict)
    preimages: dict[Hashlock, None] = field(default_factory=dict)
    dead: dict[Hashlock, None] = field(default_factory=dict)
    settled: dict[Hashlock, None] = field(default_factory=dict)
    released: dict[Hashlock, None] = field(default_factory=dict)


@dataclass
class ModelEnd(End):
    """An end whose store can fail, before or after the commit. `stored` is the seam for planted faults."""

    owner: Owner = field(default_factory=Owner)
    fail_write: bool = False
    fail_send: bool = False
    sent: list[m.ChannelMessage] = field(default_factory=list)

    def stored(self, events: tuple[e.Event, ...]) -> tuple[e.Event, ...]:
        """The events of a commit that reach the disk: all of them."""
        return events

    def feed(self, given: i.Input) -> Continue[e.Event, f.Effect] | Wait | Reject[f.Effect]:
        if self.fail_write:  # the transaction fails: memory, disk and line stay as they were
            self.fail_write = False
            return Wait("the store refused")
        before, known = len(self.log), [*self.out]
        result = super().feed(given)
        self.log[before:] = self.stored(tuple(self.log[before:]))
        self.sent += [*self.out][len(known) :]
        self._tell_owner(given, result)
        if self.fail_send:  # committed, and the process dies before anything leaves
            self.fail_send = False
            self.crash()
        return result

    def _tell_owner(self, given: i.Input, result: object) -> None:
        own = self.owner
        if isinstance(given, i.FulfilHeld) and isinstance(result, Continue):
            own.fulfilled[given.preimage.hashlock] = None
        asked = []
        for notice in self.notices:
            match notice:
                case f.NoticeExtensionAsked(index, _, timeout):
                    asked.append(i.ExtendIssued(index, timeout))
                case f.NoticeLocked(index, locked, amount, _):
                    own.locked[index] = locked
                    own.amounts[locked] = amount.value
                case f.NoticePreimage(opened_lock, _):
                    own.preimages[opened_lock] = None
                case f.NoticeDead(_, dead, _):
                    own.dead[dead] = None
                case f.NoticeSettled(_, settled, _):
                    own.settled[settled] = None
                case f.NoticeReleased(_, released, _):
                    own.released[released] = None
        self.notices.clear()
        for one in asked:  # the owner is the origin of every payment here
            self.feed(one)


class World:
    """Two ends, the lines between them, and the ledger. Every method is one action of a history."""

    def __init__(self, end: type[ModelEnd] = ModelEnd) -> None:
        base = Pair.open()
        self.ends = (end(0), end(1))
        for me, one in enumerate(self.ends):
            one.state, one.log = base.ends[me].state, [*base.ends[me].log]
        self.pair = Pair(self.ends)
        self.ledger = Ledger()
        self.cheated: set[int] = set()
        self.behind: int | None = None
        self.count = 0
        self.preimages: dict[Hashlock, Preimage] = {}

    # -- owners -------------------------------------------------------------------------------

    def offer(self, who: int, amount: int, life: Ms) -> None:
        end, n = self.ends[who], self.count
        self.count += 1
        end.owner.amounts[lock(n)] = amount
        self.preimages[lock(n)] = preimage(n)
        end.offer(n, amount, life)

    def pick(self, who: int, nth: int) -> s.Held | None:
        """A held cheque, one without an answer if there is any."""
        state = self.ends[who].state
        held = [*state.books.held] if isinstance(state, s.WithBooks) else []
        held = [one for one in held if isinstance(one.status, s.Unanswered)] or held
        return held[nth % len(held)] if held else None

    def fulfil(self, who: int, nth: int) -> None:
        """As the swap engine does: never so late that a claim on chain might fail."""
        one = self.pick(who, nth)
        end = self.ends[who]
        margin = REGTEST.claim_margin + REGTEST.skew + Ms(40_000)
        if one is None or one.cheque.timeout <= end.now + margin or one.cheque.lock not in end.owner.amounts:
            return
        end.feed(i.FulfilHeld(one.cheque.index, self.preimages[one.cheque.lock]))

    def ask_extension(self, who: int, nth: int, span: Ms) -> None:
        """The receiver asks; the issuer's owner is the origin and gives it, or the question is lost."""
        one = self.pick(who, nth)
        if one is not None:
            self.ends[who].feed(i.AskForExtension(one.cheque.index, one.cheque.timeout + span))

    def ask_resolution(self, who: int, nth: int) -> None:
        state = self.ends[who].state
        if isinstance(state, s.WithBooks) and state.books.issued:
            index = state.books.issued[nth % len(state.books.issued)].cheque.index
            self.ends[who].feed(i.AskForResolution(index))

    def cancel(self, who: int, nth: int) -> None:
        one = self.pick(who, nth)
        if one is not None:
            self.ends[who].feed(i.CancelHeld(one.cheque.index, "cl.test"))

    # -- lines and stores -----------------------------------------------------------------------

    def replay(self, sender: int, nth: int) -> None:
        """A message of any age once more."""
        sent = self.ends[sender].sent
        if sent:
            self.ends[1 - sender].feed(i.PeerSaid(sent[nth % len(sent)]))

    def reconnect(self) -> None:
        """All that was on its way is lost; both begin again."""
        for end in self.ends:
            end.out.clear()
        for end in self.ends:
            end.feed(i.PeerBack())

    def crash(self, who: int) -> None:
        self.ends[who].crash()
        self.reconnect()

    # -- the chain ------------------------------------------------------------------------------

    def advance(self, seconds: int, first: int = 0, behind: int | None = None) -> None:
        """Time passes, blocks come, both ends see the chain and do what is due; `behind`: this one sees it later."""
        self.ledger.now = self.ledger.now + SECOND * seconds
        self.behind = behind if behind != self.behind and seconds <= 10 else None
        for who in (0, 1):
            if who != self.behind:
                self.ends[who].now = self.ledger.now
                self.show(who)
                self.ends[who].feed(i.Tick())
        for who in (first, 1 - first):
            self.act(who)

    def observe(self) -> None:
        for who in (0, 1):
            if who != self.behind:
                self.show(who)

    def show(self, who: int) -> None:
        end, top = self.ends[who], self.ledger.top
        if top.output is None:
            end.feed(i.TokenBurnt(top.tx.to_bytes(32, "big"), top.paid[who], self.ledger.depth))
        else:
            end.feed(i.OutputSeen(replace(top.output, paid_held=top.paid[who]), self.ledger.depth))
        if self.ledger.secrets:
            end.feed(i.SecretsSeen(tuple(self.ledger.secrets)))

    def act(self, who: int) -> None:
        """The step that settlement asks of this end, in a transaction like the node's."""
        end, top = self.ends[who], self.ledger.top
        for (
            terms
        ) in end.published:  # mempools hold it until its time is past, whatever its owner does by then
            if self.ledger.end(who, terms):
                self.observe()
                return
        due = None if end.state is None else settle.intent(end.state, end.context())
        if due is None or top.output is None or due.output != top.output.ref:
            return
        now = self.ledger.now
        lb = max(now - SLOT, due.not_before or PosixMs(0), key=lambda moment: moment.value)
        ub = now + REGTEST.validity
        if due.usable_until is not None:
            ub = min(ub, due.usable_until, key=lambda moment: moment.value)
        if lb <= now < ub:
            refusal = self.ledger.submit(who, due.step, lb, ub)
            assert refusal is None, f"end {who} asks for a step that the chain refuses: {refusal}"
            self.observe()

    def add_funds(self, who: int, amount: int) -> None:
        if isinstance(_stage(self.ledger.top), t.Opened):
            now = self.ledger.now
            held = self._theirs(who)
            self.ledger.submit(who, t.Add(who == 0, held[-1]), now, now + REGTEST.validity, amount)
            self.observe()

    def rollback(self) -> None:
        if self.ledger.rollback():
            self.observe()

    # -- a dishonest partner ----------------------------------------------------------------------

    def _theirs(self, who: int) -> list[t.SignedSnapshot | None]:
        """Every snapshot of the partner's that this end ever held."""
        return [None, *(event.signed for event in self.ends[who].log if isinstance(event, e.SnapshotHeld))]

    def cheat_close(self, who: int, nth: int, show: bool) -> None:
        """Closes with any old snapshot; with `show` it opens every cheque that this leaves, cancelled ones too."""
        state, now = self.ends[who].state, self.ledger.now
        if not isinstance(_stage(self.ledger.top), t.Opened) or not isinstance(state, s.WithBooks):
            return
        old = self._theirs(who)
        used = old[-1 - nth % len(old)]
        squash = used.snapshot.received_by(KEYS[who], KEYS[1 - who]) if used else t.Squash()
        ub = now + REGTEST.validity
        shown = tuple(
            t.PresentedCheque(one.signed, self.preimages[one.cheque.lock])
            for one in state.books.held
            if show and not squash.covers(one.cheque.index) and one.cheque.timeout >= ub
        )
        self.cheated.add(who)
        self.ledger.submit(who, t.Close(who == 0, t.Receipt(used, shown)), now, ub)
        self.observe()

    def cheat_end(self, who: int, payout: int) -> None:
        """Proposes an end at any moment that pays the partner this much, and publishes it as soon as it is signed."""
        victim, top = self.ends[1 - who], self.ledger.top
        if top.output is None or victim.state is None:
            return
        terms = self.ends[who].terms(top.output.ref, "address", Lovelace(payout))
        self.cheated.add(who)
        victim.feed(i.PeerSaid(m.EndQuery()))
        victim.feed(i.PeerSaid(m.ProposeEnd(terms)))
        if isinstance(victim.state, s.EndSigned) and victim.state.terms == terms:
            self.ends[who].published.append(terms)

    def cheat_cheque(self, who: int, nth: int) -> None:
        """Signs an index again for one lovelace."""
        state = self.ends[who].state
        if isinstance(state, s.WithBooks) and state.books.issued:
            one = state.books.issued[-1 - nth % len(state.books.issued)].cheque
            again = replace(one, amount=Lovelace(1))
            self.cheated.add(who)
            self.ends[1 - who].feed(
                i.PeerSaid(m.AddCheque(again, sign(KEYS[who], cheque_message(CID, again))))
            )

    # -- the oracle -----------------------------------------------------------------------------

    def finish(self, closer: int, talk: bool, silence: int = 0) -> bool:
        """After `silence` (in 30 s) the channel is closed and settled, with last words or without; then the oracle.
        True when the payout was also compared with both books."""
        for end in self.ends:
            end.fail_write = end.fail_send = False
        self.advance(1)
        if talk:
            self.reconnect()
            self.pair.settle()
        for n in range(silence):
            self.advance(30, n % 2)
        if talk and not silence:
            self.advance(REGTEST.staged_depth)  # funds added count from this depth on
            self.pair.settle()
        expected = self.expected() if talk and not silence else None
        self.ends[closer].feed(i.CloseAsked(True, "the end"))
        for n in range(80):
            self.advance(30, n % 2)
            latest = max((one.cheque.timeout.value for end in self.ends for one in _all(end)), default=0)
            if (
                self.ledger.top.output is None
                and self.ledger.depth >= SAFE
                and self.ledger.now.value > latest + 10_000
            ):
                break
        self.advance(30)
        self.check()
        assert expected in (None, self.ledger.top.wallets), (
            f"{self.ledger.top.wallets}, the books said {expected}"
        )
        return expected is not None

    def expected(self) -> tuple[int, int] | None:
        """What the books of two open ends in agreement say that a close pays each; None when they are not."""
        states = [end.state for end in self.ends]
        if self.cheated or self.ledger.depth < REGTEST.staged_depth:
            return None
        found = []
        for state in states:
            if not isinstance(state, s.Open | s.Agreed):
                return None
            now = balance(state.agreement, state.books)
            found.append((now.local + now.at_risk + now.offered).value)
        return found[0], found[1]

    def check(self) -> None:
        """Nothing is made or lost; each honest side has at least what its owner knows to be its own; no owner was
        told that a cheque is dead and then that it was opened; nothing hangs."""
        top = self.ledger.top
        if not self.cheated:
            broken = [one.code for end in self.ends for one in end.alarms if one.code in BROKEN]
            assert not broken, f"an honest end is accused: {broken}"
            assert top.output is None, "the channel does not settle"
        inside = 0 if top.output is None else (top.output.lovelace - MIN_ADA).value
        assert sum(top.wallets) + inside == sum(top.deposits), "value was made or lost"
        for who, end in enumerate(self.ends):
            own, partner = end.owner, self.ends[1 - who].owner
            contradiction = set(own.dead) & set(own.preimages)
            assert not contradiction, f"end {who}: dead and then opened"
            assert not set(own.released) & set(own.fulfilled), f"end {who}: given back and fulfilled"
            if who in self.cheated:
                continue
            due = top.deposits[who] + sum(own.amounts[one] for one in own.fulfilled)
            due -= sum(own.amounts[one] for one in own.preimages)
            assert top.wallets[who] >= due, f"end {who} has {top.wallets[who]} of {due}"
            unsettled = set(own.fulfilled) - set(own.settled)
            assert self.cheated or not unsettled, f"end {who}: paid, and its owner was not told"
            issued = set(own.amounts) - set(own.locked.values())
            untold = set(issued & set(partner.locked.values())) - set(own.dead) - set(own.preimages)
            assert self.cheated or not untold, f"end {who}: a cheque of its own hangs"


def _all(end: End) -> list[s.Issued | s.Held]:
    state = end.state
    return [*state.books.issued, *state.books.held] if isinstance(state, s.WithBooks) else []
