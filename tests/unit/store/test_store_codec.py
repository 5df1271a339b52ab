"""The codec: golden bytes, strictness, upgrades, round trips of the project's own types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.data.types import Cheque, Snapshot, Squash, VerificationKey
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.store.codec import Codecs
from gateway.store.errors import IN_USE
from gateway.units import BlockDelta, BlockHeight, Lovelace, Msat, PosixMs


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Left:
    amount: Msat


@dataclass(frozen=True, slots=True)
class Right:
    expiry: BlockHeight
    height: BlockHeight


@dataclass(frozen=True, slots=True)
class Tree:
    children: tuple[Tree, ...]


def codecs() -> Codecs:
    made = Codecs()
    made.register_all("cl", Cheque, Snapshot, Squash)
    made.register_all("t", Left, Right, Tree)
    return made


GOLDEN = {
    Left(Msat(5)): b'{"d":{"amount_msat":5},"t":"t.Left","v":1}',
    Right(BlockHeight(7), BlockHeight(8)): b'{"d":{"expiry_height":7,"height":8},"t":"t.Right","v":1}',
    Tree((Tree(()), Tree(()))): b'{"d":{"children":[{"children":[]},{"children":[]}]},"t":"t.Tree","v":1}',
    Cheque(3, PosixMs(9), Hashlock(b"\x11" * 32), Lovelace(4)): (
        b'{"d":{"amount_lovelace":4,"index":3,"lock":"'
        + b"11" * 32
        + b'","timeout_ms":9},"t":"cl.Cheque","v":1}'
    ),
    Snapshot(Squash(Lovelace(-1), 2, (1,)), Squash()): (
        b'{"d":{"first":{"amount_lovelace":-1,"exclude":[1],"index":2},'
        b'"second":{"amount_lovelace":0,"exclude":[],"index":0}},"t":"cl.Snapshot","v":1}'
    ),
}


@pytest.mark.parametrize("value", GOLDEN)
def test_golden_bytes(value: Any) -> None:
    assert codecs().encode(value) == GOLDEN[value]
    assert codecs().decode(GOLDEN[value]) == value


def test_every_form_returns_as_it_was() -> None:
    made = Codecs()
    made.register(Everything, "t.Everything")
    for side in (Left(Msat(1)), Right(BlockHeight(1), BlockHeight(2))):
        for maybe in (None, Lovelace(-3)):
            value = Everything(
                side, maybe, (PosixMs(1), PosixMs(2)), (5, "é"), b"\x00\xff", True, Colour.BLUE, Fraction(2, 3),
                Hashlock(bytes(32)), Preimage(bytes(32)), BlockDelta(4), {b"b": 1, b"a": 2}, frozenset("xy"), "in",
            )  # fmt: skip
            raw = made.encode(value)
            assert made.decode(raw) == value
            assert made.encode(made.decode(raw)) == raw


@dataclass(frozen=True, slots=True)
class Everything:
    side: Left | Right
    maybe: Lovelace | None
    many: tuple[PosixMs, ...]
    pair: tuple[int, str]
    raw: bytes
    flag: bool
    colour: Colour
    ratio: Fraction
    lock: Hashlock
    secret: Preimage
    delta: BlockDelta
    table: dict[bytes, int]
    names: frozenset[str]
    word: Literal["in", "out"]


BAD = {
    b"": "store.codec.malformed",
    b"\xff": "store.codec.malformed",
    b"[]": "store.codec.malformed",
    b"[" * 100_000: "store.codec.malformed",
    b'{"d":{"amount_msat":5},"t":"t.Left"}': "store.codec.malformed",
    b'{"d":{"amount_msat":5},"t":"t.Left","v":1,"x":1}': "store.codec.malformed",
    b'{"d":{"amount_msat":5},"t":"t.Left","v":2}': "store.codec.newer_version",
    b'{"d":{"amount_msat":5},"t":"t.Left","v":0}': "store.codec.malformed",
    b'{"d":{"amount_msat":5},"t":"t.Left","v":true}': "store.codec.malformed",
    b'{"d":{"amount_msat":5},"t":"t.Middle","v":1}': "store.codec.unknown_type",
    b'{"d":{"amount_msat":5},"t":[],"v":1}': "store.codec.unknown_type",
    b'{"d":{"amount_msat":5.0},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount_msat":NaN},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount_msat":true},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount_msat":"5"},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount":5},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":5,"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount_msat":5,"amount_msat":6},"t":"t.Left","v":1}': "store.codec.malformed",
    b'{"d":{"amount_lovelace":4,"index":3,"lock":"AA","timeout_ms":9},"t":"cl.Cheque","v":1}': (
        "store.codec.malformed"
    ),
    b'{"d":{"amount_lovelace":4,"index":3,"lock":"aa","timeout_ms":9},"t":"cl.Cheque","v":1}': (
        "store.codec.malformed"
    ),
}


@pytest.mark.parametrize("raw", BAD)
def test_what_cannot_be_read_is_refused_with_a_code(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        codecs().decode(raw)
    assert caught.value.rejection.code == BAD[raw]


@settings(max_examples=300)
@given(st.sampled_from(sorted(GOLDEN.values())), st.data())
def test_edited_bytes_are_refused_or_read_as_something_else(raw: bytes, data: st.DataObject) -> None:
    """Total: any damage is a coded refusal or another valid record, never another exception."""
    at = data.draw(st.integers(0, len(raw) - 1))
    edited = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]
    made = codecs()
    try:
        value = made.decode(edited)
    except Refused as error:
        assert error.rejection.code.startswith("store.codec.")  # noqa: PT017
    else:
        assert made.decode(made.encode(value)) == value


def test_older_versions_are_upgraded_step_by_step() -> None:
    @dataclass(frozen=True, slots=True)
    class Now:
        a: int
        b: int
        c: int

    made = Codecs()
    made.register(Now, "t.Now", 3, {1: lambda d: {**d, "b": 2}, 2: lambda d: {**d, "c": 3}})
    assert made.decode(b'{"d":{"a":1},"t":"t.Now","v":1}') == Now(1, 2, 3)
    assert made.decode(b'{"d":{"a":1,"b":5},"t":"t.Now","v":2}') == Now(1, 5, 3)
    assert made.encode(Now(1, 2, 3)) == b'{"d":{"a":1,"b":2,"c":3},"t":"t.Now","v":3}'
    with pytest.raises(ValueError, match="upgrade"):
        made.register(Left, "t.Left", 2)


def test_registration_is_once_and_only_for_what_can_be_stored() -> None:
    made = codecs()
    with pytest.raises(ValueError, match="twice"):
        made.register(Left, "t.Other")
    with pytest.raises(ValueError, match="twice"):
        made.register(VerificationKey, "t.Left")

    @dataclass(frozen=True, slots=True)
    class Floating:
        x: float

    @dataclass(frozen=True, slots=True)
    class Mixed:
        x: int | str

    @dataclass(frozen=True, slots=True)
    class Loose:
        x: object

    for cls in (Floating, Mixed, Loose):
        with pytest.raises(TypeError):
            made.register(cls, f"t.{cls.__name__}")
    with pytest.raises(TypeError, match="no codec"):
        made.encode(VerificationKey(bytes(32)))
    with pytest.raises(TypeError):
        made.encode(Left(Lovelace(1)))  # type: ignore[arg-type]


def test_a_rejection_is_stored_by_its_code() -> None:
    @dataclass(frozen=True, slots=True)
    class Failed:
        why: Rejection | None

    made = Codecs()
    made.register(Failed, "t.Failed")
    for why in (None, IN_USE(field="f", got=1, retry_after_ms=5)):
        assert made.decode(made.encode(Failed(why))) == Failed(why)
    with pytest.raises(Refused):
        made.decode(b'{"d":{"why":["no.such.code","","","","",null]},"t":"t.Failed","v":1}')
