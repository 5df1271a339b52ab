"""What runs beside the callers outlives every failure."""

from __future__ import annotations

import asyncio

from gateway.errors import Refused
from gateway.swap import errors
from gateway.swap.tasks import Tasks


async def test_a_loop_outlives_refusals_and_bugs_and_ends_with_its_shell() -> None:
    rounds = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise Refused(errors.PAUSED(detail="weather"))
        if rounds == 2:
            raise KeyError("a bug")
        enough.set()

    tasks = Tasks()
    tasks.every(0.001, "work", work)
    await asyncio.wait_for(enough.wait(), 5)
    await tasks.stop()
    ended_at = rounds
    await asyncio.sleep(0.01)
    assert rounds == ended_at


async def test_stopping_waits_for_what_runs() -> None:
    cleaned = False
    begun = asyncio.Event()

    async def work() -> None:
        nonlocal cleaned
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned = True

    tasks = Tasks()
    tasks.spawn("work", work())
    await begun.wait()
    await tasks.stop()
    assert cleaned
