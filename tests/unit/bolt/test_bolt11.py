"""The invoice codec is total, strict, faithful, and agrees with a second implementation."""

import importlib.util
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.bolt import bech32, bolt11, bolt11_encode, crypto
from gateway.bolt.invoice import (
    DEFAULT_EXPIRY,
    Description,
    DescriptionHash,
    Draft,
    Fallback,
    FieldType,
    Hop,
    Invoice,
    Network,
    ShortChannelId,
    TaggedField,
)
from gateway.errors import REGISTRY, Rejection
from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs
from tests.support.bolt11_drafts import (
    KEY,
    NODE,
    drafts,
    made,
    raw_field,
    raw_invoice,
    sign,
    simple_draft,
)

P = raw_field(FieldType.PAYMENT_HASH, b"\x01" * 32)
S = raw_field(FieldType.PAYMENT_SECRET, b"\x02" * 32)
D = raw_field(FieldType.DESCRIPTION, b"tea")
N = raw_field(FieldType.PAYEE, NODE)
HOP = NODE + bytes(8 + 4 + 4 + 2)


def _code(text: str) -> str:
    got = bolt11.decode(text)
    assert isinstance(got, Rejection), got
    assert got.spec is REGISTRY[got.code]
    return got.code


def _invoice(text: str) -> Invoice:
    got = bolt11.decode(text)
    assert isinstance(got, Invoice), got
    return got


@settings(max_examples=80, deadline=None)
@given(drafts())
def test_round_trip(draft: Draft) -> None:
    invoice = _invoice(made(draft))
    for name in (
        "network",
        "amount",
        "created",
        "hashlock",
        "payment_secret",
        "description",
        "expiry",
        "min_final_cltv",
        "features",
        "hints",
        "fallbacks",
        "metadata",
    ):
        assert getattr(invoice, name) == getattr(draft, name), name
    assert invoice.payee == NODE
    assert invoice.ignored == draft.extra
    assert _invoice(invoice.text.upper()) == invoice
    assert _invoice(bolt11.strip_uri(f" lightning:{invoice.text}\n")) == invoice


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
@example("")
@example("1")
@example("lnbc1")
@example("ln1" + "q" * 200)
@example("lnbc1" + "é" * 10)
@example("\x00lnbc1qqqqqq")
def test_any_text_gives_a_code(text: str) -> None:
    assert _code(text).startswith("bolt11.")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["lnbc", "lntb10u", "lnbcrt1p", "lntbs0m", "lnbc" + "9" * 30, "lnbc5x", "lnltc1"]),
    st.lists(st.integers(0, 31), max_size=250),
)
def test_any_words_under_a_good_checksum(prefix: str, words: list[int]) -> None:
    """Hypothesis reaches the field parser: the checksum always fits."""
    got = bolt11.decode(bech32.encode(prefix, words))
    assert isinstance(got, Invoice | Rejection)


_KINDS = st.sampled_from([1, 3, 5, 6, 9, 13, 16, 19, 23, 24, 27, 2])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(_KINDS, st.lists(st.integers(0, 31), max_size=90)), max_size=4), st.booleans())
def test_any_fields_under_a_good_signature(fields: list[tuple[int, list[int]]], whole: bool) -> None:
    base = [P, S, D] if whole else []
    got = bolt11.decode(raw_invoice(*base, *(raw_field(k, w) for k, w in fields)))
    if isinstance(got, Invoice):
        assert got.payee == NODE
        assert len(got.fields) == len(base) + len(fields)
    else:
        assert got.code.startswith("bolt11.")


@settings(max_examples=200, deadline=None)
@given(drafts(), st.data())
def test_one_changed_character_is_noticed(draft: Draft, data: st.DataObject) -> None:
    text = made(draft)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in string.ascii_lowercase + string.digits if c != text[at]]))
    assert isinstance(bolt11.decode(text[:at] + other + text[at + 1 :]), Rejection)


