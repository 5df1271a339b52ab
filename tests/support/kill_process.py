"""Nodes as child processes of one fork server, and the deaths that are meant and told from those that are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.support.kill_child import KILLED


class Stuck(AssertionError):
    """What had to happen did not happen in a bounded time."""


async def until(what: str, check: Callable[[], Awaitable[Any]], within_s: float = 20.0) -> Any:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        found = await check()
        if found:
            return found
        if loop.time() > end:
            raise Stuck(f"waited {within_s:.0f} s for {what}")
        await asyncio.sleep(0.02)


class ForkServer:
    """Has imported everything once: a node starts in a fifth of the time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.kill_child",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
        )  # fmt: skip
        assert self._process.stdout is not None
        assert await asyncio.wait_for(self._process.stdout.readline(), 60) == b"ready\n"

    def fork(self, directory: Path, path: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        job = {"directory": str(directory), "socket": path}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")

    async def stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()


class NodeProcess:
    """`start`, `ask`, and a death that it announces: a trap's, or `kill`'s."""

    def __init__(self, server: ForkServer, directory: Path) -> None:
        self.directory = directory
        self.pid = 0
        self.node_id = b""
        self.killed_at = ""  # the trap of the last death
        self._server = server
        self._meant = False  # we killed it ourselves
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def running(self) -> bool:
        """False once a death was noticed; `dead` asks."""
        return self._streams is not None

    async def start(self, **order: Any) -> None:
        """Forks the node; an `order` (point, times, gate) holds from its first write."""
        path = str(self.directory / "control")
        connected: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        listener = await asyncio.start_unix_server(lambda r, w: connected.set_result((r, w)), path)
        self._server.fork(self.directory, path)
        self._streams = await asyncio.wait_for(connected, 30)
        listener.close()
        self._meant = False
        self.pid = 0
        hello = await self._talk({"do": "order", **order})
        if hello is not None:
            self.pid, self.node_id = int(hello["pid"]), bytes.fromhex(hello["node_id"])

    async def ask(self, do: str, **order: Any) -> dict[str, Any] | None:
        """None: it is dead."""
        return await self._talk({"do": do, **order})

    async def must(self, do: str, **order: Any) -> dict[str, Any]:
        answer = await self.ask(do, **order)
        assert answer is not None, f"dead at {do}"
        assert "refused" not in answer, f"{do}: {answer}"
        return answer

    async def _talk(self, order: dict[str, Any]) -> dict[str, Any] | None:
        if self._streams is None:
            return None
        reader, writer = self._streams
        raw = b""
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(order).encode() + b"\n")
            raw = await asyncio.wait_for(reader.readline(), 30)
        if raw:
            answer: dict[str, Any] = json.loads(raw)
            return answer
        await self._ended()
        return None

    async def dead(self) -> bool:
        return self._streams is None or await self.ask("look") is None

    async def kill(self) -> None:
        """SIGKILL from outside, wherever it is."""
        if await self.dead():
            return
        self._meant = True
        os.kill(self.pid, signal.SIGKILL)
        await self._ended()

    async def _ended(self) -> None:
        assert self._streams is not None
        self._streams[1].close()
        self._streams = None
        self.killed_at = ""
        with contextlib.suppress(FileNotFoundError):
            self.killed_at = (self.directory / KILLED).read_text()
            (self.directory / KILLED).unlink()
        if not self.killed_at and not self._meant:
            raise AssertionError(f"{self.directory.name} ended by itself: {self.log_tail()}")
        await until("the killed process to be gone", self._gone)

    async def _gone(self) -> bool:
        if not self.pid:
            await asyncio.sleep(0.1)
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.directory / "child.log").read_text(errors="replace")[-1500:]
        return ""

    async def stop(self) -> None:
        with contextlib.suppress(AssertionError, TimeoutError):
            await self.ask("stop")
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
