"""Ogmios v6 (JSON-RPC 2.0 over WebSocket) over the chain: one `Session` a connection.

Chain synchronisation has its own queue, as in Ogmios: a `nextBlock` that waits at the tip does
not hold up the queries of the same connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from regtest.cardano.chain import Block
from regtest.cardano.faults import View
from regtest.cardano.genesis import EPOCH_SLOTS, era_summaries, genesis_configuration, iso_time
from regtest.cardano.queries import LedgerView, RpcError, evaluation, parse_point, utxo_query
from regtest.cardano.transaction import Tx
from regtest.cardano.views import tx_json

VERSION = "v6.14.0"
MAX_MESSAGE = 8 * 1024 * 1024
MEMPOOL_BYTES = 2 * 90_112

Submit = Callable[[bytes], Awaitable[Tx]]  # raises RpcError; LostAnswer cuts the connection


class LostAnswer(Exception):
    """The transaction is in, but its sender shall not hear so (a fault)."""


def point_json(block: Block) -> dict[str, Any]:
    return {"slot": block.slot, "id": block.hash.hex()}


def tip_json(block: Block) -> dict[str, Any]:
    return {**point_json(block), "height": block.height}


def block_json(block: Block, version: tuple[int, int]) -> dict[str, Any]:
    zero = "00" * 32
    return {
        "type": "praos",
        "era": "conway",
        "id": block.hash.hex(),
        "ancestor": "genesis" if block.parent is None else block.parent.hash.hex(),
        "nonce": {"output": "00" * 64, "proof": "00" * 80},
        "height": block.height,
        "size": {"bytes": block.size},
        "slot": block.slot,
        "transactions": [tx_json(tx) for tx in block.txs],
        "protocol": {"version": {"major": version[0], "minor": version[1]}},
        "issuer": {
            "verificationKey": zero,
            "vrfVerificationKey": zero,
            "operationalCertificate": {"count": 0, "kes": {"period": 0, "verificationKey": zero}},
            "leaderValue": {"output": "00" * 64, "proof": "00" * 80},
        },
    }


@dataclass(slots=True, eq=False)
class Session:
    """The state of one connection: chain-sync cursor, acquired ledger state, acquired mempool."""

    server: OgmiosServer
    socket: ServerConnection
    cursor: Block | None = None  # the last block told; None is the origin, before the first block
    rewind: bool = True  # the next answer of chain sync is a step back to the cursor
    acquired: LedgerView | None = None
    mempool: list[Tx] | None = None
    mempool_at: int = 0
    unread: list[Tx] = field(default_factory=list)
    sync: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        worker = asyncio.create_task(self._sync_worker())
        try:
            async for message in self.socket:
                await self._receive(message)
        except (ConnectionClosed, LostAnswer):
            self.socket.transport.abort()
        finally:
            worker.cancel()

    async def _receive(self, message: str | bytes) -> None:
        try:
            request = json.loads(message)
            method = request["method"]
            params = request.get("params") or {}
            if not isinstance(method, str) or not isinstance(params, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            problem = {"code": -32600, "message": "Invalid request: not a JSON-RPC 2.0 request."}
            await self._send({"jsonrpc": "2.0", "error": problem})
            return
        if method in ("findIntersection", "nextBlock"):
            if self.sync.qsize() < 1_000:
                self.sync.put_nowait(request)
            return
        await self._answer(request, self._dispatch(method, params))

    async def _answer(self, request: dict[str, Any], work: Awaitable[Any]) -> None:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "method": request["method"]}
        try:
            reply["result"] = await work
        except RpcError as error:
            reply["error"] = error.error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply["error"] = {"code": -32602, "message": f"Invalid parameters: {error!r}"}
        reply["id"] = request.get("id")
        await self._send(reply)

    async def _send(self, reply: dict[str, Any]) -> None:
        await asyncio.sleep(self.server.view.delay_ms / 1_000)
        await self.socket.send(json.dumps(reply))

    # -- chain synchronisation ---------------------------------------------------------------

    async def _sync_worker(self) -> None:
        while True:
            request = await self.sync.get()
            params = request.get("params") or {}
            work = self._find(params) if request["method"] == "findIntersection" else self._next()
            try:
                await self._answer(request, work)
            except ConnectionClosed:
                return

    async def _find(self, params: dict[str, Any]) -> dict[str, Any]:
        view = self.server.view
        for given in params.get("points") or ["origin"]:
            found: Block | None = None
            if given != "origin":
                found = view.chain.find(*parse_point(given))
                if found is None or found.height > view.height():
                    continue
            self.cursor, self.rewind = found, True
            return {"intersection": _point_or_origin(found), "tip": tip_json(view.tip())}
        raise RpcError(1000, "No intersection found.", {"tip": tip_json(view.tip())})

    async def _next(self) -> dict[str, Any]:
        view = self.server.view
        while True:
            waiter = self.server.changed()
            while self.cursor is not None and not view.chain.on_chain(self.cursor):
                self.cursor, self.rewind = self.cursor.parent, True
            if self.rewind:
                self.rewind = False
                back = {"direction": "backward", "point": _point_or_origin(self.cursor)}
                return {**back, "tip": tip_json(view.tip())}
            height = -1 if self.cursor is None else self.cursor.height
            if height < view.height():
                self.cursor = view.chain.blocks[height + 1]
                shown = block_json(self.cursor, view.chain.params.version)
                return {"direction": "forward", "block": shown, "tip": tip_json(view.tip())}
            await waiter

    # -- everything else ---------------------------------------------------------------------

    def _ledger(self) -> LedgerView:
        if self.acquired is not None:
            if not self.server.view.chain.on_chain(self.acquired.block):
                self.acquired = None
                raise RpcError(2003, "Acquired state has expired.", "The chain has switched to another fork.")
            return self.acquired
        return LedgerView.at(self.server.view.chain, self.server.view.tip())

    async def _dispatch(self, method: str, params: dict[str, Any]) -> Any:
        if method.startswith("queryLedgerState/"):
            return self._query_ledger(method.partition("/")[2], params)
        if method.startswith("queryNetwork/"):
            return self._query_network(method.partition("/")[2], params)
        match method:
            case "acquireLedgerState":
                return self._acquire(params)
            case "releaseLedgerState":
                self.acquired = None
                return {"released": "ledgerState"}
            case "submitTransaction":
                tx = await self.server.submit(bytes.fromhex(params["transaction"]["cbor"]))
                return {"transaction": {"id": tx.id.hex()}}
            case "evaluateTransaction":
                raw = bytes.fromhex(params["transaction"]["cbor"])
                return evaluation(self.server.view.chain, raw, params.get("additionalUtxo") or [])
            case "acquireMempool":
                return await self._acquire_mempool()
            case "nextTransaction" | "hasTransaction" | "sizeOfMempool" | "releaseMempool":
                return self._mempool(method, params)
        raise RpcError(-32601, f"Unknown method «{method[:60]}».")

    def _acquire(self, params: dict[str, Any]) -> dict[str, Any]:
        view, chain = self.server.view, self.server.view.chain
        given = params["point"]
        block: Block | None = chain.genesis
        if given != "origin":
            block = chain.find(*parse_point(given))
        if block is None or block.height > view.height():
            raise RpcError(2000, "Failed to acquire requested point.", "Target point doesn't exist.")
        if view.height() - block.height > 2_160:
            raise RpcError(2000, "Failed to acquire requested point.", "Target point is too old.")
        self.acquired = LedgerView.at(chain, block)
        return {"acquired": "ledgerState", "point": given}

    def _query_ledger(self, name: str, params: dict[str, Any]) -> Any:
        ledger, chain = self._ledger(), self.server.view.chain
        match name:
            case "tip":
                return point_json(ledger.block)
            case "epoch":
                return ledger.block.slot // EPOCH_SLOTS
            case "eraStart":
                return {"time": {"seconds": 0}, "slot": 0, "epoch": 0}
            case "eraSummaries":
                return era_summaries(chain.time)
            case "protocolParameters":
                return chain.params.ogmios()
            case "utxo":
                return utxo_query(ledger, params)
            case "rewardAccountSummaries" | "stakePools" | "liveStakeDistribution":
                return {}
            case "governanceProposals" | "delegateRepresentatives":
                return []
            case "treasuryAndReserves":
                nothing = {"ada": {"lovelace": 0}}
                return {"treasury": nothing, "reserves": nothing}
        raise RpcError(-32601, f"Unknown query «{name[:60]}».")

    def _query_network(self, name: str, params: dict[str, Any]) -> Any:
        view = self.server.view
        match name:
            case "tip":
                return point_json(view.tip())
            case "blockHeight":
                return view.tip().height
            case "startTime":
                return iso_time(view.chain.time.system_start_ms)
            case "genesisConfiguration":
                era, chain = str(params["era"]), view.chain
                shown = genesis_configuration(era, chain.params, chain.time, self.server.network_magic)
                if shown is None:
                    raise RpcError(-32602, f"Era «{era[:20]}» has no genesis.")
                return shown
        raise RpcError(-32601, f"Unknown query «{name[:60]}».")

    async def _acquire_mempool(self) -> dict[str, Any]:
        """A second acquisition waits until the mempool differs from the one held, as in Ogmios."""
        chain = self.server.view.chain
        while self.mempool is not None and self.mempool_at == self.server.mempool_version:
            await self.server.changed()
        self.mempool, self.mempool_at = list(chain.pool), self.server.mempool_version
        self.unread = list(self.mempool)
        return {"acquired": "mempool", "slot": chain.tip.slot + 1}

    def _mempool(self, method: str, params: dict[str, Any]) -> Any:
        if self.mempool is None:
            raise RpcError(4000, "You must acquire a mempool snapshot prior to accessing it.")
        match method:
            case "nextTransaction":
                if not self.unread:
                    return {"transaction": None}
                tx = self.unread.pop(0)
                return {"transaction": tx_json(tx) if params.get("fields") == "all" else {"id": tx.id.hex()}}
            case "hasTransaction":
                return any(tx.id.hex() == params["id"] for tx in self.mempool)
            case "sizeOfMempool":
                return {
                    "maxCapacity": {"bytes": MEMPOOL_BYTES},
                    "currentSize": {"bytes": sum(len(tx.raw) for tx in self.mempool)},
                    "transactions": {"count": len(self.mempool)},
                }
        self.mempool = None
        return {"released": "mempool"}


def _point_or_origin(block: Block | None) -> Any:
    return "origin" if block is None else point_json(block)


class OgmiosServer:
    def __init__(self, view: View, submit: Submit, network_magic: int, host: str, port: int) -> None:
        self.view = view
        self.submit = submit
        self.network_magic = network_magic
        self.mempool_version = 0
        self._host, self._port = host, port
        self._server: Server | None = None
        self._sessions: set[Session] = set()
        self._change: asyncio.Future[None] | None = None

    async def start(self) -> int:
        self._server = await serve(
            self._serve,
            self._host,
            self._port,
            process_request=self._health,
            compression=None,
            max_size=MAX_MESSAGE,
            close_timeout=1,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=False)
            self.disconnect()
            await self._server.wait_closed()

    def disconnect(self) -> None:
        for session in list(self._sessions):
            session.socket.transport.abort()

    def changed(self) -> asyncio.Future[None]:
        """Done at the next change of chain, mempool or faults."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._change)

    def notify(self) -> None:
        self.mempool_version += 1
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _serve(self, socket: ServerConnection) -> None:
        session = Session(self, socket)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    def _health(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.view.down:
            connection.transport.abort()
            return Response(503, "Service Unavailable", Headers(), b"")
        if request.path.rstrip("/") != "/health":
            return None
        tip, slot = self.view.tip(), self.view.now_slot()
        synchronization = round((tip.slot + 1) / (max(slot, tip.slot) + 1), 5)
        health = {
            "startTime": iso_time(self.view.chain.time.system_start_ms),
            "lastKnownTip": tip_json(tip),
            "lastTipUpdate": iso_time(self.view.chain.time.start_of(tip.slot)),
            "networkSynchronization": synchronization,
            "currentEra": "conway",
            "connectionStatus": "connected",
            "currentEpoch": slot // EPOCH_SLOTS,
            "slotInEpoch": slot % EPOCH_SLOTS,
            "network": "unknown",
            "version": VERSION,
            "metrics": _metrics(len(self._sessions)),
        }
        body = json.dumps(health).encode()
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        )
        return Response(200, "OK", headers, body)


def _metrics(connections: int) -> dict[str, Any]:
    return {
        "activeConnections": connections,
        "runtimeStats": {"cpuTime": 0, "currentHeapSize": 0, "gcCpuTime": 0, "maxHeapSize": 0},
        "sessionDurations": {"max": 0, "mean": 0, "min": 0},
        "totalConnections": connections,
        "totalMessages": 0,
        "totalUnrouted": 0,
    }
