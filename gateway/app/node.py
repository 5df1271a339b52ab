"""R4. The node as the API sees it (gateway.api.facade.Node): locked, running, draining."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import structlog

from gateway import __version__
from gateway.api import errors as api_errors
from gateway.api import models as m
from gateway.app import logs, providers, views
from gateway.app.accounts import Accounts
from gateway.app.bus import Bus
from gateway.app.init import KEYS
from gateway.app.price_views import price_view, quote_view
from gateway.app.running import Running
from gateway.bolt import bolt11
from gateway.bolt.invoice import Description
from gateway.cl.channel import errors as channel_errors
from gateway.cl.channel import state as c
from gateway.cl.data.types import ChannelId
from gateway.cl.node.channels import KIND
from gateway.cl.node.peers import NOT_CONNECTED, SELF
from gateway.cl.signer.keystore import Keystore
from gateway.config import Settings
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock
from gateway.swap import errors as swap_errors
from gateway.swap.client import PAYMENT, RECEIPT
from gateway.swap.engine import IN, OUT, SwapEngine
from gateway.swap.ports import ChannelStanding
from gateway.swap.runner import Key
from gateway.units import Lovelace, Ms, Msat

log = structlog.get_logger("gateway.node")

DRAIN_S = 10.0
_QUOTE_WITHIN_S = 20.0


class GatewayNode(Accounts):
    """`unlock` makes it run; `drain` ends it. Every call while locked raises node.locked."""

    def __init__(
        self, directory: Path, settings: Settings, stop: asyncio.Event, *, accept_old_copy: bool = False
    ) -> None:
        """`accept_old_copy`: the owner knows that the database is an older copy, and that its channels freeze."""
        self._directory, self._settings, self._stop = directory, settings, stop
        self._accept_old_copy = accept_old_copy
        self._bus = Bus()
        self._running: Running | None = None
        self._unlocking = asyncio.Lock()
        self._draining = False

    # -- life -----------------------------------------------------------------------------------

    async def unlock(self, password: str) -> None:
        """Opens the keys and starts everything; idempotent. Raises cl.keystore.*, store.*, cl.net.*."""
        async with self._unlocking:
            if self._running is not None:
                return
            if self._draining:
                raise Refused(api_errors.DRAINING())
            path = self._directory / KEYS
            # argon2id takes a second on purpose: not on the loop
            keystore = await asyncio.to_thread(Keystore.open, path, self._settings.network, password)
            running = Running(
                self._directory,
                self._settings,
                keystore,
                self._bus,
                accept_old_copy=self._accept_old_copy,
            )
            await running.start()
            self._running = running

    async def stop(self) -> None:
        self._stop.set()

    async def drain(self) -> None:
        async with self._unlocking:
            self._draining = True
            running, self._running = self._running, None
        if running is not None:
            await running.stop(DRAIN_S)

    def _node(self) -> Running:
        if self._draining:
            raise Refused(api_errors.DRAINING())
        if self._running is None:
            raise Refused(api_errors.LOCKED())
        return self._running

    # -- status ---------------------------------------------------------------------------------

    async def status(self) -> m.Status:
        state: Literal["locked", "running", "draining"] = "running"
        state = "draining" if self._draining else "locked" if self._running is None else state
        status = m.Status(
            version=__version__,
            network=self._settings.network,
            alias=self._settings.alias,
            state=state,
            cardano=m.ChainStatus(ok=False, detail="the node does not run"),
            bitcoin=m.BitcoinStatus(configured=self._settings.bitcoin.enabled),
        )
        running = self._running
        if running is None:
            return status
        status.node_id, status.listen = running.node_id.hex(), running.listen
        status.now_ms = running.clock.now().value
        status.cardano = m.ChainStatus(**running.chain.health())
        status.bitcoin = await _bitcoin(running)
        status.peers = sum(view.connected for view in running.peers.views())
        states = running.channels.states().values()
        status.channels = sum(not isinstance(one, (c.Ended, c.Abandoned)) for one in states)
        engine = running.engine
        status.swaps_live = len(running.client.runner.live) + (len(engine.runner.live) if engine else 0)
        status.paused = await engine.why_paused() if engine else ""
        if engine is not None and (worst := engine.risks.worst()) is not None:
            status.worst_risk = worst.shown()
            status.swaps_at_risk = sum(bool(risk.level) for risk in engine.risks.risks.values())
        status.alarms = running.alarms
        return status

    async def logs(self, lines: int) -> list[str]:
        path = self._directory / "logs" / "gateway.log"
        return await asyncio.to_thread(logs.tail, path, lines)

    def events(self) -> AsyncIterator[dict[str, Any]]:
        return self._bus.listen()

    # -- wallet ---------------------------------------------------------------------------------

    async def wallet_address(self) -> m.Address:
        return m.Address(address=self._node().wallet_address)

    async def wallet_balance(self) -> m.WalletBalance:
        rows = await self.wallet_utxos()
        return m.WalletBalance(
            lovelace=sum(row.lovelace for row in rows),
            reserved_lovelace=sum(row.lovelace for row in rows if row.reserved),
            utxos=len(rows),
        )

    async def wallet_utxos(self) -> list[m.WalletUtxo]:
        return [
            m.WalletUtxo(
                ref=str(utxo.ref),
                lovelace=utxo.lovelace.value,
                assets={unit.hex(): quantity for unit, quantity in utxo.assets},
                reserved=reserved,
            )
            for utxo, reserved in await self._node().chain.utxos()
        ]

    async def wallet_send(self, request: m.Send) -> m.Transaction:
        tx_id = await self._node().chain.send(request.address, Lovelace(request.lovelace))
        return m.Transaction(tx_id=tx_id.hex())

    async def providers(self) -> m.Providers:
        return providers.view(self._node().provider)

    # -- peers ----------------------------------------------------------------------------------

    async def connect_peer(self, request: m.ConnectPeer) -> m.Peer:
        """Kept for good: the node connects again by itself, also after a restart."""
        running, node_id = self._node(), bytes.fromhex(request.node_id)
        if node_id == running.node_id:
            raise Refused(SELF(field="node_id", got=request.node_id))
        await running.peers.connect(node_id, request.host, request.port)
        place = json.dumps({"host": request.host, "port": request.port}).encode()
        async with running.store.transaction("peer.known") as tx:
            await tx.peers.put(node_id, place)
        return next(peer for peer in await self.peers() if peer.node_id == request.node_id)

    async def peers(self) -> list[m.Peer]:
        running = self._node()
        count: dict[str, int] = {}
        for state in running.channels.states().values():
            if isinstance(state, c.WithBooks):
                peer = state.agreement.peer.hex()
                count[peer] = count.get(peer, 0) + 1
        return [
            m.Peer(
                node_id=view.node_id.hex(),
                address=f"{view.host}:{view.port}" if view.host else "",
                connected=view.connected,
                inbound=view.inbound,
                channels=count.get(view.node_id.hex(), 0),
            )
            for view in running.peers.views()
        ]

    # -- channels -------------------------------------------------------------------------------

    async def open_channel(self, request: m.OpenChannel) -> m.Channel:
        running, peer = self._node(), bytes.fromhex(request.peer)
        if not running.peers.is_connected(peer):  # nobody would answer, and the seed would stay reserved
            raise Refused(NOT_CONNECTED(field="peer", got=request.peer))
        period = None if request.respond_period_ms is None else Ms(request.respond_period_ms)
        channel = await running.channels.open(
            peer, Lovelace(request.lovelace), Lovelace(request.gift_lovelace), period
        )
        return await self._view(channel)

    async def add_funds(self, channel: str, request: m.AddFunds) -> m.Channel:
        found = self._find(channel)
        await self._node().chain.add_funds(found, Lovelace(request.lovelace))
        return await self._view(found)

    async def channels(self) -> list[m.Channel]:
        return [await self._view(channel) for channel in self._node().channels.states()]

    async def channel(self, channel: str) -> m.Channel:
        return await self._view(self._find(channel))

    async def close_channel(self, channel: str, request: m.CloseChannel) -> m.Channel:
        found = self._find(channel)
        reason = "closed by the owner, now" if request.force else "closed by the owner"
        await self._node().channels.close(found, now=request.force, reason=reason)
        return await self._view(found)

    def _find(self, text: str) -> ChannelId:
        """The channel whose id is or begins with `text`; raises cl.channel.unknown."""
        matches = [one for one in self._node().channels.states() if text and one.hex().startswith(text)]
        if len(matches) != 1:
            raise Refused(channel_errors.CHANNEL_UNKNOWN(field="channel", got=text[:64]))
        return matches[0]

    async def _view(self, channel: ChannelId) -> m.Channel:
        running = self._node()
        state = running.channels.state(channel)
        assert state is not None
        transactions: list[str] = []
        async with running.store.read() as tx:
            async for stored in tx.history(KIND, channel.hex()):
                tx_id = _tx_id(stored.event)
                if tx_id and tx_id not in transactions:
                    transactions.append(tx_id)
        return views.channel_view(channel, state, running.channels.context(), transactions)

    # -- paying and receiving -------------------------------------------------------------------

    async def decode_invoice(self, request: m.DecodeInvoice) -> m.DecodedInvoice:
        invoice = bolt11.decode(request.invoice)
        if isinstance(invoice, Rejection):
            raise Refused(swap_errors.malformed(invoice))
        now = self._running.clock.now().value if self._running else 0
        return m.DecodedInvoice(
            network=invoice.network.value,
            payment_hash=invoice.hashlock.hex(),
            amount_msat=None if invoice.amount is None else invoice.amount.value,
            description=_words(invoice.description),
            payee=invoice.payee.hex(),
            expires_at_ms=invoice.expires.value,
            min_final_cltv_blocks=invoice.min_final_cltv.value,
            expired=invoice.expires.value < now,
        )

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


def _words(description: object) -> str:
    match description:
        case Description(text):
            return text
        case _:
            return ""


async def _bitcoin(running: Running) -> m.BitcoinStatus:
    if running.lnd is None:
        return m.BitcoinStatus(configured=False)
    try:
        info = await asyncio.wait_for(running.lnd.info(), 3.0)
        constants = await asyncio.wait_for(running.lnd.time_constants(), 3.0)
    except Refused as refused:
        return m.BitcoinStatus(configured=True, detail=f"{refused.rejection.code}: {refused.rejection}")
    except TimeoutError:
        return m.BitcoinStatus(configured=True, detail="LND does not answer within 3 s")
    return m.BitcoinStatus(
        configured=True,
        ok=info.synced,
        detail=constants.warning or ("" if info.synced else "LND is not synced to its chain"),
        version=info.version,
        height=info.height.value,
        node_id=info.node_id.hex(),
        alias=info.alias,
        hold_cancel_blocks=constants.hold_cancel.value,
    )


def _tx_id(event: Any) -> str:
    tx_id = getattr(event, "tx_id", None)
    output = getattr(event, "output", None)
    raw: bytes | None = tx_id if tx_id is not None else (output.ref.tx_id if output is not None else None)
    return "" if raw is None else raw.hex()
