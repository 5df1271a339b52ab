"""R2. BigSize (BOLT 1, appendix A): unsigned 64-bit numbers in 1, 3, 5 or 9 bytes, minimally encoded."""

from __future__ import annotations

from gateway.bolt import errors
from gateway.errors import Rejection

MAX = (1 << 64) - 1
_LONG = {
    0xFD: (2, 0xFD),
    0xFE: (4, 0x1_0000),
    0xFF: (8, 0x1_0000_0000),
}  # marker: bytes that follow, least value


def encode(value: int) -> bytes:
    """Raises ValueError outside 0 .. 2^64 - 1 (a bug of ours)."""
    if not 0 <= value <= MAX:
        raise ValueError("a BigSize has 64 bits")
    if value < 0xFD:
        return bytes([value])
    for marker, (size, _) in _LONG.items():
        if value < 1 << 8 * size:
            return bytes([marker]) + value.to_bytes(size, "big")
    raise AssertionError("64 bits fit the longest form")


def decode(raw: bytes, at: int = 0) -> tuple[int, int] | Rejection:
    """(value, position after it), or bolt.bigsize.truncated / .not_minimal."""
    if at >= len(raw):
        return errors.BIGSIZE_TRUNCATED(field="bigsize", got="0 bytes")
    first = raw[at]
    if first < 0xFD:
        return first, at + 1
    size, least = _LONG[first]
    body = raw[at + 1 : at + 1 + size]
    if len(body) < size:
        return errors.BIGSIZE_TRUNCATED(field="bigsize", got=f"{len(body)} bytes", allowed=f"{size}")
    value = int.from_bytes(body, "big")
    if value < least:
        return errors.BIGSIZE_NOT_MINIMAL(
            field="bigsize", got=value, allowed=f"at least {least} in this form"
        )
    return value, at + 1 + size
