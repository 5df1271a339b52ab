"""Chain sync over an API that only answers questions: blocks are asked for after the last one that was told.

A block whose parent is not the one told before means a rollback: the newest block of ours that is
still there is looked up (few questions, by halving), and the walk goes on from it. No block is told
twice and none is left out, since each names its parent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.cl.chain.errors import INCONSISTENT, LAGGING, NO_INTERSECTION
from gateway.cl.chain.points import ORIGIN, SECURITY_BLOCKS
from gateway.cl.ports import Block, ChainEvent, Point, RollBackward, RollForward, Tip
from gateway.errors import Refused
from gateway.units import PosixMs


@dataclass(frozen=True, slots=True)
class Header:
    """`parent` is None before the first block; `transactions` counts those of the block."""

    point: Point
    height: int
    parent: bytes | None
    time_ms: PosixMs
    transactions: int


class BlockSource(Protocol):
    """Each raises `Refused` with a cl.chain.* code."""

    async def tip(self) -> Tip: ...
    async def header(self, point: Point) -> Header | None:
        """None when the block is not on the provider's chain."""
        ...

    async def headers_after(self, block: Point | None) -> tuple[Header, ...] | None:
        """The next blocks, oldest first, up to a page (none: `block` is the tip); None as for `header`."""
        ...

    async def block_bytes(self, header: Header) -> tuple[bytes, ...] | None:
        """Whole transactions, as many as the header counts; None when the block has gone meanwhile."""
        ...


class Polled:
    """A `ChainFollower` over a `BlockSource`."""

    def __init__(self, source: BlockSource, name: str, poll_s: float) -> None:
        self._source, self._name, self._poll_s = source, name, poll_s

    async def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        """`ORIGIN` among `points` (or no points) stands for the origin of the chain."""
        told: deque[Point] = deque(reversed([p for p in points if p != ORIGIN]), maxlen=SECURITY_BLOCKS)
        from_origin = not points or ORIGIN in points
        last = await self._common(told, from_origin)
        yield RollBackward(None if last is None else last.point, await self._source.tip())
        while True:
            after = await self._after(last)
            if after is None:  # `last` is not on the chain any more
                last = await self._common(told, from_origin)
                yield RollBackward(None if last is None else last.point, await self._source.tip())
                continue
            if not after:
                await asyncio.sleep(self._poll_s)
                continue
            tip = await self._tip(after[-1])
            for header in after:
                self._linked(last, header)
                raws = await self._source.block_bytes(header)
                if raws is None:
                    break
                yield RollForward(Block(header.point, header.height, header.time_ms, raws), tip)
                told.append(header.point)
                last = header

    async def _after(self, last: Header | None) -> tuple[Header, ...] | None:
        """Asks twice before it takes a block for gone: one of several servers behind the address may lag."""
        where = None if last is None else last.point
        after = await self._source.headers_after(where)
        if after is None:
            await asyncio.sleep(self._poll_s)
            after = await self._source.headers_after(where)
        return after

    async def _tip(self, newest: Header) -> Tip:
        tip = await self._source.tip()
        return tip if tip.height >= newest.height else Tip(newest.point, newest.height)

    async def _common(self, told: deque[Point], from_origin: bool) -> Header | None:
        """The newest of `told` that is on the chain; `told` then ends with it. None: the origin."""
        while told:
            found = await self._newest(list(told))
            if found is None:
                break
            at, header = found
            while len(told) > at + 1:
                told.pop()
            # It may have been rolled back since it was found; then the next question says so.
            return header
        if from_origin:
            told.clear()
            return None
        newest = told[-1].slot.value
        tip = await self._source.tip()
        if tip.point.slot.value < newest:
            allowed = f"{newest} or later"
            raise Refused(LAGGING(field=f"{self._name}.tip", got=tip.point.slot.value, allowed=allowed))
        raise Refused(NO_INTERSECTION(field="points", got=f"{len(told)} points", detail=self._name))

    async def _newest(self, told: list[Point]) -> tuple[int, Header] | None:
        """What is on a chain is a prefix of `told`: steps that double back from the newest, then halving."""
        high, step = len(told), 1  # all from `high` on are gone
        known: tuple[int, Header] | None = None
        while high > 0:
            at = max(0, high - step)
            header = await self._here(told[at])
            if header is not None:
                known = (at, header)
                break
            high, step = at, step * 2
        while known is not None and known[0] + 1 < high:
            at = (known[0] + high) // 2
            header = await self._here(told[at])
            known, high = (known, at) if header is None else ((at, header), high)
        return known

    async def _here(self, point: Point) -> Header | None:
        header = await self._source.header(point)
        return header if header is not None and header.point == point else None

    def _linked(self, last: Header | None, header: Header) -> None:
        """Fails with cl.chain.inconsistent unless `header` is the child of `last`."""
        if last is None:
            return
        checks = (
            ("parent", header.parent, last.point.block_hash, header.parent == last.point.block_hash),
            ("height", header.height, last.height + 1, header.height == last.height + 1),
            (
                "slot",
                header.point.slot.value,
                f"> {last.point.slot.value}",
                header.point.slot > last.point.slot,
            ),
        )
        for name, got, allowed, good in checks:
            if not good:
                shown = [x.hex() if isinstance(x, bytes) else x for x in (got, allowed)]
                raise Refused(INCONSISTENT(field=f"block.{name}", got=shown[0], allowed=shown[1]))
