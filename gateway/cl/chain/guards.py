"""What an adapter remembers of its provider between two answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cl.chain.eras import time_of
from gateway.cl.chain.errors import BACKWARDS, INCONSISTENT
from gateway.cl.chain.points import SECURITY_BLOCKS
from gateway.cl.ports import EraSummary, Tip
from gateway.errors import Refused
from gateway.units import PosixMs, Slot

T = TypeVar("T")

WALKS = 3  # a list that changes under our hands is walked anew so many times


class TipGuard:
    """The highest tip so far: a provider that falls further back than the ledger may is not believed."""

    def __init__(self) -> None:
        self.highest = 0

    def checked(self, tip: Tip) -> Tip:
        """Fails with cl.chain.backwards."""
        if tip.height + SECURITY_BLOCKS < self.highest:
            allowed = f"{self.highest - SECURITY_BLOCKS} or more"
            raise Refused(BACKWARDS(field="tip.height", got=tip.height, allowed=allowed))
        self.highest = max(self.highest, tip.height)
        return tip


def block_time(eras: tuple[EraSummary, ...], slot: Slot, told_s: int | None) -> PosixMs:
    """When `slot` begins; fails with cl.chain.inconsistent when the block tells another (in seconds)."""
    moment = time_of(eras, slot)
    if told_s is not None and moment.value // 1000 != told_s:
        raise Refused(INCONSISTENT(field="block.time", got=told_s, allowed=moment.value // 1000))
    return moment


async def unmoved(tip: Callable[[], Awaitable[Tip]], walk: Callable[[], Awaitable[T]]) -> T:
    """A list of several answers holds together only when no block came between them."""
    for left in reversed(range(WALKS)):
        before = await tip()
        try:
            found = await walk()
        except Refused as refused:
            if left == 0 or refused.rejection.spec is not INCONSISTENT:
                raise
            continue
        if left == 0 or (await tip()).point == before.point:
            return found
    raise AssertionError("the last walk returns or raises")


def only_new(seen: set[object], key: object, where: str) -> None:
    """Fails with cl.chain.inconsistent when a page repeats what one before it showed."""
    if key in seen:
        raise Refused(INCONSISTENT(field=where, got="shown twice", allowed="once"))
    seen.add(key)
