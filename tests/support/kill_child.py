"""A node, gateway or user, as a child process that ends itself with SIGKILL where it is told to.

`python -m tests.support.kill_child` is a fork server: it has imported everything once and forks one node for
each line {"directory", "socket"} on its standard input. The node connects to the socket and obeys JSON lines.
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
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.store.hooks import HookPoint
from gateway.swap.client import PAYMENT, RECEIPT
from gateway.swap.inputs import ChequeNotOffered, ChequeOffered
from gateway.swap.ports import ChannelLegs, ChannelStanding
from gateway.units import Lovelace, Ms, PosixMs

PASSWORD = "of throw-away nodes"
NEVER_SENT_AFTER_S = 1.0  # the proof "never sent" needs the sender's connection dead for this long
TICK_S, CLIENT_TICK_S = 0.25, 1.0
KILLED = "killed"  # the file that says where a trap ended the process


class Trap:
    """Records the points that are passed, or ends the process at one of them."""

    def __init__(self, note: Path) -> None:
        self._note = note
        self._armed: frozenset[str] = frozenset()
        self._times = 1
        self._seen = 0
        self._counting = True
        self._record: list[str] | None = None

    def order(self, order: dict[str, Any]) -> None:
        """`point`, `times`: death at the n-th time of one. `places`: death at the first of any of them."""
        point, places = order.get("point"), order.get("places", [])
        self._armed = frozenset(places if point is None else [str(point)])
        self._times = int(order.get("times", 1))
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
        if not self._counting or point not in self._armed:
            return
        self._seen += 1
        if self._seen == self._times:
            self._note.write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)


class GatedLegs:
    """The channels of a node; what it says to the peer's cheques waits until the gate opens."""

    def __init__(self, legs: ChannelLegs) -> None:
        self._legs = legs
        self.open, self.waiting = asyncio.Event(), asyncio.Event()
        self.open.set()

    def set(self, is_open: bool) -> None:
        if is_open:
            self.open.set()
        else:
            self.open.clear()
            self.waiting.clear()

    async def standing(self, channel: ChannelId) -> ChannelStanding | None:
        return await self._legs.standing(channel)

    async def standings(self) -> tuple[ChannelStanding, ...]:
        return await self._legs.standings()

    async def offer_cheque(
        self, channel: ChannelId, reference: bytes, hashlock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> ChequeOffered | ChequeNotOffered:
        return await self._legs.offer_cheque(channel, reference, hashlock, amount, timeout)

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> None:
        await self._pass()
        await self._legs.fulfil_cheque(channel, index, preimage)

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> None:
        await self._pass()
        await self._legs.cancel_cheque(channel, index, code)

    async def top_up(self, channel: ChannelId, lovelace: Lovelace) -> None:
        await self._legs.top_up(channel, lovelace)

    async def extend_cheque(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        await self._legs.extend_cheque(channel, index, timeout)

    async def ask_extension(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        await self._legs.ask_extension(channel, index, timeout)

    async def ask_resolution(self, channel: ChannelId, index: int) -> None:
        await self._legs.ask_resolution(channel, index)

    async def claim_on_chain(self, channel: ChannelId, reason: str) -> None:
        await self._legs.claim_on_chain(channel, reason)

    def claim_stands(self, channel: ChannelId) -> bool:
        return self._legs.claim_stands(channel)

    async def _pass(self) -> None:
        self.waiting.set()
        await self.open.wait()


class TrappedNode(Running):
    """The node as it is in production, looking at its swaps more often; its own receipts pass a gate."""

    def __init__(self, directory: Path, keystore: Keystore, trap: Trap) -> None:
        super().__init__(directory, load(directory, {}), keystore, Bus())
        self._trap = trap
        self.gate: GatedLegs | None = None
        self.gate_opens = True

    async def _go(self) -> None:
        self.gate = GatedLegs(self.legs)
        self.gate.set(self.gate_opens)
        self.client._legs = self.gate
        self.client._options = replace(self.client._options, tick_s=CLIENT_TICK_S)
        await super()._go()

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
        if kind.startswith("swap.") or kind in (PAYMENT, RECEIPT):
            self._trap.reach(f"state:{kind}.{state}")


async def _answer(node: TrappedNode, trap: Trap, order: dict[str, Any]) -> dict[str, Any]:
    """One order; {"refused": code} when the node says no."""
    try:
        match order["do"]:
            case "order":
                trap.order(order)
            case "mark":
                trap.mark()
            case "recorded":
                return {"points": trap.recorded()}
            case "ledger":
                found = await node.ledger.compare()
                return {"lovelace": found.lovelace.value, "msat": found.msat.value if found.msat else 0}
            case "look":
                return await _look(node, order)
            case "funds":
                return {"lovelace": sum(utxo.lovelace.value for utxo, _ in await node.chain.utxos())}
            case "gate":
                assert node.gate is not None
                node.gate.set(order["open"])
            case _:
                return await _do(node, order)
    except Refused as refused:
        return {"refused": refused.rejection.code}
    return {}


async def _do(node: TrappedNode, order: dict[str, Any]) -> dict[str, Any]:
    """What the owner of a node asks for."""
    channel = ChannelId(bytes.fromhex(order.get("channel", "00" * 20)))
    match order["do"]:
        case "keep":
            node.peers.keep(bytes.fromhex(order["peer"]), "127.0.0.1", order["port"])
        case "connect":
            await node.peers.connect(bytes.fromhex(order["peer"]), "127.0.0.1", order["port"])
        case "open":
            amount, gift = Lovelace(order["lovelace"]), Lovelace(0)
            made = await node.channels.open(bytes.fromhex(order["peer"]), amount, gift, _period(order))
            return {"channel": made.hex()}
        case "add_funds":
            await node.chain.add_funds(channel, Lovelace(order["lovelace"]))
        case "close":
            await node.channels.close(channel, now=True, reason="closed by the owner, now")
        case "pay":
            key = await node.client.pay(order["invoice"], None, channel)
            return {"hash": key.hashlock.hex()}
        case "receive":
            key = await node.client.receive(Lovelace(order["lovelace"]), channel)
            return {"hash": key.hashlock.hex()}
        case "cancel":
            await node.client.cancel(Hashlock(bytes.fromhex(order["hash"])))
        case unknown:
            raise ValueError(f"no such order: {unknown}")
    return {}


def _period(order: dict[str, Any]) -> Ms | None:
    return Ms(order["respond_period_ms"]) if "respond_period_ms" in order else None


async def _look(node: TrappedNode, order: dict[str, Any]) -> dict[str, Any]:
    """The node's own view: its swap of a hash, what is live, what is undone, its side of the channel."""
    runner = node.client.runner if node.engine is None else node.engine.runner
    state: Any = None
    if order.get("hash"):
        key = await runner.latest(Hashlock(bytes.fromhex(order["hash"])))
        state = None if key is None else await runner.state_of(key)
    balance, pending, standing = None, 0, None
    if order.get("channel"):
        channel = ChannelId(bytes.fromhex(order["channel"]))
        standing = node.channels.state(channel)
        found = node.channels.balance(channel)
        if found is not None:
            balance = [found.local.value, found.remote.value]
            pending = found.offered.value + found.held.value + found.at_risk.value
    peer = order.get("peer", "")
    return {
        "state": "" if state is None else type(state).__name__,
        "invoice": getattr(state, "invoice", ""),
        "live": [key.hashlock.hex() for key in runner.live],
        "undone": node.dispatcher.open_count,
        "balance": balance,
        "pending": pending,
        "channel": "" if standing is None else type(standing).__name__,
        "stage": _stage(standing),
        "connected": bool(peer) and node.peers.is_connected(bytes.fromhex(peer)),
        "waiting": node.gate is not None and node.gate.waiting.is_set(),
        "now_ms": node.clock.now().value,
        "alarms": node.alarms,
        "address": str(node.wallet_address),
        "node_id": node.node_id.hex(),
    }


def _stage(standing: Any) -> str:
    """Of a channel that is on its way to its end on chain."""
    output = getattr(standing, "output", None)
    return "" if output is None else type(output.datum.stage).__name__


async def _main(directory: Path, line: socket.socket) -> None:
    keystore = Keystore.open(directory / KEYS, "regtest", PASSWORD)
    trap = Trap(directory / KILLED)
    node = TrappedNode(directory, keystore, trap)
    reader, writer = await asyncio.open_connection(sock=line)
    first = json.loads(await reader.readline())
    trap.order(first)
    node.gate_opens = first.get("gate", True)
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
