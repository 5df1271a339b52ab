"""An HTTP server that says exactly what a test tells it to, also what no honest server says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Raw:
    """`body` None: silence. `cut`: the connection ends after that many bytes of the body."""

    body: bytes | None = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Drop:
    """The connection is cut instead of an answer."""


@dataclass
class Played:
    """In order, the last one for ever."""

    rows: list[Any]


@dataclass
class Script:
    """`answers`: path (with its query, or without) -> a JSON value, a `Raw`, `Drop`, a function of the query that
    gives one of these, or `Played`. Others are 404."""

    answers: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, target: str) -> Any:
        self.asked.append(target)
        path, _, query = target.partition("?")
        found = self.answers.get(target, self.answers.get(path, Raw(b"{}", 404)))
        if callable(found) and found is not Drop:
            found = found(query)
        if isinstance(found, Played):
            found = found.rows.pop(0) if len(found.rows) > 1 else found.rows[0]
        return found


@asynccontextmanager
async def scripted(answers: dict[str, Any]) -> AsyncIterator[Script]:
    script = Script(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        script.heads.append(head)
        lines = [line.lower() for line in head.split("\r\n")]
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length")), 0)
        await reader.readexactly(length)
        found = script.answer(head.split()[1])
        if found is Drop:
            writer.transport.abort()
            return
        raw = found if isinstance(found, Raw) else Raw(json.dumps(found).encode())
        if raw.body is None:
            await reader.read()
            return
        extra = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
        top = (
            f"HTTP/1.1 {raw.status} X\r\nContent-Length: {len(raw.body)}\r\nConnection: close\r\n{extra}\r\n"
        )
        writer.write(top.encode() + raw.body[: raw.cut])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield script
