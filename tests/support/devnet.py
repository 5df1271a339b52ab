"""Devnets for tests, each under the judge: what it accepts or refuses, scalus must accept or refuse too.

async def test_something(devnet): ...                      # in this process, manual clock
async with judged_devnet(DevnetOptions(...)) as devnet: ...
async with devnet_process(journal=path) as process: ...    # its own process: kill(), restart()
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from regtest.cardano import Devnet, DevnetOptions
from tests.support.scalus import new_judge

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def judged_devnet(options: DevnetOptions | None = None) -> AsyncIterator[Devnet]:
    """Fails at its end with every disagreement that docs/judges.md does not explain."""
    judge = new_judge()
    devnet = Devnet(options or DevnetOptions(utxorpc_port=0), judge)
    await devnet.start()
    try:
        yield devnet
    finally:
        await devnet.stop()
    if problem := judge.verdict():
        pytest.fail(problem)


@pytest.fixture
async def devnet() -> AsyncIterator[Devnet]:
    async with judged_devnet() as running:
        yield running


class DevnetProcess:
    """`python -m regtest.cardano` as a child. After `kill` and `restart` its ports are the same."""

    def __init__(self, journal: Path, arguments: tuple[str, ...]) -> None:
        self._arguments = ("--judge", "--journal", str(journal), *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    @property
    def ogmios_url(self) -> str:
        return str(self.ready["ogmios_url"])

    @property
    def kupo_url(self) -> str:
        return str(self.ready["kupo_url"])

    @property
    def control_url(self) -> str:
        return str(self.ready["control_url"])

    async def start(self) -> None:
        ports: list[str] = []
        for name in ("ogmios", "kupo", "control") if self.ready else ():
            ports += [f"--{name}-port", self.ready[f"{name}_url"].rpartition(":")[2]]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "regtest.cardano",
            *self._arguments,
            *ports,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            limit=1 << 20,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        self.ready = json.loads(line)

    async def kill(self) -> None:
        """SIGKILL: nothing is written after it."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def restart(self) -> None:
        await self.start()

    async def control(self, name: str, **body: Any) -> dict[str, Any]:
        """POST /control/{name}; `state` is read with GET. Fails on any answer but 200."""
        url = f"{self.control_url}/control/{name}"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await (client.get(url) if name == "state" else client.post(url, json=body))
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def stop(self) -> dict[str, Any]:
        """Waits for the judge to be through, then ends the process; the last state is returned."""
        state = await self.control("settle")
        await self.control("stop")
        assert self._process is not None
        await asyncio.wait_for(self._process.wait(), 90)
        return state


@asynccontextmanager
async def devnet_process(journal: Path, *arguments: str) -> AsyncIterator[DevnetProcess]:
    """Judged as `judged_devnet` is; verdicts that were pending at a `kill` are lost with it."""
    process = DevnetProcess(journal, arguments)
    await process.start()
    try:
        yield process
    except BaseException:
        await process.kill()
        raise
    judge = (await process.stop())["judge"]
    if judge["error"] or judge["unexplained"]:
        pytest.fail(f"the judges disagree: {judge}")
