"""Every message type: round trip, golden bytes, hostile bytes; unknown fields kept; memory flat."""

import gc
import json
import random
import tracemalloc
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.data.types import ChannelId
from gateway.cl.wire import cl_pb2, codec, generate
from gateway.cl.wire import session_messages as m
from gateway.cl.wire.codec import Envelope, Unknown
from gateway.cl.wire.fields import BadField, Maybe
from gateway.cl.wire.scope import Body, Presence
from gateway.errors import REGISTRY, Rejection
from tests.support.wire_messages import envelopes, fixed_envelope, is_covered

GOLDEN = Path(__file__).parents[2] / "vectors" / "cl_wire.json"
BODIES = sorted(codec.BODIES.values(), key=lambda body: body.name)
EACH = pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
PING = codec.encode(Envelope(m.Ping(7)))


def _code(raw: bytes) -> str:
    got = codec.decode(raw)
    assert isinstance(got, Rejection), got
    assert got.spec is REGISTRY[got.code]
    return got.code


@EACH
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip(body: Body, data: st.DataObject) -> None:
    envelope = data.draw(envelopes(body))
    assert codec.decode(codec.encode(envelope)) == envelope


@EACH
def test_golden_bytes(body: Body) -> None:
    """The bytes of one full example of each type never change without a decision."""
    golden = json.loads(GOLDEN.read_text())["messages"]
    assert codec.encode(fixed_envelope(body)).hex() == golden[body.name]
    assert codec.decode(bytes.fromhex(golden[body.name])) == fixed_envelope(body)


def test_golden_file_is_complete() -> None:
    assert sorted(json.loads(GOLDEN.read_text())["messages"]) == [body.name for body in BODIES]
    in_schema = {f.name for f in cl_pb2.Envelope.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert in_schema == {body.name for body in BODIES}


@EACH
def test_every_field_has_a_form(body: Body) -> None:
    assert is_covered(body)
    message = cl_pb2.Envelope.DESCRIPTOR.fields_by_name[body.name].message_type
    names = {(body.spec.renamed or {}).get(attr, attr) for attr in body.spec.fields}
    assert {f.name for f in message.fields} == names


def test_schema_is_generated(tmp_path: Path) -> None:
    here = Path(generate.__file__).parent
    for made in generate.generate(tmp_path):
        assert made.read_text() == (here / made.name).read_text()


@EACH
def test_truncation_at_every_byte(body: Body) -> None:
    raw = codec.encode(fixed_envelope(body))
    for cut in range(len(raw)):
        assert _code(raw[:cut]) in {
            "cl.wire.truncated",
            "cl.wire.unknown_type",  # cut just before the body
        }


@EACH
def test_each_missing_field_is_named(body: Body) -> None:
    full = fixed_envelope(body)
    missing = 0
    for attr, kind in body.spec.fields.items():
        pb = cl_pb2.Envelope.FromString(codec.encode(full))
        name = (body.spec.renamed or {}).get(attr, attr)
        getattr(pb, body.name).ClearField(name)
        got = codec.decode(pb.SerializeToString())
        if isinstance(got, Rejection):
            assert (got.code, got.field) == ("cl.wire.missing_field", f"{body.name}.{name}")
            missing += 1
        else:
            assert isinstance(kind, Maybe) or getattr(got.message, attr) in ((), frozenset())
    if body.channel is Presence.MUST:
        pb = cl_pb2.Envelope.FromString(codec.encode(full))
        pb.ClearField("channel_id")
        assert _code(pb.SerializeToString()) == "cl.wire.missing_field"


@EACH
def test_scope_is_held(body: Body) -> None:
    pb = cl_pb2.Envelope.FromString(codec.encode(fixed_envelope(body)))
    for field, rule, value in (
        ("channel_id", body.channel, bytes(20)),
        ("conversation", body.conversation, 3),
    ):
        copy = cl_pb2.Envelope.FromString(pb.SerializeToString())
        if rule is Presence.MUST_NOT:
            setattr(copy, field, value)
            assert _code(copy.SerializeToString()) == "cl.wire.unexpected_field"
        else:
            copy.ClearField(field)
            got = codec.decode(copy.SerializeToString())
            assert isinstance(got, Rejection) == (rule is Presence.MUST)


@EACH
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_break_the_decoder(body: Body, data: st.DataObject) -> None:
    raw = bytearray(codec.encode(fixed_envelope(body)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    _is_total(bytes(raw))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    _is_total(raw)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(BODIES), st.binary(max_size=120))
def test_any_bytes_as_a_body(body: Body, raw: bytes) -> None:
    number = cl_pb2.Envelope.DESCRIPTOR.fields_by_name[body.name].number
    _is_total(_tag(number) + bytes([len(raw)]) + raw)


def _tag(number: int) -> bytes:
    key, out = number << 3 | 2, b""
    while key >= 0x80:
        out, key = out + bytes([key & 0x7F | 0x80]), key >> 7
    return out + bytes([key])


def _is_total(raw: bytes) -> None:
    got = codec.decode(raw)
    if isinstance(got, Rejection):
        assert got.code.startswith("cl.wire.")
        return
    again = codec.decode(codec.encode(got))  # what is accepted has one meaning
    assert again == got


def test_unknown_fields_are_kept() -> None:
    """Of the envelope and of the body, through decode and encode."""
    new_field = bytes([0x7A, 3]) + b"new"  # field 15 of the envelope
    odd_in_body = bytes([0xFA, 0x07, 2]) + b"hi"  # field 127 of the body
    body = cl_pb2.Envelope.FromString(PING).ping.SerializeToString() + odd_in_body
    raw = new_field + _tag(17) + bytes([len(body)]) + body
    got = codec.decode(raw)
    assert got == Envelope(m.Ping(7), unknown=Unknown(new_field, odd_in_body))
    again = codec.encode(got)
    assert new_field in again
    assert odd_in_body in again
    assert codec.decode(again) == got


def test_two_bodies_are_refused() -> None:
    """protobuf would take the last one, or merge: another reader might see another message."""
    assert _code(PING + PING) == "cl.wire.ambiguous"
    assert _code(PING + codec.encode(Envelope(m.Pong(7)))) == "cl.wire.ambiguous"
    assert _code(PING + _tag(99) + b"\x00") == "cl.wire.ambiguous"
    twice = codec.encode(Envelope(m.Error("a.b"), ChannelId(bytes(20))))
    assert _code(twice[:22] + twice) == "cl.wire.ambiguous"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "cl.wire.unknown_type"),
        (_tag(99) + b"\x00", "cl.wire.unknown_type"),
        (_tag(2) + bytes([20]) + bytes(20), "cl.wire.unknown_type"),
        (PING + b"\x00", "cl.wire.malformed"),  # field 0, cut off
        (b"\x0b", "cl.wire.malformed"),  # a group
        (b"\xff" * 11, "cl.wire.malformed"),
        (b"\xff" * 5, "cl.wire.truncated"),
        (_tag(17) + b"\x05\x08\x07", "cl.wire.truncated"),
        (_tag(17) + b"\xff\xff\xff\xff\x0f", "cl.wire.truncated"),
        (_tag(17) + b"\x02\x08\xff", "cl.wire.malformed"),  # cut inside the body
        (_tag(19) + b"\x04\x0a\x02\xff\xfe", "cl.wire.malformed"),  # text that is no UTF-8
        (_tag(2) + b"\x01a" + PING, "cl.wire.wrong_length"),
        (b"\x18" + b"\xff" * 9 + b"\x01" + _tag(19) + b"\x03\x0a\x01a", "cl.wire.out_of_range"),
        (_tag(17) + b"\x0b\x08" + b"\xff" * 9 + b"\x01", "cl.wire.out_of_range"),
        (bytes(65_536), "cl.wire.too_long"),
    ],
)
def test_named_breaches(raw: bytes, code: str) -> None:
    assert _code(raw) == code


