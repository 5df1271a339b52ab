"""R1. What the public exchanges answer: where each ticker lives, and how its answer reads. Pure: bytes in, book out.

Every price is the middle of bid and ask, which moves when the last trade does not. Crossed pairs (ada/usd over
btc/usd) are read from one venue, so that both carry the same dollar.
Sources: the venues' public REST references (Kraken Ticker, Coinbase Exchange product ticker, Binance 24hr ticker,
Bitstamp ticker v2, Bitfinex ticker v2, OKX market ticker v5).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from gateway.errors import Refused
from gateway.prices.errors import BOOK, MALFORMED, WRONG_PAIR
from gateway.prices.model import PPM, parse_decimal
from gateway.units import PosixMs

MOST_BOOK_PPM = 20_000  # bid and ask further apart than 2% are no market
_DEPTH = 8
_LATEST_MS = 253_402_300_799_999  # year 9999


@dataclass(frozen=True, slots=True)
class Ticker:
    """One answer: bid and ask of a pair, and the venue's own time when it gives one."""

    bid: Fraction
    ask: Fraction
    at: PosixMs | None

    @property
    def middle(self) -> Fraction:
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class Venue:
    """An exchange: `ada` over `over` is the price in bitcoin; `over` is empty when `ada` is priced in bitcoin."""

    name: str
    base_url: str
    path: str  # with {pair}
    ada: str
    over: str
    read: Callable[[Any, str, str], Ticker]

    @property
    def pairs(self) -> tuple[str, ...]:
        return (self.ada, self.over) if self.over else (self.ada,)


def load(body: bytes, where: str) -> Any:
    """JSON whose numbers stay text, NaN too; fails with price.source.malformed on garbage, doubled names, depth."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        document = json.loads(
            body.decode("utf-8"),
            parse_float=str,
            parse_int=str,
            parse_constant=str,
            object_pairs_hook=once,
        )
    except (ValueError, RecursionError) as error:
        raise Refused(MALFORMED(field=where, got=repr(body[:60]), detail=str(error)[:120])) from None
    if _deep(document, _DEPTH):
        raise Refused(MALFORMED(field=where, detail="nested too deeply"))
    return document


def _deep(value: Any, left: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    members = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_deep(one, left - 1) for one in members)


def _get(value: Any, where: str, *path: str | int) -> Any:
    for step in path:
        found = None
        if isinstance(step, str) and isinstance(value, dict):
            found = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            found = value[step]
        if found is None:
            raise Refused(MALFORMED(field=where, detail=f"no {'.'.join(map(str, path))}"))
        value = found
    return value


def _ticker(bid: Any, ask: Any, at: PosixMs | None, where: str) -> Ticker:
    found = Ticker(parse_decimal(bid, f"{where}.bid"), parse_decimal(ask, f"{where}.ask"), at)
    if found.bid > found.ask or (found.ask - found.bid) * PPM > found.middle * MOST_BOOK_PPM:
        raise Refused(
            BOOK(field=where, got=f"{bid} to {ask}", allowed=f"bid <= ask, at most {MOST_BOOK_PPM} ppm apart")
        )
    return found


def _time(value: Any, where: str, *, unit_ms: int = 1) -> PosixMs:
    """A whole number of units since 1970."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 15) or int(text) * unit_ms > _LATEST_MS:
        raise Refused(MALFORMED(field=where, got=text[:40], detail="no time"))
    return PosixMs(int(text) * unit_ms)


def _iso(value: Any, where: str) -> PosixMs:
    """2026-11-30T23:47:02.123456Z"""
    try:
        if not isinstance(value, str) or len(value) > 40:
            raise ValueError("no text")
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        span = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refused(MALFORMED(field=where, got=str(value)[:40], detail="no time")) from None
    return PosixMs(max(0, span.days * 86_400_000 + span.seconds * 1000 + span.microseconds // 1000))


def _same(got: Any, pair: str, where: str) -> None:
    if got != pair:
        raise Refused(WRONG_PAIR(field=where, got=str(got)[:40], allowed=pair))


def _kraken(answer: Any, pair: str, where: str) -> Ticker:
    if _get(answer, where, "error") != []:
        raise Refused(MALFORMED(field=where, got=str(answer["error"])[:80], detail="the venue refuses"))
    result = _get(answer, where, "result")
    names = sorted(result) if isinstance(result, dict) else []
    # Kraken answers under its own long name for some pairs (XXBTZUSD for XBTUSD)
    if len(names) != 1 or names[0] not in _KRAKEN_NAMES.get(pair, (pair,)):
        raise Refused(WRONG_PAIR(field=where, got=",".join(names)[:80], allowed=pair))
    row = result[names[0]]
    return _ticker(_get(row, where, "b", 0), _get(row, where, "a", 0), None, where)


_KRAKEN_NAMES = {"XBTUSD": ("XXBTZUSD", "XBTUSD")}


def _coinbase(answer: Any, pair: str, where: str) -> Ticker:
    at = _iso(_get(answer, where, "time"), where)
    return _ticker(_get(answer, where, "bid"), _get(answer, where, "ask"), at, where)


def _binance(answer: Any, pair: str, where: str) -> Ticker:
    _same(_get(answer, where, "symbol"), pair, where)
    at = _time(_get(answer, where, "closeTime"), where)
    return _ticker(_get(answer, where, "bidPrice"), _get(answer, where, "askPrice"), at, where)


def _bitstamp(answer: Any, pair: str, where: str) -> Ticker:
    at = _time(_get(answer, where, "timestamp"), where, unit_ms=1000)
    return _ticker(_get(answer, where, "bid"), _get(answer, where, "ask"), at, where)


def _bitfinex(answer: Any, pair: str, where: str) -> Ticker:
    if not isinstance(answer, list) or len(answer) != 10:
        raise Refused(MALFORMED(field=where, got=str(answer)[:80], detail="no list of ten numbers"))
    return _ticker(answer[0], answer[2], None, where)


def _okx(answer: Any, pair: str, where: str) -> Ticker:
    if _get(answer, where, "code") != "0":
        raise Refused(MALFORMED(field=where, got=str(answer["code"])[:40], detail="the venue refuses"))
    row = _get(answer, where, "data", 0)
    _same(_get(row, where, "instId"), pair, where)
    at = _time(_get(row, where, "ts"), where)
    return _ticker(_get(row, where, "bidPx"), _get(row, where, "askPx"), at, where)


VENUES = {
    venue.name: venue
    for venue in (
        Venue("kraken", "https://api.kraken.com", "/0/public/Ticker?pair={pair}", "ADAUSD", "XBTUSD", _kraken),
        Venue(
            "coinbase", "https://api.exchange.coinbase.com", "/products/{pair}/ticker", "ADA-USD", "BTC-USD",
            _coinbase,
        ),
        Venue("binance", "https://api.binance.com", "/api/v3/ticker/24hr?symbol={pair}", "ADABTC", "", _binance),
        Venue("bitstamp", "https://www.bitstamp.net", "/api/v2/ticker/{pair}/", "adausd", "btcusd", _bitstamp),
        Venue("bitfinex", "https://api-pub.bitfinex.com", "/v2/ticker/{pair}", "tADAUSD", "tBTCUSD", _bitfinex),
        Venue(
            "okx", "https://www.okx.com", "/api/v5/market/ticker?instId={pair}", "ADA-USDT", "BTC-USDT", _okx
        ),
    )
}  # fmt: skip
