"""R4. Who and how much may come in: the operator's pause, the lists, the buckets, and what was done within a day.

A pause is stored: a restart does not end it. In-flight swaps never ask here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from gateway.errors import Rejection
from gateway.store.store import Store, system_ms
from gateway.swap import events as e
from gateway.swap import state as s
from gateway.swap.limits import Buckets, Limits, Usage, unwelcome, usage
from gateway.units import Msat

log = structlog.get_logger("gateway.swap")
DAY_MS = 86_400_000
_PAUSE = "swaps.paused"


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Gate:
    def __init__(
        self,
        store: Store,
        limits: Callable[[], Limits],
        *,
        now_ms: Callable[[], int] = system_ms,
        monotonic_ms: Callable[[], int] = _monotonic_ms,
    ) -> None:
        self._store, self._limits, self._now_ms, self._monotonic_ms = store, limits, now_ms, monotonic_ms
        self._done: deque[tuple[int, bytes, Msat]] = deque()
        self._buckets: Buckets | None = None
        self.paused = ""

    async def start(self, kinds: Iterable[str]) -> None:
        """The stored pause, and what was done before this process within a day."""
        since = self._now_ms() - DAY_MS
        async with self._store.read() as tx:
            self.paused = await tx.notes.get(_PAUSE) or ""
            for kind in kinds:
                for ended_ms, entity_id in await tx.swaps.ended_since(kind, since):
                    state, _ = await tx.load(kind, entity_id)
                    if isinstance(state, s.Done):
                        self._done.append((ended_ms, state.quote.peer, state.quote.bitcoin))
        self._done = deque(sorted(self._done, key=lambda row: row[0]))

    async def pause(self, reason: str) -> None:
        """No new swap until `resume`; those under way finish."""
        async with self._store.transaction("swaps.pause") as tx:
            await tx.notes.put(_PAUSE, reason)
        self.paused = reason
        log.warning("swap.paused", reason=reason)

    async def resume(self) -> None:
        async with self._store.transaction("swaps.resume") as tx:
            await tx.notes.put(_PAUSE, "")
        self.paused = ""
        log.info("swap.resumed")

    def saw(self, state: Any, event: Any) -> None:
        """A committed event and the state after it: what is done counts for a day, once."""
        if isinstance(state, s.Done) and isinstance(event, e.IncomingClaimed):
            self._done.append((self._now_ms(), state.quote.peer, state.quote.bitcoin))

    def refusal(self, peer: bytes) -> Rejection | None:
        """Before anything is computed for this peer."""
        if self._buckets is None:
            self._buckets = Buckets(self._limits().quotes_per_minute)
        return unwelcome(self._limits(), peer) or self._buckets.take(peer, self._monotonic_ms())

    def usage(self, peer: bytes, live: Iterable[Any]) -> Usage:
        """`live`: the states of all swaps and quotes that have not ended."""
        since = self._now_ms() - DAY_MS
        while self._done and self._done[0][0] < since:
            self._done.popleft()
        open_now = ((state.quote.peer, state.quote.bitcoin) for state in live)
        return usage(peer, open_now, ((who, value) for _, who, value in self._done))
