"""Where a test may watch, fail or end the process: around every commit and every outbox effect.

Production installs nothing here; the call costs one attribute look-up. A hook that raises before
a commit makes it fail (nothing is written, nothing is performed).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["before_commit", "after_commit", "before_effect", "after_effect"]


@dataclass(frozen=True, slots=True)
class HookPoint:
    """`name`: of the write as its caller named it, or the type tag of the effect."""

    stage: Stage
    name: str

    def __str__(self) -> str:
        return f"{self.stage}:{self.name}"


Hook = Callable[[HookPoint], None]


class Hooks:
    """The hooks of one store, called in the order in which they were added."""

    def __init__(self) -> None:
        self._hooks: tuple[Hook, ...] = ()

    def add(self, hook: Hook) -> Callable[[], None]:
        """Installs `hook`; the answer removes it again."""
        self._hooks = (*self._hooks, hook)

        def remove() -> None:
            self._hooks = tuple(h for h in self._hooks if h is not hook)

        return remove

    def reach(self, stage: Stage, name: str) -> None:
        if self._hooks:
            point = HookPoint(stage, name)
            for hook in self._hooks:
                hook(point)
