"""R4. The wiring: which adapter stands behind which port, what starts before what, and what runs by the clock.

Order of the start: store, what an earlier run left (machines), chain, peers, then the dispatcher that
performs left effects, then the schedule. Nothing outside has to be up: each part retries by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gateway.app import providers
from gateway.app.backup import back_up
from gateway.app.bus import Bus
from gateway.app.legs import Legs, Notices
from gateway.app.peer_swaps import PeerSwaps
from gateway.app.prices import payment_bound, price_feed
from gateway.btc.lnd import Lnd, LndOptions
from gateway.btc.ports import Holdings
from gateway.cl.chain.clock import ChainClock, SystemClock
from gateway.cl.chain.errors import DISAGREE
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.cl.l1.evaluate import AikenEvaluator
from gateway.cl.l1.protocol import OUTPUT_OVERHEAD
from gateway.cl.l1.sizing import channel_min_ada, worst_bytes
from gateway.cl.net.tcp import TcpTransport
from gateway.cl.node import chain_rows, wallet
from gateway.cl.node import codecs as channel_codecs
from gateway.cl.node.chain_service import ChainService
from gateway.cl.node.channels import KIND, Channels
from gateway.cl.node.ending import held_outputs
from gateway.cl.node.open_policy import OpenPolicy
from gateway.cl.node.peers import Peers
from gateway.cl.signer.file_signer import FileSigner
from gateway.cl.signer.guard import FileGuard
from gateway.cl.signer.keystore import Keystore
from gateway.cl.signer.verify import verify
from gateway.cl.wire import session_messages
from gateway.config import INVALID, Settings
from gateway.errors import Refused
from gateway.store.codec import Codecs
from gateway.store.dispatcher import Dispatcher
from gateway.store.store import Store, system_ms
from gateway.store.transaction import OutboxItem
from gateway.swap import codecs as swap_codecs
from gateway.swap.client import SwapClient
from gateway.swap.engine import EngineOptions, SwapEngine
from gateway.swap.ledger_watch import LedgerWatch
from gateway.swap.runner import Key
from gateway.units import Lovelace, Ms

log = structlog.get_logger("gateway.node")

DATABASE, SIGNATURES = "gateway.db", "signatures"
WIRE_VERSION = 1
_KEPT_MS = 30 * 86_400_000
_UTXO_BYTE = 4310  # coinsPerUTxOByte of every public network since 2022; the chain's own figure replaces it
_MOST_RESPOND = 30  # times the least respond period: a partner that wants more holds our funds too long


class Running:
    """Everything that exists only while the keys are open."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        keystore: Keystore,
        bus: Bus,
        *,
        accept_old_copy: bool = False,
    ) -> None:
        self.directory, self.settings, self.bus = directory, settings, bus
        self._accept_old_copy = accept_old_copy
        self.profile = settings.profile
        self.alarms: list[str] = []
        self.listen = ""
        self._keystore = keystore
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    # -- wiring ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Raises `Refused` for what a person must put right (store.*, cl.keystore.*, cl.net.*)."""
        codecs = Codecs()
        channel_codecs.register(codecs)
        chain_rows.register(codecs)
        wallet.register(codecs)
        swap_codecs.register(codecs)
        self.database = self.directory / DATABASE
        url = self.settings.database_url or f"sqlite:///{self.database}"
        self.store = await Store.open(
            url,
            network=self.settings.network,
            codecs=codecs,
            accept_restored=self._accept_old_copy,
        )
        try:
            await self._wire()
        except BaseException:
            await self.store.close()
            raise

    async def _wire(self) -> None:
        settings, profile, store = self.settings, self.profile, self.store
        blueprint = load_blueprint()
        self.clock = ChainClock() if profile.name == "regtest" else SystemClock()
        self.signer = FileSigner(self._keystore, FileGuard(self.directory / SIGNATURES), blueprint.hash)
        self.node_id = await self.signer.node_id()
        self.wallet_address = self.signer.wallet_address(profile.cardano_magic)
        self.provider = providers.build(settings)
        notices, self.swaps = Notices(), PeerSwaps(self.signer)
        self.chain = ChainService(
            store, self.provider, self.signer, self.clock, profile, blueprint, AikenEvaluator(), verify,
            wallet_address=self.wallet_address, on_channel=self._on_channel, on_block=self._on_block,
            held_seeds=lambda: held_outputs(self.channels.states().values()),
            doubt=self.provider.doubt, is_sure=self.provider.is_sure,
            reference_script=_reference(settings.cardano.reference_script),
        )  # fmt: skip
        self.channels = Channels(
            store, self.signer, self.chain, self.clock, profile, self._policy(), verify,
            notify=notices, on_change=self._channel_changed, on_swap=self.swaps.received, on_alarm=self.alarm,
        )  # fmt: skip
        hello = session_messages.Init(
            WIRE_VERSION,
            profile.cardano_magic,
            profile.bitcoin_network,
            (blueprint.hash,),
            software="gateway",
        )
        transport = TcpTransport(self.node_id, self.signer.node_ecdh)
        self.peers = Peers(self.node_id, transport, hello, self.channels, self.clock)
        self.legs = Legs(self.channels, self.peers, self.chain)
        self.prices = price_feed(settings, store)
        self.client = SwapClient(
            store, self.legs, self.swaps, self.clock, profile,
            on_change=self._swap_changed, bound=payment_bound(settings, self.prices.market),
        )  # fmt: skip
        self.lnd = self._lnd()
        holdings = None if self.lnd is None else self._holdings
        self.ledger = LedgerWatch(self.store, self.legs.settled_total, holdings, self.alarm)
        self.engine = None if self.lnd is None or not settings.swap.enabled else self._engine(self.lnd)
        notices.engine, notices.client, notices.legs = self.engine, self.client, self.legs
        self.swaps.engine, self.swaps.client, self.swaps.peers = self.engine, self.client, self.peers
        self.dispatcher = Dispatcher(store, self._perform, lane_of=_lane, on_error=_undone)
        await self._go()

    def _lnd(self) -> Lnd | None:
        bitcoin = self.settings.bitcoin
        if not bitcoin.enabled:
            return None
        return Lnd(
            LndOptions(
                bitcoin.host,
                bitcoin.port,
                bitcoin.tls_cert,
                bitcoin.macaroon,
                bitcoin.hold_cancel_blocks,
                network=self.profile.bitcoin_network,
            )
        )

    def _engine(self, lnd: Lnd) -> SwapEngine:
        quick = self.profile.name == "regtest"
        return SwapEngine(
            self.store, lnd, self.legs, self.clock, self.profile, self.settings.swap.policy(self.profile),
            on_change=self._swap_changed, on_alarm=self.alarm, blind=self._blind, market=self.prices.market,
            slot=lambda: int(self.chain.health()["slot"]),
            options=EngineOptions(
                tick_s=1.0 if quick else 5.0, accepted_node=self.settings.bitcoin.node_id
            ),
        )  # fmt: skip

    async def _holdings(self) -> Holdings:
        """Of the node that the swaps go through: another one's say nothing about our books."""
        assert self.lnd is not None
        if self.engine is not None:
            await self.engine.identity.info()
        return await self.lnd.holdings()

    def _blind(self) -> str:
        """Why no new risk may be taken: the chain is not seen as it is, or the ledger differs from what is there."""
        return self.chain.blind() or self.ledger.why

    def _policy(self) -> OpenPolicy:
        channel = self.settings.channel
        least = self.profile.min_respond_period
        period = max(least, Ms(channel.respond_period_ms))
        bytes_ = OUTPUT_OVERHEAD + worst_bytes(self.profile.cardano_magic)
        return OpenPolicy(
            least_funding=Lovelace(channel.least_funding_lovelace),
            respond_period=period,
            most_respond_period=Ms(period.value * _MOST_RESPOND),
            min_ada=Lovelace(bytes_ * _UTXO_BYTE),
        )

    # -- life -----------------------------------------------------------------------------------

    async def _go(self) -> None:
        for machine in (self.client, self.engine):
            if machine is not None:
                await machine.runner.start()
        if self.engine is not None:  # a stored pause counts before any peer can ask
            await self.engine.gate.start(self.engine.runner.kinds)
        await self.prices.start()
        old = "its owner started the node on an older copy" if self.store.restored else ""
        await self.channels.start(self.peers, old_copy=old)
        if old:  # each open channel is frozen for good: those opened from now on are whole
            await self.store.merged()
        await self.ledger.start()
        await self.chain.start()
        host, port = await self.peers.start(self.settings.listen_host, self.settings.listen_port)
        self.listen = f"{host}:{port}"
        async with self.store.read() as tx:
            known = await tx.peers.all()
        for node_id, payload in known:
            place = json.loads(payload)
            self.peers.keep(node_id, place["host"], place["port"])
        left = await self.dispatcher.start()
        log.info("node.started", node_id=self.node_id.hex(), listen=self.listen, effects_left=left)
        await self.client.start()
        if self.engine is not None:
            await self.engine.start()
        self._tasks.append(asyncio.create_task(self._learn_params()))
        self._tasks.append(asyncio.create_task(self._guarded("prices", self.prices.poll)()))
        self._schedule()

    async def _learn_params(self) -> None:
        """The chain's own price a byte, as soon as the provider answers."""
        while True:
            with suppress(Refused):
                await self._read_params()
                if self.engine is not None:
                    await self.chain.ensure_reference_script()
                return
            await asyncio.sleep(2.0)

    async def _read_params(self) -> None:
        """Parameters move at run time (V20): every build reads them anew, and so do the terms of openings. Raises
        cl.chain.*, cl.l1.params."""
        params = await self.provider.params()
        self.channels.policy = replace(self.channels.policy, min_ada=channel_min_ada(params))

    def _schedule(self) -> None:
        """Jobs that never overlap with themselves; a missed one runs once, late."""
        jobs: list[tuple[str, Callable[[], Any], float]] = [
            ("rebroadcast", self.chain.rebroadcast, 20),
            ("providers", self._look_at_providers, 20),
            ("parameters", self._read_params, 600),
            ("coins", self.chain.split_coins, 600),
            ("prune", lambda: self.store.prune(system_ms() - _KEPT_MS), 3600),
            ("backup", self.back_up, 900),
            ("ledger", self.ledger.check, 10 if self.profile.name == "regtest" else 60),
        ]
        if self.engine is not None:
            jobs.append(("reconcile", self.engine.reconcile, 60))
        if self.settings.prices.source != "fixed":
            jobs.append(("prices", self.prices.poll, self.settings.prices.poll_ms / 1000))
        for name, work, seconds in jobs:
            self._scheduler.add_job(
                self._guarded(name, work), "interval", seconds=seconds, id=name,
                max_instances=1, coalesce=True, misfire_grace_time=None,
            )  # fmt: skip
        self._scheduler.start()

    @staticmethod
    def _guarded(name: str, work: Callable[[], Any]) -> Callable[[], Any]:
        async def job() -> None:
            try:
                await work()
            except Refused as refused:
                log.warning("job.refused", job=name, code=refused.rejection.code)
            except OSError as error:
                log.error("job.failed", job=name, why=str(error))

        return job

    async def _look_at_providers(self) -> None:
        """Several are asked for their tips now and then, also those that nobody follows; a dispute is an alarm."""
        if len(self.provider.seats) > 1:
            await self.provider.look()
        for seat in self.provider.seats:
            if seat.dispute and seat.dispute not in "".join(self.alarms):
                self.alarm(seat.name, DISAGREE.code, seat.dispute)

    async def back_up(self) -> None:
        database = None if self.settings.database_url else self.database
        await asyncio.to_thread(back_up, self.directory, database)

    async def stop(self, drain_s: float) -> None:
        """No new risk; effects under way get `drain_s` to end, the rest waits in the outbox."""
        if self.engine is not None:
            self.engine.paused = "the node is shutting down"
        self._scheduler.shutdown(wait=False)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.dispatcher.drain(), drain_s)
        await self.dispatcher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.engine is not None:
            await self.engine.stop()
        await self.client.stop()
        await self.swaps.stop()
        await self.prices.close()
        await self.peers.stop()
        await self.chain.stop()
        await self.provider.close()
        if self.lnd is not None:
            await self.lnd.close()
        await self.store.close()

    # -- what happens ---------------------------------------------------------------------------

    async def _on_channel(self, channel: ChannelId, given: Any) -> None:
        await self.channels.chain_news(channel, given)

    async def _on_block(self) -> None:
        await self.channels.on_block()

    async def _perform(self, item: OutboxItem) -> None:
        if item.kind == KIND:
            await self.channels.deliver(item)
        elif item.kind in self.client.runner.kinds:
            await self.client.deliver(item)
        elif self.engine is not None:
            await self.engine.deliver(item)
        else:
            raise RuntimeError(f"swaps are switched off, and one is not at its end: {item.entity_id}")

    def _channel_changed(self, channel: ChannelId, state: Any, event: Any) -> None:
        self._publish("channel", channel.hex(), type(event).__name__, type(state).__name__)

    def _swap_changed(self, key: Key, state: Any, event: Any) -> None:
        self._publish(key.kind, key.hashlock.hex(), type(event).__name__, type(state).__name__)

    def alarm(self, entity: str, code: str, detail: str) -> None:
        self.alarms = [*self.alarms[-49:], f"{entity[:16]} {code}: {detail}"]
        self._publish("alarm", entity, code, detail)

    def _publish(self, kind: str, entity: str, event: str, state: str) -> None:
        self.bus.publish(
            {"kind": kind, "id": entity, "event": event, "state": state, "at_ms": self.clock.now().value}
        )


def _reference(text: str) -> OutputRef | None:
    """tx_id#index; raises config.invalid."""
    if not text:
        return None
    tx_id, _, index = text.partition("#")
    try:
        return OutputRef(bytes.fromhex(tx_id), int(index))
    except ValueError as error:
        raise Refused(
            INVALID(field="cardano.reference_script", got=text[:80], allowed="tx_id#index")
        ) from error


def _lane(item: OutboxItem) -> tuple[str, str, str]:
    """In order for each channel and swap; a notice that waits (for LND, say) holds back only its own hash."""
    lock = getattr(item.effect, "lock", None)
    return (item.kind, item.entity_id, lock.hex() if lock is not None else "")


def _undone(item: OutboxItem, error: BaseException) -> None:
    code = error.rejection.code if isinstance(error, Refused) else ""
    log.warning(
        "effect.again", kind=item.kind, entity=item.entity_id, effect=type(item.effect).__name__,
        code=code, why=str(error)[:300],
    )  # fmt: skip
