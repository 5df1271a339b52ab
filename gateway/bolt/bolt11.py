"""R2. BOLT 11, reading: text in, a frozen Invoice or a coded Rejection out; nothing else, ever.

Where BOLT 11's prose and its example disagree (p, h, s, n of a wrong size: "fail" and "ignored")
the example holds: such a field is skipped and kept in `ignored`; without a well-sized one the
invoice is refused. Stricter than BOLT 11: a repeated single field is refused, because two
readers could pick different hashes of one invoice. Making invoices: bolt11_encode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.bolt import bech32, crypto, errors
from gateway.bolt.invoice import (
    DEFAULT_EXPIRY,
    DEFAULT_MIN_FINAL_CLTV,
    Description,
    DescriptionHash,
    Fallback,
    FieldType,
    Hop,
    Invoice,
    Network,
    ShortChannelId,
    TaggedField,
)
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs

MAX_CHARS = 7_089  # what the largest QR code holds (numeric mode): no invoice is longer
MAX_AMOUNT = Msat(21_000_000 * 100_000_000_000)  # all bitcoin there will be
MAX_EXPIRY_S = 1 << 35  # a thousand years: as wide as the timestamp
MAX_MIN_FINAL_CLTV = 0xFFFF_FFFF  # BOLT 4: an expiry height has 32 bits
SIGNATURE_WORDS = 104
TIMESTAMP_WORDS = 7
MSAT_PER_BITCOIN = 100_000_000_000
HOP_BYTES = 51

_PREFIX = re.compile(r"ln(bcrt|bc|tbs|tb)(?:([0-9]+)([munp]?))?")
_NETWORKS = {"bc": Network.MAINNET, "tb": Network.TESTNET, "tbs": Network.SIGNET, "bcrt": Network.REGTEST}
# msat per unit of the amount; pico is a tenth of one msat
_UNIT_MSAT = {"": MSAT_PER_BITCOIN, "m": 100_000_000, "u": 100_000, "n": 100}

# BOLT 9, context 9: even bits that we can honour. 8 onion, 14 secret, 16 multi-part, 48 metadata.
KNOWN_REQUIRED = frozenset({8, 14, 16, 48})
_DEPENDS = {16: 14}  # BOLT 9: basic_mpp needs payment_secret

Words: TypeAlias = tuple[int, ...]


@dataclass(slots=True)
class _Found:
    """What the fields of one invoice say, while they are being read."""

    hashlock: Hashlock | None = None
    secret: bytes | None = None
    text: Description | None = None
    text_hash: DescriptionHash | None = None
    metadata: bytes | None = None
    payee: bytes | None = None
    expiry_s: int | None = None
    cltv: int | None = None
    features: frozenset[int] | None = None
    hints: list[tuple[Hop, ...]] = field(default_factory=list)
    fallbacks: list[Fallback] = field(default_factory=list)
    ignored: list[TaggedField] = field(default_factory=list)


def strip_uri(text: str) -> str:
    """Without surrounding space and a `lightning:` scheme, as people and QR codes hand invoices over."""
    text = text.strip()
    return text[10:] if text[:10].lower() == "lightning:" else text


def decode(text: str) -> Invoice | Rejection:
    """Total: every text gives an Invoice or a bolt11.* Rejection. Work is bounded by MAX_CHARS."""
    parts = bech32.decode(text, MAX_CHARS)
    if isinstance(parts, Rejection):
        return parts
    prefix, words = parts
    head = _read_prefix(prefix)
    if isinstance(head, Rejection):
        return head
    if len(words) < TIMESTAMP_WORDS + SIGNATURE_WORDS:
        return errors.TOO_SHORT(
            field="invoice", got=f"{len(words)} words", allowed=f"{TIMESTAMP_WORDS + SIGNATURE_WORDS} or more"
        )
    signed, signature_words = words[:-SIGNATURE_WORDS], words[-SIGNATURE_WORDS:]
    fields = _split_fields(signed[TIMESTAMP_WORDS:])
    if isinstance(fields, Rejection):
        return fields
    found = _Found()
    for one in fields:
        refusal = _read_field(one, found)
        if refusal is not None:
            return refusal
    signature = bech32.to_bytes(signature_words)
    assert signature is not None  # 104 words are exactly 65 bytes
    payee = _check_signature(message_hash(prefix, signed), signature, found.payee)
    if isinstance(payee, Rejection):
        return payee
    created = PosixMs(bech32.to_int(signed[:TIMESTAMP_WORDS]) * 1_000)
    return _assemble(text.lower(), head, created, found, payee, signature, fields)


def check_payable(invoice: Invoice) -> Rejection | None:
    """Whether we may try to pay it at all: required features known, dependencies set (BOLT 11, BOLT 9)."""
    unknown = sorted(b for b in invoice.features if b % 2 == 0 and b not in KNOWN_REQUIRED)
    if unknown:  # BOLT 11: MUST fail the payment, SHOULD indicate the unknown bit
        return errors.FEATURE_UNKNOWN(
            field="features", got=f"bit {unknown[0]}", allowed=", ".join(map(str, sorted(KNOWN_REQUIRED)))
        )
    for bit, needs in _DEPENDS.items():
        if _has(invoice.features, bit) and not _has(invoice.features, needs):  # BOLT 11: MUST NOT attempt
            return errors.FEATURE_DEPENDENCY(field="features", got=f"bit {bit}", allowed=f"with bit {needs}")
    return None


def unknown_required(invoice: Invoice) -> tuple[int, ...]:
    """The even feature bits that we do not know; none may be left for us to pay."""
    return tuple(sorted(b for b in invoice.features if b % 2 == 0 and b not in KNOWN_REQUIRED))


def accepts_multi_part(invoice: Invoice) -> bool:
    """BOLT 11: basic multi-part payments only when the invoice offers them."""
    return _has(invoice.features, 16)


def fallback_sizes(version: int) -> range | tuple[int, ...]:
    """Bytes a fallback's program may have: 17 p2pkh, 18 p2sh, 0..16 witness versions (BIP 141); none else."""
    if version in (17, 18):
        return (20,)
    if version == 0:
        return (20, 32)
    return range(2, 41) if 1 <= version <= 16 else ()


