"""One HTTP API of a chain provider: JSON in, JSON out, bounded in time and size, and its limits kept.

Fails with cl.chain.provider_down, .timeout, .malformed, .answer_too_large, .rate_limited, .key_refused.
After a 429 nothing is sent before the time that the provider named: it would only prolong the ban.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.cl.chain import fields as f
from gateway.cl.chain.errors import BAD_URL, DOWN, KEY_REFUSED, RATE_LIMITED, REFUSED, TIMEOUT, TOO_LARGE
from gateway.errors import Refused

MAX_ANSWER = 64 * 1024 * 1024
PAUSE_S = 1.0  # after a refusal that names no time
LONGEST_PAUSE_S = 3600.0
_SHOWN = 200

_LIMITED = (402, 418, 429)  # Blockfrost: over the daily limit, banned for a while, too fast
_KEY = (401, 403)
_AWAY = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    value: Any
    body: bytes

    @property
    def words(self) -> str:
        """What an error says: its `message`, or its text. Foreign: shown only shortened."""
        told = self.value.get("message") if isinstance(self.value, dict) else None
        return told if isinstance(told, str) else self.body.decode(errors="replace")


class JsonHttp:
    """`headers` (a key among them) are sent and never shown; `name` stands for the provider in errors."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
        max_answer: int = MAX_ANSWER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise Refused(BAD_URL(field=name, got=url[:80], allowed="http://…, https://…"))
        self.url, self.name = url.rstrip("/"), name
        self._max_answer = max_answer
        self._clock = clock
        self._not_before = 0.0
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,  # a redirect would carry the key to another host
            trust_env=False,
            headers={"Accept": "application/json", **(headers or {})},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> Any | None:
        """The value of a 200; None for a 404."""
        answer = await self.ask("GET", path)
        return None if answer.status == 404 else self._good(path, answer)

    async def post(self, path: str, value: Any) -> Any:
        """The value of the answer to a JSON body."""
        return self._good(path, await self.ask("POST", path, json=value))

    def _good(self, path: str, answer: Answer) -> Any:
        if answer.status != 200:
            detail = f"HTTP {answer.status}: {answer.words[:_SHOWN]}"
            raise Refused(REFUSED(field=_place(path), got=self.url, detail=detail))
        if answer.value is None:
            f.parse(answer.body, _place(path))
            raise f.malformed(_place(path), "null", "a value")
        return answer.value

    async def ask(self, method: str, path: str, **body: Any) -> Answer:
        """Any answer but a limit, a refused key or a server's own failure, each of which is raised."""
        left = self._not_before - self._clock()
        if left > 0:
            raise self._limited(path, left, "waiting as we were told")
        received = bytearray()
        try:
            async with self._http.stream(method, self.url + path, **body) as response:
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > self._max_answer:
                        raise Refused(TOO_LARGE(field=_place(path), got=self.url))
        except httpx.TimeoutException:
            raise Refused(TIMEOUT(field=_place(path), got=self.url)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            detail = f"{type(error).__name__}: {error}"[:_SHOWN]
            raise Refused(DOWN(field=self.name, got=self.url, detail=detail)) from None
        answer = _answer(response.status_code, bytes(received))
        if answer.status in _LIMITED:
            pause = _retry_after(response.headers.get("Retry-After", ""))
            self._not_before = self._clock() + pause
            raise self._limited(path, pause, f"HTTP {answer.status}: {answer.words[:_SHOWN]}")
        if answer.status in _KEY:
            raise Refused(
                KEY_REFUSED(field=self.name, got=f"HTTP {answer.status}", detail=answer.words[:_SHOWN])
            )
        if answer.status in _AWAY:
            detail = f"HTTP {answer.status}: {answer.words[:_SHOWN]}"
            raise Refused(DOWN(field=self.name, got=self.url, detail=detail))
        return answer

    def _limited(self, path: str, pause_s: float, detail: str) -> Refused:
        after = max(1, int(pause_s * 1000))
        return Refused(RATE_LIMITED(field=self.name, got=_place(path), detail=detail, retry_after_ms=after))


def _answer(status: int, body: bytes) -> Answer:
    """Only a 200 must be JSON; an error may say what it likes."""
    try:
        return Answer(status, f.parse(body, "body"), body)
    except Refused:
        return Answer(status, None, body)


def _retry_after(shown: str) -> float:
    """Seconds. The header may also be a date; clocks differ, so that is only "later"."""
    if shown.isascii() and shown.isdigit() and len(shown) < 10:
        return min(max(float(shown), PAUSE_S), LONGEST_PAUSE_S)
    return PAUSE_S


def _place(path: str) -> str:
    return path.split("?")[0][:80]
