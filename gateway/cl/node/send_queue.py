"""R4. What waits to be written to one peer: in order, bounded, and nobody waits for it.

Whoever hears a peer also answers it. If an answer waited until the peer reads, a peer that sends and never reads
would stop us from hearing it, and a block's work on one channel would hold up all the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import structlog

from gateway.cl.net.errors import SLOW
from gateway.cl.net.limits import Limits
from gateway.cl.ports import Connection
from gateway.errors import Refused, Rejection

log = structlog.get_logger("gateway.peers")


class SendQueue:
    """One task writes. Too far behind: the link is cut, and on the next one the channels say everything again."""

    def __init__(self, connection: Connection, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._connection = connection
        self._most_bytes, self._flush_s = limits.backlog_bytes, limits.close_s
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._ended: Rejection | None = None
        self._news, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._writer = asyncio.create_task(self._write())

    def put(self, raw: bytes) -> None:
        """Never waits. Raises Refused (cl.net.slow, .closed) once the link is cut. Put does not mean sent."""
        if self._ended is None and self._bytes + len(raw) > self._most_bytes:
            self._cut(
                SLOW(field="backlog", got=f"{self._bytes} bytes unread", allowed=f"{self._most_bytes} bytes")
            )
        if self._ended is not None:
            raise Refused(self._ended)
        self._waiting.append(raw)
        self._bytes += len(raw)
        self._idle.clear()
        self._news.set()

    async def flush(self) -> None:
        """Until all of it was written; a link that takes too long for that is not waited for."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._flush_s)

    async def stop(self) -> None:
        """What was not written is dropped."""
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    def _cut(self, why: Rejection) -> None:
        self._ended = why
        log.warning("peer.cut", peer=self._connection.remote_node_id.hex(), code=why.code, why=str(why))
        self._writer.cancel()
        self._connection.cut(why)

    async def _write(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._idle.set()
                    self._news.clear()
                    await self._news.wait()
                raw = self._waiting.popleft()
                await self._connection.send(raw)
                self._bytes -= len(raw)
        except Refused as refused:  # the link's end; whoever reads it sees that, too
            self._ended = self._ended or refused.rejection
        finally:
            self._idle.set()
