"""The digest that a gateway signs binds every field of a quote, and the channel."""

import dataclasses

from gateway.bolt import crypto
from gateway.cl.data.types import ChannelId
from gateway.cl.wire.swap_messages import SwapDirection, SwapQuote, quote_digest
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, Ms, Msat, PosixMs, Rate

CHANNEL = ChannelId(bytes(range(20)))
QUOTE = SwapQuote(
    id=b"\x01" * 32,
    direction=SwapDirection.CL_TO_BTC,
    hashlock=Hashlock(b"\x02" * 32),
    bitcoin=Msat(1_000_000),
    cardano=Lovelace(2_000_000),
    rate=Rate(2, 1),
    base_fee=Lovelace(1_000),
    proportional_fee=Lovelace(500),
    routing_budget=Msat(7_000),
    invoice="lnbcrt1",
    cheque_timeout=PosixMs(1_700_000_000_000),
    valid_until=PosixMs(1_700_000_060_000),
    eps_denominator=1_000_000_000,
    spread_fee=Lovelace(300),
    inventory_fee=Lovelace(200),
    option_fee=Lovelace(100),
    lock_life=Ms(3_600_000),
    signature=bytes(65),
)
CHANGES = {
    "id": b"\x09" * 32,
    "direction": SwapDirection.BTC_TO_CL,
    "hashlock": Hashlock(b"\x09" * 32),
    "bitcoin": Msat(1_000_001),
    "cardano": Lovelace(2_000_001),
    "rate": Rate(3, 1),
    "base_fee": Lovelace(1_001),
    "proportional_fee": Lovelace(501),
    "routing_budget": Msat(7_001),
    "invoice": "lnbcrt2",
    "cheque_timeout": PosixMs(1_700_000_000_001),
    "valid_until": PosixMs(1_700_000_060_001),
    "eps_denominator": 1_000_000,
    "spread_fee": Lovelace(301),
    "inventory_fee": Lovelace(201),
    "option_fee": Lovelace(101),
    "lock_life": Ms(3_600_001),
}


def test_every_field_is_bound() -> None:
    fields = {f.name for f in dataclasses.fields(SwapQuote)} - {"signature"}
    assert fields == set(CHANGES)
    digests = {quote_digest(CHANNEL, QUOTE), quote_digest(ChannelId(bytes(20)), QUOTE)}
    for name, value in CHANGES.items():
        digests.add(quote_digest(CHANNEL, dataclasses.replace(QUOTE, **{name: value})))
    assert len(digests) == 2 + len(CHANGES)


def test_golden_digest() -> None:
    assert quote_digest(CHANNEL, QUOTE).hex() == GOLDEN


def test_signature_names_the_gateway() -> None:
    key = b"\x07" * 32
    digest = quote_digest(CHANNEL, QUOTE)
    assert crypto.recover(crypto.sign_recoverable(key, digest), digest) == crypto.public_key(key)


GOLDEN = "7c0740141a9708a8a8e2e99bd5adccc9cb79424cb79d7b5656046487892dd60b"
