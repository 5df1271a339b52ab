"""Macaroons in the V2 binary form, with LND's answers to bad ones (libmacaroons' format; gopkg.in/macaroon.v2)."""

from __future__ import annotations

import hashlib
import hmac

_KEY_GENERATOR = b"macaroons-key-generator"
_VERSION, _LOCATION, _IDENTIFIER, _SIGNATURE, _END = 2, 1, 2, 6, 0
_BAKERY_V3 = 3
READ, WRITE = b"read", b"write"


def mint(root: bytes, right: bytes) -> bytes:
    """`right` is READ, or WRITE for everything."""
    identifier = bytes([_BAKERY_V3]) + right
    signature = _sign(root, identifier)
    return b"".join(
        (
            bytes([_VERSION]),
            _field(_LOCATION, b"lnd"),
            _field(_IDENTIFIER, identifier),
            bytes([_END, _END]),
            _field(_SIGNATURE, signature),
        )
    )


def refusal(root: bytes, given: list[str], *, writes: bool) -> str | None:
    """LND's text when these metadata values do not allow the call."""
    if len(given) != 1:
        return f"expected 1 macaroon, got {len(given)}"
    try:
        raw = bytes.fromhex(given[0])
    except ValueError:
        return "encoding/hex: invalid byte"
    parts = _parse(raw)
    if parts is None:
        return "cannot determine data format of binary-encoded macaroon"
    identifier, signature = parts
    if not hmac.compare_digest(_sign(root, identifier), signature):
        return "verification failed: signature mismatch after caveat verification"
    if writes and identifier[1:] != WRITE:
        return "permission denied"
    return None


def _sign(root: bytes, identifier: bytes) -> bytes:
    key = hmac.new(_KEY_GENERATOR, root, hashlib.sha256).digest()
    return hmac.new(key, identifier, hashlib.sha256).digest()


def _field(kind: int, data: bytes) -> bytes:
    return bytes([kind, len(data)]) + data


def _parse(raw: bytes) -> tuple[bytes, bytes] | None:
    """Identifier and signature; caveats are not read, so a macaroon with any has a wrong signature here."""
    if len(raw) < 2 or raw[0] != _VERSION:
        return None
    found: dict[int, bytes] = {}
    at = 1
    while at < len(raw):
        kind = raw[at]
        at += 1
        if kind == _END:
            continue
        if at >= len(raw) or at + 1 + raw[at] > len(raw):
            return None
        found[kind] = raw[at + 1 : at + 1 + raw[at]]
        at += 1 + raw[at]
    if _IDENTIFIER not in found or _SIGNATURE not in found:
        return None
    return found[_IDENTIFIER], found[_SIGNATURE]
