"""The few BOLT 1 messages that a test needs to talk with a real Lightning node: type (2 bytes), then fields."""

from dataclasses import dataclass

WARNING, INIT, ERROR, PING, PONG = 1, 16, 17, 18, 19


@dataclass(frozen=True)
class Message:
    type: int
    body: bytes


def split(raw: bytes) -> Message:
    assert len(raw) >= 2
    return Message(int.from_bytes(raw[:2], "big"), raw[2:])


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def feature_bytes(bits: set[int]) -> bytes:
    value = sum(1 << bit for bit in bits)
    return value.to_bytes(-(-value.bit_length() // 8), "big")


def init(bits: set[int]) -> bytes:
    """BOLT 1: empty global features, then ours."""
    return INIT.to_bytes(2, "big") + _sized(b"") + _sized(feature_bytes(bits))


def features_of(body: bytes) -> set[int]:
    """The union of both feature vectors of an init."""
    bits: set[int] = set()
    at = 0
    for _ in range(2):
        size = int.from_bytes(body[at : at + 2], "big")
        value = int.from_bytes(body[at + 2 : at + 2 + size], "big")
        bits |= {bit for bit in range(value.bit_length()) if value >> bit & 1}
        at += 2 + size
    return bits


def ping(pong_bytes: int, ignored: bytes = b"") -> bytes:
    return PING.to_bytes(2, "big") + pong_bytes.to_bytes(2, "big") + _sized(ignored)


def pong(ignored: bytes) -> bytes:
    return PONG.to_bytes(2, "big") + _sized(ignored)
