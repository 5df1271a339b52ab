"""A gateway as a child process that ends itself with SIGKILL where it is told to.

`python -m tests.support.kill_child` is a fork server: it has imported everything once and forks one gateway for
each line {"directory", "socket"} on its standard input. The gateway connects to the socket and obeys JSON lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.app import logs
from gateway.app.bus import Bus
from gateway.app.init import KEYS
from gateway.app.running import Running
from gateway.btc.lnd import Lnd, LndOptions
from gateway.cl.data.types import ChannelId
from gateway.cl.signer.keystore import Keystore
from gateway.config import load
from gateway.hashlock import Hashlock
from gateway.store.hooks import HookPoint
from gateway.units import Lovelace

PASSWORD = "of throw-away nodes"
NEVER_SENT_AFTER_S = 1.0  # the proof "never sent" needs the sender's connection dead for this long
TICK_S = 0.25
KILLED = "killed"  # the file that says where a trap ended the process


class Trap:
    """Records the points that are passed, or ends the process at one of them."""

    def __init__(self, note: Path) -> None:
        self._note = note
        self._armed: tuple[str, int] | None = None
        self._seen = 0
        self._counting = True
        self._record: list[str] | None = None

    def order(self, order: dict[str, Any]) -> None:
        point = order.get("point")
        self._armed = None if point is None else (str(point), int(order["times"]))
        self._seen = 0
        self._counting = not order.get("after_mark")
        self._record = [] if order.get("record") else None

    def mark(self) -> None:
        """From here on the other leg is on its way to its end: points after it are counted anew."""
        self._counting = True
        if self._record is not None:
            self._record.append("mark")

    def recorded(self) -> list[str]:
        return self._record or []

    def reach(self, point: str) -> None:
        if self._record is not None:
            self._record.append(point)
        if self._armed is None or not self._counting or self._armed[0] != point:
            return
        self._seen += 1
        if self._seen == self._armed[1]:
            self._note.write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)


class TrappedGateway(Running):
    """The node as it is in production, looking at its swaps more often."""

    def __init__(self, directory: Path, keystore: Keystore, trap: Trap) -> None:
        super().__init__(directory, load(directory, {}), keystore, Bus())
        self._trap = trap

    async def _wire(self) -> None:
        self.store.hooks.add(self._hook)
        await super()._wire()

    def _hook(self, point: HookPoint) -> None:
        self._trap.reach(str(point))

    def _lnd(self) -> Lnd | None:
        made = super()._lnd()
        if made is None:
            return None
        options: LndOptions = made._options
        return Lnd(replace(options, never_sent_after_s=NEVER_SENT_AFTER_S))

    def _engine(self, lnd: Lnd) -> Any:
        engine = super()._engine(lnd)
        engine._options = replace(engine._options, tick_s=TICK_S, look_s=TICK_S)
        return engine

    def _publish(self, kind: str, entity: str, event: str, state: str) -> None:
        super()._publish(kind, entity, event, state)
        if kind.startswith("swap."):
            self._trap.reach(f"state:{kind}.{state}")


async def _answer(node: TrappedGateway, trap: Trap, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "order":
            trap.order(order)
        case "mark":
            trap.mark()
        case "recorded":
            return {"points": trap.recorded()}
        case "look":
            return await _look(node, order)
        case "add_funds":
            channel = ChannelId(bytes.fromhex(order["channel"]))
            await node.chain.add_funds(channel, Lovelace(order["lovelace"]))
        case unknown:
            raise ValueError(f"no such order: {unknown}")
    return {}


async def _look(node: TrappedGateway, order: dict[str, Any]) -> dict[str, Any]:
    """The gateway's own view: its swap of a hash, what is live, what is undone, its side of the channel."""
    assert node.engine is not None
    state = ""
    if order.get("hash"):
        key = await node.engine.runner.latest(Hashlock(bytes.fromhex(order["hash"])))
        state = "" if key is None else type(await node.engine.runner.state_of(key)).__name__
    balance = None
    if order.get("channel"):
        found = node.channels.balance(ChannelId(bytes.fromhex(order["channel"])))
        balance = None if found is None else [found.local.value, found.remote.value]
    return {
        "state": state,
        "live": len(node.engine.runner.live),
        "undone": node.dispatcher.open_count,
        "balance": balance,
        "now_ms": node.clock.now().value,
        "alarms": node.alarms,
        "address": str(node.wallet_address),
        "node_id": node.node_id.hex(),
    }


async def _main(directory: Path, line: socket.socket) -> None:
    keystore = Keystore.open(directory / KEYS, "regtest", PASSWORD)
    trap = Trap(directory / KILLED)
    node = TrappedGateway(directory, keystore, trap)
    reader, writer = await asyncio.open_connection(sock=line)
    first = json.loads(await reader.readline())
    trap.order(first)
    await node.start()
    _say(writer, {"pid": os.getpid(), "node_id": node.node_id.hex()})
    while raw := await reader.readline():
        order = json.loads(raw)
        if order["do"] == "stop":
            await node.stop(2.0)
            _say(writer, {})
            return
        _say(writer, await _answer(node, trap, order))


def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")


def _child(job: dict[str, str]) -> None:
    directory = Path(job["directory"])
    output = os.open(directory / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for handle in (1, 2):
        os.dup2(output, handle)
    line = socket.socket(socket.AF_UNIX)
    line.connect(job["socket"])
    logs.configure(directory / "logs" / "gateway.log", "info", 50_000_000)
    try:
        asyncio.run(_main(directory, line))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the kernel takes them away
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        job = json.loads(line)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with contextlib.suppress(OSError):
                os.close(0)
            _child(job)


if __name__ == "__main__":
    serve()
