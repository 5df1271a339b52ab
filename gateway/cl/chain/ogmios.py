"""A client of Ogmios v6: JSON-RPC 2.0 over one WebSocket, and chain sync on a socket of its own.

Fails with cl.chain.provider_down, .timeout, .malformed, .answer_too_large; a refusal by the server
is `RpcError`. It never retries: a caller decides that. Source: Ogmios's API reference, v6.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, PayloadTooBig, WebSocketException

from gateway.cl.chain import fields as f
from gateway.cl.chain.errors import BAD_URL, DOWN, LAGGING, NO_INTERSECTION, TIMEOUT, TOO_LARGE
from gateway.cl.ports import Point
from gateway.errors import Refused

MAX_MESSAGE = 32 * 1024 * 1024  # the largest block with its JSON beside its CBOR is under 2 MB
PIPELINED = 20  # requests for blocks under way while catching up

_NO_INTERSECTION = 1000


class RpcError(Exception):
    """Ogmios's own refusal: its code, message and data."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.data = code, message, data


class Ogmios:
    """Connects when first used, and again after the connection was lost."""

    def __init__(self, url: str, *, timeout_s: float = 20.0, max_message: int = MAX_MESSAGE) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise Refused(BAD_URL(field="ogmios", got=url, allowed="ws://…, wss://…"))
        self.url = url
        self._timeout_s = timeout_s
        self._max_message = max_message
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    async def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The `result` of the answer; RpcError when there is an `error` instead."""
        try:
            async with asyncio.timeout(self._timeout_s):
                link = await self._opened()
                return await link.call(method, params or {})
        except TimeoutError:
            raise Refused(TIMEOUT(field=method, got=self.url, allowed=f"{self._timeout_s} s")) from None

    async def _opened(self) -> _Link:
        async with self._opening:
            if self._link is None or self._link.lost:
                self._link = _Link(await self._connect(), self.url)
            return self._link

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self.url,
                max_size=self._max_message,
                open_timeout=self._timeout_s,
                compression=None,
                close_timeout=1,
                max_queue=PIPELINED,
                proxy=None,
            )
        except TimeoutError:
            raise Refused(TIMEOUT(field="connect", got=self.url)) from None
        except (OSError, WebSocketException) as error:
            raise Refused(DOWN(field="ogmios", got=self.url, detail=str(error)[:200])) from None

    async def close(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    async def sync(self, points: Sequence[Point]) -> AsyncGenerator[dict[str, Any], None]:
        """Results of nextBlock, from the first of `points` that the server knows, without an end.
        Fails with cl.chain.no_intersection when it knows none of them."""
        socket = await self._connect()
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    await _exchange(socket, "findIntersection", {"points": [_shown(p) for p in points]})
                except RpcError as error:
                    if error.code != _NO_INTERSECTION:
                        raise
                    raise _no_intersection(error, points, self.url) from None
            for _ in range(PIPELINED):
                await _send(socket, "nextBlock", {}, 0)
            while True:  # no timeout: at the tip the answer is the next block; pings watch the link
                answer = _result(_read(await socket.recv()), "nextBlock")
                await _send(socket, "nextBlock", {}, 0)
                yield f.obj(answer, "nextBlock.result")
        except TimeoutError:
            raise Refused(TIMEOUT(field="findIntersection", got=self.url)) from None
        except (ConnectionClosed, OSError) as error:
            raise _lost(error, self.url) from None
        finally:
            await _close(socket)


class _Link:
    """One connection: requests by id, answers in any order."""

    def __init__(self, socket: ClientConnection, url: str) -> None:
        self.lost = False
        self._socket = socket
        self._url = url
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await _send(self._socket, method, params, number)
            return _result(await answer, method)
        except (ConnectionClosed, OSError) as error:
            raise _lost(error, self._url) from None
        finally:
            self._waiting.pop(number, None)

    async def _read(self) -> None:
        failure: BaseException
        try:
            while True:
                message = _read(await self._socket.recv())
                number = message.get("id")
                waiting = self._waiting.get(number) if type(number) is int else None
                if waiting is None and message.get("error") is not None and number is None:
                    raise f.malformed("id", "missing", "the id of a request")
                if waiting is not None and not waiting.done():  # else: its caller gave up
                    waiting.set_result(message)
        except (ConnectionClosed, OSError) as error:
            failure = _lost(error, self._url)
        except Refused as error:
            failure = error
        # One garbled message: nothing behind it can be attributed, so the link is given up.
        self.lost = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(failure)
        await _close(self._socket)

    async def close(self) -> None:
        self.lost = True
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Refused(DOWN(field="ogmios", got=self._url, detail="closed by us")))
        await _close(self._socket)


async def _close(socket: ClientConnection) -> None:
    with suppress(OSError, WebSocketException):
        await socket.close()


async def _send(socket: ClientConnection, method: str, params: dict[str, Any], number: int) -> None:
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
    await socket.send(json.dumps(request))


async def _exchange(socket: ClientConnection, method: str, params: dict[str, Any]) -> Any:
    await _send(socket, method, params, 0)
    return _result(_read(await socket.recv()), method)


def _read(raw: str | bytes) -> dict[str, Any]:
    return f.obj(f.parse(raw, "ogmios"), "ogmios")


def _result(message: dict[str, Any], method: str) -> Any:
    error = message.get("error")
    if error is not None:
        told = f.obj(error, f"{method}.error")
        code = f.get(told, f"{method}.error", "code")
        if type(code) is not int:
            raise f.malformed(f"{method}.error.code", code, "a whole number")
        raise RpcError(code, str(told.get("message", ""))[:500], told.get("data"))
    return f.get(message, method, "result")


def _lost(error: BaseException, url: str) -> Refused:
    sent = getattr(error, "sent", None)
    if isinstance(error, PayloadTooBig) or (sent is not None and sent.code == 1009):
        return Refused(TOO_LARGE(field="ogmios", got=url))
    return Refused(DOWN(field="ogmios", got=url, detail=str(error)[:200]))


def _no_intersection(error: RpcError, points: Sequence[Point], url: str) -> Refused:
    """A provider that is behind our newest block will know it later; one that is not never will."""
    where = "findIntersection.error.data"
    tip = f.get(error.data, where, "tip")
    slot = -1 if tip == "origin" else f.whole(f.get(tip, where, "slot"), f"{where}.tip.slot")
    newest = points[0].slot.value
    if slot < newest:
        return Refused(LAGGING(field="ogmios.tip", got=slot, allowed=f"{newest} or later", detail=url))
    return Refused(NO_INTERSECTION(field="points", got=f"{len(points)} points", detail=url))


def _shown(point: Point) -> Any:
    return "origin" if point.slot.value < 0 else {"slot": point.slot.value, "id": point.block_hash.hex()}
