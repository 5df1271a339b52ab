"""Keeps a `View` on the chain: reconnects with growing pauses and starts again where it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from gateway.cl.chain.view import Forward, Step, View
from gateway.cl.ports import ChainFollower
from gateway.errors import Action, Refused, Rejection
from gateway.units import PosixMs

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

Sleep = Callable[[float], Awaitable[None]]


class Backoff:
    """Pauses that double up to a longest one, and start anew after a success."""

    def __init__(self, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> None:
        self._first, self._longest = first_s, longest_s
        self._next = first_s

    def pause_s(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._first


class Follower:
    """`steps` never ends by itself. The caller commits each step before it asks for the next one.

    A step whose commit fails must not be passed over: make a new `View`, restore it from the
    store, and a new `Follower` on it. `on_trouble` hears of every lost link (for status and alarms);
    `observe_time` of every block's time (for the clock).
    """

    def __init__(
        self,
        source: ChainFollower,
        view: View,
        *,
        on_trouble: Callable[[Rejection], None] | None = None,
        observe_time: Callable[[PosixMs], None] | None = None,
        backoff: Backoff | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.view = view
        self._source = source
        self._on_trouble = on_trouble
        self._observe_time = observe_time
        self._backoff = backoff or Backoff()
        self._sleep = sleep

    async def steps(self) -> AsyncIterator[Step]:
        """Raises `Refused` only for what no retry can cure: another network, another chain, a rollback
        deeper than k, a provider that leaves the transactions' bytes out."""
        while True:
            events = self._source.follow(self.view.points)
            try:
                async for event in events:
                    step = self.view.apply(event)
                    self._backoff.reset()
                    if step is None:
                        continue
                    if isinstance(step, Forward) and self._observe_time is not None:
                        self._observe_time(step.at.time_ms)
                    yield step
            except Refused as error:
                if self._on_trouble is not None:
                    self._on_trouble(error.rejection)
                if error.rejection.spec.action is Action.STOP:
                    raise
            finally:
                if isinstance(events, AsyncGenerator):  # ends its connection now, not when it is collected
                    await events.aclose()
            await self._sleep(self._backoff.pause_s())