def test_parts_have_limits() -> None:
    pb = cl_pb2.Envelope()
    pb.error.code, pb.error.text = "a.b", "x" * 1001
    assert _code(pb.SerializeToString()) == "cl.wire.too_long"
    pb = cl_pb2.Envelope.FromString(codec.encode(fixed_envelope(codec.BODIES[m.Init])))
    pb.init.validators.extend([bytes(28)] * 40)
    assert _code(pb.SerializeToString()) == "cl.wire.too_long"
    del pb.init.validators[:]
    pb.init.validators.append(bytes(27))
    assert _code(pb.SerializeToString()) == "cl.wire.wrong_length"


def test_our_own_texts_are_cut_to_fit() -> None:
    got = codec.decode(codec.encode(Envelope(m.Error("a.b", "é" * 2_000))))
    assert isinstance(got, Envelope)
    assert got.message == m.Error("a.b", "é" * 500)


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(m.Ping(-1)),
        Envelope(m.Ping(1, padding=bytes(70_000))),
        Envelope(m.Ping(1), ChannelId(bytes(20))),
        Envelope(m.Error("a"), conversation=-1),
        Envelope(m.Init(1, 1, "x" * 21, ())),
    ],
)
def test_our_own_mistakes_raise(envelope: Envelope) -> None:
    with pytest.raises((ValueError, BadField)):
        codec.encode(envelope)


@pytest.mark.threat("P13")
@pytest.mark.long
@pytest.mark.kind("SM")
def test_memory_is_flat_at_a_hundred_thousand_bad_frames() -> None:
    """Truncated, flipped and random frames of every type; each gets its code, none leaves anything behind."""
    dice = random.Random(13)
    good = [codec.encode(fixed_envelope(body)) for body in BODIES]
    frames = []
    while len(frames) < 2_000:
        raw = bytearray(dice.choice(good))
        match dice.randrange(3):
            case 0:
                raw = raw[: dice.randrange(len(raw))]
            case 1:
                raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            case _:
                raw = bytearray(dice.randbytes(dice.randrange(1, 200)))
        if isinstance(codec.decode(bytes(raw)), Rejection):
            frames.append(bytes(raw))
    refused = sum(isinstance(codec.decode(frame), Rejection) for frame in frames)  # and caches are warm
    gc.collect()
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(49):
        refused += sum(isinstance(codec.decode(frame), Rejection) for frame in frames)
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused == 100_000
    assert now - start < 50_000
    assert peak - start < 500_000


def test_deep_nesting_is_refused() -> None:
    groups = b"\xfb\x07" * 10_000  # start-group of an unknown field, ten thousand deep
    size = len(groups)
    body = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + groups
    assert _code(_tag(17) + body) == "cl.wire.malformed"
    with pytest.raises(DecodeError):
        cl_pb2.Envelope.FromString(_tag(17) + body)
