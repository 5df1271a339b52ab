"""A small client of one LND, for the demo and as the tests' second opinion. It shares no code with our adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from gateway.btc import stubs

CALL_S = 20.0


@dataclass(frozen=True, slots=True)
class PayResult:
    """`status` is LND's name of it: SUCCEEDED, FAILED, IN_FLIGHT, …; `reason` its failure reason."""

    status: str
    preimage: bytes = b""
    fee_msat: int = 0
    parts: int = 0
    reason: str = ""

    @property
    def settled(self) -> bool:
        return self.status == "SUCCEEDED"


class LndClient:
    """`node` is one entry of describe()["nodes"]: host, port, tls_cert and macaroon (paths)."""

    def __init__(self, node: dict[str, Any]) -> None:
        certificate = Path(node["tls_cert"]).read_bytes()
        self._metadata = (("macaroon", Path(node["macaroon"]).read_bytes().hex()),)
        self._channel = grpc.aio.secure_channel(
            f"{node['host']}:{node['port']}",
            grpc.ssl_channel_credentials(certificate),
            options=(
                ("grpc.enable_http_proxy", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ),
        )
        self._lightning = stubs.lightning_pb2_grpc.LightningStub(self._channel)
        self._router = stubs.router_pb2_grpc.RouterStub(self._channel)
        self._invoices = stubs.invoices_pb2_grpc.InvoicesStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: Any, request: Any) -> Any:
        return await method(request, metadata=self._metadata, timeout=CALL_S, wait_for_ready=True)

    async def get_info(self) -> Any:
        return await self._call(self._lightning.GetInfo, stubs.lightning_pb2.GetInfoRequest())

    async def channel_balance(self) -> int:
        """What this node has on its side of all channels, in msat."""
        request = stubs.lightning_pb2.ChannelBalanceRequest()
        answer = await self._call(self._lightning.ChannelBalance, request)
        return int(answer.local_balance.msat)

    async def add_invoice(self, amount_msat: int, memo: str = "", expiry_s: int = 3600) -> str:
        invoice = stubs.lightning_pb2.Invoice(value_msat=amount_msat, memo=memo, expiry=expiry_s)
        return str((await self._call(self._lightning.AddInvoice, invoice)).payment_request)

    async def add_hold_invoice(
        self, payment_hash: bytes, amount_msat: int, memo: str = "", expiry_s: int = 3600, cltv: int = 40
    ) -> str:
        request = stubs.invoices_pb2.AddHoldInvoiceRequest(
            hash=payment_hash, value_msat=amount_msat, memo=memo, expiry=expiry_s, cltv_expiry=cltv
        )
        return str((await self._call(self._invoices.AddHoldInvoice, request)).payment_request)

    async def settle(self, preimage: bytes) -> None:
        await self._call(self._invoices.SettleInvoice, stubs.invoices_pb2.SettleInvoiceMsg(preimage=preimage))

    async def cancel(self, payment_hash: bytes) -> None:
        request = stubs.invoices_pb2.CancelInvoiceMsg(payment_hash=payment_hash)
        await self._call(self._invoices.CancelInvoice, request)

    async def lookup_invoice(self, payment_hash: bytes) -> str:
        """OPEN, ACCEPTED, SETTLED, CANCELED."""
        request = stubs.lightning_pb2.PaymentHash(r_hash=payment_hash)
        found = await self._call(self._lightning.LookupInvoice, request)
        return str(stubs.lightning_pb2.Invoice.InvoiceState.Name(found.state))

    async def decode(self, invoice: str) -> Any:
        return await self._call(
            self._lightning.DecodePayReq, stubs.lightning_pb2.PayReqString(pay_req=invoice)
        )

    async def pay(
        self, invoice: str, fee_limit_msat: int, timeout_s: int = 60, wait_s: float = 300
    ) -> PayResult:
        """Until the payment has ended; IN_FLIGHT when `wait_s` passed first."""
        request = stubs.router_pb2.SendPaymentRequest(
            payment_request=invoice, fee_limit_msat=fee_limit_msat, timeout_seconds=timeout_s, max_parts=16
        )
        stream = self._router.SendPaymentV2(
            request, metadata=self._metadata, timeout=wait_s, wait_for_ready=True
        )
        return await _last(stream)

    async def lookup_payment(self, payment_hash: bytes) -> PayResult | None:
        """The record now; None when the node knows no such payment."""
        request = stubs.router_pb2.TrackPaymentRequest(payment_hash=payment_hash)
        stream = self._router.TrackPaymentV2(
            request, metadata=self._metadata, timeout=CALL_S, wait_for_ready=True
        )
        try:
            async for payment in stream:
                return _read(payment)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        finally:
            stream.cancel()
        return None


async def _last(stream: Any) -> PayResult:
    last = PayResult("UNKNOWN")
    try:
        async for payment in stream:
            last = _read(payment)
            if last.status in ("SUCCEEDED", "FAILED"):
                return last
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return last


def _read(payment: Any) -> PayResult:
    pb = stubs.lightning_pb2
    names = {number: name for name, number in pb.Payment.PaymentStatus.items()}
    reasons = {number: name for name, number in pb.PaymentFailureReason.items()}
    return PayResult(
        status=names.get(int(payment.status), str(int(payment.status))),
        preimage=bytes.fromhex(payment.payment_preimage) if payment.payment_preimage else b"",
        fee_msat=int(payment.fee_msat),
        parts=sum(int(h.status) == pb.HTLCAttempt.SUCCEEDED for h in payment.htlcs),
        reason=reasons.get(int(payment.failure_reason), str(int(payment.failure_reason))),
    )
