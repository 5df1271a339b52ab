"""BOLT 11: the sixteen valid and ten invalid examples of the document, field by field."""

import hashlib
import json
from pathlib import Path

import pytest
from bech32 import bech32_decode, convertbits

from gateway.bolt import bech32, bolt11, bolt11_encode, crypto
from gateway.bolt.invoice import (
    Description,
    DescriptionHash,
    Draft,
    Fallback,
    Invoice,
    Network,
)
from gateway.errors import Rejection
from gateway.units import Msat

VECTORS = json.loads((Path(__file__).parent / "bolt11.json").read_text())
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]
KEY = bytes.fromhex(VECTORS["private_key"])
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _title(case: dict) -> str:
    return case["title"][:60]


def _decode(case: dict) -> Invoice:
    invoice = bolt11.decode(case["invoice"])
    assert isinstance(invoice, Invoice), invoice
    return invoice


def _fallback(version: int, address: str) -> Fallback:
    """The program of an address by other code than ours."""
    if version >= 17:
        number = 0
        for c in address:
            number = number * 58 + BASE58.index(c)
        return Fallback(version, number.to_bytes(25, "big")[1:21])
    # The address library knows BIP 173 only; a BIP 350 checksum (taproot) is not its business here.
    words = bech32_decode(address)[1] or [
        "qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in address.split("1", 1)[1][:-6]
    ]
    program = convertbits(words[1:], 5, 8, False)
    assert program is not None
    return Fallback(version, bytes(program))


def test_all_examples_are_here() -> None:
    assert (len(VALID), len(INVALID)) == (16, 10)


@pytest.mark.parametrize("case", VALID, ids=_title)
def test_valid(case: dict) -> None:
    invoice, want = _decode(case), case["expected"]
    assert invoice.network == Network(want["network"])
    assert invoice.amount == (None if want["amount_msat"] is None else Msat(want["amount_msat"]))
    assert invoice.created.value == want["timestamp"] * 1000
    assert invoice.hashlock.hex() == want["payment_hash"]
    assert invoice.payment_secret.hex() == want["payment_secret"]
    if "description" in want:
        assert invoice.description == Description(want["description"])
    else:
        assert invoice.description == DescriptionHash(bytes.fromhex(want["description_hash"]))
    assert invoice.expiry.value == want["expiry_s"] * 1000
    assert invoice.expires.value == (want["timestamp"] + want["expiry_s"]) * 1000
    assert invoice.min_final_cltv.value == want["min_final_cltv"]
    assert invoice.features == frozenset(want["features"])
    assert invoice.fallbacks == tuple(_fallback(*f) for f in want["fallbacks"])
    hints = [
        [
            [
                h.node_id.hex(),
                str(h.channel),
                h.fee_base.value,
                h.fee_proportional_millionths,
                h.cltv_delta.value,
            ]
            for h in route
        ]
        for route in invoice.hints
    ]
    assert hints == want["hints"]
    assert invoice.metadata == (None if want["metadata"] is None else bytes.fromhex(want["metadata"]))
    assert len(invoice.ignored) == want["ignored"]
    assert bolt11.check_payable(invoice) is None
    if "(recovered" not in want["payee"]:
        assert invoice.payee.hex() == want["payee"]
    if "signature" in case:
        assert invoice.signature.hex() == case["signature"] + f"{case['recovery_id']:02x}"


@pytest.mark.parametrize("case", [c for c in VALID if "digest" in c], ids=_title)
def test_signed_data(case: dict) -> None:
    """The document's bytes, their hash, and ours."""
    text = case["invoice"].lower()
    split = text.rfind("1")
    words = [bech32.ALPHABET.index(c) for c in text[split + 1 : -110]]
    assert hashlib.sha256(bytes.fromhex(case["signed_data"])).hexdigest() == case["digest"]
    assert bolt11.message_hash(text[:split], words).hex() == case["digest"]


def test_high_s_recovery_gives_another_payee() -> None:
    (case,) = [c for c in VALID if "high-S" in c["title"]]
    invoice = _decode(case)
    assert not crypto.is_low_s(invoice.signature)
    assert crypto.recover(invoice.signature, bytes.fromhex(case["digest"])) == invoice.payee


def test_fields_are_kept_faithfully() -> None:
    """Timestamp, fields (known, unknown, ill-sized) and signature give back every example."""
    for case in VALID:
        invoice = _decode(case)
        words = list(bech32.from_int(invoice.created.value // 1000, 7))
        for one in invoice.fields:
            words += [one.type, len(one.words) >> 5, len(one.words) & 31, *one.words]
        prefix = invoice.text[: invoice.text.rfind("1")]
        assert bech32.encode(prefix, [*words, *bech32.to_words(invoice.signature)]) == case["invoice"].lower()


# Examples signed with the example key whose fields stand in the order that we write, too.
OUR_ORDER = (0, 1, 2, 3, 5, 9)


@pytest.mark.parametrize("case", [VALID[i] for i in OUR_ORDER], ids=_title)
def test_encode_gives_the_same_text(case: dict) -> None:
    """Signatures are RFC 6979, so what we make from the fields is the example itself."""
    invoice = _decode(case)
    draft = Draft(
        invoice.network,
        invoice.amount,
        invoice.created,
        invoice.hashlock,
        invoice.payment_secret,
        invoice.description,
        invoice.expiry,
        invoice.min_final_cltv,
        invoice.features,
        invoice.hints,
        invoice.fallbacks,
        invoice.metadata,
    )
    made = bolt11_encode.encode(draft, crypto.public_key(KEY), lambda h: crypto.sign_recoverable(KEY, h))
    assert made == case["invoice"]


@pytest.mark.parametrize("case", INVALID, ids=_title)
def test_invalid(case: dict) -> None:
    got = bolt11.decode(case["invoice"])
    if isinstance(got, Invoice):
        refusal = bolt11.check_payable(got)
        assert refusal is not None
        assert refusal.field == "features"
        assert refusal.got == "bit 100"  # BOLT 11: SHOULD indicate the unknown bit
        got = refusal
    assert isinstance(got, Rejection)
    assert got.code == case["code"]
