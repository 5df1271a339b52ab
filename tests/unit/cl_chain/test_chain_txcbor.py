"""Transactions as bytes: every legal form is read alike, damage is coded, hostile nesting is bounded."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.chain.address import address_bytes, address_text
from gateway.cl.chain.txcbor import read, script_cbor, transaction_id
from gateway.cl.data.types import OutputRef
from gateway.errors import Refused
from tests.support.chain_blocks import POLICY, STRANGER, digest, open_tx, step_tx, token

INPUT = bytes.fromhex("825820") + bytes(32) + b"\x07"
OUTPUT = b"\x82\x58\x1d" + STRANGER + b"\x05"


def whole(body: bytes, witnesses: bytes = b"\xa0", valid: bytes = b"\xf5") -> bytes:
    return b"\x84" + body + witnesses + valid + b"\xf6"


def test_inputs_outputs_mint_and_redeemers() -> None:
    raw = step_tx(3, OutputRef(bytes(32), 1), 6_000_000)
    tx = read(raw)
    assert OutputRef(bytes(32), 1) in tx.spent
    assert tx.policies == (POLICY,)
    assert tx.mint_redeemer(POLICY) == b"\x43\x01\x02\x03"
    assert tx.mint_redeemer(bytes(28)) is None
    (_, first), (index, second) = tx.created
    assert (first.address, first.lovelace, first.assets, first.datum) == (STRANGER, 2_000_000, (), None)
    assert (index, second.lovelace, second.assets) == (1, 6_000_000, ((token(3), 1),))
    assert second.datum == bytes.fromhex("d87980")


@pytest.mark.parametrize(
    "inputs",
    [b"\x81" + INPUT, b"\xd9\x01\x02\x81" + INPUT, b"\x9f" + INPUT + b"\xff", b"\x98\x01" + INPUT],
    ids=["array", "set", "indefinite", "long head"],
)
@pytest.mark.parametrize("outer", [b"\xa2", b"\xbf"], ids=["map", "indefinite map"])
def test_every_form_of_a_collection(inputs: bytes, outer: bytes) -> None:
    body = outer + b"\x00" + inputs + b"\x01\x81" + OUTPUT + (b"\xff" if outer == b"\xbf" else b"")
    tx = read(whole(body))
    assert tx.spent == (OutputRef(bytes(32), 7),)
    assert [(n, o.address, o.lovelace) for n, o in tx.created] == [(0, STRANGER, 5)]
    assert tx.tx_id == transaction_id(whole(body)) == hashlib.blake2b(body, digest_size=32).digest()


def test_redeemers_as_a_list_and_split_byte_strings() -> None:
    mint = b"\x09\xa1\x58\x1c" + POLICY + b"\xa1\x43abc\x01"
    body = b"\xa3\x00\x81" + INPUT + b"\x01\x81" + OUTPUT + mint
    redeemers = b"\xa1\x05\x82\x84\x00\x00\x40\x82\x01\x01\x84\x01\x00\x5f\x41a\x41b\xff\x82\x01\x01"
    assert read(whole(body, redeemers)).mint_redeemer(POLICY) == b"\x5f\x41a\x41b\xff"


def test_a_failed_script_spends_the_collateral() -> None:
    other = INPUT[:-1] + b"\x09"
    body = b"\xa4\x00\x81" + INPUT + b"\x01\x81" + OUTPUT + b"\x0d\x81" + other + b"\x10" + OUTPUT
    tx = read(whole(body, valid=b"\xf4"))
    assert (tx.valid, tx.spent) == (False, (OutputRef(bytes(32), 9),))
    assert [index for index, _ in tx.created] == [1]


def test_deep_nesting_costs_its_length_and_no_stack() -> None:
    nested = b"\x9f" * 200_000 + b"\xff" * 200_000
    body = b"\xa3\x00\x81" + INPUT + b"\x01\x81" + OUTPUT + b"\x18\x63" + nested
    began = time.monotonic()
    assert read(whole(body)).spent
    assert time.monotonic() - began < 20


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([open_tx(1, "x"), step_tx(2, OutputRef(digest("y"), 0), 5)]), st.data())
def test_damage_is_coded(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    edited = raw[:at] + data.draw(st.binary(max_size=9)) + raw[at + data.draw(st.integers(0, 9)) :]
    try:
        read(edited)
    except Refused as error:
        assert error.rejection.code == "cl.chain.malformed"  # noqa: PT017


@pytest.mark.parametrize(
    "raw", [b"", b"\x80", b"\x84", b"\x9b" + b"\xff" * 8, b"\xa1\x00", b"\x5b" + b"\xff" * 8]
)
def test_no_transaction_at_all(raw: bytes) -> None:
    for function in (read, transaction_id):
        with pytest.raises(Refused) as caught:
            function(raw)
        assert caught.value.rejection.code == "cl.chain.malformed"


def test_scripts_and_addresses() -> None:
    assert script_cbor(3, b"\x01" * 300)[:5] == bytes.fromhex("820359012c")
    assert script_cbor(0, b"\x82\x00\x40") == bytes.fromhex("8200820040")
    # CIP 19, test vectors: type 0 on mainnet and a pointer-free testnet key address.
    text = "addr1qx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzer3n0d3vllmyqwsx5wktcd8cc3sq835lu7drv2xwl2wywfgse35a3x"
    assert address_text(address_bytes(text)) == text
    test = "addr_test1vz2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzerspjrlsz"
    assert address_bytes(test)[1:].hex() == "9493315cd92eb5d8c4304e67b7e16ae36d61d34502694657811a2c8e"
    for bad in (
        "",
        "addr1",
        text[:-1] + "q",
        text.upper() + "x",
        "stake1uyehkck0lajq8gr28t9uxnuvgcqrc6070x3k9r8048z8y5gh6ffgw",
    ):
        with pytest.raises(Refused):
            address_bytes(bad)
