"""What the contract suite needs of a Bitcoin Lightning network, simulated or real: three nodes and handles on them.

`gateway` is the LND under our adapter, `alice` pays and is paid, `hub` forwards between the two. The adapter's
connection runs through a Cable, so that a test can cut streams while both ends live. Implementations give
`describe` (the shape of regtest.json's "bitcoin") and the abstract operations; everything else is here.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.btc.lnd import Lnd, LndOptions
from regtest.bitcoin.client import LndClient, PayResult

T = TypeVar("T")


class Cable:
    """A TCP relay on 127.0.0.1. `cut` drops every connection; `unplug` also refuses new ones until `plug`."""

    def __init__(self, target: Callable[[], tuple[str, int]]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._plugged = True
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._plugged = False
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def unplug(self) -> None:
        self._plugged = False
        self.cut()

    def plug(self) -> None:
        self._plugged = True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            if not self._plugged:
                return
            host, port = self._target()
            far_reader, far = await asyncio.open_connection(host, port)
            self._writers.add(far)
            await asyncio.gather(_pump(reader, far), _pump(far_reader, writer))
        except OSError:
            return
        finally:
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.transport.abort()


@dataclass(frozen=True)
class LabTimes:
    """How long things take in this lab, in seconds."""

    patience_s: float = 10.0  # until something that must happen has happened
    part_hold_s: float = 1.0  # how long the payee keeps an incomplete set of parts (LND: 120)


class Lab(ABC):
    """One network of gateway, hub and alice. `start` gives open channels with balance on both sides of each;
    a payment of up to 100_000 sat fits in one part in both directions, one of `two_parts_msat` only in two."""

    times = LabTimes()
    two_parts_msat: int = 600_000_000
    too_much_msat: int = 5_000_000_000  # more than the gateway can send on all its channels

    def __init__(self) -> None:
        self.cable = Cable(lambda: (str(self.node("gateway")["host"]), int(self.node("gateway")["port"])))
        self._open: list[Lnd | LndClient] = []

    # -- what an implementation gives ------------------------------------------------------------

    @abstractmethod
    async def start_network(self) -> None: ...
    @abstractmethod
    async def stop_network(self) -> None: ...
    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """backend, version, height and nodes by name: pubkey, host, port, tls_cert, macaroon, p2p."""
        ...

    @abstractmethod
    async def stop_node(self, name: str) -> None:
        """As kill -9 does: without a word to clients."""
        ...

    @abstractmethod
    async def start_node(self, name: str, *, locked: bool = False, hold_delta: int | None = None) -> None:
        """Again on the same port. `locked`: the wallet stays locked, and the call returns when the RPC server
        says so; `hold_delta`: with invoices.holdexpirydelta at this value. Otherwise returns once it serves,
        is synced, and (with all nodes up) its channels are active."""
        ...

    @abstractmethod
    async def unlock(self, name: str) -> None: ...
    @abstractmethod
    async def height(self) -> int: ...
    @abstractmethod
    async def mine(self, blocks: int) -> None:
        """Returns when every running node has seen them."""
        ...

    @abstractmethod
    async def reorganise(self, depth: int) -> None:
        """The last `depth` blocks give way to `depth + 1` others (no channel's funding among them)."""
        ...

    @abstractmethod
    async def break_route(self) -> None:
        """Nothing can be routed from the gateway to alice although balances would do."""
        ...

    @abstractmethod
    async def mend_route(self) -> None: ...
    @abstractmethod
    async def send_part(self, invoice: str, amount_msat: int) -> None:
        """Alice sends one part of the invoice's amount (SendToRouteV2 with the whole in its MPP record);
        returns when the gateway's LND holds it or refused it."""
        ...

    @abstractmethod
    def weak_macaroon(self) -> Path:
        """Of the gateway's LND, may read and nothing else."""
        ...

    # -- the same for every lab ------------------------------------------------------------------

    async def start(self) -> None:
        await self.start_network()
        await self.cable.start()

    async def stop(self) -> None:
        for one in self._open:
            await one.close()
        await self.cable.stop()
        await self.stop_network()

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.describe()["nodes"][name]
        return found

    def adapter(
        self,
        *,
        macaroon: Path | None = None,
        tls_cert: Path | None = None,
        never_sent_after_s: float = 60.0,
        own_hold_cancel: int = 0,
    ) -> Lnd:
        """Our adapter on the gateway's LND, through the cable; closed with the lab."""
        node = self.node("gateway")
        lnd = Lnd(
            LndOptions(
                host="127.0.0.1",
                port=self.cable.port,
                tls_cert=str(tls_cert or node["tls_cert"]),
                macaroon=str(macaroon or node["macaroon"]),
                own_hold_cancel=own_hold_cancel,
                never_sent_after_s=never_sent_after_s,
            )
        )
        self._open.append(lnd)
        return lnd

    def client(self, name: str = "alice") -> LndClient:
        """An independent view of a node, past the cable; closed with the lab."""
        client = LndClient(self.node(name))
        self._open.append(client)
        return client

    def alice_pays(self, invoice: str, fee_limit_msat: int = 10_000_000) -> asyncio.Task[PayResult]:
        return asyncio.create_task(self.client().pay(invoice, fee_limit_msat))

    async def restart(self, name: str = "gateway") -> None:
        await self.stop_node(name)
        await self.start_node(name)

    async def until(self, probe: Callable[[], Awaitable[T]], done: Callable[[T], bool], s: float = 0) -> T:
        """Polls until `done`; the last value then, or a failure that shows it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (s or self.times.patience_s)
        while True:
            value = await probe()
            if done(value):
                return value
            if loop.time() > end:
                raise AssertionError(f"it did not come true in time; last: {value!r}")
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(lab: Lab) -> AsyncIterator[Lab]:
    await lab.start()
    try:
        yield lab
    finally:
        await lab.stop()
