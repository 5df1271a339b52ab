"""R3. LND over grpc.aio: payments and hold invoices as facts (gateway.btc.ports).

A payment is settled with its preimage, failed with LND's proof (FAILED and no attempt in flight), or
unknown: a lost stream, a deadline, a status or reason that we do not know are all unknown (X5).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from gateway.btc import errors, stubs
from gateway.btc import ports as p
from gateway.btc.deltas import time_constants
from gateway.btc.rpc import CALL_S, LndChannel
from gateway.btc.senders import Senders, Sending
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.units import BlockHeight, Msat, PosixMs

NEVER_SENT_AFTER_S = 60.0  # past the end of the connection that may have sent it (docs/swaps.md, the law)
_SLACK_S = 60.0  # on top of LND's own payment timeout: it ends no attempt in flight, and LND may be slow

_REASONS = {
    "FAILURE_REASON_TIMEOUT": "timeout",
    "FAILURE_REASON_NO_ROUTE": "no_route",
    "FAILURE_REASON_ERROR": "error",
    "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS": "incorrect_details",
    "FAILURE_REASON_INSUFFICIENT_BALANCE": "insufficient_balance",
}


@dataclass(frozen=True, slots=True)
class LndOptions:
    host: str
    port: int
    tls_cert: str
    macaroon: str
    own_hold_cancel: int = 0
    never_sent_after_s: float = NEVER_SENT_AFTER_S
    network: str = ""  # empty: any


class Lnd:
    """Implements `BitcoinLightning`."""

    def __init__(self, options: LndOptions, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._rpc = LndChannel(options.host, options.port, options.tls_cert, options.macaroon)
        channel = self._rpc.channel
        self._lightning = stubs.lightning_pb2_grpc.LightningStub(channel)
        self._router = stubs.router_pb2_grpc.RouterStub(channel)
        self._invoices = stubs.invoices_pb2_grpc.InvoicesStub(channel)
        self._notifier = stubs.chainnotifier_pb2_grpc.ChainNotifierStub(channel)
        self._debug_info = channel.unary_unary(
            stubs.DEBUG_INFO_PATH,
            request_serializer=stubs.DebugInfoRequest.SerializeToString,
            response_deserializer=stubs.DebugInfoResponse.FromString,
        )
        self._senders = Senders(options.never_sent_after_s, monotonic)

    async def close(self) -> None:
        await self._rpc.close()

    # -- the node -------------------------------------------------------------------------------

    async def info(self) -> p.NodeInfo:
        request = stubs.lightning_pb2.GetInfoRequest()
        answer = await self._rpc.call(self._lightning.GetInfo(request, timeout=CALL_S), "GetInfo")
        network = answer.chains[0].network if answer.chains else ""
        wanted = self._options.network
        if wanted and network != wanted:  # else real coins could pay for test coins
            raise Refused(errors.NETWORK(field="bitcoin", got=network, allowed=wanted))
        return p.NodeInfo(
            node_id=_hex(answer.identity_pubkey, 33, "identity_pubkey"),
            alias=answer.alias,
            version=answer.version,
            network=network,
            height=BlockHeight(int(answer.block_height)),
            best_header_ms=PosixMs(int(answer.best_header_timestamp) * 1000),
            synced=bool(answer.synced_to_chain),
        )

    async def time_constants(self) -> p.TimeConstants:
        version = (await self.info()).version
        hold, readable = await self._hold_delta()
        return time_constants(
            version, lnd_hold=hold, own_hold=self._options.own_hold_cancel, lnd_readable=readable
        )

    async def _hold_delta(self) -> tuple[int | None, bool]:
        """LND's `invoices.holdexpirydelta` from GetDebugInfo; (None, False) when it cannot be read."""
        try:
            answer = await self._debug_info(stubs.DebugInfoRequest(), timeout=CALL_S)
        except grpc.aio.AioRpcError:
            return None, False
        for key, value in answer.config.items():
            if key.lower().endswith("holdexpirydelta") and value.isdigit():
                return int(value), True
        return None, False

    async def balances(self) -> p.Balances:
        request = stubs.lightning_pb2.ChannelBalanceRequest()
        answer = await self._rpc.call(
            self._lightning.ChannelBalance(request, timeout=CALL_S), "ChannelBalance"
        )
        listing = stubs.lightning_pb2.ListChannelsRequest(active_only=True)
        channels = await self._rpc.call(self._lightning.ListChannels(listing, timeout=CALL_S), "ListChannels")
        # what a channel must keep in reserve can be neither sent nor received
        local = remote = 0
        pending = 0
        for channel in channels.channels:
            pending += len(channel.pending_htlcs)
            ours, theirs = channel.local_constraints, channel.remote_constraints
            local += max(0, int(channel.local_balance) - int(ours.chan_reserve_sat)) * 1000
            remote += max(0, int(channel.remote_balance) - int(theirs.chan_reserve_sat)) * 1000
        return p.Balances(
            local=Msat(min(local, int(answer.local_balance.msat))),
            remote=Msat(min(remote, int(answer.remote_balance.msat))),
            pending_htlcs=pending,
        )

    async def holdings(self) -> p.Holdings:
        """An HTLC of ours in flight counts as LND's "unsettled remote": it is the peer's only once it is settled.

        Who opened a channel pays its commitment's fee, which moves with fee rates and HTLCs: it is what the balances
        leave of the capacity. LND's own `commit_fee` also counts outputs that are too small to exist."""
        request = stubs.lightning_pb2.ChannelBalanceRequest()
        answer = await self._rpc.call(
            self._lightning.ChannelBalance(request, timeout=CALL_S), "ChannelBalance"
        )
        listing = stubs.lightning_pb2.ListChannelsRequest()
        channels = await self._rpc.call(self._lightning.ListChannels(listing, timeout=CALL_S), "ListChannels")
        ours = [one for one in channels.channels if one.initiator]
        fees = sum(_commitment_fee(one) for one in ours)
        owned = int(answer.local_balance.msat) + int(answer.unsettled_remote_balance.msat) + fees * 1000
        # two balances and each HTLC rounded down, now and when the ledger began
        slack = sum(4 + len(one.pending_htlcs) for one in ours)
        points = tuple(sorted(one.channel_point for one in channels.channels))
        pending = tuple(
            p.PendingHtlc(bytes(htlc.hash_lock), bool(htlc.incoming), Msat(int(htlc.amount) * 1000))
            for one in channels.channels
            for htlc in one.pending_htlcs
        )
        return p.Holdings(Msat(owned), points, Msat(slack * 1000), pending)

    # -- payments -------------------------------------------------------------------------------

    async def pay(self, request: p.PaymentRequest) -> p.PaymentResult:
        """Starts the payment, or joins the one that LND has for this hash; waits for its end within the timeout."""
        message = stubs.router_pb2.SendPaymentRequest(
            payment_request=request.invoice,
            timeout_seconds=request.timeout_s,
            fee_limit_msat=request.fee_limit.value,
            cltv_limit=request.cltv_limit.value,
            max_parts=16,
            no_inflight_updates=False,
            allow_self_payment=False,
        )
        sending = self._senders.begin(request.hashlock)
        try:
            stream = self._router.SendPaymentV2(message, timeout=request.timeout_s + _SLACK_S)
            return await self._last_word(stream, sending)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                # in flight, or paid before: LND's record says which; it never pays twice (X6)
                return await self.track(request.hashlock)
            if error.code() is grpc.StatusCode.UNKNOWN and _refused_before_sending(error.details() or ""):
                return await self._refused(request.hashlock, error)
            return await self._stream_lost(sending, _words(error))
        finally:
            self._senders.end(sending)

    async def _stream_lost(self, sending: Sending, why: str) -> p.PaymentResult:
        """The payment may live on. LND's record, where LND still answers, has the last word: its failure is that of
        this attempt only if LND had told of this attempt."""
        try:
            found = await self._record(sending.hashlock)
        except grpc.aio.AioRpcError:
            found = None
        if found is None or (isinstance(found, p.PaymentFailed) and not sending.seen):
            return p.PaymentUnknown(why, known=sending.seen)
        return found

    async def _refused(self, hashlock: Hashlock, error: grpc.aio.AioRpcError) -> p.PaymentResult:
        """LND's own word that it did not start; still only its record counts, and it must have none."""
        try:
            looked = await self._record(hashlock)
        except grpc.aio.AioRpcError as lost:
            return p.PaymentUnknown(_words(lost))
        if looked is None:
            return p.PaymentFailed("error", f"LND refused before sending: {(error.details() or '')[:200]}")
        return looked

    async def _last_word(self, stream: Any, sending: Sending) -> p.PaymentResult:
        async for payment in stream:
            sending.seen = True
            result = _read_payment(payment, sending.hashlock)
            if not isinstance(result, p.PaymentUnknown):
                return result
        return await self._stream_lost(sending, "the stream ended without a final update")

    async def track(self, hashlock: Hashlock) -> p.PaymentResult:
        """LND's record now. None, or the failure of an earlier attempt, is proof only once the sender has been
        dead for a while: LND keeps the old record until a new attempt has begun."""
        try:
            found = await self._record(hashlock)
        except grpc.aio.AioRpcError as error:
            return p.PaymentUnknown(_words(error))
        if found is not None and not isinstance(found, p.PaymentFailed):
            return found
        if found is None and self._senders.seen(hashlock):
            return p.PaymentUnknown("LND has no record of a payment that it had begun", known=True)
        doubt = self._senders.doubt(hashlock)
        if doubt:
            record = "no record yet" if found is None else "a failed attempt"
            return p.PaymentUnknown(f"LND has {record}; {doubt}")
        if found is not None:
            return found
        return p.PaymentFailed(p.NEVER_SENT, "LND has no record, long after the sender ended")

    async def _record(self, hashlock: Hashlock) -> p.PaymentResult | None:
        """The first update of TrackPaymentV2 is the present state; None: LND knows no such payment."""
        request = stubs.router_pb2.TrackPaymentRequest(payment_hash=hashlock.raw, no_inflight_updates=False)
        stream = self._router.TrackPaymentV2(request, timeout=CALL_S)
        try:
            async for payment in stream:
                return _read_payment(payment, hashlock)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        finally:
            stream.cancel()
        return p.PaymentUnknown("the look-up ended without an answer")

    # -- invoices -------------------------------------------------------------------------------

    async def add_hold_invoice(self, invoice: p.HoldInvoice) -> str:
        request = stubs.invoices_pb2.AddHoldInvoiceRequest(
            memo=invoice.memo,
            hash=invoice.hashlock.raw,
            value_msat=invoice.amount.value,
            expiry=invoice.expiry_s,
            cltv_expiry=invoice.min_final_cltv.value,
            private=True,
        )
        try:
            answer = await self._invoices.AddHoldInvoice(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if "already exists" in (error.details() or ""):
                return await self._existing(invoice)
            raise Refused(await self._invoice_error(error, "AddHoldInvoice")) from error
        return str(answer.payment_request)

    async def _existing(self, invoice: p.HoldInvoice) -> str:
        """The same invoice asked for again, after an answer of LND's was lost."""
        found = await self._lookup(invoice.hashlock)
        if found is None or int(found.value_msat) != invoice.amount.value or found.memo != invoice.memo:
            raise Refused(errors.INVOICE_EXISTS(field="hash", got=invoice.hashlock.hex()))
        return str(found.payment_request)

    async def lookup_invoice(self, hashlock: Hashlock) -> p.InvoiceState:
        found = await self._lookup(hashlock)
        return p.InvoiceNotFound() if found is None else _read_invoice(found)

    async def _lookup(self, hashlock: Hashlock) -> Any | None:
        request = stubs.invoices_pb2.LookupInvoiceMsg(payment_hash=hashlock.raw)
        try:
            return await self._invoices.LookupInvoiceV2(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if _no_invoice(error):
                return None
            raise Refused(await self._rpc.meaning(error, "LookupInvoiceV2")) from error

    async def watch_invoice(self, hashlock: Hashlock) -> AsyncIterator[p.InvoiceState]:
        """A hint: yields what LND streams, up to a final state; raises Refused when the stream is lost."""
        request = stubs.invoices_pb2.SubscribeSingleInvoiceRequest(r_hash=hashlock.raw)
        stream = self._invoices.SubscribeSingleInvoice(request)
        try:
            async for invoice in stream:
                state = _read_invoice(invoice)
                yield state
                if isinstance(state, (p.InvoiceSettled, p.InvoiceCancelled)):
                    return
            raise Refused(errors.STREAM_ENDED(field="SubscribeSingleInvoice"))
        except grpc.aio.AioRpcError as error:
            raise Refused(await self._rpc.meaning(error, "SubscribeSingleInvoice")) from error
        finally:
            stream.cancel()

    async def settle_invoice(self, preimage: Preimage) -> None:
        request = stubs.invoices_pb2.SettleInvoiceMsg(preimage=preimage.raw)
        try:
            await self._invoices.SettleInvoice(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if "already settled" not in (error.details() or ""):
                raise Refused(await self._invoice_error(error, "SettleInvoice")) from error

    async def cancel_invoice(self, hashlock: Hashlock) -> None:
        request = stubs.invoices_pb2.CancelInvoiceMsg(payment_hash=hashlock.raw)
        try:
            await self._invoices.CancelInvoice(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if not _no_invoice(error) and "already canceled" not in (error.details() or ""):
                raise Refused(await self._invoice_error(error, "CancelInvoice")) from error

    async def _invoice_error(self, error: grpc.aio.AioRpcError, what: str) -> Any:
        if error.code() is grpc.StatusCode.UNKNOWN:
            meaning = await self._rpc.meaning(error, what)
            if meaning.spec is not errors.MALFORMED:
                return meaning
            return errors.INVOICE_REFUSED(field=what, detail=(error.details() or "")[:300])
        return await self._rpc.meaning(error, what)

    # -- blocks ---------------------------------------------------------------------------------

    async def watch_blocks(self) -> AsyncIterator[p.BlockEpoch]:
        """The tip, then every block that joins the best chain (heights repeat after a reorganisation)."""
        stream = self._notifier.RegisterBlockEpochNtfn(stubs.chainnotifier_pb2.BlockEpoch())
        try:
            async for epoch in stream:
                yield p.BlockEpoch(BlockHeight(int(epoch.height)), bytes(epoch.hash))
            raise Refused(errors.STREAM_ENDED(field="RegisterBlockEpochNtfn"))
        except grpc.aio.AioRpcError as error:
            raise Refused(await self._rpc.meaning(error, "RegisterBlockEpochNtfn")) from error
        finally:
            stream.cancel()


def _words(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {(error.details() or '')[:200]}"


def _commitment_fee(channel: Any) -> int:
    """Satoshis, anchors included."""
    locked = sum(int(one.amount) for one in channel.pending_htlcs)
    return int(channel.capacity) - int(channel.local_balance) - int(channel.remote_balance) - locked


def _no_invoice(error: grpc.aio.AioRpcError) -> bool:
    """A node that never made an invoice says so in other words, and with another code (LND invoices/errors.go)."""
    text = error.details() or ""
    never = "unable to locate invoice" in text or "there are no existing invoices" in text
    return never or error.code() is grpc.StatusCode.NOT_FOUND


def _refused_before_sending(text: str) -> bool:
    """LND's messages for requests that it does not even start."""
    known = (
        "invoice expired",
        "invoice not for current",
        "self-payments not allowed",
        "cltv limit",
        "exceeds max allowed",
    )
    return any(part in text for part in known)


def _hex(text: str, size: int, field: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise Refused(errors.MALFORMED(field=field, got=text[:80], allowed=f"{size} bytes in hex"))
    return raw


def _read_payment(payment: Any, hashlock: Hashlock) -> p.PaymentResult:
    """One update. Only SUCCEEDED with a fitting preimage and FAILED without a live attempt are final."""
    pb = stubs.lightning_pb2
    status = int(payment.status)
    if payment.payment_hash != hashlock.hex():
        return p.PaymentUnknown("LND answers with another payment")
    if status == pb.Payment.SUCCEEDED:
        raw = payment.payment_preimage
        try:
            preimage = Preimage(bytes.fromhex(raw))
        except ValueError:
            return p.PaymentUnknown("SUCCEEDED with a preimage that is not 32 bytes", known=True)
        if not preimage.opens(hashlock):  # X9
            return p.PaymentUnknown("SUCCEEDED with a preimage of another hash", known=True)
        return p.PaymentSettled(preimage, Msat(max(0, int(payment.fee_msat))))
    if status != pb.Payment.FAILED:
        return p.PaymentUnknown(f"status {status}", known=True)
    live = [h for h in payment.htlcs if int(h.status) != pb.HTLCAttempt.FAILED]
    if live:
        return p.PaymentUnknown(f"FAILED with {len(live)} attempts not failed", known=True)
    names = {value: name for name, value in pb.PaymentFailureReason.items()}
    reason = _REASONS.get(names.get(int(payment.failure_reason), ""))
    if reason is None:
        return p.PaymentUnknown(f"FAILED with the unknown reason {int(payment.failure_reason)}", known=True)
    # without their number: LND deletes failed attempts from its record once the payment has ended
    proof = f"LND: FAILED ({reason}), no attempt in flight"
    return p.PaymentFailed(reason, proof)


def _read_invoice(invoice: Any) -> p.InvoiceState:
    pb, memo = stubs.lightning_pb2, str(invoice.memo)
    match int(invoice.state):
        case pb.Invoice.OPEN:
            return p.InvoiceOpen(str(invoice.payment_request), memo)
        case pb.Invoice.CANCELED:
            return p.InvoiceCancelled(memo)
        case pb.Invoice.SETTLED:
            try:
                preimage = Preimage(bytes(invoice.r_preimage))
            except ValueError as error:
                raise Refused(errors.MALFORMED(field="r_preimage", got=len(invoice.r_preimage))) from error
            return p.InvoiceSettled(preimage, Msat(int(invoice.amt_paid_msat)), memo)
        case pb.Invoice.ACCEPTED:
            held = [h for h in invoice.htlcs if int(h.state) == pb.ACCEPTED]
            if not held:
                raise Refused(errors.MALFORMED(field="htlcs", got="ACCEPTED without a held part"))
            return p.InvoiceAccepted(
                str(invoice.payment_request),
                Msat(sum(int(h.amt_msat) for h in held)),
                BlockHeight(min(int(h.expiry_height) for h in held)),
                memo,
            )
        case other:
            raise Refused(errors.MALFORMED(field="state", got=other))
