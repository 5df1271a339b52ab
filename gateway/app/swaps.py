"""R4. Payments, receipts and the gateway's own swaps, as the API asks for them."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.api import models as m
from gateway.app import views
from gateway.app.accounts import Accounts
from gateway.app.price_views import price_view, quote_view
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.swap import errors as swap_errors
from gateway.swap.client import PAYMENT, RECEIPT
from gateway.swap.engine import IN, OUT, SwapEngine
from gateway.swap.ports import ChannelStanding
from gateway.swap.runner import Key
from gateway.units import Lovelace, Msat

_QUOTE_WITHIN_S = 20.0


class Swaps(Accounts):
    """Mixed into the node, which gives `_node` and `_find`."""

    def _find(self, text: str) -> ChannelId:
        raise NotImplementedError

    # -- paying and receiving -------------------------------------------------------------------

    async def payment_price(self, request: m.AskPrice) -> m.Price:
        named = None if request.channel is None else self._find(request.channel)
        channel, offer = await self._node().client.price(request.invoice, named)
        return m.Price(
            payment_hash=offer.hashlock.hex(),
            channel=channel.hex(),
            amount_msat=offer.bitcoin.value,
            lovelace=offer.cardano.value,
            valid_until_ms=offer.valid_until.value,
        )

    async def pay(self, request: m.Pay) -> m.Payment:
        most = None if request.most_lovelace is None else Lovelace(request.most_lovelace)
        channel = None if request.channel is None else self._find(request.channel)
        client = self._node().client
        key = await client.pay(request.invoice, most, channel)
        return views.payment_view(key, await client.runner.state_of(key))

    async def payment(self, payment_hash: str) -> m.Payment:
        key = await self._swap_key(payment_hash, (PAYMENT,))
        return views.payment_view(key, await self._node().client.runner.state_of(key))

    async def payments(self) -> list[m.Payment]:
        return [views.payment_view(key, state) for key, state in await self._listed(PAYMENT)]

    async def receive(self, request: m.Receive) -> m.Receipt:
        """Waits for the gateway's invoice as long as it is patient; then the receipt says why there is none."""
        channel = None if request.channel is None else self._find(request.channel)
        client = self._node().client
        key = await client.receive(Lovelace(request.lovelace), channel)
        end = asyncio.get_running_loop().time() + _QUOTE_WITHIN_S
        while True:
            view = views.receipt_view(key, await client.runner.state_of(key))
            late = asyncio.get_running_loop().time() > end
            if view.invoice or view.status != "waiting" or late:
                return view
            await asyncio.sleep(0.05)

    async def receipt(self, payment_hash: str) -> m.Receipt:
        key = await self._swap_key(payment_hash, (RECEIPT,))
        return views.receipt_view(key, await self._node().client.runner.state_of(key))

    async def receipts(self) -> list[m.Receipt]:
        return [views.receipt_view(key, state) for key, state in await self._listed(RECEIPT)]

    # -- swaps ----------------------------------------------------------------------------------

    async def price_status(self) -> m.PriceStatus:
        return price_view(self._node().prices.standing())

    async def quote(self, request: m.QuoteRequest) -> m.QuoteAnswer:
        """The price of an invoice at this gateway, for one channel or the first usable one. Binding while valid."""
        engine, standing = await self._quoting(request.channel)
        found = await engine.quote_out(standing.peer, standing.channel, request.invoice)
        return quote_view(found, firm=True)

    async def estimate(self, request: m.EstimateRequest) -> m.QuoteAnswer:
        """What a quote would say now; nothing is reserved and nobody is bound."""
        engine, standing = await self._quoting(request.channel)
        wanted = (
            Msat(request.amount_msat) if request.amount_msat is not None else Lovelace(request.lovelace or 0)
        )
        found = await engine.estimate(standing.peer, standing.channel, wanted)
        return quote_view(found, firm=False)

    async def pause_swaps(self, request: m.Pause) -> None:
        await self._engine().gate.pause(request.reason)

    async def resume_swaps(self) -> None:
        await self._engine().gate.resume()

    def _engine(self) -> SwapEngine:
        engine = self._node().engine
        if engine is None:
            raise Refused(swap_errors.NO_GATEWAY())
        return engine

    async def _quoting(self, channel: str | None) -> tuple[SwapEngine, ChannelStanding]:
        engine, running = self._engine(), self._node()
        wanted = None if channel is None else self._find(channel)
        standings = [s for s in await running.legs.standings() if s.usable and wanted in (None, s.channel)]
        if not standings:
            raise Refused(swap_errors.NO_CARDANO_LIQUIDITY(field="channel", detail="no usable channel"))
        return engine, standings[0]

    async def swaps(self) -> list[m.Swap]:
        if self._node().engine is None:
            return []
        return [views.swap_view(k, s) for kind in (OUT, IN) for k, s in await self._listed(kind)]

    async def swap(self, swap_id: str) -> m.Swap:
        key = await self._swap_key(swap_id, (OUT, IN))
        store = self._node().store
        async with store.read() as tx:
            state, _ = await tx.load(key.kind, key.entity_id)
            assert state is not None
            events = [
                {"seq": one.seq, "event": type(one.event).__name__, "at_ms": one.created_ms}
                async for one in tx.history(key.kind, key.entity_id)
            ]
        view = views.swap_view(key, state, int(str(events[0]["at_ms"])) if events else 0)
        view.events = events
        engine = self._node().engine
        if engine is None:
            return view
        return views.show_risk(view, engine.risks.risks.get(key), engine.risks.gauges.get(key))

    async def cancel_swap(self, swap_id: str) -> m.Swap:
        """A swap of this gateway, or a receipt of this node whose invoice nobody pays yet."""
        key = await self._swap_key(swap_id, (OUT, IN, RECEIPT))
        running = self._node()
        if key.kind == RECEIPT:
            await running.client.cancel(key.hashlock)
            return m.Swap(
                id=swap_id, attempt=key.attempt, direction="receive", state="Refused", payment_hash=swap_id,
                amount_msat=0, lovelace=0, peer="", channel="", detail="cancelled by the owner",
            )  # fmt: skip
        assert running.engine is not None
        return views.swap_view(key, await running.engine.cancel(key.hashlock))

    async def _swap_key(self, text: str, kinds: tuple[str, ...]) -> Key:
        running = self._node()
        unknown = Refused(swap_errors.SWAP_UNKNOWN(field="id", got=text[:64]))
        try:
            hashlock = Hashlock(bytes.fromhex(text))
        except ValueError as error:
            raise unknown from error
        key = await running.client.runner.latest(hashlock)
        if key is None or key.kind not in kinds:
            raise unknown
        return key

    async def _listed(self, kind: str) -> list[tuple[Key, Any]]:
        async with self._node().store.read() as tx:
            rows = await tx.list(kind, live_only=False)
        return [(Key.parse(kind, row.id), row.state) for row in rows]
