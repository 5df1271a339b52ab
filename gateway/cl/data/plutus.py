"""R1. Plutus data and its CBOR: written byte for byte as Plutus' `serialiseData`, read in every legal form.

Lists are indefinite (9f … ff) and an empty one is 80; constructor n has tag 121 + n (n < 7), 1280 + n - 7
(n < 128) or 102; bytes over 64 are chunked (finding F9). A partner may put any legal encoding of the same
data into an output, so reading must not insist on ours: refusing it would blind the watcher.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import overload

from gateway.cl.data.errors import MALFORMED
from gateway.errors import Refused

CHUNK = 64
MAX_BYTES = 65_536  # no datum or redeemer exceeds a transaction (16,384 bytes in 2026)


@dataclass(frozen=True, slots=True)
class Constr:
    tag: int
    fields: tuple[Data, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    pairs: tuple[tuple[Data, Data], ...] = ()


Data = int | bytes | tuple["Data", ...] | Constr | Map


def _head(major: int, value: int) -> bytes:
    major <<= 5
    if value < 24:
        return bytes((major | value,))
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes((major | extra,)) + value.to_bytes(size, "big")
    raise OverflowError("a CBOR head holds 64 bits")


def _write_bytes(raw: bytes) -> bytes:
    if len(raw) <= CHUNK:
        return _head(2, len(raw)) + raw
    parts = [raw[i : i + CHUNK] for i in range(0, len(raw), CHUNK)]
    return b"\x5f" + b"".join(_head(2, len(p)) + p for p in parts) + b"\xff"


def _write_int(value: int) -> bytes:
    major, magnitude = (0, value) if value >= 0 else (1, -1 - value)
    if magnitude < 1 << 64:
        return _head(major, magnitude)
    raw = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
    return _head(6, 2 + major) + _write_bytes(raw)


def _write_list(items: tuple[Data, ...]) -> bytes:
    return b"\x9f" + b"".join(map(serialise, items)) + b"\xff" if items else b"\x80"


def serialise(data: Data) -> bytes:
    """The bytes that the builtin `serialiseData` gives for `data`."""
    match data:
        case int():
            return _write_int(data)
        case bytes():
            return _write_bytes(data)
        case Constr(tag, fields):
            if tag < 7:
                return _head(6, 121 + tag) + _write_list(fields)
            if tag < 128:
                return _head(6, 1280 + tag - 7) + _write_list(fields)
            return _head(6, 102) + b"\x82" + _head(0, tag) + _write_list(fields)
        case Map(pairs):
            return _head(5, len(pairs)) + b"".join(serialise(k) + serialise(v) for k, v in pairs)
        case _:
            return _write_list(data)


def deserialise(raw: bytes) -> Data:
    """Any legal CBOR of Plutus data; raises `Refused` (cl.data.malformed) for all else. Linear in len(raw)."""
    if len(raw) > MAX_BYTES:
        raise _malformed("longer than a transaction", len(raw))
    reader = _Reader(raw)
    data = reader.item()
    if reader.at != len(raw):
        raise _malformed("bytes after the end", reader.at)
    return data


def _malformed(what: str, at: int) -> Refused:
    return Refused(MALFORMED(field=f"byte {at}", detail=what))


_LIST, _MAP = -1, -2


@dataclass(slots=True)
class _Open:
    """A container being read: a constructor's number, or _LIST or _MAP."""

    tag: int
    left: int | None  # items still to come; None: until a break
    extra_break: bool = False
    items: list[Data] = field(default_factory=list)


