"""R2. Bech32 (BIP 173) without its 90-character limit, as BOLT 11 reads it. Words are 5-bit ints."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.bolt import errors
from gateway.errors import Rejection

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE = {c: i for i, c in enumerate(ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
CHECKSUM_WORDS = 6


def _step_table() -> tuple[int, ...]:
    """What the top five bits of the running checksum add back, for each of their 32 values."""
    table = []
    for top in range(32):
        add = 0
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                add ^= generator
        table.append(add)
    return tuple(table)


_TABLE = _step_table()


def _polymod(words: Sequence[int], start: int = 1) -> int:
    state = start
    for word in words:
        state = (state & 0x1FFFFFF) << 5 ^ word ^ _TABLE[state >> 25]
    return state


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def encode(prefix: str, words: Sequence[int]) -> str:
    """`prefix` in lower case; the checksum is added."""
    mod = _polymod([*_expand(prefix), *words, 0, 0, 0, 0, 0, 0]) ^ 1
    tail = [mod >> 5 * (5 - i) & 31 for i in range(CHECKSUM_WORDS)]
    return prefix + "1" + "".join(ALPHABET[w] for w in [*words, *tail])


def decode(text: str, max_chars: int) -> tuple[str, tuple[int, ...]] | Rejection:
    """(lower-case prefix, words without checksum), or bolt11.too_long, .bech32, .checksum."""
    if len(text) > max_chars:
        return errors.TOO_LONG(field="invoice", got=f"{len(text)} characters", allowed=f"at most {max_chars}")
    if not text.isascii() or not text.isprintable() or " " in text:
        return errors.NOT_BECH32(field="invoice", detail="a character that bech32 does not have")
    if text != text.lower() and text != text.upper():  # BIP 173: never mixed
        return errors.NOT_BECH32(field="invoice", detail="mixed upper and lower case")
    text = text.lower()
    split = text.rfind("1")
    if split < 1 or len(text) - split - 1 < CHECKSUM_WORDS:
        return errors.NOT_BECH32(field="invoice", detail="no separator 1 between prefix and data")
    prefix = text[:split]
    words = []
    for c in text[split + 1 :]:
        word = _VALUE.get(c)
        if word is None:
            return errors.NOT_BECH32(field="invoice", got=c, detail="a character that bech32 does not have")
        words.append(word)
    if _polymod([*_expand(prefix), *words]) != 1:
        return errors.CHECKSUM(field="invoice")
    return prefix, tuple(words[:-CHECKSUM_WORDS])


def to_bytes(words: Sequence[int]) -> bytes | None:
    """Whole bytes of the words; None when the rest is 5 bits or more, or not zero."""
    value = 0
    for word in words:
        value = value << 5 | word
    rest = len(words) * 5 % 8
    if rest >= 5 or value & (1 << rest) - 1:
        return None
    return (value >> rest).to_bytes(len(words) * 5 // 8, "big")


def to_words(raw: bytes) -> tuple[int, ...]:
    """Padded with zero bits to a multiple of five."""
    count = -(-len(raw) * 8 // 5)
    value = int.from_bytes(raw, "big") << count * 5 - len(raw) * 8
    return tuple(value >> 5 * i & 31 for i in range(count - 1, -1, -1))


def to_int(words: Sequence[int]) -> int:
    value = 0
    for word in words:
        value = value << 5 | word
    return value


def from_int(value: int, count: int | None = None) -> tuple[int, ...]:
    """Big-endian words: the fewest that hold `value` (one for 0), or exactly `count`."""
    size = count if count is not None else max(1, -(-value.bit_length() // 5))
    return tuple(value >> 5 * i & 31 for i in range(size - 1, -1, -1))
