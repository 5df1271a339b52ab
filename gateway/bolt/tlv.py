"""R2. TLV streams (BOLT 1): records of BigSize type, BigSize length, value; types strictly rise.

A namespace maps the types that it knows to a check of the value. Unknown odd types are kept and
ignored, unknown even types refuse the stream ("it's OK to be odd").
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.bolt import bigsize, crypto, errors
from gateway.errors import Rejection

ValueCheck: TypeAlias = Callable[[bytes], bool]
Namespace: TypeAlias = Mapping[int, ValueCheck]


@dataclass(frozen=True, slots=True)
class Record:
    type: int
    value: bytes


def encode(records: Sequence[Record]) -> bytes:
    """Raises ValueError when the types do not strictly rise (a bug of ours)."""
    if any(a.type >= b.type for a, b in itertools.pairwise(records)):
        raise ValueError("TLV types must strictly rise")
    return b"".join(bigsize.encode(r.type) + bigsize.encode(len(r.value)) + r.value for r in records)


def decode(raw: bytes, namespace: Namespace) -> tuple[Record, ...] | Rejection:
    """All records in order, unknown odd ones included; or a bolt.tlv.* / bolt.bigsize.* Rejection."""
    records: list[Record] = []
    at = 0
    while at < len(raw):
        head = bigsize.decode(raw, at)
        if isinstance(head, Rejection):
            return head
        kind, at = head
        if records and kind <= records[-1].type:
            return errors.TLV_ORDER(field="type", got=kind, allowed=f"more than {records[-1].type}")
        sized = bigsize.decode(raw, at)
        if isinstance(sized, Rejection):
            return sized
        size, at = sized
        if size > len(raw) - at:
            return errors.TLV_TRUNCATED(field=f"type {kind}", got=f"{len(raw) - at} bytes", allowed=f"{size}")
        value = raw[at : at + size]
        at += size
        check = namespace.get(kind)
        if check is None and kind % 2 == 0:
            return errors.TLV_UNKNOWN_EVEN(field="type", got=kind)
        if check is not None and not check(value):
            return errors.TLV_VALUE(field=f"type {kind}", got=value[:40].hex())
        records.append(Record(kind, value))
    return tuple(records)


def fixed(size: int) -> ValueCheck:
    """Exactly `size` bytes."""
    return lambda value: len(value) == size


def truncated_int(size: int) -> ValueCheck:
    """BOLT 1 tu16, tu32, tu64: at most `size` bytes and no leading zero."""
    return lambda value: len(value) <= size and value[:1] != b"\x00"


def point_then(size: int) -> ValueCheck:
    """A compressed point, then exactly `size` bytes."""
    return lambda value: len(value) == 33 + size and crypto.is_point(value[:33])
