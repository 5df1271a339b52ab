"""A small HTTP/1.1 server on asyncio streams, enough for Kupo's API and the control API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_BODY = 4 * 1024 * 1024
REASONS = {200: "OK", 202: "Accepted", 304: "Not Modified", 400: "Bad Request", 404: "Not Found",
           405: "Method Not Allowed", 413: "Content Too Large", 425: "Too Early", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("a JSON object is expected")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)


class Disconnect(Exception):
    """Raised by a handler to cut the connection without an answer (a fault)."""


Handler = Callable[[Request], Awaitable[Response]]


class WebServer:
    def __init__(self, handler: Handler, host: str, port: int) -> None:
        self._handler = handler
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.disconnect()
        if self._server is not None:
            await self._server.wait_closed()

    def disconnect(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                if isinstance(request, Response):
                    await _write(writer, request, close=True)
                    return
                close = request.headers.get("connection", "").lower() == "close"
                await _write(writer, await self._answer(request), close)
                if close:
                    return
        except (Disconnect, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except (ValueError, KeyError, TypeError) as error:
            return Response(400, {"hint": str(error) or type(error).__name__})


async def _read(reader: asyncio.StreamReader) -> Request | Response | None:
    line = await reader.readline()
    if not line:
        return None
    parts = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (row := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = row.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if len(parts) != 3 or not length.isdigit():
        return Response(400, {"hint": "malformed request"})
    if int(length) > MAX_BODY or len(headers) > 100:
        return Response(413, {"hint": "too large"})
    body = await reader.readexactly(int(length))
    url = urlsplit(parts[1])
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(parts[0].upper(), unquote(url.path), query, headers, body)


async def _write(writer: asyncio.StreamWriter, response: Response, close: bool) -> None:
    plain = isinstance(response.content, str)
    if response.status == 304:
        body = b""
    else:
        body = response.content.encode() if plain else json.dumps(response.content).encode()
    kind = "text/plain;charset=utf-8" if plain else "application/json;charset=utf-8"
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), **response.headers}
    headers["Connection"] = "close" if close else "keep-alive"
    lines = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