@settings(max_examples=60, deadline=None)
@given(drafts(), st.data())
def test_changed_content_never_keeps_the_payee(draft: Draft, data: st.DataObject) -> None:
    """With the checksum made good again, the signature still binds every word and the prefix."""
    parts = bech32.decode(made(draft), bolt11.MAX_CHARS)
    assert not isinstance(parts, Rejection)
    prefix, words = parts
    at = data.draw(st.integers(0, len(words) - bolt11.SIGNATURE_WORDS - 1))
    changed = list(words)
    changed[at] ^= data.draw(st.integers(1, 31))
    got = bolt11.decode(bech32.encode(prefix, changed))
    assert isinstance(got, Rejection) or got.payee != NODE


def test_prefix_is_bound_by_the_signature() -> None:
    parts = bech32.decode(made(simple_draft()), bolt11.MAX_CHARS)
    assert not isinstance(parts, Rejection)
    _, words = parts
    assert _invoice(bech32.encode("lnbc210n", words)).payee != NODE


@pytest.mark.parametrize(
    ("prefix", "msat"),
    [
        ("lnbc1", 100_000_000_000),
        ("lnbc1m", 100_000_000),
        ("lnbc1u", 100_000),
        ("lnbc1n", 100),
        ("lnbc10p", 1),
        ("lnbc21000000", 2_100_000_000_000_000_000),
        ("lnbcrt15u", 1_500_000),
        ("lntbs3m", 300_000_000),
    ],
)
def test_amounts(prefix: str, msat: int) -> None:
    assert _invoice(raw_invoice(P, S, D, prefix=prefix)).amount == Msat(msat)


@pytest.mark.parametrize(
    "prefix",
    [
        "lnbc0",
        "lnbc01u",
        "lnbc0p",
        "lnbc1p",
        "lnbc15p",
        "lnbc21000001",
        "lnbc1x",
        "lnbc1mm",
        "lnbc" + "9" * 21,
    ],
)
def test_bad_amounts(prefix: str) -> None:
    assert _code(raw_invoice(P, S, D, prefix=prefix)) == "bolt11.amount"


