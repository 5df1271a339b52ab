"""The network with a clock, a file and subscribers: every change is stored first and announced then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regtest.bitcoin.simulated import messages
from regtest.bitcoin.simulated.ledger import Rows
from regtest.bitcoin.simulated.network import Network
from regtest.bitcoin.simulated.state import Block, Invoice, Payment
from regtest.bitcoin.simulated.store import Store

Topic = tuple[str, str]  # ("invoice" | "payment", row key) or ("block", "")


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


class World:
    """Use `with world.change() as network:` for anything that writes."""

    def __init__(self, path: Path, seed: str, part_hold_ms: int) -> None:
        self._store = Store(path)
        rows = self._store.load()
        self.is_new = rows is None
        self.network = Network(rows or Rows(seed), part_hold_ms)
        self._listeners: dict[Topic, set[asyncio.Queue[Any]]] = {}
        self._moved = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._ahead_ms = 0

    def now_ms(self) -> int:
        """The machine's clock, shifted as the ledger's was last seen to be: both networks have one time."""
        return _machine_ms() + self._ahead_ms

    def set_clock(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - _machine_ms()
        self._moved.set()

    def start(self) -> None:
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        self._store.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[Network]:
        """An error of LND's may come after a change (a payment that was begun): what changed is kept."""
        try:
            yield self.network
        finally:
            rows, blocks = self.network.take_changes()
            if rows:
                self._store.save(self.network.rows, rows)
            for row in rows:
                if isinstance(row, Invoice):
                    self._announce(("invoice", row.key), messages.invoice(row))
                elif isinstance(row, Payment):
                    self._announce(("payment", row.key), messages.payment(self.network, row))
            for block in blocks:
                self._announce(("block", ""), block)
            self._moved.set()

    def _announce(self, topic: Topic, what: Any | Block) -> None:
        for queue in self._listeners.get(topic, ()):
            queue.put_nowait(what)

    @contextlib.contextmanager
    def listen(self, topic: Topic) -> Iterator[asyncio.Queue[Any]]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._listeners.setdefault(topic, set()).add(queue)
        try:
            yield queue
        finally:
            self._listeners[topic].discard(queue)
            if not self._listeners[topic]:
                del self._listeners[topic]

    async def _tick(self) -> None:
        """Sleeps until the next moment that the network waits for, or until something changed."""
        while True:
            due = self.network.next_tick_ms()
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    None if due is None else max(0, due - self.now_ms()) / 1000 + 0.005
                ):
                    await self._moved.wait()
                    continue
            with self.change() as network:
                network.tick(self.now_ms())
