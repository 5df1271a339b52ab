"""A swap engine over a real store, between an LND and a channel that do what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gateway.btc import ports as b
from gateway.btc.errors import INVOICE_EXISTS, INVOICE_REFUSED
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.dispatcher import Dispatcher
from gateway.store.store import Store
from gateway.swap import codecs
from gateway.swap.engine import EngineOptions, SwapEngine
from gateway.swap.inputs import ChequeNotOffered, ChequeOffered
from gateway.swap.ports import ChannelStanding
from gateway.swap.quote import SwapPolicy
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate

NOW = PosixMs(1_700_000_000_000)
CHANNEL, PEER = ChannelId(b"c" * 20), b"\x02" + b"p" * 32
FIRST_NODE, OTHER_NODE = b"\x03" * 33, b"\x02" + b"\x04" * 32
PLENTY = 10**15
CONSTANTS = b.TimeConstants(BlockDelta(18), BlockDelta(22), BlockDelta(19), BlockDelta(24))
POLICY = SwapPolicy(
    rate=Rate(5, 2), base_fee=Lovelace(0), proportional_ppm=0, routing_fee_base=Msat(0), routing_fee_ppm=0,
    least=Msat(1), most=Msat(PLENTY), quote_life=Ms(60_000), hop_blocks=BlockDelta(40),
    receive_life=REGTEST.receive_life, bitcoin_reserve=Msat(0), cardano_reserve=Lovelace(0), slot_reserve=2,
    auto_add_most=Lovelace(0),
)  # fmt: skip


@dataclass
class HandClock:
    time: PosixMs = NOW

    def now(self) -> PosixMs:
        return self.time


@dataclass
class HandLnd:
    """Invoices by hash, payments as `record` says; `before_cancel` happens between our cancel and LND's."""

    node: bytes = FIRST_NODE
    height: int = 600
    invoices: dict[Hashlock, b.InvoiceState] = field(default_factory=dict)
    record: b.PaymentResult = b.PaymentFailed(b.NEVER_SENT, "LND has no record")
    constants: b.TimeConstants = CONSTANTS
    answer: b.PaymentResult = b.PaymentUnknown("stream lost")
    paid: list[b.PaymentRequest] = field(default_factory=list)
    cancelled: list[Hashlock] = field(default_factory=list)
    before_cancel: Any = None

    async def info(self) -> b.NodeInfo:
        await asyncio.sleep(0)
        return b.NodeInfo(self.node, "lnd", "0.21.2", "regtest", BlockHeight(self.height), NOW, True)

    async def balances(self) -> b.Balances:
        return b.Balances(Msat(PLENTY), Msat(PLENTY), 0)

    async def time_constants(self) -> b.TimeConstants:
        return self.constants

    async def pay(self, request: b.PaymentRequest) -> b.PaymentResult:
        self.paid.append(request)
        return self.answer

    async def track(self, hashlock: Hashlock) -> b.PaymentResult:
        return self.record

    async def add_hold_invoice(self, invoice: b.HoldInvoice) -> str:
        text = f"lnbcrt {invoice.hashlock.hex()}"
        if invoice.hashlock in self.invoices:
            raise Refused(INVOICE_EXISTS(field="hash", got=invoice.hashlock.hex()))
        self.invoices[invoice.hashlock] = b.InvoiceOpen(text, invoice.memo)
        return text

    async def lookup_invoice(self, hashlock: Hashlock) -> b.InvoiceState:
        return self.invoices.get(hashlock, b.InvoiceNotFound())

    async def watch_invoice(self, hashlock: Hashlock) -> AsyncIterator[b.InvoiceState]:
        await asyncio.Event().wait()
        yield b.InvoiceNotFound()

    async def settle_invoice(self, preimage: Preimage) -> None:
        found = self.invoices.get(preimage.hashlock)
        if not isinstance(found, b.InvoiceAccepted):
            raise Refused(INVOICE_REFUSED(field="SettleInvoice"))
        self.invoices[preimage.hashlock] = b.InvoiceSettled(preimage, found.amount, found.memo)

    async def cancel_invoice(self, hashlock: Hashlock) -> None:
        if self.before_cancel is not None:
            await self.before_cancel()
        self.cancelled.append(hashlock)
        found = self.invoices.get(hashlock)
        if found is not None and not isinstance(found, b.InvoiceNotFound):
            self.invoices[hashlock] = b.InvoiceCancelled(found.memo)

    def pays(self, hashlock: Hashlock, amount: Msat, expiry: int) -> b.InvoiceAccepted:
        """Somebody pays the invoice: LND holds it from here on."""
        found = self.invoices[hashlock]
        assert isinstance(found, b.InvoiceOpen)
        held = b.InvoiceAccepted(found.invoice, amount, BlockHeight(expiry), found.memo)
        self.invoices[hashlock] = held
        return held


@dataclass
class HandLegs:
    """One channel: what it signed for us, and which cheque of the partner it holds."""

    signed: dict[bytes, int] = field(default_factory=dict)
    held: bool = True
    gone: str = ""
    fulfilled: list[int] = field(default_factory=list)
    cancelled: list[tuple[int, str]] = field(default_factory=list)

    async def standing(self, channel: ChannelId) -> ChannelStanding:
        return ChannelStanding(CHANNEL, PEER, True, Lovelace(PLENTY), Lovelace(PLENTY), 20, 20)

    async def issued(self, channel: ChannelId, reference: bytes) -> int | None:
        return self.signed.get(reference)

    async def holds(self, channel: ChannelId, index: int) -> bool:
        return self.held

    async def offer_cheque(
        self, channel: ChannelId, reference: bytes, hashlock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> ChequeOffered | ChequeNotOffered:
        return ChequeOffered(self.signed.setdefault(reference, len(self.signed) + 1))

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> str:
        self.fulfilled.append(index)
        return self.gone

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> str:
        self.cancelled.append((index, code))
        return self.gone


@dataclass
class Gateway:
    store: Store
    engine: SwapEngine
    dispatcher: Dispatcher
    alarms: list[str]


@asynccontextmanager
async def gateway(
    directory: Path,
    lnd: HandLnd,
    legs: HandLegs,
    clock: HandClock | None = None,
    *,
    dispatching: bool = True,
    blind: Any = lambda: "",
    accepted_node: str = "",
) -> AsyncIterator[Gateway]:
    """One process; leaving it is its death: what it did not perform is left in the outbox."""
    known = Codecs()
    codecs.register(known)
    alarms: list[str] = []
    store = await Store.open(f"sqlite:///{directory / 'a.db'}", network="regtest", codecs=known)
    engine = SwapEngine(
        store, cast(Any, lnd), cast(Any, legs), clock or HandClock(), REGTEST, POLICY,
        on_change=lambda *_: None, on_alarm=lambda _, code, __: alarms.append(code), blind=blind,
        options=EngineOptions(tick_s=3600, accepted_node=accepted_node),
    )  # fmt: skip
    dispatcher = Dispatcher(store, engine.deliver, first_pause_s=0.01)
    await engine.runner.start()
    if dispatching:
        await dispatcher.start()
    try:
        yield Gateway(store, engine, dispatcher, alarms)
    finally:
        await dispatcher.stop()
        await engine.stop()
        await store.close()
