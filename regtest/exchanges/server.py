"""The tickers of six exchanges and an oracle, in the shapes of their public references, for tests and rehearsals.

One price for all, moved by `price`; `faults` makes one venue misbehave in a named way. Prices are text, as the
venues send them. The times are those of `now_ms`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]
BTC_USD = Decimal("93412.5")
PATHS = {
    "/0/public/Ticker": "kraken",
    "/products": "coinbase",
    "/api/v3/ticker/24hr": "binance",
    "/api/v2/ticker": "bitstamp",
    "/v2/ticker": "bitfinex",
    "/api/v5/market/ticker": "okx",
    "/oracle": "oracle",
}


@dataclass
class Exchanges:
    """`bid_ask`: how far bid and ask lie from the middle, as a part of the price."""

    now_ms: Callable[[], int]
    price: Decimal = Decimal("0.00000712")  # bitcoin for an ada
    bid_ask: Decimal = Decimal("0.0002")
    factors: dict[str, Decimal] = field(
        default_factory=dict
    )  # a venue's own price, as a part of the common one
    late_ms: dict[str, int] = field(default_factory=dict)  # how old a venue's answer is; negative: the future
    faults: dict[str, str] = field(default_factory=dict)
    frozen: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0
    url: str = ""

    async def __aenter__(self) -> Exchanges:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._open: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    # -- HTTP -----------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            await self._respond(target, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _respond(self, target: str, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        venue = next((name for path, name in PATHS.items() if target.startswith(path)), "")
        fault = self.faults.get(venue, "")
        if fault == "dead":
            return  # the connection ends without a byte
        if fault == "hangs":
            await asyncio.sleep(3600)
        status, headers, body = self._answer(venue, fault, target)
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if fault == "drips":
            for at in range(len(body)):
                writer.write(body[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0.2)
        writer.write(body)
        await writer.drain()

    def _answer(self, venue: str, fault: str, target: str) -> Answer:
        if not venue or fault == "missing":
            return 404, {}, b"{}"
        if fault == "error":
            return 503, {}, b"over capacity"
        if fault == "redirect":
            return 302, {"Location": f"{self.url}/oracle"}, b""
        if fault == "huge":
            return 200, {}, b'{"x":"' + b"9" * 10_000_000 + b'"}'
        if fault == "garbage":
            return 200, {}, b"<html>maintenance</html>"
        if fault == "deep":
            return 200, {}, b"[" * 5_000 + b"]" * 5_000
        if fault == "doubled":
            return 200, {}, b'{"bid":"1","bid":"2","ask":"2"}'
        if fault == "zipped":
            return 200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08"
        if fault.startswith("body:"):
            return 200, {}, fault.removeprefix("body:").encode()
        if fault == "repeats" and target in self.frozen:
            return 200, {}, self.frozen[target]
        body = json.dumps(self._ticker(venue, fault, target)).encode()
        self.frozen[target] = body
        return 200, {"Content-Type": "application/json"}, body

    # -- answers --------------------------------------------------------------------------------

    def _numbers(self, venue: str, target: str) -> tuple[str, str]:
        """Bid and ask of the pair in `target`, as text."""
        text = target.lower()
        with localcontext() as context:
            context.prec = 24
            mine = self.price * self.factors.get(venue, Decimal(1))
            middle = mine if "adabtc" in text else mine * BTC_USD if "ada" in text else BTC_USD
            bid, ask = middle * (1 - self.bid_ask), middle * (1 + self.bid_ask)
        return f"{bid:.12f}", f"{ask:.12f}"

    def _ticker(self, venue: str, fault: str, target: str) -> Any:
        bid, ask = self._numbers(venue, target)
        if fault.startswith("number:"):
            bid = fault.removeprefix("number:")
        if fault == "crossed":
            bid, ask = ask, bid
        at = self.now_ms() - self.late_ms.get(venue, 0)
        query = parse_qs(urlsplit(target).query)
        match venue:
            case "kraken":
                name = {"XBTUSD": "XXBTZUSD"}.get(query["pair"][0], query["pair"][0])
                name = "XETHZUSD" if fault == "wrong_pair" else name
                row = {
                    "a": [ask, "12000", "12000.000"], "b": [bid, "7500", "7500.000"], "c": [bid, "20.80"],
                    "v": ["1803290.11", "7212003.52"], "p": [bid, ask], "t": [9122, 30412], "l": [bid, bid],
                    "h": [ask, ask], "o": bid,
                }  # fmt: skip
                return {
                    "error": ["EQuery:Unknown asset pair"] if fault == "refuses" else [],
                    "result": {name: row},
                }
            case "coinbase":
                return {
                    "ask": ask, "bid": bid, "volume": "30183415.31", "trade_id": 71_203_111, "price": bid,
                    "size": "120.1", "time": _iso(at), "rfq_volume": "11223.002",
                }  # fmt: skip
            case "binance":
                return {
                    "symbol": "ETHBTC" if fault == "wrong_pair" else query["symbol"][0], "priceChange": "-0.00000005",
                    "priceChangePercent": "-0.702", "weightedAvgPrice": bid, "prevClosePrice": bid,
                    "lastPrice": bid, "lastQty": "88.0", "bidPrice": bid, "bidQty": "11824.0", "askPrice": ask,
                    "askQty": "5120.0", "openPrice": bid, "highPrice": ask, "lowPrice": bid, "volume": "9122410.0",
                    "quoteVolume": "65.11", "openTime": at - 86_400_000, "closeTime": at, "firstId": 1,
                    "lastId": 9, "count": 9,
                }  # fmt: skip
            case "bitstamp":
                return {
                    "timestamp": str(at // 1000), "open": bid, "high": ask, "low": bid, "last": bid,
                    "volume": "3120094.11", "vwap": bid, "bid": bid, "ask": ask, "side": "0", "open_24": bid,
                    "percent_change_24": "-0.70",
                }  # fmt: skip
            case "bitfinex":
                number: Any = bid if fault.startswith("number:") else float(bid)
                return [
                    number,
                    18_120.5,
                    float(ask),
                    9_200.1,
                    -0.01,
                    -0.0107,
                    float(ask),
                    812_004.2,
                    1.0,
                    0.9,
                ]
            case "okx":
                row = {
                    "instType": "SPOT", "instId": "ETH-USDT" if fault == "wrong_pair" else query["instId"][0],
                    "last": bid, "lastSz": "11", "askPx": ask, "askSz": "910.2", "bidPx": bid, "bidSz": "1200.5",
                    "open24h": bid, "high24h": ask, "low24h": bid, "volCcy24h": "8000123.1", "vol24h": "9123411.0",
                    "ts": str(at), "sodUtc0": bid, "sodUtc8": bid,
                }  # fmt: skip
                return {"code": "51001" if fault == "refuses" else "0", "msg": "", "data": [row]}
            case _:
                return self._oracle(fault, at)

    def _oracle(self, fault: str, at: int) -> dict[str, Any]:
        price = self.price * self.factors.get("oracle", Decimal(1))
        lovelace: Any = round(Decimal(1_000_000) / price)
        if fault.startswith("number:"):
            lovelace = fault.removeprefix("number:")
        pair = "eth/btc" if fault == "wrong_pair" else "ada/btc"
        return {"pair": pair, "lovelace": lovelace, "msat": 100_000_000_000, "at_ms": at}


def _iso(at_ms: int) -> str:
    return (
        datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}000Z"
    )
