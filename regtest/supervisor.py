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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from gateway.errors import Action, Fault, Refused, define

if TYPE_CHECKING:
    from regtest.bitcoin.client import LndClient

T = TypeVar("T")
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
    "the Bitcoin side cannot mine the blocks of so long a time at once",
    "Move in smaller steps; the embedded network takes longer ones than real LND.", 409,
)  # fmt: skip
BAD_REQUEST = define(
    "regtest.bad_request", Fault.LOCAL, Action.REFUSE,
    "the network cannot do that", "Correct the named value.", 422,
)  # fmt: skip
LIGHTNING = define(
    "regtest.lightning", Fault.ENVIRONMENT, Action.REFUSE,
    "the network's Lightning node refused", "See its words, and regtest.log in the network's directory.", 502,
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
    if not _alive(found):
        raise Refused(NOT_RUNNING(field="dir", got=str(directory), detail="its process has ended"))
    return found


def born(pid: int) -> str:
    """When this process began, in the kernel's ticks; empty when it has ended (a zombie has), or without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _alive(found: dict[str, Any]) -> bool:
    """A number alone may be another process's by now, which must be neither trusted nor stopped."""
    pid = int(found["pid"])
    if Path("/proc/self/stat").exists():
        return bool(born(pid)) and found.get("born", "") in ("", born(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _reaped(pid)


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
    while _alive(found) and time.monotonic() < end:
        time.sleep(0.05)
    if _alive(found):
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


def _ask_lightning(directory: Path, name: str, work: Callable[[LndClient], Awaitable[T]]) -> T:
    """One piece of work at one of the network's Lightning nodes; raises regtest.lightning with the node's words."""
    from grpc.aio import AioRpcError

    from regtest.bitcoin.client import LndClient

    async def ask() -> T:
        client = LndClient(lightning_node(directory, name))
        try:
            return await work(client)
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except AioRpcError as error:
        raise Refused(LIGHTNING(field="node", got=name, detail=str(error.details())[:300])) from error


def _lead_s(found: dict[str, Any]) -> int:
    """By how much ledger time was moved past the machine's clock, by which a real LND dates its invoices."""
    if found["bln"] != "lnd":
        return 0
    ledger_ms = int(_control(found, "GET", "/status")["cardano"]["time_ms"])
    return max(0, ledger_ms - time.time_ns() // 1_000_000) // 1000


def invoice(directory: Path, name: str, msat: int, memo: str) -> dict[str, Any]:
    """An invoice of one of the network's Lightning nodes, good for an hour of ledger time."""
    expiry_s = 3600 + _lead_s(describe(directory))
    made = _ask_lightning(directory, name, lambda node: node.add_invoice(msat, memo, expiry_s))
    return {"invoice": made}


def pay(directory: Path, name: str, request: str) -> dict[str, Any]:
    """Pays from one of the network's Lightning nodes; waits for the end. A preimage only when it is paid."""
    result = _ask_lightning(directory, name, lambda node: node.pay(request, fee_limit_msat=1_000_000))
    return {
        "status": result.status,
        "preimage": result.preimage.hex() if result.settled else "",
        "fee_msat": result.fee_msat,
        "reason": "" if result.settled else result.reason,
    }


def _control(
    found: dict[str, Any], method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    try:
        answer = httpx.request(method, found["control"] + path, json=body, timeout=120, trust_env=False)
    except httpx.HTTPError as error:
        raise Refused(CONTROL_FAILED(detail=str(error))) from error
    for refusal in (TOO_FAR, BAD_REQUEST):
        if answer.status_code == refusal.http_status:
            problem = {key: value for key, value in answer.json().items() if key != "code"}
            raise Refused(refusal(**problem))
    if answer.status_code != 200:
        raise Refused(CONTROL_FAILED(field=path, got=answer.status_code, detail=answer.text[:300]))
    content: dict[str, Any] = answer.json()
    return content
