"""The ledger's clock, two ways: the machine's, held to the chain; or the chain's alone.

No decision rests on the wall clock alone: blocks carry the ledger's time, and `now` never falls
behind the newest of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.units import Ms, PosixMs

SKEW_ALLOWED = Ms(30_000)  # a block from further ahead: our clock is behind (docs/swaps.md, limits)
LIVE_BLOCKS = 10
_LONGEST_SLEEP_S = 30.0  # a suspended or corrected machine clock is noticed within this time


def machine_ms() -> int:
    return time.time_ns() // 1_000_000


class SystemClock:
    """Production: the machine's time, or the newest block's when that is later."""

    def __init__(
        self,
        machine: Callable[[], int] = machine_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._machine = machine
        self._sleep = sleep
        self._newest_ms = 0
        self._late: deque[int] = deque(maxlen=LIVE_BLOCKS)
        self.behind = Ms(0)

    def observe(self, block_time: PosixMs) -> None:
        """A block's slot time. `behind` says by how much the newest one lies in our future."""
        self.behind = Ms(max(0, block_time.value - self._machine()))
        self._newest_ms = max(self._newest_ms, block_time.value)

    def live(self, block_time: PosixMs) -> None:
        """A block that came while the node stood at the tip: its age on our clock says how far that is ahead."""
        self._late.append(self._machine() - block_time.value)

    @property
    def ahead(self) -> Ms:
        """By the median of the last ten live blocks; 0 until there are ten."""
        if len(self._late) < LIVE_BLOCKS:
            return Ms(0)
        return Ms(max(0, sorted(self._late)[LIVE_BLOCKS // 2]))

    @property
    def is_off(self) -> bool:
        """W5: a block from more than 30 s ahead, or live ones that much late; no new risk until it is put right."""
        return self.behind > SKEW_ALLOWED or self.ahead > SKEW_ALLOWED

    def now(self) -> PosixMs:
        return PosixMs(max(self._machine(), self._newest_ms))

    async def sleep_until(self, moment: PosixMs) -> None:
        while (left := moment.value - self.now().value) > 0:
            await self._sleep(min(left / 1000, _LONGEST_SLEEP_S))


class ChainClock:
    """Development chains whose time is set by hand: the newest block's time, and nothing between blocks."""

    def __init__(self, start: PosixMs | None = None) -> None:
        self._now = PosixMs(0) if start is None else start
        self._moved = asyncio.Event()

    def observe(self, block_time: PosixMs) -> None:
        """After a rollback the time of the blocks that replace the old ones may be earlier: it still stands."""
        if block_time > self._now:
            self._now = block_time
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    def live(self, block_time: PosixMs) -> None:
        """Nothing to compare with: the chain's time is the only one."""

    @property
    def is_off(self) -> bool:
        return False

    def now(self) -> PosixMs:
        return self._now

    async def sleep_until(self, moment: PosixMs) -> None:
        while self._now < moment:
            await self._moved.wait()
