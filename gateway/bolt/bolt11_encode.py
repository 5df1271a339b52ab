"""R2. BOLT 11, writing. A signature is asked for and handed in: `prepare` gives the hash, `finish` the text.

`encode` does both around a signing function (tests, and callers that hold the key themselves).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.bolt import bech32, bolt11, crypto, errors
from gateway.bolt.invoice import (
    DEFAULT_EXPIRY,
    DEFAULT_MIN_FINAL_CLTV,
    Description,
    DescriptionHash,
    Draft,
    Fallback,
    FieldType,
    Hop,
    TaggedField,
)
from gateway.errors import Rejection
from gateway.units import Msat

MAX_FIELD_WORDS = 1_023  # ten bits of length
_KNOWN_TYPES = frozenset(int(t) for t in FieldType)
_DRAFT_NAMES = {
    int(FieldType.DESCRIPTION): "description",
    int(FieldType.METADATA): "metadata",
    int(FieldType.ROUTE): "hints",
    int(FieldType.FEATURES): "features",
}


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An invoice but for its signature; the payee's key signs `digest`."""

    prefix: str
    words: tuple[int, ...]
    digest: bytes
    payee: bytes


def amount_text(amount: Msat) -> str:
    """Digits and the largest multiplier that keeps them whole (BOLT 11: shortest form)."""
    pico = amount.value * 10
    for unit, size in (("", 10**12), ("m", 10**9), ("u", 10**6), ("n", 10**3)):
        if pico % size == 0:
            return f"{pico // size}{unit}"
    return f"{pico}p"


