"""Where the time goes: named parts that do not overlap, the inner one taken from the outer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Stopwatch:
    """`seconds` by part; a part inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[tuple[str, float]] = []  # the part, and since when it is the innermost

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        now = time.perf_counter()
        if self._open:
            self._count(now)
        self._open.append((name, now))
        try:
            yield
        finally:
            now = time.perf_counter()
            self._count(now)
            self._open.pop()
            if self._open:
                self._open[-1] = (self._open[-1][0], now)

    def _count(self, now: float) -> None:
        name, since = self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since

    @contextmanager
    def timing(self, name: str, module: ModuleType, function: str) -> Iterator[None]:
        """While this is open, each call of `module.function` is the part `name`."""
        real: Callable[..., Any] = getattr(module, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return real(*args, **kwargs)

        setattr(module, function, timed)
        try:
            yield
        finally:
            setattr(module, function, real)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def share(self, name: str) -> float:
        return self.seconds.get(name, 0.0) / self.total if self.total else 0.0
