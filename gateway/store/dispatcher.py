"""Performs committed effects: in order within a lane, lanes beside each other, again until done.

An effect that fails is tried again with growing pauses and holds only its own lane back. After a
crash every undone effect is delivered again, so `perform` must be idempotent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress

from gateway.errors import Refused
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem

Perform = Callable[[OutboxItem], Awaitable[None]]
LaneOf = Callable[[OutboxItem], Hashable]
OnError = Callable[[OutboxItem, BaseException], None]

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0


def by_entity(item: OutboxItem) -> Hashable:
    return (item.kind, item.entity_id)


class Dispatcher:
    """`start` takes over what an earlier run left open and then listens to the store's commits."""

    def __init__(
        self,
        store: Store,
        perform: Perform,
        *,
        lane_of: LaneOf = by_entity,
        on_error: OnError | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._store = store
        self._perform = perform
        self._lane_of = lane_of
        self._on_error = on_error
        self._first_pause_s = first_pause_s
        self._lanes: dict[Hashable, deque[OutboxItem]] = {}
        self._workers: dict[Hashable, asyncio.Task[None]] = {}
        self._open: set[int] = set()
        self._wake: dict[Hashable, asyncio.Event] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = False

    async def start(self) -> int:
        """Returns how many effects were left open. Call it before the first transaction of the node."""
        if self._running:
            raise RuntimeError("the dispatcher runs already")
        left = await self._store.open_effects()
        self._running = True
        self._store.on_effects(self._take)
        self._store.on_done(self._forget)
        self._take(left)
        return len(left)

    async def stop(self) -> None:
        """Ends at once; what is undone stays in the outbox."""
        self._running = False
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        for worker in workers:
            with suppress(asyncio.CancelledError):
                await worker
        self._workers.clear()

    async def drain(self) -> None:
        """Waits until nothing is open."""
        await self._idle.wait()

    @property
    def open_count(self) -> int:
        return len(self._open)

    def hurry(self) -> None:
        """Ends every pause between tries: what was missing (a peer, LND) is back."""
        for event in self._wake.values():
            event.set()

    def _take(self, items: tuple[OutboxItem, ...]) -> None:
        if not self._running:
            return
        for item in items:
            if item.id in self._open:
                continue
            self._open.add(item.id)
            lane = self._lane_of(item)
            self._lanes.setdefault(lane, deque()).append(item)
            if lane not in self._workers:
                self._workers[lane] = asyncio.get_running_loop().create_task(self._work(lane))
        if self._open:
            self._idle.clear()

    def _forget(self, ids: tuple[int, ...]) -> None:
        self._open.difference_update(ids)
        if not self._open:
            self._idle.set()

    async def _work(self, lane: Hashable) -> None:
        queue = self._lanes[lane]
        wake = self._wake.setdefault(lane, asyncio.Event())
        try:
            while queue:
                await self._until_done(queue[0], wake)
                queue.popleft()
        finally:
            if self._running:
                del self._lanes[lane], self._workers[lane], self._wake[lane]

    async def _until_done(self, item: OutboxItem, wake: asyncio.Event) -> None:
        pause = self._first_pause_s
        while item.id in self._open:
            try:
                await self._once(item)
                return
            except Exception as error:  # a bug of ours in one effect must not end the node either
                if self._on_error is not None:
                    self._on_error(item, error)
                await self._count(item, error)
            wake.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wake.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _once(self, item: OutboxItem) -> None:
        name = self._store.codecs.tag_of(item.effect)
        self._store.hooks.reach("before_effect", name)
        await self._perform(item)
        self._store.hooks.reach("after_effect", name)
        if item.id in self._open:  # else `perform` marked it in its own transaction
            await self._store.mark_done(item.id)

    async def _count(self, item: OutboxItem, error: BaseException) -> None:
        text = error.rejection.code if isinstance(error, Refused) else type(error).__name__
        with suppress(Refused):  # a full disk is no reason to stop trying
            async with self._store.transaction("outbox.failed") as tx:
                await tx.mark_failed(item.id, text)
