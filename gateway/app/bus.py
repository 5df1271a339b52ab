"""R4. Everything that changes, as it is committed, to whoever listens (the API's WebSocket)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

_DEPTH = 1000


class Bus:
    """A listener that is too slow loses its oldest events, never the node's time."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    def publish(self, event: dict[str, Any]) -> None:
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_DEPTH)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
