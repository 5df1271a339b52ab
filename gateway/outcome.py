"""R0. What a pure `decide` answers: events to persist and effects to perform, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.errors import Rejection

Ev = TypeVar("Ev")
Ef = TypeVar("Ef")


@dataclass(frozen=True, slots=True)
class Continue(Generic[Ev, Ef]):
    """Commit `events` and the outbox of `effects` together, then perform the effects."""

    events: tuple[Ev, ...] = ()
    effects: tuple[Ef, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: nothing changes; the shell looks again when `reason` may have changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reject(Generic[Ef]):
    """The input is refused; `effects` (a warning, an error message) may still go out."""

    rejection: Rejection
    effects: tuple[Ef, ...] = ()


Outcome = Continue[Ev, Ef] | Wait | Reject[Ef]
