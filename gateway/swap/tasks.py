"""R4. What a shell does beside its callers: it outlives every failure, and ends with the shell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from gateway.errors import Refused

log = structlog.get_logger("gateway.swap")


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, what: str, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(guarded(what, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def every(self, seconds: float, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """`work` again and again, `seconds` after its last end."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                await guarded(what, work())

        self.spawn(what, loop())

    async def stop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def guarded(what: str, work: Awaitable[None]) -> None:
    """A refusal is weather; anything else is a bug, which must not leave a swap unwatched for good."""
    try:
        await work
    except Refused as refused:
        log.warning("swap.refused", what=what, code=refused.rejection.code)
    except Exception:
        log.exception("swap.bug", what=what)
