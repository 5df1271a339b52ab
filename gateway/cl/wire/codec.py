"""R2. Messages to bytes and back. `decode` is total: an Envelope or a cl.wire.* Rejection, work bounded by size.

The tables (`session_specs`, `swap_specs`, `channel_specs`) say which dataclass is which body, and
whether it belongs to a channel and a conversation. What this version does not know inside a known
message is kept in `Envelope.unknown` and goes out again with `encode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from gateway.cl.data.types import ChannelId
from gateway.cl.wire import channel_specs, cl_pb2, errors, session_specs, swap_specs
from gateway.cl.wire.fields import BadField
from gateway.cl.wire.scope import Body, Presence
from gateway.errors import Rejection

MAX_MESSAGE = 65_535  # one BOLT 8 frame
CHANNEL_ID_BYTES = 20
MAX_CONVERSATION = (1 << 63) - 1

BODIES: Mapping[type, Body] = {
    body.spec.cls: body for body in (*session_specs.BODIES, *channel_specs.BODIES, *swap_specs.BODIES)
}
_BY_NAME: Mapping[str, Body] = {body.name: body for body in BODIES.values()}
_NUMBERS = {
    field.number: field.name
    for field in cl_pb2.Envelope.DESCRIPTOR.fields
    if field.containing_oneof is not None and field.containing_oneof.name == "body"
}


@dataclass(frozen=True, slots=True)
class Unknown:
    """Protobuf bytes of fields that this version does not know, of the envelope and of its body."""

    envelope: bytes = b""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Envelope:
    message: Any  # one of the dataclasses in BODIES
    channel: ChannelId | None = None
    conversation: int | None = None
    unknown: Unknown = Unknown()


def encode(envelope: Envelope) -> bytes:
    """Deterministic. Raises ValueError or KeyError for what has no form (a bug of ours)."""
    body = BODIES[type(envelope.message)]
    try:
        _check_scope(body, envelope.channel is not None, envelope.conversation is not None)
    except BadField as bad:
        raise ValueError(str(bad.rejection)) from bad
    pb = cl_pb2.Envelope()
    if envelope.channel is not None:
        pb.channel_id = envelope.channel.raw
    if envelope.conversation is not None:
        if not 0 <= envelope.conversation <= MAX_CONVERSATION:
            raise ValueError("a conversation id has 63 bits")
        pb.conversation = envelope.conversation
    part = getattr(pb, body.name)
    part.SetInParent()
    body.spec.fill(part, envelope.message)
    part.MergeFromString(envelope.unknown.body)
    pb.MergeFromString(envelope.unknown.envelope)
    raw: bytes = pb.SerializeToString(deterministic=True)
    if len(raw) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(raw)} bytes does not fit a frame")
    return raw


def decode(raw: bytes) -> Envelope | Rejection:
    """The envelope in `raw`, every field checked; or the one reason why not."""
    if len(raw) > MAX_MESSAGE:
        return errors.TOO_LONG(field="message", got=f"{len(raw)} bytes", allowed=f"at most {MAX_MESSAGE}")
    refusal = _scan(raw)
    if refusal is not None:
        return refusal
    pb = cl_pb2.Envelope()
    try:
        pb.ParseFromString(raw)
    except DecodeError:  # inside the body: the scan has seen the envelope whole
        return errors.MALFORMED(field="message")
    name = pb.WhichOneof("body")
    if name is None:
        return errors.UNKNOWN_TYPE(field="body", got="none")
    try:
        return _read(pb, _BY_NAME[name])
    except BadField as bad:
        return bad.rejection


def _read(pb: cl_pb2.Envelope, body: Body) -> Envelope:
    channel: ChannelId | None = None
    if pb.HasField("channel_id"):
        if len(pb.channel_id) != CHANNEL_ID_BYTES:
            size = f"{len(pb.channel_id)} bytes"
            raise BadField(errors.WRONG_LENGTH(field="channel_id", got=size, allowed=CHANNEL_ID_BYTES))
        channel = ChannelId(pb.channel_id)
    conversation: int | None = None
    if pb.HasField("conversation"):
        conversation = pb.conversation
        if conversation > MAX_CONVERSATION:
            raise BadField(
                errors.OUT_OF_RANGE(
                    field="conversation", got=conversation, allowed=f"at most {MAX_CONVERSATION}"
                )
            )
    _check_scope(body, channel is not None, conversation is not None)
    part = getattr(pb, body.name)
    message = body.spec.read(part, body.name)
    return Envelope(message, channel, conversation, _unknown(pb, part))


def _check_scope(body: Body, has_channel: bool, has_conversation: bool) -> None:
    for field, rule, there in (
        ("channel_id", body.channel, has_channel),
        ("conversation", body.conversation, has_conversation),
    ):
        if rule is Presence.MUST and not there:
            raise BadField(errors.MISSING_FIELD(field=field, detail=f"{body.name} belongs to one"))
        if rule is Presence.MUST_NOT and there:
            raise BadField(errors.UNEXPECTED_FIELD(field=field, detail=f"{body.name} has none"))


def _unknown(pb: cl_pb2.Envelope, part: Any) -> Unknown:
    copy = type(part)()
    copy.CopyFrom(part)
    return Unknown(_leftover(pb), _leftover(copy))


def _leftover(pb: Any) -> bytes:
    """What stays when the known fields are taken out of `pb`."""
    for field, _ in pb.ListFields():
        pb.ClearField(field.name)
    raw: bytes = pb.SerializeToString(deterministic=True)
    return raw


def _varint(raw: bytes, at: int) -> tuple[int, int] | Rejection:
    value = shift = 0
    while shift < 70:
        if at >= len(raw):
            return errors.TRUNCATED(field="message", got=f"{len(raw)} bytes")
        value |= (raw[at] & 0x7F) << shift
        at += 1
        if raw[at - 1] < 0x80:
            return value, at
        shift += 7
    return errors.MALFORMED(field="message", detail="a number of more than ten bytes")


def _scan(raw: bytes) -> Rejection | None:
    """Walks the envelope's own fields: whole, and exactly one body, which this version knows.

    protobuf itself would take the last of two bodies, or merge two halves of one: another
    reader could see another message in the same bytes.
    """
    at = 0
    bodies: list[int] = []
    singles: set[int] = set()
    while at < len(raw):
        head = _varint(raw, at)
        if isinstance(head, Rejection):
            return head
        key, at = head
        number, form = key >> 3, key & 7
        if number == 0:
            return errors.MALFORMED(field="message", detail="field 0")
        if form == 2:
            sized = _varint(raw, at)
            if isinstance(sized, Rejection):
                return sized
            at = sized[1] + sized[0]
            if number >= 16:
                bodies.append(number)
        elif form == 0:
            passed = _varint(raw, at)
            if isinstance(passed, Rejection):
                return passed
            at = passed[1]
        elif form in (1, 5):
            at += 8 if form == 1 else 4
        else:
            return errors.MALFORMED(field="message", detail=f"wire type {form}")
        if at > len(raw):
            return errors.TRUNCATED(field="message", got=f"{len(raw)} bytes", allowed=f"at least {at}")
        if number in singles and number < 16:
            return errors.AMBIGUOUS(field=f"field {number}", got="twice")
        singles.add(number)
    if len(bodies) > 1:
        return errors.AMBIGUOUS(field="body", got=", ".join(map(str, bodies[:5])))
    if not bodies or bodies[0] not in _NUMBERS:
        return errors.UNKNOWN_TYPE(field="body", got=bodies[0] if bodies else "none")
    return None
