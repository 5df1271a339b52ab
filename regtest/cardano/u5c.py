"""UTxO RPC (v1beta, gRPC) over the chain: what a node asks of it. Source: the protocol's v1beta schema (May 2026)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from gateway.cl.chain.u5c_messages import MESSAGES, METHODS
from regtest.cardano.blockfrost import Submit
from regtest.cardano.chain import Block, block_cbor
from regtest.cardano.faults import View
from regtest.cardano.genesis import iso_time
from regtest.cardano.index import Match
from regtest.cardano.ogmios import LostAnswer
from regtest.cardano.queries import RpcError
from regtest.cardano.transaction import Ref

Handler = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]
MOST = 100


class UtxoRpcServer:
    """`view` is the chain as this service is told to show it (faults: lag, lies, outage)."""

    def __init__(self, view: View, submit: Submit, network_magic: int, host: str, port: int) -> None:
        self._view, self._submit, self._magic = view, submit, network_magic
        self._host, self._port = host, port
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        self._server = grpc.aio.server()
        services: dict[str, dict[str, Any]] = {}
        for name, (path, asked, told) in METHODS.items():
            _, service, method = path.split("/")
            services.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
                self._guarded(getattr(self, f"_{name.lower()}")),
                request_deserializer=MESSAGES[asked].FromString,
                response_serializer=MESSAGES[told].SerializeToString,
            )
        for service, handlers in services.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = self._server.add_insecure_port(f"{self._host}:{self._port}")
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def _guarded(self, work: Handler) -> Handler:
        async def run(request: Any, context: grpc.aio.ServicerContext) -> Any:
            await asyncio.sleep(self._view.delay_ms / 1_000)
            if self._view.down:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
            return await work(request, context)

        return run

    # -- sync ----------------------------------------------------------------------------------

    def _ref(self, block: Block) -> dict[str, Any]:
        moment = self._view.chain.time.start_of(block.slot)
        return {"slot": block.slot, "hash": block.hash, "height": block.height, "timestamp": moment}

    def _any(self, block: Block) -> dict[str, Any]:
        header = {"slot": block.slot, "hash": block.hash, "height": block.height}
        moment = self._view.chain.time.start_of(block.slot)
        return {"native_bytes": block_cbor(block), "cardano": {"header": header, "timestamp": moment}}

    def _find(self, ref: Any) -> Block | None:
        found = (b for b in reversed(self._view.blocks()) if b.hash == ref.hash and b.slot == ref.slot)
        return next(found, None)

    async def _readtip(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return MESSAGES["ReadTipResponse"](tip=self._ref(self._view.tip()))

    async def _fetchblock(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        found = [self._find(ref) for ref in request.ref]
        if None in found:
            await context.abort(grpc.StatusCode.NOT_FOUND, "block not found")
        blocks = [self._any(block) for block in found if block is not None]
        return MESSAGES["FetchBlockResponse"](block=blocks)

    async def _dumphistory(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        blocks = self._view.blocks()
        if request.HasField("start_token"):
            first = self._find(request.start_token)
            if first is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, "start token not found")
            else:
                blocks = blocks[first.height :]
        page, rest = blocks[: min(request.max_items, MOST)], blocks[request.max_items :]
        following = {"next_token": self._ref(rest[0])} if rest else {}
        return MESSAGES["DumpHistoryResponse"](block=[self._any(b) for b in page], **following)

    # -- query ---------------------------------------------------------------------------------

    def _is_unspent(self, match: Match) -> bool:
        top = self._view.utxo_height()
        spent = match.spent is not None and match.spent.block.height <= top
        return match.created.height <= top and not spent

    async def _searchutxos(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        pattern = request.predicate.match.cardano
        address, policy = bytes(pattern.address.exact_address), bytes(pattern.asset.policy_id)
        rows = [
            match
            for match in self._view.chain.index.matches.values()
            if self._is_unspent(match)
            and (not address or match.output.address == address)
            and (not policy or any(key[:28] == policy for key in match.output.assets))
        ]
        begin = int(request.start_token or 0)
        end = begin + min(request.max_items or MOST, MOST)
        following = {"next_token": str(end)} if end < len(rows) else {}
        return MESSAGES["SearchUtxosResponse"](items=[self._data(m) for m in rows[begin:end]], **following)

    async def _readutxos(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        index = self._view.chain.index.matches
        rows = [index.get(Ref(bytes(key.hash), key.index)) for key in request.keys]
        items = [self._data(m) for m in rows if m is not None and self._is_unspent(m)]
        return MESSAGES["ReadUtxosResponse"](items=items)

    @staticmethod
    def _data(match: Match) -> dict[str, Any]:
        return {"txo_ref": {"hash": match.ref.tx_id, "index": match.ref.index}}

    async def _readtx(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        for block in reversed(self._view.blocks()):
            for tx in block.txs:
                if tx.id == request.hash:
                    tx_ = {"native_bytes": tx.raw, "block_ref": self._ref(block)}
                    return MESSAGES["ReadTxResponse"](tx=tx_)
        await context.abort(grpc.StatusCode.NOT_FOUND, "transaction not found")

    async def _readgenesis(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        time = self._view.chain.time
        genesis = {
            "network_magic": self._magic,
            "slot_length": time.slot_length_ms // 1_000,
            "system_start": iso_time(time.system_start_ms),
        }
        return MESSAGES["ReadGenesisResponse"](cardano=genesis)

    async def _readparams(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        p = self._view.chain.params
        models = {f"plutus_v{n}": {"values": list(model)} for n, model in p.cost_models.items()}
        shown = {
            "coins_per_utxo_byte": {"int": p.coins_per_utxo_byte},
            "max_tx_size": p.max_tx_size,
            "min_fee_coefficient": {"int": p.min_fee_coefficient},
            "min_fee_constant": {"int": p.min_fee_constant},
            "protocol_version": {"major": p.version[0], "minor": p.version[1]},
            "max_value_size": p.max_value_size,
            "collateral_percentage": p.collateral_percent,
            "max_collateral_inputs": p.max_collateral_inputs,
            "cost_models": models,
            "prices": {
                "memory": {"numerator": p.price_mem.numerator, "denominator": p.price_mem.denominator},
                "steps": {"numerator": p.price_steps.numerator, "denominator": p.price_steps.denominator},
            },
            "max_execution_units_per_transaction": {"memory": p.max_tx_mem, "steps": p.max_tx_steps},
            "max_execution_units_per_block": {"memory": p.max_block_mem, "steps": p.max_block_steps},
            "min_fee_script_ref_cost_per_byte": {"numerator": p.ref_script_base, "denominator": 1},
        }
        return MESSAGES["ReadParamsResponse"](values={"cardano": shown})

    # -- submit --------------------------------------------------------------------------------

    async def _submittx(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            tx = await self._submit(bytes(request.tx.raw))
        except LostAnswer:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is cut")
        except RpcError as error:
            words = f"{error.error['message']} {error.error.get('data')}"
            tag = "TxCmdTxReadError" if error.error["code"] < 0 else "ApplyTxError"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{tag} {words}")
        else:
            return MESSAGES["SubmitTxResponse"](ref=tx.id)