@pytest.mark.parametrize(
    "prefix", ["bc", "ln", "lnbct", "lnm", "lnbcm", "lnxy", "lnbcrt-1", "lnada10", "xlnbc"]
)
def test_bad_prefixes(prefix: str) -> None:
    assert _code(raw_invoice(P, S, D, prefix=prefix)) == "bolt11.prefix"


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("bolt11.field.missing", (S, D)),
        ("bolt11.field.missing", (P, D)),
        ("bolt11.field.missing", ([*P[:2], 19, *P[3:-1]], S, D)),  # p of 51 words: skipped, none left
        ("bolt11.description", (P, S)),
        ("bolt11.description", (P, S, D, raw_field(FieldType.DESCRIPTION_HASH, b"\x05" * 32))),
        ("bolt11.field.repeated", (P, S, D, P)),
        ("bolt11.field.repeated", (P, S, D, raw_field(FieldType.PAYMENT_HASH, b"\x09" * 32))),
        ("bolt11.field.repeated", (P, S, D, S)),
        ("bolt11.field.repeated", (P, S, D, D)),
        ("bolt11.field.repeated", (P, S, D, N, N)),
        ("bolt11.field.repeated", (P, S, *[raw_field(FieldType.DESCRIPTION_HASH, b"\x05" * 32)] * 2)),
        ("bolt11.field.repeated", (P, S, D, *[raw_field(FieldType.EXPIRY, [1])] * 2)),
        ("bolt11.field.repeated", (P, S, D, *[raw_field(FieldType.MIN_FINAL_CLTV, [1])] * 2)),
        ("bolt11.field.repeated", (P, S, D, *[raw_field(FieldType.FEATURES, [8, 8, 0])] * 2)),
        ("bolt11.field.repeated", (P, S, D, *[raw_field(FieldType.METADATA, b"m")] * 2)),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.EXPIRY, [0, 1]))),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.EXPIRY, []))),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.MIN_FINAL_CLTV, [0, 0, 9]))),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.FEATURES, [0, 8, 8, 0]))),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.FEATURES, [0]))),
        ("bolt11.field.not_minimal", (P, S, D, raw_field(FieldType.FEATURES, []))),
        ("bolt11.field.too_large", (P, S, D, raw_field(FieldType.EXPIRY, [31] * 8))),
        ("bolt11.field.too_large", (P, S, D, raw_field(FieldType.EXPIRY, [31] * 1023))),
        ("bolt11.field.too_large", (P, S, D, raw_field(FieldType.MIN_FINAL_CLTV, [31] * 7))),
        ("bolt11.field.padding", (P, S, raw_field(FieldType.DESCRIPTION, [4, 9, 1]))),
        ("bolt11.field.padding", (P, S, raw_field(FieldType.DESCRIPTION, [4]))),
        ("bolt11.field.padding", ([*P[:-1], P[-1] | 1], S, D)),
        ("bolt11.field.padding", (P, S, D, raw_field(FieldType.FALLBACK, [17, *[31] * 33]))),
        ("bolt11.field.padding", (P, S, D, raw_field(FieldType.METADATA, [1]))),
        ("bolt11.field.padding", (P, S, D, raw_field(FieldType.ROUTE, [1]))),
        ("bolt11.field.malformed", (P, S, raw_field(FieldType.DESCRIPTION, b"\xff\xfe"))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.PAYEE, b"\x04" + bytes(32)))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.ROUTE, b""))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.ROUTE, HOP + b"x"))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.ROUTE, HOP + bytes(51)))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.FALLBACK, []))),
        ("bolt11.field.malformed", (P, S, D, raw_field(FieldType.FALLBACK, [17]))),
        (
            "bolt11.field.malformed",
            (P, S, D, raw_field(FieldType.FALLBACK, [0, *bech32.to_words(bytes(21))])),
        ),
        ("bolt11.field.truncated", (P, S, [13, 0, 9, 1])),
        ("bolt11.field.truncated", (P, S, D, [13, 0])),
        ("bolt11.signature", (P, S, D, raw_field(FieldType.PAYEE, crypto.public_key(b"\x07" * 32)))),
    ],
)
def test_broken_rules(code: str, fields: tuple[list[int], ...]) -> None:
    assert _code(raw_invoice(*fields)) == code


def test_high_s_only_without_named_payee() -> None:
    """BOLT 11: recovery accepts high S, an n field does not."""
    assert _invoice(raw_invoice(P, S, D, high_s=True)).payee == NODE
    assert _invoice(raw_invoice(P, S, D, N)).payee == NODE
    assert _code(raw_invoice(P, S, D, N, high_s=True)) == "bolt11.signature"


@pytest.mark.parametrize(
    "body", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32, b"\x01" * 32 + bytes(32)]
)
@pytest.mark.parametrize("recovery", [0, 3, 4, 255])
@pytest.mark.parametrize("named", [True, False])
def test_senseless_signatures(body: bytes, recovery: int, named: bool) -> None:
    parts = bech32.decode(raw_invoice(P, S, D, *([N] if named else [])), bolt11.MAX_CHARS)
    assert not isinstance(parts, Rejection)
    words = [*parts[1][: -bolt11.SIGNATURE_WORDS], *bech32.to_words(body + bytes([recovery]))]
    assert _code(bech32.encode(parts[0], words)) == "bolt11.signature"


def test_recovery_id_is_not_used_with_a_named_payee() -> None:
    """BOLT 11: n is used instead of recovery, so the recovery id of the signature says nothing."""
    parts = bech32.decode(raw_invoice(P, S, D, N), bolt11.MAX_CHARS)
    assert not isinstance(parts, Rejection)
    words = list(parts[1])
    raw = bech32.to_bytes(words[-bolt11.SIGNATURE_WORDS :])
    assert raw is not None
    changed = bech32.to_words(raw[:64] + bytes([raw[64] ^ 1]))
    assert _invoice(bech32.encode(parts[0], words[: -bolt11.SIGNATURE_WORDS] + list(changed))).payee == NODE


