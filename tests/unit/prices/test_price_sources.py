"""X11: every exchange's answer as it is documented, and what each client makes of a hostile one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.prices import errors, tickers
from gateway.prices.http import ExchangeSource, Limits, OracleSource
from gateway.prices.model import Source, check_price, parse_decimal, price_of, rate_of
from gateway.prices.tickers import VENUES
from gateway.units import PosixMs, Rate
from regtest.exchanges.server import Exchanges
from tests.support.provoke import arefused, refused

pytestmark = pytest.mark.threat("X11")

NOW = 1_796_000_000_000
QUICK, PATIENT = Limits(timeout_s=0.4), Limits(timeout_s=10)  # a machine may be busy
ALL = [*sorted(VENUES), "oracle"]

# As the venues' references show them, with their odd fields.
RECORDED: dict[str, tuple[str, bytes, str, int | None]] = {
    "kraken": (
        "XBTUSD",
        b'{"error":[],"result":{"XXBTZUSD":{"a":["30300.10000","1","1.000"],"b":["30300.00000","1","1.000"],'
        b'"c":["30303.20000","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["30706.77771","30689.13205"],'
        b'"t":[34619,38907],"l":["29868.30000","29868.30000"],"h":["31631.00000","31631.00000"],"o":"30502.80000"}}}',
        "30300.05",
        None,
    ),
    "coinbase": (
        "BTC-USD",
        b'{"trade_id":86326522,"price":"6268.48","size":"0.00698254","time":"2020-03-20T00:22:57.833897Z",'
        b'"bid":"6265.15","ask":"6267.71","volume":"53602.03940154","rfq_volume":"123.122"}',
        "6266.43",
        1_584_663_777_833,
    ),
    "binance": (
        "BNBBTC",
        b'{"symbol":"BNBBTC","priceChange":"-94.99999800","priceChangePercent":"-95.960","bidPrice":"4.00000000",'
        b'"bidQty":"100.00000000","askPrice":"4.00000200","askQty":"100.00000000","openTime":1499783499040,'
        b'"closeTime":1499869899040,"firstId":28385,"lastId":28460,"count":76}',
        "4.000001",
        1_499_869_899_040,
    ),
    "bitstamp": (
        "btcusd",
        b'{"timestamp":"1723398353","open":"60940","high":"61868","low":"59959","last":"60192",'
        b'"volume":"1008.29813067","vwap":"60962","bid":"60173","ask":"60175","side":"1","open_24":"60652",'
        b'"percent_change_24":"-0.76"}',
        "60174",
        1_723_398_353_000,
    ),
    "bitfinex": (
        "tBTCUSD",
        b"[10645,73.93854271,10647,75.22266119,731.60645389,0.0738,10644.00645389,14480.89849423,10766,9889.1449809]",
        "10646",
        None,
    ),
    "okx": (
        "BTC-USDT",
        b'{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1",'
        b'"askPx":"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","open24h":"9000","high24h":"10000",'
        b'"low24h":"8888.88","volCcy24h":"2222","vol24h":"2222","sodUtc0":"2222","sodUtc8":"2222",'
        b'"ts":"1597026383085"}]}',
        "",
        1_597_026_383_085,
    ),
}


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_documented_answer_is_read(name: str) -> None:
    pair, body, middle, at = RECORDED[name]
    answer = tickers.load(body, name)
    if not middle:  # OKX's own example has its bid 12% under its ask: no market, and said so
        assert refused(lambda: VENUES[name].read(answer, pair, name)).spec is errors.BOOK
        answer["data"][0]["bidPx"], middle = "9999.97", "9999.98"
    found = VENUES[name].read(answer, pair, name)
    assert found.middle == Fraction(middle)
    assert found.at == (None if at is None else PosixMs(at))


@pytest.fixture
async def world() -> AsyncIterator[Exchanges]:
    async with Exchanges(lambda: NOW) as exchanges:
        yield exchanges


def source(name: str, world: Exchanges, limits: Limits = PATIENT) -> Source:
    if name == "oracle":
        return OracleSource(f"{world.url}/oracle", limits=limits)
    return ExchangeSource(VENUES[name], lambda: PosixMs(NOW), base_url=world.url, limits=limits)


@pytest.mark.parametrize("name", ALL)
async def test_each_client_reads_the_price_that_its_exchange_has(world: Exchanges, name: str) -> None:
    world.price, world.late_ms[name] = Decimal("0.00000712"), 2_000
    client = source(name, world)
    found = await client.read()
    await client.close()
    assert found.source == name
    assert abs(found.price / Fraction("0.00000712") - 1) < Fraction(1, 10**5)
    timeless = name in ("kraken", "bitfinex")  # they give no time: as old as the question
    assert found.at.value == (NOW if timeless else NOW - 2_000)


NUMBERS = [
    "0",
    "-1",
    "NaN",
    "Infinity",
    "1e-9",
    "1e999999999",
    "0x10",
    "",
    " 7",
    "7.",
    "٧",
    "1" * 40,
    "1_000",
]
HOSTILE: list[tuple[str, str, str]] = [
    *((name, "dead", "price.source.unreachable") for name in ALL),
    *((name, "error", "price.source.unreachable") for name in ALL),
    *((name, "missing", "price.source.unreachable") for name in ALL),
    *((name, "hangs", "price.source.timeout") for name in ALL),
    *((name, "drips", "price.source.timeout") for name in ALL),
    *((name, "redirect", "price.source.redirect") for name in ALL),
    *((name, "huge", "price.source.too_large") for name in ALL),
    *((name, "garbage", "price.source.malformed") for name in ALL),
    *((name, "deep", "price.source.malformed") for name in ALL),
    *((name, "doubled", "price.source.malformed") for name in ALL),
    *((name, "zipped", "price.source.malformed") for name in ALL),
    *((name, "body:[]", "price.source.malformed") for name in ALL),
    *((name, "body:null", "price.source.malformed") for name in ALL),
    *((name, 'body:{"error":[],"result":[]}', "price.source") for name in ALL),
    *((name, "crossed", "price.source.book") for name in sorted(VENUES)),
    *((name, "wrong_pair", "price.source.wrong_pair") for name in ("kraken", "binance", "okx", "oracle")),
    *((name, "refuses", "price.source.malformed") for name in ("kraken", "okx")),
    *((name, f"number:{n}", "price.source.number") for name in ALL for n in NUMBERS),
]


@pytest.mark.parametrize(("name", "fault", "code"), HOSTILE)
async def test_a_hostile_answer_is_refused_in_time_and_names_its_source(
    world: Exchanges, name: str, fault: str, code: str
) -> None:
    world.faults[name] = fault
    client = source(name, world, QUICK if code.endswith("timeout") else PATIENT)
    begun = time.monotonic()
    why = await arefused(client.read())
    await client.close()
    assert why.code.startswith(code), why
    assert why.field.split(".")[0] == name
    assert time.monotonic() - begun < 8
    if fault == "redirect":
        assert world.asked == 1  # nothing followed it


async def test_nobody_listens() -> None:
    client = ExchangeSource(
        VENUES["okx"], lambda: PosixMs(NOW), base_url="http://127.0.0.1:1", limits=PATIENT
    )
    assert (await arefused(client.read())).spec is errors.UNREACHABLE
    await client.close()


async def test_a_book_too_wide_is_no_market(world: Exchanges) -> None:
    world.bid_ask = Decimal("0.02")
    client = source("binance", world)
    assert (await arefused(client.read())).spec is errors.BOOK
    await client.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("lovelace", "0"), ("msat", "-1"), ("lovelace", "9" * 20), ("at_ms", "1.5"), ("lovelace", "[]")],
)
async def test_an_oracle_gives_whole_positive_numbers(world: Exchanges, field: str, value: str) -> None:
    parts = {"lovelace": "140449438202", "msat": "100000000000", "at_ms": str(NOW), field: value}
    inner = ",".join(f'"{k}":{v}' for k, v in parts.items())
    world.faults["oracle"] = f'body:{{"pair":"ada/btc",{inner}}}'
    client = source("oracle", world)
    assert (await arefused(client.read())).spec is errors.NUMBER
    await client.close()


async def test_a_price_that_no_ada_ever_had_is_no_price(world: Exchanges) -> None:
    world.price = Decimal(500)
    client = source("binance", world)
    assert (await arefused(client.read())).spec is errors.NUMBER
    await client.close()


def code_of(body: bytes, name: str) -> str:
    venue = VENUES[name]
    try:
        venue.read(tickers.load(body, name), venue.ada, name)
    except Refused as caught:
        return caught.rejection.code
    return "read"


@settings(max_examples=300)
@given(st.binary(max_size=400), st.sampled_from(sorted(VENUES)))
def test_no_bytes_do_anything_but_give_a_price_or_a_code(body: bytes, name: str) -> None:
    assert code_of(body, name).startswith(("read", "price.source."))


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=11)
        | st.dictionaries(
            st.sampled_from(
                ["error", "result", "data", "bid", "ask", "time", "ts", "timestamp", "code", "ADAUSD"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(_JSON, st.sampled_from(sorted(VENUES)))
def test_no_document_does_anything_but_give_a_price_or_a_code(document: Any, name: str) -> None:
    assert code_of(json.dumps(document).encode(), name).startswith(("read", "price.source."))


@given(st.integers(1, 10**15 - 1), st.integers(0, 18))
def test_a_plain_decimal_is_exact(whole: int, places: int) -> None:
    text = f"{Decimal(whole).scaleb(-places):f}"
    if len(text.split(".")[0]) <= 15:
        assert parse_decimal(text, "x") == Fraction(whole, 10**places)


@given(st.fractions(Fraction(1, 10**11), 100, max_denominator=10**18))
def test_a_rate_is_the_price_to_half_a_lovelace_a_bitcoin(price: Fraction) -> None:
    rate = rate_of(check_price(price, "x"))
    assert abs(Fraction(rate.lovelace) - 1_000_000 / price) <= Fraction(1, 2)
    assert rate.lovelace < 2**63
    assert price_of(Rate(rate.lovelace, rate.msat)) > 0


async def test_two_questions_of_one_venue_share_one_deadline(world: Exchanges) -> None:
    world.faults["kraken"] = "drips"
    client = source("kraken", world, Limits(timeout_s=0.5))
    begun = time.monotonic()
    assert (await arefused(client.read())).spec is errors.TIMEOUT
    assert time.monotonic() - begun < 5
    await client.close()
    await asyncio.sleep(0)
