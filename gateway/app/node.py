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
from gateway.app.bus import Bus
from gateway.app.init import KEYS
from gateway.app.running import Running
from gateway.app.swaps import Swaps
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
from gateway.swap import errors as swap_errors
from gateway.units import Lovelace, Ms

log = structlog.get_logger("gateway.node")

DRAIN_S = 10.0


class GatewayNode(Swaps):
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

    # -- invoices -------------------------------------------------------------------------------

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
