"""R3. Small clients of price sources over HTTP: the exchanges, and an oracle of the operator's own.

Whatever a source answers, it costs at most one bounded body and one deadline: no redirects, no compression,
no proxy from the environment.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.errors import Refused
from gateway.prices import tickers
from gateway.prices.errors import (
    MALFORMED,
    NUMBER,
    REDIRECT,
    TIMEOUT,
    TOO_LARGE,
    UNREACHABLE,
    WRONG_PAIR,
)
from gateway.prices.model import Reading, check_price, price_of
from gateway.units import PosixMs, Rate

MAX_ANSWER = 64 * 1024
PAIR = "ada/btc"
_MOST_RATE = 2**63 - 1
Now = Callable[[], PosixMs]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one read: the whole time for all its questions, and the largest answer."""

    timeout_s: float = 5.0
    most_bytes: int = MAX_ANSWER


class Getter:
    """GET and nothing else, from one base address. Fails with price.source.* naming the source."""

    def __init__(self, source: str, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._http = httpx.AsyncClient(
            timeout=limits.timeout_s, follow_redirects=False, trust_env=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "cl-gateway"},
        )  # fmt: skip

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, url: str) -> bytes:
        """The body of a 200; read as it came, so that a small answer stays small."""
        body = bytearray()
        try:
            async with self._http.stream("GET", url) as response:
                if 300 <= response.status_code < 400:
                    where = response.headers.get("location", "")
                    raise Refused(REDIRECT(field=self._source, got=where[:200]))
                if response.status_code != 200:
                    raise Refused(UNREACHABLE(field=self._source, got=f"HTTP {response.status_code}"))
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise Refused(
                        MALFORMED(field=self._source, detail="a compressed answer was not asked for")
                    )
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > self._limits.most_bytes:
                        raise Refused(
                            TOO_LARGE(field=self._source, allowed=f"<= {self._limits.most_bytes} bytes")
                        )
        except httpx.TimeoutException:
            raise Refused(self._late()) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            detail = f"{type(error).__name__}: {error}"[:200]
            raise Refused(UNREACHABLE(field=self._source, detail=detail)) from None
        return bytes(body)

    def _late(self) -> Any:
        return TIMEOUT(field=self._source, allowed=f"{round(self._limits.timeout_s * 1000)} ms")

    async def all(self, urls: tuple[str, ...]) -> tuple[bytes, ...]:
        """All of them within one deadline, however slowly the bytes drip."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return tuple([await self.get(url) for url in urls])
        except TimeoutError:
            raise Refused(self._late()) from None


class ExchangeSource:
    """One exchange's ada price in bitcoin, direct or crossed over the same venue's dollar."""

    def __init__(
        self, venue: tickers.Venue, now: Now, *, base_url: str = "", limits: Limits | None = None
    ) -> None:
        self._venue, self._now = venue, now
        self._base = (base_url or venue.base_url).rstrip("/")
        self._getter = Getter(venue.name, limits or Limits())

    @property
    def name(self) -> str:
        return self._venue.name

    async def close(self) -> None:
        await self._getter.close()

    async def read(self) -> Reading:
        venue, asked_at = self._venue, self._now()
        urls = tuple(self._base + venue.path.format(pair=pair) for pair in venue.pairs)
        bodies = await self._getter.all(urls)
        found = [
            venue.read(tickers.load(body, venue.name), pair, venue.name)
            for pair, body in zip(venue.pairs, bodies, strict=True)
        ]
        price = found[0].middle if len(found) == 1 else found[0].middle / found[1].middle
        # as old as its older half; a venue without a time of its own: as old as the question
        at = min((ticker.at or asked_at for ticker in found), key=lambda moment: moment.value)
        digest = hashlib.sha256(b"\0".join(bodies)).digest()
        return Reading(venue.name, check_price(price, venue.name), at, digest)


class OracleSource:
    """An operator's own oracle: {"pair": "ada/btc", "lovelace": L, "msat": M, "at_ms": T}, L lovelace for M msat."""

    name = "oracle"

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self._url = url
        self._getter = Getter(self.name, limits or Limits())

    async def close(self) -> None:
        await self._getter.close()

    async def read(self) -> Reading:
        (body,) = await self._getter.all((self._url,))
        answer = tickers.load(body, self.name)
        fields = {"pair", "lovelace", "msat", "at_ms"}
        if not isinstance(answer, dict) or set(answer) != fields:
            names = ",".join(sorted(answer)) if isinstance(answer, dict) else type(answer).__name__
            raise Refused(
                MALFORMED(field=self.name, got=names[:80], allowed=f"exactly {', '.join(sorted(fields))}")
            )
        if answer["pair"] != PAIR:
            raise Refused(WRONG_PAIR(field=self.name, got=str(answer["pair"])[:40], allowed=PAIR))
        rate = Rate(self._whole(answer, "lovelace"), self._whole(answer, "msat"))
        price = check_price(price_of(rate), self.name)
        # its time says that it is alive: the same price at a new time is an answer, an old time is none
        return Reading(self.name, price, PosixMs(self._whole(answer, "at_ms")))

    def _whole(self, answer: dict[str, Any], field: str) -> int:
        text = answer[field]
        fits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 19
        if not fits or not 0 < int(text) <= _MOST_RATE:
            raise Refused(
                NUMBER(field=f"{self.name}.{field}", got=str(text)[:60], allowed=f"1 to {_MOST_RATE}")
            )
        return int(text)
