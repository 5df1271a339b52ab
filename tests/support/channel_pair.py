"""Two ends of one channel in memory: the pure machine, a store that can lose its tail, and a line that can misbehave.

Signatures are a keyed hash: fast, deterministic, and wrong for any other key or bytes.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field

from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.decide import decide
from gateway.cl.channel.evolve import evolve
from gateway.cl.data import types as t
from gateway.cl.data.codec import cheque_message, snapshot_message
from gateway.cl.data.ending import EndTerms
from gateway.hashlock import Hashlock, Preimage
from gateway.outcome import Continue, Reject, Wait
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs, Slot

CID = t.ChannelId(b"\x07" * 20)
SEED = t.OutputRef(b"\xab" * 32, 0)
KEYS = (t.VerificationKey(b"\x01" * 32), t.VerificationKey(b"\x02" * 32))
MIN_ADA = Lovelace(3_000_000)
PERIOD = Ms(60_000)
START = PosixMs(1_000_000_000)
LIFE = Ms(3_600_000)
FUNDS = (Lovelace(1_000), Lovelace(1_000))


def sign(key: t.VerificationKey, message: bytes) -> t.Signature:
    return t.Signature(hashlib.blake2b(message, key=key.raw, digest_size=64).digest())


def verify(key: t.VerificationKey, message: bytes, signature: t.Signature) -> bool:
    return sign(key, message) == signature


def preimage(n: int) -> Preimage:
    return Preimage(hashlib.sha256(b"pair %d" % n).digest())


def lock(n: int) -> Hashlock:
    return preimage(n).hashlock


def opened(tx: int = 1) -> s.Output:
    stage = t.Opened(FUNDS[1], t.Snapshot(), PERIOD)
    datum = t.Datum(b"\x09" * 28, KEYS, stage, MIN_ADA, 0)
    return s.Output(t.OutputRef(bytes([tx]) * 32, 0), FUNDS[0] + FUNDS[1] + MIN_ADA, datum)


@dataclass
class End:
    """One partner. `log` is what its store holds; `crash` folds it again."""

    me: int
    now: PosixMs = START
    state: s.State | None = None
    log: list[e.Event] = field(default_factory=list)
    notices: list[f.Notice] = field(default_factory=list)
    alarms: list[f.Alarm] = field(default_factory=list)
    out: deque[m.ChannelMessage] = field(default_factory=deque)
    refused: list[str] = field(default_factory=list)
    published: list[EndTerms] = field(default_factory=list)  # ends that this one sends to the chain

    def context(self) -> i.Context:
        return i.Context(self.now, PosixMs(self.now.value - 5_000), REGTEST, verify)

    def feed(self, given: i.Input) -> Continue[e.Event, f.Effect] | Wait | Reject[f.Effect]:
        """Decides, stores, then performs: the order that the node's shell keeps."""
        result = decide(self.state, given, self.context())
        if isinstance(result, Continue):
            for event in result.events:
                self.state = evolve(self.state, event)
            self.log += result.events
        if isinstance(result, Reject):
            self.refused.append(result.rejection.code)
        for effect in () if isinstance(result, Wait) else result.effects:
            self._perform(effect)
        return result

    def _perform(self, effect: f.Effect) -> None:
        key = KEYS[self.me]
        match effect:
            case f.Send(message):
                self.out.append(message)
            case f.SendCheque(cheque):
                self.out.append(m.AddCheque(cheque, sign(key, cheque_message(CID, cheque))))
            case f.SendSnapshot(snapshot):
                self.out.append(m.Squashed(self.signed(snapshot)))
            case f.SendCancel(index, code, snapshot):
                self.out.append(m.Cancel(index, code, self.signed(snapshot)))
            case f.Alarm():
                self.alarms.append(effect)
            case f.PublishOpening():
                pass
            case f.TellPayout():
                self.out.append(m.EndPayout(f"address of {self.me}"))
            case f.BuildEnd() | f.SignEnd() | f.PublishEnd():
                self._end(effect)
            case _:
                self.notices.append(effect)

    def _end(self, effect: f.BuildEnd | f.SignEnd | f.PublishEnd) -> None:
        """What the wallet and the signer do, without a transaction."""
        match effect, self.state:
            case f.BuildEnd(address, payout), s.Ending(output=output):
                self.feed(i.EndBuilt(self.terms(output.ref, address, payout)))
            case f.SignEnd(), s.EndSigned(terms=terms):
                self.out.append(m.EndSignature(sign(KEYS[self.me], terms.tx_id)))
            case f.PublishEnd(), s.EndHeld(terms=terms):
                self.published.append(terms)
            case _:
                pass

    def terms(self, output: t.OutputRef, address: str, payout: Lovelace) -> EndTerms:
        until = self.now + REGTEST.validity
        tx_id = hashlib.blake2b(repr((output, address, payout, until)).encode(), digest_size=32).digest()
        nothing, slot = Lovelace(0), Slot(1)
        return EndTerms(
            output, address, payout, (), "change", nothing, nothing, slot, slot, until, (), nothing, nothing, (),
            0, 0, 0, 0, tx_id,
        )  # fmt: skip

    def signed(self, snapshot: t.Snapshot) -> t.SignedSnapshot:
        return t.SignedSnapshot(snapshot, sign(KEYS[self.me], snapshot_message(CID, snapshot)))

    def crash(self) -> None:
        """Back to what the store holds; what was on its way is gone."""
        self.state = None
        self.out.clear()
        for event in self.log:
            self.state = evolve(self.state, event)

    @property
    def books(self) -> s.Books:
        assert isinstance(self.state, s.WithBooks)
        return self.state.books

    def offer(self, n: int, amount: int = 100, life: Ms = LIFE) -> None:
        self.feed(i.OfferCheque(b"ref %d" % n, lock(n), Lovelace(amount), self.now + life))

    def told(self, kind: type[f.Notice]) -> list[int]:
        return [getattr(one, "index", -1) for one in self.notices if isinstance(one, kind)]


@dataclass
class Pair:
    ends: tuple[End, End]

    @staticmethod
    def open() -> Pair:
        """An open channel, funds on both sides; end 0 is the opener."""
        pair = Pair((End(0), End(1)))
        for me, end in enumerate(pair.ends):
            agreement = s.Agreement(
                CID, SEED, b"peer", me == 0, KEYS[me], KEYS[1 - me],
                FUNDS[0] + FUNDS[1], FUNDS[1], PERIOD, MIN_ADA,
            )  # fmt: skip
            end.state = s.Funding(agreement)
            end.log = [e.OpenAccepted(agreement, PosixMs(0))]
            end.feed(i.OutputSeen(opened(), REGTEST.staged_depth))
            assert isinstance(end.state, s.Normal)
        pair.settle()  # each says what it holds: nothing
        return pair

    def deliver(self, sender: int) -> bool:
        """The oldest message on its way from `sender`."""
        line = self.ends[sender].out
        if not line:
            return False
        self.ends[1 - sender].feed(i.PeerSaid(line.popleft()))
        return True

    def settle(self, most: int = 400) -> int:
        """Delivers until silence; fails when the two never fall silent."""
        count = 0
        while self.deliver(0) | self.deliver(1):
            count += 1
            assert count < most, "the ends talk for ever"
        return count

    def reconnect(self) -> None:
        for end in self.ends:
            end.out.clear()
        for end in self.ends:
            end.feed(i.PeerBack())
        self.settle()

    def pass_time(self, span: Ms) -> None:
        for end in self.ends:
            end.now = end.now + span

    def tick(self) -> None:
        for end in self.ends:
            end.feed(i.Tick())
