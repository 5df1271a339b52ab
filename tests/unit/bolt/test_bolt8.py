"""The transport under fragmentation, tampering and its size limit (vectors: tests/vectors)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bolt import bolt8, crypto
from gateway.errors import Rejection
from tests.support.bolt8_pair import INITIATOR, RESPONDER, RESPONDER_KEY, ecdh, sessions


def _sealed(session: bolt8.Session, message: bytes) -> bytes:
    frame = session.seal(message)
    assert isinstance(frame, bytes)
    return frame


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_any_fragmentation(messages: list[bytes], cuts: list[int]) -> None:
    left, right = sessions()
    stream = b"".join(_sealed(left, m) for m in messages)
    got: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        right.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
        while (one := right.take()) is not None:
            assert isinstance(one, bytes)
            got.append(one)
    assert got == messages
    assert not right.is_mid_message


def test_both_know_each_other_and_both_ways_work() -> None:
    left, right = sessions()
    assert (left.remote_static, right.remote_static) == (RESPONDER, INITIATOR)
    for number in range(1_200):  # over two key rotations each way
        for out, back in ((left, right), (right, left)):
            back.feed(_sealed(out, str(number).encode()))
            assert back.take() == str(number).encode()


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_flipped_bit_breaks_the_session_for_good(message: bytes, data: st.DataObject) -> None:
    left, right = sessions()
    frame = bytearray(_sealed(left, message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    right.feed(bytes(frame))
    first = right.take()
    assert isinstance(first, Rejection)
    assert first.code == "bolt8.frame.mac"
    right.feed(_sealed(left, b"more"))
    assert right.take() == first


@pytest.mark.threat("P1")
@pytest.mark.kind("SM")
def test_replayed_or_reordered_frames_are_refused() -> None:
    left, right = sessions()
    one, two = _sealed(left, b"one"), _sealed(left, b"two")
    right.feed(one + one)
    assert right.take() == b"one"
    assert isinstance(right.take(), Rejection)
    left, right = sessions()
    one, two = _sealed(left, b"one"), _sealed(left, b"two")
    right.feed(two + one)
    assert isinstance(right.take(), Rejection)


def test_message_size() -> None:
    left, right = sessions()
    frame = _sealed(left, bytes(bolt8.MAX_MESSAGE))
    assert len(frame) == bolt8.MAX_FRAME == 65_569
    right.feed(frame)
    assert right.take() == bytes(bolt8.MAX_MESSAGE)
    refused = left.seal(bytes(bolt8.MAX_MESSAGE + 1))
    assert isinstance(refused, Rejection)
    assert refused.code == "bolt8.frame.too_long"
    right.feed(_sealed(left, b""))
    assert right.take() == b""


def test_a_cut_stream_is_seen() -> None:
    left, right = sessions()
    frame = _sealed(left, b"hello")
    for cut in range(1, len(frame)):
        left, right = sessions()
        right.feed(_sealed(left, b"hello")[:cut])
        assert right.take() is None
        assert right.is_mid_message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=70))
def test_any_act_gives_a_code(act: bytes) -> None:
    started = bolt8.start_initiator(RESPONDER, INITIATOR, b"\x12" * 32)
    assert not isinstance(started, Rejection)
    for got in (started[1].feed(act), bolt8.start_responder(RESPONDER, b"\x22" * 32).feed(act)):
        assert isinstance(got, Rejection)
        assert got.code.startswith("bolt8.handshake.")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 49), st.integers(1, 255))
def test_a_changed_act_one_is_refused(at: int, flip: int) -> None:
    started = bolt8.start_initiator(RESPONDER, INITIATOR, b"\x12" * 32)
    assert not isinstance(started, Rejection)
    act = bytearray(started[0])
    act[at] ^= flip
    asked = bolt8.start_responder(RESPONDER, b"\x22" * 32).feed(bytes(act))
    got = asked if isinstance(asked, Rejection) else asked.provide(ecdh(RESPONDER_KEY, asked.point))
    assert isinstance(got, Rejection)
    assert got.code in {"bolt8.handshake.mac", "bolt8.handshake.key"}


def test_wrong_node_id_is_refused_by_both() -> None:
    other = crypto.public_key(b"\x33" * 32)
    started = bolt8.start_initiator(other, INITIATOR, b"\x12" * 32)
    assert not isinstance(started, Rejection)
    asked = bolt8.start_responder(RESPONDER, b"\x22" * 32).feed(started[0])
    assert not isinstance(asked, Rejection)
    refused = asked.provide(ecdh(RESPONDER_KEY, asked.point))
    assert isinstance(refused, Rejection)
    assert refused.code == "bolt8.handshake.mac"
    bad = bolt8.start_initiator(b"\x05" * 33, INITIATOR, b"\x12" * 32)
    assert isinstance(bad, Rejection)
    assert bad.code == "bolt8.handshake.key"


def test_no_key_in_a_repr() -> None:
    started = bolt8.start_initiator(RESPONDER, INITIATOR, b"\x12" * 32)
    assert not isinstance(started, Rejection)
    text = repr(started[1]) + repr(bolt8.start_responder(RESPONDER, b"\x22" * 32))
    assert repr(b"\x12" * 32) not in text
    assert repr(b"\x22" * 32) not in text
    assert repr(b'"' * 32)[2:20] not in text
