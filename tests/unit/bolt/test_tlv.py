"""BigSize and TLV: total, canonical, one meaning for each byte string."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bolt import bigsize, tlv
from gateway.errors import Rejection

ANY = {kind: (lambda value: True) for kind in range(0, 40, 2)}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, bigsize.MAX), st.binary(max_size=3))
def test_bigsize_round_trip(value: int, after: bytes) -> None:
    raw = bigsize.encode(value)
    assert bigsize.decode(raw + after) == (value, len(raw))


@pytest.mark.parametrize("value", [-1, bigsize.MAX + 1])
def test_bigsize_range(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        bigsize.encode(value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_stream_has_one_meaning(raw: bytes) -> None:
    got = tlv.decode(raw, ANY)
    if isinstance(got, Rejection):
        assert got.code.startswith(("bolt.tlv.", "bolt.bigsize."))
    else:
        assert tlv.encode(got) == raw


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(0, 19).map(lambda n: 2 * n), st.binary(max_size=300), max_size=5))
def test_stream_round_trip(values: dict[int, bytes]) -> None:
    records = tuple(tlv.Record(kind, values[kind]) for kind in sorted(values))
    assert tlv.decode(tlv.encode(records), ANY) == records


def test_our_own_order_is_checked() -> None:
    with pytest.raises(ValueError, match="rise"):
        tlv.encode((tlv.Record(3, b""), tlv.Record(1, b"")))
