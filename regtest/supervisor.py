"""Starts, stops and steers one regtest network that runs as its own process (regtest.process).

`up` writes DIR/regtest.json: endpoints, certificates, macaroons, faucet. Two networks in two
directories run beside each other on free ports. Every call here is safe to repeat.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from gateway.errors import Action, Fault, Refused, define

FILE, LOG = "regtest.json", "regtest.log"
START_LIMIT_S = {"embedded": 60.0, "lnd": 300.0}

NOT_RUNNING = define(
    "regtest.not_running", Fault.LOCAL, Action.REFUSE,
    "no regtest network runs in this directory", "Start it with gateway regtest up.", 404,
)  # fmt: skip
START_FAILED = define(
    "regtest.start_failed", Fault.ENVIRONMENT, Action.REFUSE,
    "the network did not come up", "See regtest.log in its directory.", 500,
)  # fmt: skip
UNKNOWN_BACKEND = define(
    "regtest.unknown_backend", Fault.LOCAL, Action.REFUSE,
    "there is no such Bitcoin Lightning backend", "Use embedded or lnd.",
)  # fmt: skip
TOO_FAR = define(
    "regtest.time.too_far", Fault.LOCAL, Action.REFUSE,
    "a real Bitcoin network cannot mine the blocks of so long a time",
    "Move in smaller steps, or use the embedded network.", 409,
)  # fmt: skip
CONTROL_FAILED = define(
    "regtest.control_failed", Fault.ENVIRONMENT, Action.REFUSE,
    "the network did not do what was asked", "See regtest.log in its directory, or start it anew.", 502,
)  # fmt: skip


def describe(directory: Path) -> dict[str, Any]:
    """The content of regtest.json; raises regtest.not_running when there is none or its process is gone."""
    try:
        found: dict[str, Any] = json.loads((directory / FILE).read_text())
    except (OSError, ValueError) as error:
        raise Refused(NOT_RUNNING(field="dir", got=str(directory))) from error
    if not _alive(int(found["pid"])):
        raise Refused(NOT_RUNNING(field="dir", got=str(directory), detail="its process has ended"))
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def up(directory: Path, bln: str = "embedded", *, detach: bool = True, versions: str = "") -> dict[str, Any]:
    """Starts the network, or finds the one that runs; returns its description once it is ready."""
    if bln not in START_LIMIT_S:
        raise Refused(UNKNOWN_BACKEND(field="bln", got=bln, allowed="embedded, lnd"))
    try:
        return describe(directory)
    except Refused:
        pass
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "regtest.process", str(directory), "--bln", bln]
    if versions:
        command += ["--lnd-version", versions]
    if not detach:
        os.execv(sys.executable, command)
    with (directory / LOG).open("ab") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    end = time.monotonic() + START_LIMIT_S[bln]
    while time.monotonic() < end:
        if (directory / FILE).exists():
            return describe(directory)
        if child.poll() is not None:
            raise Refused(START_FAILED(field="exit", got=child.returncode, detail=_tail(directory)))
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGTERM)
    raise Refused(START_FAILED(field="seconds", got=START_LIMIT_S[bln], detail=_tail(directory)))


def free_port() -> int:
    """One that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(directory: Path) -> str:
    try:
        return (directory / LOG).read_text(errors="replace")[-600:]
    except OSError:
        return ""


def down(directory: Path) -> dict[str, Any]:
    """Stops it and waits until its process is gone."""
    found = describe(directory)
    pid = int(found["pid"])
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while _alive(pid) and not _reaped(pid) and time.monotonic() < end:
        time.sleep(0.05)
    if _alive(pid) and not _reaped(pid):
        os.killpg(pid, signal.SIGKILL)
    (directory / FILE).unlink(missing_ok=True)
    return {"stopped": pid}


def _reaped(pid: int) -> bool:
    """A child of ours that has ended stays a zombie until it is waited for."""
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return done == pid


def status(directory: Path) -> dict[str, Any]:
    try:
        found = describe(directory)
    except Refused:
        return {"running": False}
    return {"running": True, "pid": found["pid"], "bln": found["bln"], **_control(found, "GET", "/status")}


def mine(directory: Path, blocks: int) -> dict[str, Any]:
    return _control(describe(directory), "POST", "/mine", {"blocks": blocks})


def move_time(directory: Path, span_ms: int) -> dict[str, Any]:
    return _control(describe(directory), "POST", "/time", {"span_ms": span_ms})


def rollback(directory: Path, depth: int) -> dict[str, Any]:
    return _control(describe(directory), "POST", "/rollback", {"depth": depth})


def faucet(directory: Path, address: str, lovelace: int) -> dict[str, Any]:
    return _control(describe(directory), "POST", "/faucet", {"address": address, "lovelace": lovelace})


UNKNOWN_NODE = define(
    "regtest.unknown_node", Fault.LOCAL, Action.REFUSE,
    "the network has no Lightning node of this name", "See gateway regtest up for the names.", 404,
)  # fmt: skip


def lightning_node(directory: Path, name: str) -> dict[str, Any]:
    """The entry of one Lightning node in regtest.json; raises regtest.unknown_node."""
    nodes: dict[str, dict[str, Any]] = describe(directory)["bitcoin"]["nodes"]
    if name not in nodes:
        raise Refused(UNKNOWN_NODE(field="node", got=name, allowed=", ".join(nodes)))
    return nodes[name]


def invoice(directory: Path, name: str, msat: int, memo: str) -> dict[str, Any]:
    """An invoice of one of the network's Lightning nodes."""
    from regtest.bitcoin.client import LndClient

    async def make() -> str:
        client = LndClient(lightning_node(directory, name))
        try:
            return await client.add_invoice(msat, memo)
        finally:
            await client.close()

    return {"invoice": asyncio.run(make())}


def pay(directory: Path, name: str, request: str) -> dict[str, Any]:
    """Pays from one of the network's Lightning nodes; waits for the end."""
    from regtest.bitcoin.client import LndClient

    async def send() -> dict[str, Any]:
        client = LndClient(lightning_node(directory, name))
        try:
            result = await client.pay(request, fee_limit_msat=1_000_000)
        finally:
            await client.close()
        return {
            "status": result.status,
            "preimage": result.preimage.hex(),
            "fee_msat": result.fee_msat,
            "reason": result.reason if result.status != "SUCCEEDED" else "",
        }

    return asyncio.run(send())


def _control(
    found: dict[str, Any], method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    try:
        answer = httpx.request(method, found["control"] + path, json=body, timeout=120, trust_env=False)
    except httpx.HTTPError as error:
        raise Refused(CONTROL_FAILED(detail=str(error))) from error
    if answer.status_code == 409:
        problem = answer.json()
        raise Refused(TOO_FAR(field=problem["field"], got=problem["got"], allowed=problem["allowed"]))
    if answer.status_code != 200:
        raise Refused(CONTROL_FAILED(field=path, got=answer.status_code, detail=answer.text[:300]))
    content: dict[str, Any] = answer.json()
    return content