def test_length_limit() -> None:
    def of(count: int) -> str:
        route = raw_field(FieldType.ROUTE, HOP * 12)
        return raw_invoice(P, S, D, *[route] * count)

    assert len(of(6)) < bolt11.MAX_CHARS < len(of(7))
    assert len(_invoice(of(6)).hints) == 6
    assert _code(of(7)) == "bolt11.too_long"
    assert _code("lnbc1" + "q" * 10_000_000) == "bolt11.too_long"


def test_defaults_and_expiry() -> None:
    invoice = _invoice(raw_invoice(P, S, D))
    assert (invoice.expiry, invoice.min_final_cltv) == (DEFAULT_EXPIRY, BlockDelta(18))
    assert invoice.features == frozenset()
    assert not invoice.is_expired(invoice.created + DEFAULT_EXPIRY)
    assert invoice.is_expired(invoice.created + DEFAULT_EXPIRY + Ms(1))
    assert _invoice(raw_invoice(P, S, D, raw_field(FieldType.EXPIRY, [0]))).expiry == Ms(0)


@pytest.mark.parametrize(
    ("features", "code"),
    [
        ({8, 14}, None),
        ({9, 15, 17}, None),
        ({8, 14, 16, 48, 99}, None),
        ({8, 14, 30}, "bolt11.feature.unknown"),  # AMP: another hash for each part
        ({8, 14, 24}, "bolt11.feature.unknown"),
        ({100}, "bolt11.feature.unknown"),
        ({17}, "bolt11.feature.dependency"),
        ({8, 16}, "bolt11.feature.dependency"),
    ],
)
def test_payable(features: set[int], code: str | None) -> None:
    invoice = _invoice(made(simple_draft(features=frozenset(features))))
    refusal = bolt11.check_payable(invoice)
    assert (None if refusal is None else refusal.code) == code
    assert bolt11.accepts_multi_part(invoice) == bool(features & {16, 17})
    assert bool(bolt11.unknown_required(invoice)) == (code == "bolt11.feature.unknown")


_GOOD_HOP = Hop(NODE, ShortChannelId(1), Msat(0), 0, BlockDelta(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Msat(0)},
        {"amount": Msat(-1)},
        {"amount": bolt11.MAX_AMOUNT + Msat(1)},
        {"created": PosixMs(1)},
        {"created": PosixMs(-1000)},
        {"created": PosixMs((1 << 35) * 1000)},
        {"expiry": Ms(0)},
        {"expiry": Ms(1500)},
        {"min_final_cltv": BlockDelta(0)},
        {"payment_secret": b"short"},
        {"features": frozenset({14, 15})},
        {"features": frozenset({6000})},
        {"description": Description("x" * 640)},
        {"description": Description("\ud800")},
        {"description": DescriptionHash(b"x")},
        {"metadata": b"m" * 640},
        {"hints": ((),)},
        {"hints": ((Hop(b"\x05" * 33, ShortChannelId(1), Msat(0), 0, BlockDelta(1)),),)},
        {"hints": ((Hop(NODE, ShortChannelId(1 << 64), Msat(0), 0, BlockDelta(1)),),)},
        {"hints": ((_GOOD_HOP,) * 13,)},
        {"fallbacks": (Fallback(19, bytes(20)),)},
        {"fallbacks": (Fallback(17, bytes(21)),)},
        {"extra": (TaggedField(1, ()),)},
        {"extra": (TaggedField(32, ()),)},
        {"extra": (TaggedField(2, (32,)),)},
    ],
)
def test_what_cannot_be_encoded(changes: dict[str, object]) -> None:
    got = bolt11_encode.encode(simple_draft(**changes), NODE, sign)
    assert isinstance(got, Rejection)
    assert got.code == "bolt11.encode.field"
    assert got.field == next(iter(changes))


def test_too_long_to_encode() -> None:
    got = bolt11_encode.encode(simple_draft(hints=((_GOOD_HOP,) * 12,) * 7), NODE, sign)
    assert isinstance(got, Rejection)
    assert got.code == "bolt11.too_long"


