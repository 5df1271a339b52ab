"""What a channel's record on chain means, by the validator's own arithmetic: lists, secrets, payments, the end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import cbor2
import pytest
from nacl.signing import SigningKey

from gateway.cl.chain.view import ChannelCreated, ChannelSpent, Located, Observation, TxSeen
from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr, Map, serialise
from gateway.cl.l1.address import script_address
from gateway.cl.node import track
from gateway.cl.ports import Point, Utxo
from gateway.units import Lovelace, Ms, PosixMs, Slot
from tests.support import channel_world as w
from tests.support.l1_world import MAGIC, POLICY

OPENER, OTHER = w.keypair("opener"), w.keypair("other")
CID = t.ChannelId(b"\x07" * 20)
MIN_ADA = Lovelace(3_000_000)
PERIOD = Ms(100_000)
SOON, LATE = PosixMs(w.UB.value + 1_000), PosixMs(w.UB.value + 10_000_000)


@dataclass
class Film:
    """A channel that goes on by real steps; `located` is what the chain shows of it, a block each."""

    datum: t.Datum
    lovelace: Lovelace
    located: list[Located] = field(default_factory=list)
    lb: PosixMs = w.LB
    ub: PosixMs = w.UB

    @staticmethod
    def opened(gift: int = 30_000_000) -> Film:
        stage = t.Opened(Lovelace(gift), t.Snapshot(), PERIOD)
        datum = t.Datum(POLICY, (w.public(OPENER), w.public(OTHER)), stage, MIN_ADA, 0)
        film = Film(datum, Lovelace(103_000_000))
        film._create(b"\x01" * 32)
        return film

    def _block(self, *shown: Observation) -> None:
        height = len(self.located) + 1
        self.located += [Located(one, Point(Slot(height * 20), bytes(32)), height) for one in shown]

    def _create(self, tx_id: bytes) -> None:
        self._block(ChannelCreated(CID, self._utxo(tx_id)))

    def _utxo(self, tx_id: bytes) -> Utxo:
        address = str(script_address(POLICY, MAGIC))
        token = POLICY + codec.thread_token_name(CID)
        self.ref = t.OutputRef(tx_id, 0)
        return Utxo(self.ref, address, self.lovelace, ((token, 1),), codec.encode_datum(self.datum))

    def step(
        self,
        step: t.Step,
        by: SigningKey,
        *,
        add: int = 0,
        beside: tuple[t.Step, ...] = (),
        foreign: int | None = None,
    ) -> Film:
        """`beside`: steps of other channels, whose inputs come before this one's; with `foreign`, how many inputs of
        other scripts too, the transaction itself is shown."""
        total = self.lovelace - MIN_ADA
        at = books.Situation(
            CID, total, (w.public(by),), w.verify, self.lb, self.ub, total + Lovelace(add) if add else None
        )
        done = books.apply_step(self.datum, step, at)
        tx_id = hashlib.sha256(b"tx %d" % len(self.located)).digest()
        redeemer = codec.encode_redeemer(t.MintRedeemer(None, (*beside, step)))
        raw = b"" if foreign is None else self._transaction(len(beside), foreign, redeemer)
        spent = ChannelSpent(CID, self.ref, tx_id, raw, redeemer)
        if isinstance(done, books.Ended):
            self._block(spent, TxSeen(tx_id, True))
        else:
            assert isinstance(done, books.Applied), done
            self.datum, self.lovelace = done.datum, done.least + MIN_ADA
            self._block(spent, ChannelCreated(CID, self._utxo(tx_id)), TxSeen(tx_id, True))
        return self

    def _transaction(self, before: int, foreign: int, redeemer: bytes) -> bytes:
        """Inputs of other channels, of other scripts and of a wallet, then ours; as a set has them, in no order."""
        scripts = [(bytes(32), index) for index in range(before)]
        scripts += [(b"\x00" * 31 + b"\x01", index) for index in range(foreign)] + [
            (self.ref.tx_id, self.ref.index)
        ]
        inputs = sorted([*scripts, (b"\x00" * 31 + b"\x02", 0)])
        units = [0, 0]
        rows = [[0, inputs.index(one), 0, units] for one in scripts]
        rows.append([1, 0, cbor2.loads(redeemer), units])
        body = {0: [list(one) for one in reversed(inputs)], 1: [], 2: 0, 9: {POLICY: {b"": 1}}}
        return cbor2.dumps([body, {5: rows}, True, None])

    def later(self, by_ms: int) -> Film:
        self.lb, self.ub = PosixMs(self.lb.value + by_ms), PosixMs(self.ub.value + by_ms)
        return self

    def seen_by(self, who: SigningKey) -> track.Story:
        return track.fold(self.located, w.public(who), POLICY)

    def output(self, who: SigningKey = OPENER) -> track.Output:
        found = self.seen_by(who).output
        assert found is not None
        return found


def close_by_opener(*cheques: t.PresentedCheque) -> t.Close:
    return t.Close(True, t.Receipt(None, cheques))


def closed() -> Film:
    """The opener closes with three of the other's cheques: 1 locked and short, 2 opened, 3 locked."""
    return Film.opened().step(
        close_by_opener(
            w.locked(OTHER, CID, 1, 1_000_000, SOON),
            w.unlocked(OTHER, CID, 2, 2_000_000, LATE),
            w.locked(OTHER, CID, 3, 4_000_000, LATE),
        ),
        OPENER,
    )


