"""Cardano addresses between bytes and text (CIP 19); Byron's base58 is text only."""

from __future__ import annotations

from bech32 import bech32_decode, bech32_encode, convertbits

from gateway.cl.chain.fields import malformed

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BYRON = 8


def address_text(raw: bytes) -> str:
    """Bech32 with the prefix of its network; base58 of a Byron address."""
    if not raw or raw[0] >> 4 == _BYRON:
        number, shown = int.from_bytes(raw, "big"), ""
        while number:
            number, digit = divmod(number, 58)
            shown = _BASE58[digit] + shown
        return shown
    return str(bech32_encode("addr" if raw[0] & 1 else "addr_test", convertbits(raw, 8, 5) or []))


def address_bytes(text: str) -> bytes:
    """Of a bech32 address. Fails with cl.chain.malformed."""
    prefix, words = bech32_decode(text)
    raw = convertbits(words, 5, 8, False) if words else None
    if not raw or prefix not in ("addr", "addr_test") or (prefix == "addr") != bool(raw[0] & 1):
        raise malformed("address", text, "a bech32 address of a Cardano network")
    return bytes(raw)