def test_signer_is_checked() -> None:
    unsigned = bolt11_encode.prepare(simple_draft(), NODE)
    assert not isinstance(unsigned, Rejection)
    good = sign(unsigned.digest)
    s = crypto.CURVE_ORDER - int.from_bytes(good[32:64], "big")
    high = good[:32] + s.to_bytes(32, "big") + bytes([good[64] ^ 1])
    for signature in (
        b"",
        good[:64],
        high,
        crypto.sign_recoverable(b"\x09" * 32, unsigned.digest),
        bytes(65),
    ):
        got = bolt11_encode.finish(unsigned, signature)
        assert isinstance(got, Rejection)
        assert got.code == "bolt11.encode.signature"
    assert bolt11_encode.finish(unsigned, good) == made(simple_draft())
    assert isinstance(bolt11_encode.prepare(simple_draft(), b"\x05" * 33), Rejection)


def test_amount_text_is_the_shortest() -> None:
    cases = {
        1: "10p",
        100: "1n",
        100_000: "1u",
        150_000: "1500n",
        100_000_000: "1m",
        10**11: "1",
        10**12: "10",
    }
    for msat, text in cases.items():
        assert bolt11_encode.amount_text(Msat(msat)) == text


# The second opinion: the PyPI package bolt11, where it installs (Python < 3.13).
_HAS_ORACLE = importlib.util.find_spec("bolt11") is not None


def _oracle_differential() -> None:
    import bolt11 as oracle

    @settings(max_examples=60, deadline=None)
    @given(drafts())
    def check(draft: Draft) -> None:
        text = made(draft)
        ours, theirs = _invoice(text), oracle.decode(text)
        assert theirs.currency == draft.network.prefix[2:]
        assert theirs.amount_msat == (None if ours.amount is None else ours.amount.value)
        assert theirs.date * 1000 == ours.created.value
        assert theirs.payment_hash == ours.hashlock.hex()
        assert theirs.payment_secret == ours.payment_secret.hex()
        assert theirs.min_final_cltv_expiry == ours.min_final_cltv.value
        assert theirs.payee == ours.payee.hex() if theirs.payee else True
        if isinstance(ours.description, Description):
            assert theirs.description == ours.description.text or not ours.description.text
        else:
            assert theirs.description_hash == ours.description.raw.hex()
        assert (theirs.expiry or 3600) * 1000 == ours.expiry.value

    check()


def _oracle_writes_we_read() -> None:
    import bolt11 as oracle
    from bolt11.models.tags import TagChar, Tags

    @settings(max_examples=40, deadline=None)
    @given(
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32),
        st.integers(1, 10**12),
        st.integers(60, 10**6),
        st.integers(19, 5000),
        st.sampled_from(["bc", "tb", "tbs", "bcrt"]),
    )
    def check(lock: bytes, secret: bytes, msat: int, expiry: int, cltv: int, currency: str) -> None:
        tags = Tags()
        tags.add(TagChar.payment_hash, lock.hex())
        tags.add(TagChar.payment_secret, secret.hex())
        tags.add(TagChar.description, "second opinion")
        tags.add(TagChar.expire_time, expiry)
        tags.add(TagChar.min_final_cltv_expiry, cltv)
        made_there = oracle.encode(
            oracle.Bolt11(currency, 1_700_000_000, tags, oracle.MilliSatoshi(msat)), KEY.hex()
        )
        ours = _invoice(made_there)
        assert ours.hashlock == Hashlock(lock)
        assert ours.payment_secret == secret
        assert ours.amount == Msat(msat)
        assert ours.expiry == Ms(expiry * 1000)
        assert ours.min_final_cltv == BlockDelta(cltv)
        assert ours.network.prefix == "ln" + currency
        assert ours.payee == NODE

    check()


if _HAS_ORACLE:

    def test_second_opinion_reads_what_we_write() -> None:
        _oracle_differential()

    def test_we_read_what_the_second_opinion_writes() -> None:
        _oracle_writes_we_read()


def test_networks() -> None:
    assert {n.prefix for n in Network} == {"lnbc", "lntb", "lntbs", "lnbcrt"}
