"""The ledger's clock: follows the machine's clock, or stands still until it is moved."""

from __future__ import annotations

import time


class LedgerClock:
    """`now_ms` never goes back."""

    def __init__(self, start_ms: int, real_time: bool) -> None:
        self.real_time = real_time
        self._base_ms = start_ms
        self._started = time.monotonic_ns()

    def now_ms(self) -> int:
        if not self.real_time:
            return self._base_ms
        return self._base_ms + (time.monotonic_ns() - self._started) // 1_000_000

    def advance(self, span_ms: int) -> None:
        if span_ms < 0:
            raise ValueError("time only moves forward")
        self._base_ms += span_ms

    def at_least(self, moment_ms: int) -> None:
        self.advance(max(0, moment_ms - self.now_ms()))