def message_hash(prefix: str, signed: Iterable[int]) -> bytes:
    """What the payee signs: sha-256 of prefix and data, zero bits added to a byte boundary."""
    words = tuple(signed)
    spare = -len(words) * 5 % 8
    value = bech32.to_int(words) << spare
    return crypto.sha256(prefix.encode() + value.to_bytes((len(words) * 5 + spare) // 8, "big"))


def _has(features: frozenset[int], even: int) -> bool:
    return even in features or even + 1 in features


def _read_prefix(prefix: str) -> tuple[Network, Msat | None] | Rejection:
    match = _PREFIX.fullmatch(prefix)
    if match is None:
        known = re.match(r"ln(bcrt|bc|tbs|tb)[0-9]", prefix)
        if known is not None:
            return errors.AMOUNT(
                field="amount", got=prefix[known.end() - 1 :][:40], allowed="digits and m, u, n or p"
            )
        return errors.PREFIX(field="prefix", got=prefix[:40], allowed="lnbc, lntb, lntbs, lnbcrt")
    network, digits, unit = _NETWORKS[match[1]], match[2], match[3]
    if digits is None:
        return network, None
    refuse = errors.AMOUNT(field="amount", got=(digits + unit)[:40], allowed="1 msat to 21,000,000 bitcoin")
    if digits[0] == "0" or len(digits) > 20:  # BOLT 11: positive, no leading zeros
        return refuse
    if unit == "p":
        if digits[-1] != "0":  # BOLT 11: no sub-millisatoshi
            return refuse
        amount = Msat(int(digits) // 10)
    else:
        amount = Msat(int(digits) * _UNIT_MSAT[unit])
    return refuse if amount > MAX_AMOUNT else (network, amount)


def _split_fields(words: Words) -> tuple[TaggedField, ...] | Rejection:
    fields = []
    at = 0
    while at < len(words):
        if len(words) - at < 3:
            return errors.FIELD_TRUNCATED(field="fields", got=f"{len(words) - at} words left")
        kind, size = words[at], words[at + 1] * 32 + words[at + 2]
        at += 3
        if size > len(words) - at:
            return errors.FIELD_TRUNCATED(
                field=bech32.ALPHABET[kind], got=f"{size} words", allowed=f"{len(words) - at} left"
            )
        fields.append(TaggedField(kind, words[at : at + size]))
        at += size
    return tuple(fields)


def _read_field(one: TaggedField, found: _Found) -> Rejection | None:
    match one.type:
        case FieldType.PAYMENT_HASH | FieldType.PAYMENT_SECRET | FieldType.DESCRIPTION_HASH | FieldType.PAYEE:
            return _read_fixed(one, found)
        case FieldType.DESCRIPTION | FieldType.METADATA:
            return _read_bytes(one, found)
        case FieldType.EXPIRY | FieldType.MIN_FINAL_CLTV | FieldType.FEATURES:
            return _read_number(one, found)
        case FieldType.ROUTE:
            return _read_route(one, found)
        case FieldType.FALLBACK:
            return _read_fallback(one, found)
        case _:
            found.ignored.append(one)  # BOLT 11: unknown fields are skipped
            return None


def _name(one: TaggedField) -> str:
    return FieldType(one.type).name.lower()


def _read_fixed(one: TaggedField, found: _Found) -> Rejection | None:
    size = 53 if one.type == FieldType.PAYEE else 52
    if len(one.words) != size:
        found.ignored.append(one)
        return None
    raw = bech32.to_bytes(one.words)
    if raw is None:
        return errors.FIELD_PADDING(field=_name(one))
    repeated = errors.FIELD_REPEATED(field=_name(one), allowed="once")
    match one.type:
        case FieldType.PAYMENT_HASH:
            if found.hashlock is not None:
                return repeated
            found.hashlock = Hashlock(raw)
        case FieldType.PAYMENT_SECRET:
            if found.secret is not None:
                return repeated
            found.secret = raw
        case FieldType.DESCRIPTION_HASH:
            if found.text_hash is not None:
                return repeated
            found.text_hash = DescriptionHash(raw)
        case _:
            if found.payee is not None:
                return repeated
            if not crypto.is_point(raw):
                return errors.FIELD_MALFORMED(field="payee", got=raw.hex(), allowed="a point of secp256k1")
            found.payee = raw
    return None


def _read_bytes(one: TaggedField, found: _Found) -> Rejection | None:
    raw = bech32.to_bytes(one.words)
    if raw is None:
        return errors.FIELD_PADDING(field=_name(one))
    if one.type == FieldType.METADATA:
        if found.metadata is not None:
            return errors.FIELD_REPEATED(field="metadata", allowed="once")
        found.metadata = raw
        return None
    if found.text is not None:
        return errors.FIELD_REPEATED(field="description", allowed="once")
    try:
        found.text = Description(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return errors.FIELD_MALFORMED(field="description", got=raw[:20].hex(), allowed="UTF-8")
    return None


def _read_number(one: TaggedField, found: _Found) -> Rejection | None:
    name = _name(one)
    # BOLT 11: minimal length. A number 0 has the one form "one zero word"; features 0 are left out.
    leading_zero = not one.words or one.words[0] == 0
    if leading_zero and (one.words != (0,) or one.type == FieldType.FEATURES):
        return errors.FIELD_NOT_MINIMAL(field=name, allowed="no leading zero words")
    value = bech32.to_int(one.words)
    match one.type:
        case FieldType.EXPIRY:
            known, limit = found.expiry_s is not None, MAX_EXPIRY_S
            found.expiry_s = value
        case FieldType.MIN_FINAL_CLTV:
            known, limit = found.cltv is not None, MAX_MIN_FINAL_CLTV
            found.cltv = value
        case _:
            known, limit = found.features is not None, value
            found.features = frozenset(b for b in range(value.bit_length()) if value >> b & 1)
    if known:
        return errors.FIELD_REPEATED(field=name, allowed="once")
    if value > limit:
        return errors.FIELD_TOO_LARGE(
            field=name, got=f"{value.bit_length()} bits", allowed=f"at most {limit}"
        )
    return None


def _read_route(one: TaggedField, found: _Found) -> Rejection | None:
    raw = bech32.to_bytes(one.words)
    if raw is None:
        return errors.FIELD_PADDING(field="route")
    if not raw or len(raw) % HOP_BYTES:
        return errors.FIELD_MALFORMED(
            field="route", got=f"{len(raw)} bytes", allowed=f"hops of {HOP_BYTES} bytes"
        )
    hops = []
    for at in range(0, len(raw), HOP_BYTES):
        hop = raw[at : at + HOP_BYTES]
        if not crypto.is_point(hop[:33]):
            return errors.FIELD_MALFORMED(field="route", got=hop[:33].hex(), allowed="a node id")
        hops.append(
            Hop(
                hop[:33],
                ShortChannelId(int.from_bytes(hop[33:41], "big")),
                Msat(int.from_bytes(hop[41:45], "big")),
                int.from_bytes(hop[45:49], "big"),
                BlockDelta(int.from_bytes(hop[49:51], "big")),
            )
        )
    found.hints.append(tuple(hops))
    return None


def _read_fallback(one: TaggedField, found: _Found) -> Rejection | None:
    if not one.words:
        return errors.FIELD_MALFORMED(field="fallback", got="nothing", allowed="a version and a program")
    version = one.words[0]
    if version > 18:  # BOLT 11: MUST skip over f fields with an unknown version
        found.ignored.append(one)
        return None
    program = bech32.to_bytes(one.words[1:])
    if program is None:
        return errors.FIELD_PADDING(field="fallback")
    if len(program) not in fallback_sizes(version):
        return errors.FIELD_MALFORMED(field="fallback", got=f"version {version}, {len(program)} bytes")
    found.fallbacks.append(Fallback(version, program))
    return None


def _check_signature(digest: bytes, signature: bytes, named: bytes | None) -> bytes | Rejection:
    """The payee: `named` when its key signed (low S only), else the recovered key (high S too)."""
    if named is not None:
        if crypto.verify(named, signature[:64], digest):
            return named
        return errors.SIGNATURE(
            field="signature", got=named.hex(), detail="the payee named did not sign this"
        )
    payee = crypto.recover(signature, digest)
    if payee is None:
        return errors.SIGNATURE(field="signature", detail="no key can be recovered from it")
    return payee


def _assemble(
    text: str,
    head: tuple[Network, Msat | None],
    created: PosixMs,
    found: _Found,
    payee: bytes,
    signature: bytes,
    fields: tuple[TaggedField, ...],
) -> Invoice | Rejection:
    if found.hashlock is None:
        return errors.FIELD_MISSING(field="payment_hash")
    if found.secret is None:
        return errors.FIELD_MISSING(field="payment_secret")
    if (found.text is None) == (found.text_hash is None):
        return errors.DESCRIPTION(field="description", got="neither" if found.text is None else "both")
    description = found.text if found.text is not None else found.text_hash
    assert description is not None
    return Invoice(
        text=text,
        network=head[0],
        amount=head[1],
        created=created,
        hashlock=found.hashlock,
        payment_secret=found.secret,
        description=description,
        expiry=DEFAULT_EXPIRY if found.expiry_s is None else Ms(found.expiry_s * 1_000),
        min_final_cltv=DEFAULT_MIN_FINAL_CLTV if found.cltv is None else BlockDelta(found.cltv),
        features=found.features or frozenset(),
        hints=tuple(found.hints),
        fallbacks=tuple(found.fallbacks),
        metadata=found.metadata,
        payee=payee,
        signature=signature,
        fields=fields,
        ignored=tuple(found.ignored),
    )
