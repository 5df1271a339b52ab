"""A node of the demo: its own process, started by the real command line and asked through the real API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from regtest.supervisor import free_port

PASSWORD = "correct horse battery staple"  # of throw-away nodes on this machine


class Failed(Exception):
    """A step did not get what it waited for; the text says what."""


async def eventually(what: str, check: Any, within_s: float = 60.0, every_s: float = 0.1) -> Any:
    """Polls `check()` until it returns something true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        found = await check()
        if found:
            return found
        if loop.time() > end:
            raise Failed(f"waited {within_s:.0f} s for {what}")
        await asyncio.sleep(every_s)


class NodeProcess:
    """`init` once, `start` and `kill` as often as wanted."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name, self.directory = name, directory
        self.api_port, self.port = free_port(), free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._http: httpx.AsyncClient | None = None
        self.node_id = self.address = ""

    @property
    def _password_file(self) -> Path:
        return self.directory.parent / f"{self.name}.password"

    async def init(self, settings: list[str]) -> None:
        self._password_file.write_text(PASSWORD + "\n")
        self._password_file.chmod(0o600)
        words = ["init", "--dir", str(self.directory), "--network", "regtest", "--alias", self.name]
        words += ["--password-file", str(self._password_file), "--json"]
        for setting in [*settings, f"api_port={self.api_port}", f"listen_port={self.port}"]:
            words += ["--set", setting]
        made = json.loads(await self.cli(*words))
        self.node_id, self.address = made["node_id"], made["address"]

    async def cli(self, *words: str) -> str:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
        if child.returncode:
            raise Failed(f"gateway {words[0]}: exit {child.returncode}: {(err or out).decode()[-500:]}")
        return out.decode()

    async def start(self) -> None:
        """Unattended, as an operator's service manager does it."""
        with (self.directory / "stdout.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli", "run",
                "--dir", str(self.directory), "--password-file", str(self._password_file),
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        token = (self.directory / "api.token").read_text().strip()
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.api_port}/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )
        await eventually(f"the {self.name} node to run", self._runs)

    async def _runs(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise Failed(f"the {self.name} node ended: {self.log_tail()}")
        try:
            return bool((await self.get("/status"))["state"] == "running")
        except httpx.TransportError:
            return False

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.directory / "stdout.log").read_text(errors="replace")[-800:]
        return ""

    async def kill(self) -> int:
        """SIGKILL: no chance to save anything. Returns the process id."""
        assert self._process is not None
        pid = self._process.pid
        os.killpg(pid, signal.SIGKILL)
        await self._process.wait()
        return pid

    async def stop(self) -> None:
        if self._http is not None:
            await self._http.aclose()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def get(self, path: str) -> Any:
        assert self._http is not None
        return _read(await self._http.get(path))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        assert self._http is not None
        return _read(await self._http.post(path, json=body))


def _read(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise Failed(f"{response.request.method} {response.request.url.path}: {response.text[:400]}")
    return response.json() if response.content else None
