"""CBOR with the place of every item in the source: the original bytes decide hashes and sizes.

`parse` gives a tree of `Node`; it is total (raises `CborError` on any malformed, truncated,
trailing or too deeply nested input) and bounded by the length of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

MAX_DEPTH = 192


class CborError(ValueError):
    """Malformed CBOR, or CBOR of another shape than the reader expects."""


class Kind(Enum):
    INT = "int"
    BYTES = "bytes"
    TEXT = "text"
    ARRAY = "array"
    MAP = "map"
    TAG = "tag"
    SIMPLE = "simple"


@dataclass(frozen=True, slots=True)
class Node:
    """`value` by kind: int, bytes, str, list[Node], list[(Node, Node)], (tag, Node), bool | int | None."""

    kind: Kind
    value: Any
    source: bytes
    start: int
    end: int

    @property
    def raw(self) -> bytes:
        return self.source[self.start : self.end]

    def integer(self) -> int:
        if self.kind is not Kind.INT:
            raise CborError(f"an integer is expected, not {self.kind.value}")
        return int(self.value)

    def uint(self) -> int:
        number = self.integer()
        if number < 0:
            raise CborError("a natural number is expected")
        return number

    def octets(self, *lengths: int) -> bytes:
        if self.kind is not Kind.BYTES:
            raise CborError(f"a byte string is expected, not {self.kind.value}")
        value: bytes = self.value
        if lengths and len(value) not in lengths:
            raise CborError(f"a byte string of {lengths} bytes is expected, not {len(value)}")
        return value

    def items(self) -> list[Node]:
        if self.kind is not Kind.ARRAY:
            raise CborError(f"an array is expected, not {self.kind.value}")
        items: list[Node] = self.value
        return items

    def pairs(self) -> list[tuple[Node, Node]]:
        if self.kind is not Kind.MAP:
            raise CborError(f"a map is expected, not {self.kind.value}")
        pairs: list[tuple[Node, Node]] = self.value
        return pairs

    def set_items(self) -> list[Node]:
        """An array, or a set (tag 258) of one."""
        if self.kind is Kind.TAG and self.value[0] == 258:
            inner: Node = self.value[1]
            return inner.items()
        return self.items()

    def by_uint(self) -> dict[int, Node]:
        """A map with distinct natural keys."""
        found: dict[int, Node] = {}
        for key, value in self.pairs():
            number = key.uint()
            if number in found:
                raise CborError(f"key {number} is given twice")
            found[number] = value
        return found


def parse(source: bytes) -> Node:
    node, end = _read(source, 0, 0)
    if end != len(source):
        raise CborError(f"{len(source) - end} bytes follow the item")
    return node


def _argument(source: bytes, at: int, info: int) -> tuple[int, int]:
    if info < 24:
        return info, at
    if info > 27:
        raise CborError(f"additional information {info} at {at}")
    width = 1 << (info - 24)
    if at + width > len(source):
        raise CborError("the input ends inside a head")
    return int.from_bytes(source[at : at + width], "big"), at + width


def _read(source: bytes, at: int, depth: int) -> tuple[Node, int]:
    if depth > MAX_DEPTH:
        raise CborError("nested too deeply")
    if at >= len(source):
        raise CborError("the input ends too early")
    start, major, info = at, source[at] >> 5, source[at] & 31
    at += 1
    if info == 31 and major in (2, 3, 4, 5):
        return _read_indefinite(source, start, at, major, depth)
    argument, at = _argument(source, at, info)
    if major < 2:
        return Node(Kind.INT, argument if major == 0 else -1 - argument, source, start, at), at
    if major < 4:
        return _read_string(source, start, at, major, argument)
    if major == 4:
        items: list[Node] = []
        for _ in range(argument):
            item, at = _read(source, at, depth + 1)
            items.append(item)
        return Node(Kind.ARRAY, items, source, start, at), at
    if major == 5:
        pairs: list[tuple[Node, Node]] = []
        for _ in range(argument):
            key, at = _read(source, at, depth + 1)
            value, at = _read(source, at, depth + 1)
            pairs.append((key, value))
        return Node(Kind.MAP, pairs, source, start, at), at
    if major == 6:
        inner, at = _read(source, at, depth + 1)
        return Node(Kind.TAG, (argument, inner), source, start, at), at
    simple: bool | int | None = {20: False, 21: True, 22: None, 23: None}.get(argument, argument)
    return Node(Kind.SIMPLE, simple, source, start, at), at


def _read_string(source: bytes, start: int, at: int, major: int, length: int) -> tuple[Node, int]:
    end = at + length
    if end > len(source):
        raise CborError("the input ends inside a string")
    if major == 2:
        return Node(Kind.BYTES, source[at:end], source, start, end), end
    try:
        return Node(Kind.TEXT, source[at:end].decode(), source, start, end), end
    except UnicodeDecodeError as error:
        raise CborError("a text string is not UTF-8") from error


def _read_indefinite(source: bytes, start: int, at: int, major: int, depth: int) -> tuple[Node, int]:
    items: list[Node] = []
    while True:
        if at >= len(source):
            raise CborError("the input ends inside an indefinite item")
        if source[at] == 0xFF:
            at += 1
            break
        item, at = _read(source, at, depth + 1)
        items.append(item)
    if major == 4:
        return Node(Kind.ARRAY, items, source, start, at), at
    if major == 5:
        if len(items) % 2:
            raise CborError("a map ends after a key")
        return Node(Kind.MAP, list(zip(items[::2], items[1::2], strict=True)), source, start, at), at
    kind = Kind.BYTES if major == 2 else Kind.TEXT
    if any(item.kind is not kind for item in items):
        raise CborError("a chunk of another kind in an indefinite string")
    empty: bytes | str = b"" if major == 2 else ""
    return Node(kind, empty.join(item.value for item in items), source, start, at), at


def head(major: int, argument: int) -> bytes:
    """The head of an item in its shortest form."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * width):
            return bytes([major << 5 | info]) + argument.to_bytes(width, "big")
    raise CborError("a head takes 64 bits")


def uint(number: int) -> bytes:
    return head(0, number) if number >= 0 else head(1, -1 - number)


def octets(value: bytes) -> bytes:
    return head(2, len(value)) + value


def array(items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    return head(4, len(encoded)) + b"".join(encoded)


def mapping(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    encoded = [key + value for key, value in pairs]
    return head(5, len(encoded)) + b"".join(encoded)


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if current.kind is Kind.ARRAY:
            stack.extend(current.value)
        elif current.kind is Kind.MAP:
            stack.extend(item for pair in current.value for item in pair)
        elif current.kind is Kind.TAG:
            stack.append(current.value[1])
