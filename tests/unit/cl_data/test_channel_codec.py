"""The codec: golden bytes, round trips, every legal encoding read, everything else refused with a code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr, Data, Map, deserialise, serialise
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, PosixMs

GOLDEN = Path(__file__).parents[2] / "golden" / "cl_data" / "codec.json"

u64 = st.integers(0, 2**64 - 1)
keys = st.binary(min_size=32, max_size=32).map(t.VerificationKey)
signatures = st.binary(min_size=64, max_size=64).map(t.Signature)
locks = st.binary(min_size=32, max_size=32).map(Hashlock)
secrets = st.binary(min_size=32, max_size=32).map(Preimage)
ada = st.integers(-(2**70), 2**70).map(Lovelace)
natural = st.integers(0, 2**70).map(Lovelace)
squashes = st.builds(
    lambda amount, gaps, above: t.Squash(amount, max(gaps, default=0) + above, tuple(sorted(gaps))),
    ada,
    st.sets(st.integers(1, 2**64), max_size=20),
    st.integers(1, 9),
)
snapshots = st.builds(t.Snapshot, squashes, squashes)
commitments = st.builds(t.Commitment, st.binary(min_size=32, max_size=32), natural, natural)
stages = st.one_of(
    st.builds(t.Opened, natural, snapshots, st.integers(1, 2**40).map(Ms)),
    st.builds(t.Closed, ada, squashes, squashes, u64.map(PosixMs), commitments),
    st.builds(t.Resolved, natural, commitments, commitments),
)
datums = st.builds(
    t.Datum, st.binary(min_size=28, max_size=28), st.tuples(keys, keys), stages, natural, st.integers(0, 1)
)
cheques = st.builds(
    t.Cheque, st.integers(1, 2**64 - 1), u64.map(PosixMs), locks, st.integers(1, 2**64 - 1).map(Lovelace)
)


@st.composite
def presented(draw: st.DrawFn) -> t.PresentedCheque:
    cheque = draw(cheques)
    if draw(st.booleans()):
        secret = draw(secrets)
        cheque = t.Cheque(cheque.index, cheque.timeout, secret.hashlock, cheque.amount)
        return t.PresentedCheque(t.SignedCheque(cheque, draw(signatures)), secret)
    return t.PresentedCheque(t.SignedCheque(cheque, draw(signatures)))


signed = st.none() | st.builds(t.SignedSnapshot, snapshots, signatures)
receipts = st.builds(t.Receipt, signed, st.lists(presented(), max_size=3).map(tuple))
entries = st.lists(
    st.builds(t.Entry, u64, u64.map(Lovelace), u64.map(PosixMs), locks, st.booleans()), max_size=20
).map(tuple)
optional = st.none() | entries
flags = st.booleans()
unlocks = st.lists(secrets, max_size=3).map(lambda s: tuple(t.Unlock(3 * i, x) for i, x in enumerate(s)))
steps = st.one_of(
    st.builds(t.Add, flags, signed),
    st.builds(t.Close, flags, receipts),
    st.builds(t.Respond, receipts, flags, flags, flags, optional),
    st.builds(t.Elapse, optional, unlocks),
    st.builds(t.FreeInClosed, entries, unlocks),
    st.builds(t.FreeInResolved, flags, optional, unlocks, optional),
    st.builds(t.EndResolved, optional, unlocks, optional),
    st.builds(t.ElapseEnd, optional, unlocks),
    st.builds(t.RespondEnd, receipts, flags, flags, optional),
)
refs = st.builds(t.OutputRef, st.binary(min_size=32, max_size=32), st.integers(0, 65_535))
redeemers = st.builds(t.MintRedeemer, st.none() | refs, st.lists(steps, max_size=3).map(tuple))
quick = settings(max_examples=40, deadline=None)


@quick
@given(datums)
def test_datum_round_trip(datum: t.Datum) -> None:
    assert codec.decode_datum(codec.encode_datum(datum)) == datum


@quick
@given(redeemers)
def test_redeemer_round_trip(redeemer: t.MintRedeemer) -> None:
    raw = codec.encode_redeemer(redeemer)
    assert codec.decode_redeemer(raw) == redeemer
    assert codec.decode_steps(raw) == redeemer.steps


@quick
@given(entries)
def test_entries_round_trip_and_their_commitment(listed: tuple[t.Entry, ...]) -> None:
    raw = codec.pack_entries(listed)
    assert len(raw) == 57 * len(listed)
    assert codec.unpack_entries(raw) == listed
    kept = codec.commit(listed)
    assert kept.hash == hashlib.blake2b(raw, digest_size=32).digest()
    assert kept.pending + kept.paid == Lovelace(sum(e.amount.value for e in listed))


def test_golden_bytes() -> None:
    """The stored forms never change unnoticed."""
    golden = json.loads(GOLDEN.read_text())
    for name, made in golden_objects().items():
        assert made.hex() == golden[name], name
    assert golden.keys() == golden_objects().keys()


def golden_objects() -> dict[str, bytes]:
    cid = t.ChannelId(bytes(range(20)))
    small, large = t.VerificationKey(b"\x01" * 32), t.VerificationKey(b"\x02" * 32)
    squash = t.Squash(Lovelace(5_000_000), 7, (2, 5))
    secret = Preimage(b"\x33" * 32)
    cheque = t.Cheque(8, PosixMs(1_700_000_000_000), secret.hashlock, Lovelace(1_500_000))
    snapshot = t.Snapshot(squash, t.Squash())
    sign = t.Signature(b"\x44" * 64)
    listed = (
        t.Entry(8, Lovelace(1_500_000), PosixMs(1_700_000_000_000), secret.hashlock, False),
        t.Entry(9, Lovelace(2), PosixMs(3), Hashlock(b"\x66" * 32), True),
    )
    receipt = t.Receipt(
        t.SignedSnapshot(snapshot, sign),
        (
            t.PresentedCheque(t.SignedCheque(cheque, sign)),
            t.PresentedCheque(t.SignedCheque(cheque, sign), secret),
        ),
    )
    ref = t.OutputRef(b"\x55" * 32, 2)
    kept = codec.commit(listed)
    stages: dict[str, t.Stage] = {
        "opened": t.Opened(Lovelace(3), snapshot, Ms(86_400_000)),
        "closed": t.Closed(Lovelace(-4), squash, t.Squash(), PosixMs(1_700_000_000_001), kept),
        "resolved": t.Resolved(Lovelace(6), kept, codec.EMPTY_COMMITMENT),
    }
    opens = (t.Unlock(0, secret),)
    all_steps: dict[str, t.Step] = {
        "add": t.Add(True, receipt.snapshot),
        "close": t.Close(False, receipt),
        "respond": t.Respond(receipt, True, False, True, listed),
        "elapse": t.Elapse(listed, opens),
        "free_in_closed": t.FreeInClosed(listed, opens),
        "free_in_resolved": t.FreeInResolved(True, listed, opens, listed),
        "end_resolved": t.EndResolved(None, (), listed),
        "elapse_end": t.ElapseEnd(),
        "respond_end": t.RespondEnd(receipt, False, True),
    }
    made = {
        "cheque_message": codec.cheque_message(cid, cheque),
        "snapshot_message": codec.snapshot_message(cid, snapshot),
        "channel_id": codec.channel_id(ref, 255).raw,
        "thread_token": codec.thread_token_name(cid),
        "bolt": codec.BOLT_TOKEN,
        "entries": codec.pack_entries(listed),
        "spend": codec.SPEND_REDEEMER,
        "open": codec.encode_redeemer(t.MintRedeemer(ref, ())),
    }
    for name, stage in stages.items():
        made[name] = codec.encode_datum(t.Datum(b"\x77" * 28, (small, large), stage, Lovelace(2_000_000), 1))
    for name, step in all_steps.items():
        made[name] = codec.encode_redeemer(t.MintRedeemer(None, (step,)))
    return made


def test_signed_bytes_are_the_references_f9() -> None:
    """By hand: indefinite lists, an empty one is 80, a squash is constructor 0."""
    cid = t.ChannelId(b"\xaa" * 20)
    cheque = t.Cheque(1, PosixMs(2), Hashlock(b"\xbb" * 32), Lovelace(3))
    by_hand = "9f54" + "aa" * 20 + "9f01025820" + "bb" * 32 + "03ffff"
    assert codec.cheque_message(cid, cheque).hex() == by_hand
    snapshot = t.Snapshot(t.Squash(Lovelace(4), 5, (1, 3)), t.Squash())
    by_hand = "9f54" + "aa" * 20 + "9fd8799f04059f0103ffffd8799f000080ffffff"
    assert codec.snapshot_message(cid, snapshot).hex() == by_hand


def test_channel_id_puts_the_index_byte_first_f9() -> None:
    raw = b"\x02" + bytes.fromhex("d8799f5820" + "55" * 32 + "18c8ff")
    expected = hashlib.blake2b(raw, digest_size=32).digest()[:20]
    assert codec.channel_id(t.OutputRef(b"\x55" * 32, 200), 2).raw == expected
    for n in (0, 256, -1):
        with pytest.raises(Refused, match=r"cl\.data\.range"):
            codec.channel_id(t.OutputRef(b"\x55" * 32, 0), n)


def test_thread_token_is_read_by_its_full_name_f3() -> None:
    cid = t.ChannelId(b"\xaa" * 20)
    assert codec.cid_of_token(codec.thread_token_name(cid)) == cid
    for name in (b"", codec.BOLT_TOKEN, b"xxx" + cid.raw, codec.BOLT_TOKEN + cid.raw + b"\0", cid.raw):
        with pytest.raises(Refused, match=r"cl\.data\.shape"):
            codec.cid_of_token(name)


def other_encoding(data: Data) -> object:
    """The same data as other libraries write it: definite lists, no constructor sugar."""
    if isinstance(data, Constr):
        return cbor2.CBORTag(102, [data.tag, [other_encoding(f) for f in data.fields]])
    if isinstance(data, tuple):
        return [other_encoding(i) for i in data]
    return data


@quick
@given(datums)
def test_every_legal_encoding_of_a_datum_is_read(datum: t.Datum) -> None:
    """A partner who writes definite lists must not blind the watcher."""
    raw = cbor2.dumps(other_encoding(codec.datum_data(datum)))
    assert codec.decode_datum(raw) == datum


def refusal(raw: bytes) -> set[str]:
    codes = set()
    for decode in (codec.decode_datum, codec.decode_redeemer, codec.decode_steps):
        try:
            decode(raw)
        except Refused as e:
            codes.add(e.rejection.code)
    assert all(c.startswith("cl.data.") for c in codes)
    return codes


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x9f" * 30_000)
@example(b"\x81" * 30_000)
@example(b"\xd8\x79\x81" * 5_000)
@example(b"\xa1\x00" * 10_000)
@example(b"\x9b" + b"\xff" * 8)
@example(b"\x5b" + b"\xff" * 8)
@example(b"\xbb" + b"\xff" * 8)
@example(b"\xc2\x5f" + b"\x58\x40" + b"\xff" * 64 + b"\xff")
@example(b"")
def test_foreign_bytes_are_refused_with_a_code(raw: bytes) -> None:
    assert refusal(raw)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_read(data: st.DataObject) -> None:
    good = data.draw(datums.map(codec.encode_datum) | redeemers.map(codec.encode_redeemer))
    at = data.draw(st.integers(0, len(good) - 1))
    refusal(good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :])


trees: st.SearchStrategy[Data] = st.recursive(
    st.integers(-(2**70), 2**70) | st.binary(max_size=80),
    lambda inner: st.one_of(
        st.lists(inner, max_size=7).map(tuple),
        st.builds(Constr, st.integers(0, 9), st.lists(inner, max_size=7).map(tuple)),
        st.lists(st.tuples(inner, inner), max_size=2).map(lambda p: Map(tuple(p))),
    ),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None)
@given(trees)
def test_plutus_data_round_trip_and_other_shapes_are_refused(data: Data) -> None:
    raw = serialise(data)
    assert deserialise(raw) == data
    refusal(raw)


@quick
@given(redeemers, trees)
def test_a_strangers_step_does_not_hide_ours(redeemer: t.MintRedeemer, junk: Data) -> None:
    """One redeemer steps many channels: what strangers write for theirs must not blind us."""
    ours = t.Elapse((), (t.Unlock(0, Preimage(b"\x01" * 32)),))
    listed = (junk, codec.step_data(ours), junk)
    assert codec.decode_steps(serialise(((), listed)))[1] == ours


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((0,), b"\x01" * 27),
        ((1,), b"\x01" * 31),
        ((2,), 5),
        ((3, 0), -1),
        ((3, 3), 0),
        ((3, 1), Constr(0, (0, 5, (3, 3)))),
        ((3, 1), Constr(0, (0, 5, (5,)))),
        ((3, 1), Constr(0, (0, 50, tuple(range(1, 22))))),
        ((3, 1), Constr(1, (0, 5, ()))),
        ((4,), -1),
        ((5,), 2),
    ],
)
def test_a_datum_that_the_validator_refuses_is_refused(path: tuple[int, ...], value: Data) -> None:
    two = (t.VerificationKey(b"\x01" * 32), t.VerificationKey(b"\x02" * 32))
    datum = t.Datum(b"\x77" * 28, two, t.Opened(Lovelace(0), t.Snapshot(), Ms(1)), Lovelace(0), 0)

    def put(data: Data, rest: tuple[int, ...]) -> Data:
        if not rest:
            return value
        items = data.fields if isinstance(data, Constr) else data
        assert isinstance(items, tuple)
        new = (*items[: rest[0]], put(items[rest[0]], rest[1:]), *items[rest[0] + 1 :])
        return Constr(data.tag, new) if isinstance(data, Constr) else new

    with pytest.raises(Refused, match=r"cl\.data\.(range|shape)"):
        codec.decode_datum(serialise(put(codec.datum_data(datum), path)))
