"""What only the simulation can show: answers that LND gives rarely, or may give one day."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from lndgrpc.compiled import walletunlocker_pb2, walletunlocker_pb2_grpc

from gateway.btc import ports as p
from gateway.btc import stubs
from gateway.errors import Refused
from regtest.bitcoin.simulated import messages
from regtest.bitcoin.simulated.network import Network
from regtest.bitcoin.simulated.services import ChainNotifier, Invoices, Lightning, Router
from tests.support.btc_lab_sim import SimulatedLab
from tests.support.btc_steps import (
    AMOUNT,
    answers,
    hashlock_of,
    hold,
    refused,
    request,
    secret,
    within,
)

pb = stubs.lightning_pb2


# -- answers that are not final, however they look ----------------------------------------------


def _altered(**fields: object) -> Any:
    real = messages.payment

    def payment(network: Network, row: Any) -> Any:
        message = real(network, row)
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    return payment


@pytest.mark.threat("X5")
@pytest.mark.threat("X9")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(
    "fields",
    [
        {"status": 4},  # INITIATED, younger than the shipped stubs
        {"status": 99},
        {"status": pb.Payment.UNKNOWN},
        {"status": pb.Payment.FAILED, "failure_reason": 6},  # CANCELED, younger than the shipped stubs
        {"status": pb.Payment.FAILED, "failure_reason": 0},
        {"status": pb.Payment.SUCCEEDED, "payment_preimage": "00" * 32},
        {"status": pb.Payment.SUCCEEDED, "payment_preimage": "no hex"},
        {"status": pb.Payment.SUCCEEDED, "payment_preimage": ""},
    ],
)
async def test_a_status_that_we_cannot_read_as_final_is_unknown(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object]
) -> None:
    lnd = simulated.adapter(never_sent_after_s=0.0)
    invoice = await simulated.client().add_invoice(AMOUNT)
    await simulated.break_route()
    assert isinstance(await lnd.pay(request(invoice)), p.PaymentFailed)
    assert isinstance(await lnd.track(hashlock_of(invoice)), p.PaymentFailed)
    monkeypatch.setattr(messages, "payment", _altered(**fields))
    assert isinstance(await lnd.track(hashlock_of(invoice)), p.PaymentUnknown)


@pytest.mark.threat("X5")
@pytest.mark.kind("IT")
async def test_failed_with_an_attempt_alive_is_unknown(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lnd, alice = simulated.adapter(), simulated.client()
    preimage = secret("alive")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await simulated.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    with monkeypatch.context() as patch:
        patch.setattr(messages, "payment", _altered(status=pb.Payment.FAILED, failure_reason=1))
        other = simulated.adapter(
            never_sent_after_s=0.0
        )  # it sends nothing itself: the attempt alone decides
        assert isinstance(await other.track(preimage.hashlock), p.PaymentUnknown)
    await alice.settle(preimage.raw)
    assert isinstance(await within(paying, simulated), p.PaymentSettled)


@pytest.mark.threat("X5")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("tried_before", [False, True])
async def test_a_request_on_its_way_is_never_taken_for_failed(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch, tried_before: bool
) -> None:
    """LND takes its time before it writes; our own look-up in the meantime finds no record, or that of an earlier
    attempt that failed."""
    gate, arrived = asyncio.Event(), asyncio.Event()
    real = Router.SendPaymentV2

    async def slow(self: Router, message: Any, context: Any) -> Any:
        arrived.set()
        await gate.wait()
        async for update in real(self, message, context):
            yield update

    monkeypatch.setattr(Router, "SendPaymentV2", slow)
    await simulated.restart("gateway")  # handlers are looked up when a server starts
    lnd = simulated.adapter(never_sent_after_s=0.0)
    invoice = await simulated.client().add_invoice(AMOUNT)
    if tried_before:
        gate.set()
        await simulated.break_route()
        assert isinstance(await lnd.pay(request(invoice, timeout_s=1)), p.PaymentFailed)
        assert isinstance(await lnd.track(hashlock_of(invoice)), p.PaymentFailed)
        await simulated.mend_route()
        gate.clear()
        arrived.clear()
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    await asyncio.wait_for(arrived.wait(), 10)
    assert isinstance(await lnd.track(hashlock_of(invoice)), p.PaymentUnknown)
    gate.set()
    assert isinstance(await within(paying, simulated), p.PaymentSettled)


async def test_an_unknown_invoice_state_is_refused_and_nothing_else(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lnd = simulated.adapter()
    await lnd.add_hold_invoice(hold(secret("state")))
    real = messages.invoice
    for change in ({"state": 9}, {"state": pb.Invoice.ACCEPTED}, {"state": pb.Invoice.SETTLED}):

        def odd(row: Any, change: dict[str, int] = change) -> Any:
            message = real(row)
            for name, value in change.items():
                setattr(message, name, value)
            return message

        monkeypatch.setattr(messages, "invoice", odd)
        assert await refused(lnd.lookup_invoice(secret("state").hashlock)) == "btc.malformed"


async def test_without_debug_info_the_largest_delta_is_assumed_and_said(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(self: Lightning, message: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method GetDebugInfo")

    monkeypatch.setattr(Lightning, "debug_info", none)
    await simulated.restart("gateway")
    lnd = simulated.adapter()
    await answers(simulated, lnd)
    constants = await lnd.time_constants()
    assert constants.hold_cancel.value == 18
    assert "cannot be read" in constants.warning


@pytest.mark.parametrize(
    ("version", "lnd_hold", "hold", "final", "warned"),
    [
        ("0.20.1-beta commit=v0.20.1-beta", 12, 12, 18, False),
        ("0.21.2-beta commit=v0.21.2-beta", 18, 18, 24, False),
        ("0.21.2-beta", 12, 18, 24, False),  # ours is the larger: LND goes on chain 16 blocks before expiry
        ("0.19.3-beta", 40, 40, 18, False),
        ("0.22.0-beta.rc1", 18, 18, 24, True),
        ("1.0.0", 18, 18, 24, True),
        ("a fork", 12, 18, 24, True),
    ],
)
async def test_time_constants_by_version(
    simulated: SimulatedLab, version: str, lnd_hold: int, hold: int, final: int, warned: bool
) -> None:
    with simulated.bitcoin.world.change() as network:
        network.set_node("gateway", version=version, hold_delta=lnd_hold)
    constants = await simulated.adapter().time_constants()
    assert (constants.hold_cancel.value, constants.min_final_cltv.value) == (hold, final)
    assert bool(constants.warning) == warned


# -- what errors mean ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (
            "UNKNOWN",
            "the RPC server is in the process of starting up, but not yet ready to accept calls",
            "starting",
        ),
        ("UNKNOWN", "server is still in the process of starting", "starting"),
        ("UNKNOWN", "waiting to start, RPC services not available", "starting"),
        ("UNKNOWN", "wallet locked, unlock it to enable full RPC access", "starting"),  # its State says: open
        ("UNKNOWN", "routerrpc server shutting down", "unavailable"),
        ("UNAVAILABLE", "Handshake read failed (Socket closed)", "unavailable"),
        ("UNAVAILABLE", "Peer name 10.0.0.1 is not in peer certificate", "certificate"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "timeout"),
        ("PERMISSION_DENIED", "", "macaroon"),
        ("UNKNOWN", "permission denied", "macaroon"),
        ("UNKNOWN", "cannot get macaroon: root key with id 7 doesn't exist", "macaroon"),
        ("UNIMPLEMENTED", "unknown method GetInfo", "malformed"),
        ("INTERNAL", "something new", "malformed"),
    ],
)
async def test_what_an_error_of_lnd_means(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch, code: str, text: str, meaning: str
) -> None:
    async def fail(self: Lightning, message: Any, context: Any) -> Any:
        await context.abort(getattr(grpc.StatusCode, code), text)

    monkeypatch.setattr(Lightning, "GetInfo", fail)
    await simulated.restart("gateway")
    assert await refused(simulated.adapter().info()) == f"btc.{meaning}"


async def _read(stream: AsyncIterator[object], into: list[object]) -> None:
    async for item in stream:
        into.append(item)


async def test_a_stream_that_ends_early_is_a_lost_stream(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_invoices, real_blocks = Invoices.SubscribeSingleInvoice, ChainNotifier.RegisterBlockEpochNtfn

    async def one_invoice(self: Invoices, message: Any, context: Any) -> Any:
        async for update in real_invoices(self, message, context):
            yield update
            return

    async def one_block(self: ChainNotifier, message: Any, context: Any) -> Any:
        async for update in real_blocks(self, message, context):
            yield update
            return

    monkeypatch.setattr(Invoices, "SubscribeSingleInvoice", one_invoice)
    monkeypatch.setattr(ChainNotifier, "RegisterBlockEpochNtfn", one_block)
    await simulated.restart("gateway")
    lnd = simulated.adapter()
    await answers(simulated, lnd)
    await lnd.add_hold_invoice(hold(secret("early")))
    for stream in (lnd.watch_invoice(secret("early").hashlock), lnd.watch_blocks()):
        seen: list[object] = []
        assert await refused(_read(stream, seen)) == "btc.stream_ended"
        assert len(seen) == 1


# -- the wallet's door --------------------------------------------------------------------------


async def test_the_wallet_opens_to_its_password_alone(simulated: SimulatedLab) -> None:
    await simulated.stop_node("gateway")
    await simulated.start_node("gateway", locked=True)
    node = simulated.bitcoin.nodes["gateway"]
    credentials = grpc.ssl_channel_credentials(node.files.tls_cert_pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{node.port}", credentials) as channel:
        state = stubs.stateservice_pb2_grpc.StateStub(channel)
        unlocker = walletunlocker_pb2_grpc.WalletUnlockerStub(channel)
        asked = stubs.stateservice_pb2.GetStateRequest()
        assert (await state.GetState(asked)).state == stubs.stateservice_pb2.LOCKED
        with pytest.raises(grpc.aio.AioRpcError, match="invalid passphrase"):
            await unlocker.UnlockWallet(walletunlocker_pb2.UnlockWalletRequest(wallet_password=b"guess"))
        await simulated.unlock("gateway")
        assert (await state.GetState(asked)).state == stubs.stateservice_pb2.SERVER_ACTIVE
        with pytest.raises(grpc.aio.AioRpcError, match="already unlocked"):
            await simulated.unlock("gateway")


async def test_a_node_without_invoices_has_none(simulated: SimulatedLab) -> None:
    """LND has other words, and another code, before its first invoice."""
    lnd = simulated.adapter()
    assert await lnd.lookup_invoice(secret("none").hashlock) == p.InvoiceNotFound()
    await lnd.cancel_invoice(secret("none").hashlock)
    with pytest.raises(Refused):
        await lnd.settle_invoice(secret("none"))
