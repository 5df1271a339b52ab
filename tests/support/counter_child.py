"""A child process that raises a counter until a hook ends it with SIGKILL at a named point.

`run` starts it from a fork server that has imported everything once, and returns its exit code and
what it wrote: one line for each step that has returned, so that the parent knows what was promised.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from gateway.store.dispatcher import Dispatcher
from gateway.store.hooks import HookPoint
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem
from tests.support.counter import codecs, raise_by

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def run(url: str, point: str, times: int, out: Path) -> tuple[int, list[str]]:
    """`point` is "stage:name"; the child dies when it is reached for the `times`-th time."""
    child = _context.Process(target=_child, args=(url, point, times, str(out)))
    child.start()
    child.join(60)
    assert child.exitcode is not None, "the child hangs"
    return child.exitcode, out.read_text().splitlines()


def _child(url: str, point: str, times: int, out: str) -> None:
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(line: str) -> None:
        os.write(handle, (line + "\n").encode())

    try:
        asyncio.run(_main(url, point, times, say))
    except BaseException:
        say(traceback.format_exc())
        os._exit(1)


async def _main(url: str, point: str, times: int, say: Callable[[str], None]) -> None:
    store = await Store.open(url, network="regtest", codecs=codecs())
    seen = 0

    def end(reached: HookPoint) -> None:
        nonlocal seen
        if str(reached) == point:
            seen += 1
            if seen == times:
                os.kill(os.getpid(), signal.SIGKILL)

    async def perform(item: OutboxItem) -> None:
        say(f"performed {item.effect.number}")

    store.hooks.add(end)
    dispatcher = Dispatcher(store, perform)
    await dispatcher.start()
    for _ in range(20):
        version = await raise_by(store, "a", 1)
        say(f"raised {version}")
        await dispatcher.drain()
    say("end")
