"""Follows several providers side by side and tells one chain: the shell around `Agreement`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

from gateway.cl.chain.agreement import Agreement
from gateway.cl.chain.errors import DOWN, RATE_LIMITED
from gateway.cl.chain.seat import Seat
from gateway.cl.ports import ChainEvent, Point
from gateway.errors import Refused, Rejection

AHEAD = 50  # blocks that a provider may be ahead of what was told
_TICK_S = 0.25
_ROOM_S = 0.02


class Joint:
    """A `ChainFollower` over `seats`. `lag_s`: so long one may lack a block that others have."""

    def __init__(self, seats: Sequence[Seat], quorum: int, lag_s: float) -> None:
        self._seats = {seat.name: seat for seat in seats}
        self._quorum, self._lag_s = quorum, lag_s
        self._agreement: Agreement | None = None
        self._changed = asyncio.Event()
        self._trying: dict[str, float] = {}  # not attached yet, since when
        self._refusals: dict[str, Rejection] = {}  # why each is not attached
        self._passed_over: set[str] = set()  # lacked or denied a block for too long
        self._stuck_since: float | None = None

    def is_sure(self, point: Point) -> bool:
        return self._agreement is not None and self._agreement.is_sure(point)

    def doubt(self) -> str:
        agreement = self._agreement
        if agreement is None or agreement.head is None:
            return "the chain providers have not been followed yet"
        if not agreement.is_sure(agreement.head):
            vouch = len(agreement.lines.keys() - self._passed_over)
            return f"{vouch} of the {self._quorum} chain providers that must agree show the newest block"
        if len(agreement.lines) < self._quorum:
            return (
                f"only {len(agreement.lines)} of the {self._quorum} chain providers that must agree are there"
            )
        return ""

    async def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        """Raises the first provider's trouble when none is left."""
        if len(self._seats) == 1:
            (seat,) = self._seats.values()
            async for alone in self._alone(seat, points):
                yield alone
            return
        agreement = self._agreement = Agreement(points, self._quorum, tuple(self._seats))
        self._passed_over, self._stuck_since = set(), None
        for seat in self._seats.values():
            seat.late = False
        self._trying, self._refusals = {}, {}
        nobody = all(seat.resting for seat in self._seats.values())  # then each is tried at once
        tasks = {name: self._start(seat, agreement, nobody) for name, seat in self._seats.items()}
        try:
            while True:
                self._changed.clear()
                event = agreement.step(self._need(agreement))
                self._compare(agreement)
                if event is not None:
                    self._stuck_since = None
                    yield event
                    continue
                self._raise_if_nobody(agreement)
                for name in agreement.stranded():
                    await _end(tasks[name])
                    agreement.lost(name)
                    tasks[name] = self._start(self._seats[name], agreement)
                for task in tasks.values():
                    if task.done():  # only by a bug of ours
                        task.result()
                # not wait_for: it may lose a cancellation that comes together with the event
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._changed.wait()
        finally:
            for task in tasks.values():
                await _end(task)

    async def _alone(self, seat: Seat, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        events = seat.provider.follow(points)
        try:
            async for event in events:
                self._seen(seat, event)
                yield event
        except Refused as refused:
            seat.failed(refused.rejection)
            raise
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    def _start(self, seat: Seat, agreement: Agreement, now: bool = False) -> asyncio.Task[None]:
        limited = seat.trouble is not None and seat.trouble.spec is RATE_LIMITED
        if not seat.resting or (now and not limited):
            self._trying[seat.name] = asyncio.get_running_loop().time()
        elif seat.trouble is not None:
            self._refusals[seat.name] = seat.trouble
        return asyncio.create_task(self._feed(seat, agreement))

    async def _feed(self, seat: Seat, agreement: Agreement) -> None:
        """Tells the agreement what this provider tells, for ever."""
        trying, refusals = self._trying, self._refusals
        while True:
            if seat.name not in trying:
                await asyncio.sleep(seat.wait_s)
            trying.setdefault(seat.name, asyncio.get_running_loop().time())
            events = seat.provider.follow(agreement.resume_at())
            try:
                async for event in events:
                    self._seen(seat, event)
                    agreement.take(seat.name, event)
                    if seat.name not in agreement.lines:
                        break
                    trying.pop(seat.name, None)
                    refusals.pop(seat.name, None)
                    self._changed.set()
                    await self._room(seat.name, agreement)
            except Refused as refused:
                seat.failed(refused.rejection)
                refusals[seat.name] = refused.rejection
            finally:
                if isinstance(events, AsyncGenerator):
                    await events.aclose()
                agreement.lost(seat.name)
                trying.pop(seat.name, None)
                self._changed.set()
            if not seat.resting:
                await asyncio.sleep(_TICK_S)

    @staticmethod
    async def _room(name: str, agreement: Agreement) -> None:
        while name in agreement.lines and len(agreement.lines[name].blocks) >= AHEAD:
            await asyncio.sleep(_ROOM_S)

    @staticmethod
    def _seen(seat: Seat, event: ChainEvent) -> None:
        if seat.trouble is not None:
            seat.worked()
        seat.height, seat.slot = event.tip.height, event.tip.point.slot.value

    def _need(self, agreement: Agreement) -> int:
        """How many must agree just now: the quorum, or all that are there and keep up."""
        now = asyncio.get_running_loop().time()
        coming = {name for name, since in self._trying.items() if now - since < self._lag_s}
        present = (agreement.lines.keys() | coming) - self._passed_over
        return max(1, min(self._quorum, len(present)))

    def _compare(self, agreement: Agreement) -> None:
        """Who lacks or denies the next block for too long is passed over, and named when it denies it."""
        best = max((seat.height for seat in self._seats.values()), default=0)
        for name, seat in self._seats.items():
            seat.behind = max(0, best - seat.height)
            what = agreement.disputes.get(name, "")
            if what:
                seat.differs(what)
        self._forgive(agreement)
        sides = agreement.differing()
        if not sides:
            self._stuck_since = None
            return
        now = asyncio.get_running_loop().time()
        if self._stuck_since is None:
            self._stuck_since = now
        if now - self._stuck_since < self._lag_s:
            return
        for name in agreement.lines.keys() - sorted(sides, key=len)[-1]:
            self._passed_over.add(name)
            if any(name in side for side in sides):
                self._seats[name].differs("another block than the rest shows")
            else:
                self._seats[name].late = True
        self._stuck_since = None

    def _forgive(self, agreement: Agreement) -> None:
        for name in list(self._passed_over):
            if agreement.keeps_up(name):
                self._passed_over.discard(name)
                self._seats[name].late = False
                self._seats[name].differs("")
        for seat in self._seats.values():
            by_block = seat.dispute.startswith(("another block", "other transactions"))
            if by_block and seat.name not in agreement.disputes and agreement.keeps_up(seat.name):
                seat.differs("")

    def _raise_if_nobody(self, agreement: Agreement) -> None:
        if agreement.lines or self._trying:
            return
        known = [self._refusals[name] for name in self._seats if name in self._refusals]
        raise Refused(known[0] if known else DOWN(field="providers", got="none can be followed"))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