def prepare(draft: Draft, payee: bytes) -> Unsigned | Rejection:
    """`payee` is the node id whose key will sign. Fails with bolt11.encode.field or bolt11.too_long."""
    refusal = _check(draft, payee)
    if refusal is not None:
        return refusal
    prefix = draft.network.prefix + ("" if draft.amount is None else amount_text(draft.amount))
    words = list(bech32.from_int(draft.created.value // 1_000, bolt11.TIMESTAMP_WORDS))
    for one in _fields(draft, payee):
        if len(one.words) > MAX_FIELD_WORDS:
            name = _DRAFT_NAMES.get(one.type, "extra")
            return errors.ENCODE_FIELD(
                field=name, got=f"{len(one.words)} words", allowed=f"{MAX_FIELD_WORDS}"
            )
        words += [one.type, len(one.words) >> 5, len(one.words) & 31, *one.words]
    length = len(prefix) + 1 + len(words) + bolt11.SIGNATURE_WORDS + bech32.CHECKSUM_WORDS
    if length > bolt11.MAX_CHARS:
        return errors.TOO_LONG(field="invoice", got=f"{length} characters", allowed=f"{bolt11.MAX_CHARS}")
    return Unsigned(prefix, tuple(words), bolt11.message_hash(prefix, words), payee)


def finish(unsigned: Unsigned, signature: bytes) -> str | Rejection:
    """`signature` is 65 bytes r, s, recovery id; refused unless low-S and by the payee."""
    if len(signature) != 65 or not crypto.is_low_s(signature):
        return errors.ENCODE_SIGNATURE(field="signature", got=f"{len(signature)} bytes", allowed="65, low S")
    if crypto.recover(signature, unsigned.digest) != unsigned.payee:
        return errors.ENCODE_SIGNATURE(field="signature", detail="it is by another key")
    return bech32.encode(unsigned.prefix, unsigned.words + bech32.to_words(signature))


def encode(draft: Draft, payee: bytes, sign: Callable[[bytes], bytes]) -> str | Rejection:
    """`sign` maps a 32-byte hash to a 65-byte recoverable signature."""
    unsigned = prepare(draft, payee)
    return unsigned if isinstance(unsigned, Rejection) else finish(unsigned, sign(unsigned.digest))


def _check(draft: Draft, payee: bytes) -> Rejection | None:
    created_s, expiry_s = draft.created.value / 1_000, draft.expiry.value / 1_000
    rules: list[tuple[str, object, bool, str]] = [
        ("payee", payee.hex(), crypto.is_point(payee), "a node id"),
        (
            "amount",
            draft.amount,
            draft.amount is None or Msat(0) < draft.amount <= bolt11.MAX_AMOUNT,
            "none, or 1 msat to 21,000,000 bitcoin",
        ),
        ("created", created_s, created_s.is_integer() and 0 <= created_s < 1 << 35, "whole seconds, 35 bits"),
        ("expiry", expiry_s, expiry_s.is_integer() and 0 < expiry_s <= bolt11.MAX_EXPIRY_S, "whole seconds"),
        (
            "min_final_cltv",
            draft.min_final_cltv.value,
            0 < draft.min_final_cltv.value <= bolt11.MAX_MIN_FINAL_CLTV,
            "1 to 2^32 - 1 blocks",
        ),
        ("payment_secret", len(draft.payment_secret), len(draft.payment_secret) == 32, "32 bytes"),
        (
            "features",
            sorted(draft.features),
            all(0 <= b < 5 * MAX_FIELD_WORDS for b in draft.features),
            "bits",
        ),
        ("features", "both bits of a pair", not any(b ^ 1 in draft.features for b in draft.features), "one"),
        (
            "hints",
            len(draft.hints),
            all(route and all(map(_hop_fits, route)) for route in draft.hints),
            "hops",
        ),
        ("description", "text", _description_fits(draft.description), "Unicode text, or a hash of 32 bytes"),
        ("fallbacks", len(draft.fallbacks), all(map(_fallback_fits, draft.fallbacks)), "known versions"),
        (
            "extra",
            [one.type for one in draft.extra],
            all(one.type not in _KNOWN_TYPES and _words_fit(one) for one in draft.extra),
            "types and words 0..31 that BOLT 11 does not use",
        ),
    ]
    for name, got, holds, allowed in rules:
        if not holds:
            return errors.ENCODE_FIELD(field=name, got=got, allowed=allowed)
    return None


def _description_fits(description: Description | DescriptionHash) -> bool:
    if isinstance(description, DescriptionHash):
        return len(description.raw) == 32
    return not any(0xD800 <= ord(c) < 0xE000 for c in description.text)  # lone surrogates have no UTF-8


def _fallback_fits(fallback: Fallback) -> bool:
    return len(fallback.program) in bolt11.fallback_sizes(fallback.version)


def _words_fit(one: TaggedField) -> bool:
    return 0 <= one.type < 32 and all(0 <= w < 32 for w in one.words)


def _hop_fits(hop: Hop) -> bool:
    return (
        crypto.is_point(hop.node_id)
        and 0 <= hop.channel.value < 1 << 64
        and 0 <= hop.fee_base.value < 1 << 32
        and 0 <= hop.fee_proportional_millionths < 1 << 32
        and 0 <= hop.cltv_delta.value < 1 << 16
    )


def _hop_bytes(hop: Hop) -> bytes:
    return (
        hop.node_id
        + hop.channel.value.to_bytes(8, "big")
        + hop.fee_base.value.to_bytes(4, "big")
        + hop.fee_proportional_millionths.to_bytes(4, "big")
        + hop.cltv_delta.value.to_bytes(2, "big")
    )


def _fields(draft: Draft, payee: bytes) -> list[TaggedField]:
    """In the order of the official examples: s, p, d or h, m, n, x, c, f, r, 9, then extras."""
    fields = [
        TaggedField(FieldType.PAYMENT_SECRET, bech32.to_words(draft.payment_secret)),
        TaggedField(FieldType.PAYMENT_HASH, bech32.to_words(draft.hashlock.raw)),
    ]
    if isinstance(draft.description, Description):
        words = bech32.to_words(draft.description.text.encode())
        fields.append(TaggedField(FieldType.DESCRIPTION, words))
    else:
        fields.append(TaggedField(FieldType.DESCRIPTION_HASH, bech32.to_words(draft.description.raw)))
    if draft.metadata is not None:
        fields.append(TaggedField(FieldType.METADATA, bech32.to_words(draft.metadata)))
    if draft.name_payee:
        fields.append(TaggedField(FieldType.PAYEE, bech32.to_words(payee)))
    if draft.expiry != DEFAULT_EXPIRY:
        fields.append(TaggedField(FieldType.EXPIRY, bech32.from_int(draft.expiry.value // 1_000)))
    if draft.min_final_cltv != DEFAULT_MIN_FINAL_CLTV:
        fields.append(TaggedField(FieldType.MIN_FINAL_CLTV, bech32.from_int(draft.min_final_cltv.value)))
    for fallback in draft.fallbacks:
        words = (fallback.version, *bech32.to_words(fallback.program))
        fields.append(TaggedField(FieldType.FALLBACK, words))
    for route in draft.hints:
        fields.append(TaggedField(FieldType.ROUTE, bech32.to_words(b"".join(map(_hop_bytes, route)))))
    if draft.features:  # BOLT 11: omit it when no bit is set
        fields.append(TaggedField(FieldType.FEATURES, bech32.from_int(sum(1 << b for b in draft.features))))
    return fields + list(draft.extra)