def respond(
    *cheques: t.PresentedCheque, entries: tuple[t.Entry, ...] | None = None, drop: bool = False
) -> t.Step:
    return t.Respond(t.Receipt(None, cheques), False, False, drop, entries)


def test_an_open_channel_and_funds_added() -> None:
    film = Film.opened()
    assert film.output().datum == film.datum
    assert (film.output().first, film.output().second, film.output().paid_held) == ((), (), ())
    film.step(t.Add(True), OPENER, add=5_000_000)
    story = film.seen_by(OTHER)
    assert story.output is not None
    assert story.output.lovelace == Lovelace(108_000_000)
    assert (story.output.ref, story.ended_by, story.since) == (film.ref, None, 2)


def test_a_close_shows_its_list_its_secrets_and_who_was_paid() -> None:
    film = closed()
    output = film.output(OPENER)
    assert [(e.index, e.paid) for e in output.first] == [(1, False), (2, True), (3, False)]
    assert output.paid_held == (2,)
    assert film.output(OTHER).paid_held == ()
    assert {w.secret(2)} <= set(film.seen_by(OTHER).secrets)


def test_an_unlock_keeps_every_position() -> None:
    film = closed()
    film.step(t.FreeInClosed(film.output().first, (t.Unlock(2, w.secret(3)),)), OPENER)
    assert [(e.index, e.paid) for e in film.output().first] == [(1, False), (2, True), (3, True)]
    assert film.output().paid_held == (2, 3)
    assert {w.secret(2), w.secret(3)} <= set(film.seen_by(OTHER).secrets)


def test_a_respond_pays_what_it_opens_and_lists_only_what_stays_locked() -> None:
    film = closed()
    film.step(
        respond(w.unlocked(OPENER, CID, 1, 6_000_000, LATE), w.locked(OPENER, CID, 2, 8_000_000, LATE)), OTHER
    )
    output = film.output(OTHER)
    assert [e.index for e in output.first] == [2]
    assert [e.index for e in output.second] == [1, 2, 3]
    assert output.paid_held == (1,)
    assert film.output(OPENER).paid_held == (2,)
    assert w.secret(1) in film.seen_by(OPENER).secrets


def test_expired_entries_leave_and_the_positions_move() -> None:
    film = closed()
    entries = film.output().first
    film.later(SOON.value - film.lb.value + 1_000)
    film.step(respond(entries=entries, drop=True), OTHER)
    assert [(e.index, e.paid) for e in film.output().second] == [(2, True), (3, False)]
    own = film.output().second
    film.step(t.FreeInResolved(False, own, (t.Unlock(1, w.secret(3)),), None), OPENER)
    assert [(e.index, e.paid) for e in film.output().second] == [(2, True), (3, True)]
    assert film.output(OPENER).paid_held == (2, 3)


def test_a_squash_of_the_responders_drops_what_it_covers() -> None:
    film = closed()
    entries = film.output().first
    squash = t.Squash(Lovelace(3_000_000), 2, ())
    snapshot = t.Snapshot.of({w.public(OPENER): squash, w.public(OTHER): t.Squash()})
    receipt = t.Receipt(w.signed_snapshot(OPENER, CID, snapshot), ())
    film.step(t.Respond(receipt, True, True, False, entries), OTHER)
    assert [e.index for e in film.output().second] == [3]
    assert film.output(OPENER).paid_held == (2,)


def test_an_elapse_keeps_the_closers_list() -> None:
    film = closed()
    film.later(PERIOD.value + w.UB.value - w.LB.value + 1_000)
    film.step(t.Elapse(film.output().first, (t.Unlock(2, w.secret(3)),)), OPENER)
    assert [(e.index, e.paid) for e in film.output().first] == [(1, False), (2, True), (3, True)]
    assert film.output().second == ()
    assert film.output(OPENER).paid_held == (2, 3)


@pytest.mark.parametrize("unlocking", [False, True])
def test_the_end_pays_what_it_unlocks(unlocking: bool) -> None:
    film = closed()
    entries = film.output().first
    film.later(SOON.value - film.lb.value + 1_000)
    film.step(respond(entries=entries, drop=True), OTHER)
    own = film.output().second
    if not unlocking:
        film.step(t.FreeInResolved(False, own, (t.Unlock(1, w.secret(3)),), None), OPENER)
        film.step(t.EndResolved(None, (), None), OPENER)
    else:
        film.step(t.EndResolved(own, (t.Unlock(1, w.secret(3)),), None), OPENER)
    story = film.seen_by(OPENER)
    assert story.ended_by == film.located[-1].observation.tx_id  # type: ignore[union-attr]
    assert story.paid_held == (2, 3)
    other = film.seen_by(OTHER)
    assert other.ended_by is not None
    assert other.paid_held == ()
    assert {w.secret(2), w.secret(3)} <= set(other.secrets)