class _Reader:
    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.raw):
            raise _malformed("cut short", self.at)
        part = self.raw[self.at : end]
        self.at = end
        return part

    def head(self) -> tuple[int, int | None]:
        """Major type and value; None for an indefinite length."""
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        if info < 28:
            return major, int.from_bytes(self.take(1 << (info - 24)), "big")
        if info == 31 and major in (2, 4, 5):
            return major, None
        raise _malformed("not a form that Plutus data has", self.at - 1)

    def at_break(self) -> bool:
        if self.at >= len(self.raw):
            raise _malformed("cut short", self.at)
        if self.raw[self.at] == 0xFF:
            self.at += 1
            return True
        return False

    def byte_string(self, length: int | None) -> bytes:
        if length is not None:
            return self._chunk(length)
        parts = []
        while not self.at_break():
            major, size = self.head()
            if major != 2 or size is None:
                raise _malformed("a chunk must be definite bytes", self.at)
            parts.append(self._chunk(size))
        return b"".join(parts)

    def _chunk(self, length: int) -> bytes:
        if length > CHUNK:  # the ledger refuses it, too
            raise _malformed("a byte string over 64 bytes must be chunked", self.at)
        return self.take(length)

    def item(self) -> Data:
        """One item. Open containers are kept on a list: a stranger's data may nest as deep as it is long."""
        open_: list[_Open] = []
        while True:
            if open_ and open_[-1].left is None and self.at_break():
                value = self._closed(open_.pop())
            else:
                begun = self._begin()
                if isinstance(begun, _Open):
                    open_.append(begun)
                    if begun.left != 0:
                        continue
                    value = self._closed(open_.pop())
                else:
                    value = begun
            while open_:
                top = open_[-1]
                top.items.append(value)
                if top.left is None:
                    break
                top.left -= 1
                if top.left:
                    break
                value = self._closed(open_.pop())
            else:
                return value

    def _begin(self) -> Data | _Open:
        major, value = self.head()
        match major:
            case 0 | 1 if value is not None:
                return value if major == 0 else -1 - value
            case 2:
                return self.byte_string(value)
            case 4:
                return _Open(_LIST, self._count(value))
            case 5:
                return _Open(_MAP, None if value is None else 2 * self._count(value))
            case 6 if value is not None:
                return self._tagged(value)
            case _:
                raise _malformed("not a form that Plutus data has", self.at)

    @overload
    def _count(self, count: int) -> int: ...
    @overload
    def _count(self, count: int | None) -> int | None: ...
    def _count(self, count: int | None) -> int | None:
        if count is not None and count > len(self.raw):
            raise _malformed("more items than bytes", self.at)
        return count

    def _closed(self, done: _Open) -> Data:
        items = tuple(done.items)
        if done.tag == _LIST:
            return items
        if done.tag == _MAP:
            if len(items) % 2:
                raise _malformed("a key without a value", self.at)
            return Map(tuple(zip(items[::2], items[1::2], strict=True)))
        if done.extra_break and not self.at_break():
            raise _malformed("tag 102 takes a pair", self.at)
        return Constr(done.tag, items)

    def _tagged(self, tag: int) -> Data | _Open:
        if tag in (2, 3):
            major, length = self.head()
            if major != 2:
                raise _malformed("a big integer must be bytes", self.at)
            magnitude = int.from_bytes(self.byte_string(length), "big")
            return magnitude if tag == 2 else -1 - magnitude
        if 121 <= tag < 128:
            return self._fields(tag - 121)
        if 1280 <= tag < 1401:
            return self._fields(tag - 1280 + 7)
        if tag == 102:
            return self._general_constr()
        raise _malformed("a tag that Plutus data has not", self.at)

    def _general_constr(self) -> _Open:
        major, count = self.head()
        if major != 4 or count not in (2, None):
            raise _malformed("tag 102 takes a pair", self.at)
        kind, number = self.head()
        if kind != 0 or number is None:
            raise _malformed("a constructor number is unsigned", self.at)
        constr = self._fields(number)
        constr.extra_break = count is None
        return constr

    def _fields(self, tag: int) -> _Open:
        major, count = self.head()
        if major != 4:
            raise _malformed("a constructor takes a list", self.at)
        return _Open(tag, self._count(count))
