"""LND's services over the simulated network: one set of servicers per node."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from gateway.btc import stubs
from regtest.bitcoin.simulated import messages
from regtest.bitcoin.simulated.ledger import LndError
from regtest.bitcoin.simulated.network import Request
from regtest.bitcoin.simulated.world import World

pb = stubs.lightning_pb2
router_pb2, invoices_pb2 = stubs.router_pb2, stubs.invoices_pb2
_ENDED = (pb.Payment.SUCCEEDED, pb.Payment.FAILED)
_FINAL = (pb.Invoice.SETTLED, pb.Invoice.CANCELED)


async def refuse(context: Any, error: LndError) -> NoReturn:
    await context.abort(getattr(grpc.StatusCode, error.code), error.text)
    raise AssertionError("abort returned")


def unary(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """LND's errors become gRPC statuses."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except LndError as error:
            await refuse(context, error)

    return answer


def stream(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        try:
            async for item in method(self, request, context):
                yield item
        except LndError as error:
            await refuse(context, error)

    return answer


def _msat(sat: int, msat: int) -> int:
    if sat and msat:
        raise LndError("sat and msat arguments are mutually exclusive")
    return msat or sat * 1000


class Service:
    def __init__(self, world: World, name: str, p2p: str) -> None:
        self._world, self._name, self._p2p = world, name, p2p


class Lightning(Service, stubs.lightning_pb2_grpc.LightningServicer):  # type: ignore[misc]
    @unary
    async def GetInfo(self, request: Any, context: Any) -> Any:
        return messages.get_info(self._world.network, self._name, self._p2p)

    @unary
    async def ChannelBalance(self, request: Any, context: Any) -> Any:
        return messages.channel_balance(self._world.network, self._name)

    @unary
    async def ListChannels(self, request: Any, context: Any) -> Any:
        return messages.list_channels(self._world.network, self._name, active_only=request.active_only)

    @unary
    async def AddInvoice(self, request: Any, context: Any) -> Any:
        with self._world.change() as network:
            row = network.add_invoice(
                self._name,
                self._world.now_ms(),
                value_msat=_msat(request.value, request.value_msat),
                memo=request.memo,
                expiry_s=request.expiry,
                cltv=request.cltv_expiry,
                preimage=request.r_preimage,
            )
        return pb.AddInvoiceResponse(
            r_hash=bytes.fromhex(row.hash),
            payment_request=row.payment_request,
            add_index=row.add_index,
            payment_addr=bytes.fromhex(row.payment_addr),
        )

    @unary
    async def LookupInvoice(self, request: Any, context: Any) -> Any:
        payment_hash = request.r_hash or bytes.fromhex(request.r_hash_str)
        return messages.invoice(self._world.network.find_invoice(self._name, payment_hash))

    @unary
    async def DecodePayReq(self, request: Any, context: Any) -> Any:
        return messages.pay_request(request.pay_req)

    async def debug_info(self, request: Any, context: Any) -> Any:
        """By path: the shipped stubs are older than this call."""
        node = self._world.network.rows.nodes[self._name]
        config = {"alias": node.alias, "invoices.holdexpirydelta": str(node.hold_delta)}
        return stubs.DebugInfoResponse(config=config)


class Router(Service, stubs.router_pb2_grpc.RouterServicer):  # type: ignore[misc]
    @stream
    async def SendPaymentV2(self, request: Any, context: Any) -> Any:
        with self._world.change() as network:
            row = network.pay(
                self._name,
                Request(
                    payment_request=request.payment_request,
                    amount_msat=_msat(request.amt, request.amt_msat),
                    fee_limit_msat=_msat(request.fee_limit_sat, request.fee_limit_msat),
                    cltv_limit=request.cltv_limit,
                    max_parts=request.max_parts,
                    allow_self=request.allow_self_payment,
                ),
                self._world.now_ms(),
            )
        async for update in self._follow(bytes.fromhex(row.hash), not request.no_inflight_updates):
            yield update

    @stream
    async def TrackPaymentV2(self, request: Any, context: Any) -> Any:
        async for update in self._follow(request.payment_hash, not request.no_inflight_updates):
            yield update

    async def _follow(self, payment_hash: bytes, in_flight: bool) -> Any:
        """The present state at once, then every change until the end."""
        row = self._world.network.find_payment(self._name, payment_hash)
        with self._world.listen(("payment", row.key)) as queue:
            update = messages.payment(self._world.network, row)
            while True:
                if in_flight or update.status in _ENDED:
                    yield update
                if update.status in _ENDED:
                    return
                update = await queue.get()


class Invoices(Service, stubs.invoices_pb2_grpc.InvoicesServicer):  # type: ignore[misc]
    @unary
    async def AddHoldInvoice(self, request: Any, context: Any) -> Any:
        with self._world.change() as network:
            row = network.add_invoice(
                self._name,
                self._world.now_ms(),
                value_msat=_msat(request.value, request.value_msat),
                memo=request.memo,
                expiry_s=request.expiry,
                cltv=request.cltv_expiry,
                hold_hash=request.hash,
            )
        return invoices_pb2.AddHoldInvoiceResp(
            payment_request=row.payment_request,
            add_index=row.add_index,
            payment_addr=bytes.fromhex(row.payment_addr),
        )

    @unary
    async def LookupInvoiceV2(self, request: Any, context: Any) -> Any:
        if not request.payment_hash:
            raise LndError("invoice ref must be set", "INVALID_ARGUMENT")
        return messages.invoice(self._world.network.find_invoice(self._name, request.payment_hash))

    @unary
    async def SettleInvoice(self, request: Any, context: Any) -> Any:
        if len(request.preimage) != 32:
            raise LndError(f"invalid preimage length of {len(request.preimage)}, want 32")
        with self._world.change() as network:
            network.settle(self._name, request.preimage, self._world.now_ms())
        return invoices_pb2.SettleInvoiceResp()

    @unary
    async def CancelInvoice(self, request: Any, context: Any) -> Any:
        with self._world.change() as network:
            network.cancel(self._name, request.payment_hash, self._world.now_ms())
        return invoices_pb2.CancelInvoiceResp()

    @stream
    async def SubscribeSingleInvoice(self, request: Any, context: Any) -> Any:
        """The state now, if there is such an invoice, then every change until it has ended."""
        key = f"{self._name}/{request.r_hash.hex()}"
        with self._world.listen(("invoice", key)) as queue:
            row = self._world.network.rows.invoices.get(key)
            update = messages.invoice(row) if row is not None else await queue.get()
            while True:
                yield update
                if update.state in _FINAL:
                    return
                update = await queue.get()


class ChainNotifier(Service, stubs.chainnotifier_pb2_grpc.ChainNotifierServicer):  # type: ignore[misc]
    @stream
    async def RegisterBlockEpochNtfn(self, request: Any, context: Any) -> Any:
        """The tip first, then each block that joins the best chain; after a reorganisation heights repeat."""
        with self._world.listen(("block", "")) as queue:
            block = self._world.network.rows.blocks[-1]
            while True:
                # bitcoin hashes travel in reversed byte order
                raw = bytes.fromhex(block.hash)[::-1]
                yield stubs.chainnotifier_pb2.BlockEpoch(hash=raw, height=block.height)
                block = await queue.get()