@pytest.mark.threat("W1")
@pytest.mark.kind("SM")
@pytest.mark.parametrize("foreign", [0, 2])
def test_of_many_channels_ends_in_one_transaction_each_counts_its_own(foreign: int) -> None:
    """A neighbour that carries its list as a hash and opens nothing fits every channel: it is not this one's step."""
    film = closed()
    entries = film.output().first
    film.later(SOON.value - film.lb.value + 1_000)
    film.step(respond(entries=entries, drop=True), OTHER)
    own = film.output().second
    neighbour = t.EndResolved(None, (), None)
    film.step(
        t.EndResolved(own, (t.Unlock(1, w.secret(3)),), None), OPENER, beside=(neighbour,), foreign=foreign
    )
    assert film.seen_by(OPENER).paid_held == (2, 3)


def test_of_many_responds_in_one_transaction_each_counts_its_own() -> None:
    """What a neighbour presented and opened was never paid to this channel, though both keep the same lists."""
    film = closed()
    neighbour = respond(w.unlocked(OPENER, CID, 7, 6_000_000, LATE))
    film.step(respond(), OTHER, beside=(neighbour,), foreign=0)
    assert film.output(OTHER).paid_held == ()


def test_a_rollback_tells_the_earlier_story_again() -> None:
    """The story of each prefix is what it was when the chain stood there."""
    film = Film.opened()
    told = []
    steps = [(close_by_opener(w.unlocked(OTHER, CID, 2, 2_000_000, LATE)), OPENER), (respond(), OTHER)]
    for step, by in steps:
        told.append((len(film.located), film.seen_by(OPENER)))
        film.step(step, by)
    assert len({story for _, story in told} | {film.seen_by(OPENER)}) == 3
    for length, story in reversed(told):
        film.located = film.located[:length]
        assert film.seen_by(OPENER) == story


@pytest.mark.threat("V15")
@pytest.mark.kind("MUT")
def test_a_secret_behind_a_crowd_of_strangers_steps_is_found() -> None:
    """A partner may step other channels of its own in the transaction that shows us the preimage."""
    film = closed()
    crowd = tuple(t.Add(True) for _ in range(250))
    film.step(t.FreeInClosed(film.output().first, (t.Unlock(2, w.secret(3)),)), OPENER, beside=crowd)
    assert w.secret(3) in film.seen_by(OTHER).secrets
    assert [(e.index, e.paid) for e in film.output().first] == [(1, False), (2, True), (3, True)]


@pytest.mark.threat("V19")
@pytest.mark.kind("MUT")
@pytest.mark.parametrize("broken", [False, True])
def test_a_secret_in_a_step_that_we_cannot_read_is_found(broken: bool) -> None:
    """A script may be laxer than our reader: what it opened a cheque with must not pass for never shown."""
    film = closed()
    film.step(t.FreeInClosed(film.output().first, (t.Unlock(2, w.secret(3)),)), OPENER)
    at = next(
        n for n, one in reversed(list(enumerate(film.located))) if isinstance(one.observation, ChannelSpent)
    )
    spent = film.located[at].observation
    assert isinstance(spent, ChannelSpent)
    odd = serialise(((), (Constr(4, ((b"x",), ((9, Map(((w.secret(3).raw, 5),))),), 7)),)))
    odd = odd + b"\x00" if broken else odd
    film.located[at] = replace(film.located[at], observation=replace(spent, redeemer=odd))
    assert w.secret(3) in film.seen_by(OTHER).secrets


@pytest.mark.parametrize("redeemer", [None, b"", b"\xff", b"\x9f\x18\x2a\xff"])
def test_a_redeemer_that_cannot_be_read_hides_lists_but_no_output(redeemer: bytes | None) -> None:
    film = closed()
    spent = film.located[1].observation
    assert isinstance(spent, ChannelSpent)
    film.located[1] = replace(film.located[1], observation=replace(spent, redeemer=redeemer))
    story = film.seen_by(OPENER)
    assert story.output is not None
    assert (story.output.datum, story.output.first, story.secrets) == (film.datum, (), ())


def test_an_output_that_we_cannot_read_is_no_end() -> None:
    """The thread token lives on: calling that an end would prove every cheque dead or paid."""
    film = closed()
    made = film.located[2].observation
    assert isinstance(made, ChannelCreated)
    film.located[2] = replace(
        film.located[2], observation=replace(made, utxo=replace(made.utxo, datum_cbor=b"\x80"))
    )
    story = film.seen_by(OTHER)
    assert story.ended_by is None
    assert {w.secret(2)} <= set(story.secrets)
