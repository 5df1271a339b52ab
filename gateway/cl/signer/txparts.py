"""R3. A transaction taken apart without changing a byte of its body; witnesses added at their place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cbor2

from gateway.cl.signer.errors import BAD_INPUT
from gateway.errors import Refused

MAX_BYTES = 16_384
_MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class TxParts:
    """`body` is decoded for looking; `body_raw` is what is hashed and sent."""

    body: dict[int, Any]
    body_raw: bytes
    witness_items: tuple[tuple[bytes, bytes], ...]  # key and value of the witness map, as they stand
    tail: bytes  # validity flag and auxiliary data

    @property
    def tx_id(self) -> bytes:
        return hashlib.blake2b(self.body_raw, digest_size=32).digest()


def _bad(detail: str) -> Refused:
    return Refused(BAD_INPUT(field="transaction", detail=detail))


def _head(raw: bytes, at: int) -> tuple[int, int | None, int]:
    """Major type, value (None: indefinite) and the place after the head."""
    major, info = raw[at] >> 5, raw[at] & 31
    if info < 24:
        return major, info, at + 1
    if info < 28:
        size = 1 << (info - 24)
        if at + 1 + size > len(raw):
            raise IndexError
        return major, int.from_bytes(raw[at + 1 : at + 1 + size], "big"), at + 1 + size
    if info == 31 and major in (2, 3, 4, 5):
        return major, None, at + 1
    raise _bad("a CBOR head that no transaction has")


def _skip(raw: bytes, at: int, depth: int = 0) -> int:
    """The place after the item at `at`."""
    if depth > _MAX_DEPTH:
        raise _bad("nested too deep")
    major, value, at = _head(raw, at)
    if major in (0, 1, 7):
        return at
    if major in (2, 3) and value is not None:
        return at + value
    if major == 6:
        return _skip(raw, at, depth + 1)
    per = 2 if major == 5 else 1
    if value is None:
        while raw[at] != 0xFF:
            at = _skip(raw, at, depth + 1)
        return at + 1
    if value > len(raw):
        raise IndexError
    for _ in range(value * per):
        at = _skip(raw, at, depth + 1)
    return at


def read_parts(raw: bytes) -> TxParts:
    """Raises `Refused` (cl.signer.bad_input)."""
    if len(raw) > MAX_BYTES:
        raise _bad("longer than a transaction")
    try:
        if raw[0] != 0x84:
            raise _bad("not an array of four")
        body_end = _skip(raw, 1)
        items, end = _map_items(raw, body_end)
        if _skip(raw, _skip(raw, end)) != len(raw):
            raise _bad("bytes after the end")
        body = cbor2.loads(raw[1:body_end])
    except (IndexError, cbor2.CBORError, ValueError, TypeError, OverflowError) as e:
        raise _bad(f"not a transaction: {type(e).__name__}") from None
    if not isinstance(body, dict) or not isinstance(body.get(1), list):
        raise _bad("a body without outputs")
    return TxParts(body, raw[1:body_end], items, raw[end:])


def _map_items(raw: bytes, at: int) -> tuple[tuple[tuple[bytes, bytes], ...], int]:
    major, count, at = _head(raw, at)
    if major != 5 or count is None or count > 16:
        raise _bad("witnesses are a map")
    items = []
    for _ in range(count):
        middle = _skip(raw, at)
        end = _skip(raw, middle)
        items.append((raw[at:middle], raw[middle:end]))
        at = end
    return tuple(items), at


def with_witnesses(parts: TxParts, added: Sequence[tuple[bytes, bytes]]) -> bytes:
    """`added` (key, signature) joins the witnesses that stand already; a key never twice."""
    held: dict[bytes, bytes] = {}
    others = []
    for key, value in parts.witness_items:
        if key == b"\x00":
            decoded = cbor2.loads(value)
            for row in getattr(decoded, "value", decoded):
                held[bytes(row[0])] = bytes(row[1])
        else:
            others.append(key + value)
    held.update(added)
    rows = cbor2.dumps(cbor2.CBORTag(258, [[k, held[k]] for k in sorted(held)]))
    count = bytes((0xA0 | len(others) + 1,))
    return b"\x84" + parts.body_raw + count + b"\x00" + rows + b"".join(others) + parts.tail
