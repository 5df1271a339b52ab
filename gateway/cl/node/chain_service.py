"""R4. The node's face to Cardano L1: follows it, tells channels what it shows, builds and sends their steps.

A block is committed first, then told: SecretsSeen, OutputSeen and TokenBurnt of a block before the tick that
its time allows. What was not told because of a crash or a full disk is told again, since a story is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

import structlog

from gateway.cl.chain.clock import ChainClock, SystemClock
from gateway.cl.chain.eras import time_of
from gateway.cl.chain.follower import Follower
from gateway.cl.chain.points import SECURITY_BLOCKS
from gateway.cl.chain.view import (
    Back,
    Forward,
    KeptPoint,
    Located,
    Step,
    TxSeen,
    View,
)
from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import Blueprint
from gateway.cl.data.books import Verify
from gateway.cl.data.ending import EndTerms
from gateway.cl.l1.errors import BAD_INTENT
from gateway.cl.l1.intents import AgreedTerms, OpenChannel, Pay, PublishScript, StepChannel
from gateway.cl.node import chain_rows
from gateway.cl.node.ending import Ender
from gateway.cl.node.settlement import Refusal, Settlement
from gateway.cl.node.wallet import OwnTransactions, Wallet
from gateway.cl.node.watched import Watched
from gateway.cl.ports import ChainProvider, Evaluator, Point, Signer, Utxo
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile
from gateway.store.store import Store
from gateway.units import Lovelace, PosixMs

log = structlog.get_logger("gateway.chain")

AGAIN_S = 2.0
OnChannel = Callable[[t.ChannelId, i.Input], Awaitable[None]]


class ChainService:
    """Implements channels.Chain. `held_seeds` names outputs that openings under way will spend; `doubt` says why
    the provider is not believed just now, and `is_sure` whether it is for a block."""

    def __init__(
        self,
        store: Store,
        provider: ChainProvider,
        signer: Signer,
        clock: SystemClock | ChainClock,
        profile: NetworkProfile,
        blueprint: Blueprint,
        evaluator: Evaluator,
        verify: Verify,
        *,
        wallet_address: str,
        on_channel: OnChannel,
        on_block: Callable[[], Awaitable[None]],
        held_seeds: Callable[[], frozenset[t.OutputRef]] = frozenset,
        doubt: Callable[[], str] = str,
        is_sure: Callable[[Point], bool] = lambda _: True,
        reference_script: t.OutputRef | None = None,
    ) -> None:
        self._store, self._provider, self._clock = store, provider, clock
        self._profile, self._blueprint = profile, blueprint
        self._on_channel, self._on_block = on_channel, on_block
        self._doubt, self._is_sure = doubt, is_sure
        self._own = OwnTransactions(store, provider, provider)
        self._wallet = Wallet(
            self._own, provider, signer, clock, profile, blueprint, evaluator, verify,
            address=wallet_address, held_seeds=held_seeds, reference_script=reference_script,
            watch=lambda tx_id: self._view.watch(tx_id),
        )  # fmt: skip
        self._ender = Ender(
            self._wallet,
            self._own,
            provider,
            signer,
            clock,
            blueprint,
            lambda channel: self._settlement.on_chain(channel),
        )
        self._watched = Watched(blueprint.hash)
        self._settlement = Settlement(
            self._wallet, self._own, provider, clock, profile, blueprint.hash, verify, self._watched,
            lambda: self._view,
        )  # fmt: skip
        self._telling = asyncio.Lock()
        self._trouble: Rejection | None = None
        self._heard = 0.0  # when a block came while we stood at the tip, or we began
        self._bug = ""
        self._task: asyncio.Task[None] | None = None
        self._view = self._new_view()

    def _new_view(self) -> View:
        return View(
            self._blueprint.hash, addresses=(self._wallet.address,), depths=(self._profile.safe_depth,)
        )

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Goes on where the store stopped; the provider may be away. Channels must be watched before:
        what a block shows of a channel that nobody watches is not kept."""
        await self._restore()
        self._heard = asyncio.get_running_loop().time()
        newest = self._view.newest
        if newest is not None:
            self._clock.observe(newest.time_ms)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _restore(self) -> None:
        async with self._wallet.building:  # a transaction that is just being sent is watched by the new view
            await self._load()

    async def _load(self) -> None:
        view = self._new_view()
        located = await chain_rows.restore(self._store, view)
        self._view = view
        self._watched.restore(located)
        await self._own.load(view)
        for one in view.recent:
            if isinstance(one.observation, TxSeen) and view.depth(one) >= self._profile.safe_depth:
                await self._own.end(one.observation.tx_id, "deep")

    async def _follow(self) -> None:
        """Never ends: what no retry of the follower cures is said aloud, and tried again from the store.
        After any failure the view may be ahead of the store: nothing goes on before it is restored."""
        fresh = True
        while True:
            try:
                if not fresh:
                    await self._restore()
                    fresh = True
                if self._view.newest is None:
                    await self._begin()
                follower = Follower(
                    self._provider, self._view, on_trouble=self._in_trouble, observe_time=self._clock.observe
                )
                async with aclosing(cast(AsyncGenerator[Step, None], follower.steps())) as steps:
                    async for step in steps:
                        await self._take(step)
                        if self._lost_its_root(step):
                            break
            except Refused as refused:
                self._in_trouble(refused.rejection)
            except Exception as error:  # a bug in one step must not leave the node blind for good
                self._bug = repr(error)[:300]
                log.exception("chain.bug", why=self._bug)
            fresh = False
            await asyncio.sleep(AGAIN_S)

    def _lost_its_root(self, step: Step) -> bool:
        """The block at which a new node began was taken back: it begins again, since the whole chain would
        follow. Not with channels: one of theirs may lie between that block's ancestor and the tip."""
        deep = step.tip.height > SECURITY_BLOCKS
        return isinstance(step, Back) and step.to is None and deep and not self._watched.keys

    async def _begin(self) -> None:
        """A new node on a long chain begins at its tip: it has no channel that could be older."""
        tip = await self._provider.tip()
        if tip.height <= SECURITY_BLOCKS:
            return
        params = await self._provider.params()
        moment = time_of(params.eras, tip.point.slot)
        await chain_rows.begin_at(self._store, KeptPoint(tip.point, tip.height, moment))
        await self._restore()

    def _in_trouble(self, rejection: Rejection) -> None:
        if self._trouble is None or self._trouble.code != rejection.code:
            log.warning("chain.trouble", code=rejection.code, why=str(rejection)[:300])
        self._trouble = rejection

    # -- blocks ---------------------------------------------------------------------------------

    async def _take(self, step: Step) -> None:
        async with self._telling:
            await chain_rows.commit(self._store, step, self._is_kept)
            match step:
                case Forward(at, tip, seen, deep):
                    self._trouble, self._bug = None, ""
                    await self._forward(seen)
                    for one in deep:
                        if isinstance(one.located.observation, TxSeen):
                            await self._own.end(one.located.observation.tx_id, "deep")
                    await self._own.drop_expired(self.settled_time())
                    at_tip = at.height >= tip.height - 1
                case Back(_, _, taken):
                    self._back(taken)
                    at_tip = False
            await self._tell_all()
        if at_tip and isinstance(step, Forward):
            self._clock.live(step.at.time_ms)
            self._heard = asyncio.get_running_loop().time()
        self._wallet.new_block()
        # a tick may prove a cheque dead: never before everything up to this block was told
        if at_tip and not self._watched.untold:
            await self._on_block()

    def _is_kept(self, located: Located) -> bool:
        return isinstance(located.observation, TxSeen) or self._watched.channel_of(located) is not None

    async def _forward(self, seen: tuple[Located, ...]) -> None:
        for located in seen:
            match located.observation:
                case TxSeen(tx_id, valid):
                    self._own.seen(tx_id)
                    if not valid:
                        log.error("tx.failed", tx_id=tx_id.hex())
                        await self._own.end(tx_id, "failed")
                case _:
                    self._watched.note(located)

    def _back(self, taken: tuple[Located, ...]) -> None:
        for located in taken:
            if isinstance(located.observation, TxSeen):
                self._own.taken_back(located.observation.tx_id)
            else:
                self._watched.take_back(located)

    async def _tell_all(self) -> None:
        newest = self._view.newest
        if newest is None:
            return
        for channel in list(self._watched.keys):
            depth = newest.height - self._watched.story(channel).since + 1
            if channel in self._watched.untold or depth <= self._profile.safe_depth:
                await self._tell(channel, depth)

    async def _tell(self, channel: t.ChannelId, depth: int) -> None:
        story = self._watched.story(channel)
        told: list[i.Input] = []
        if story.secrets:
            told.append(i.SecretsSeen(story.secrets))
        if story.ended_by is not None:
            told.append(i.TokenBurnt(story.ended_by, story.paid_held, depth))
        elif story.output is not None:
            told.append(i.OutputSeen(story.output, depth))
        else:
            told.append(i.OutputGone())
        try:
            for one in told:
                await self._on_channel(channel, one)
        except Refused as refused:  # the next block tells it again
            log.error("chain.untold", channel=channel.hex(), code=refused.rejection.code)
            self._watched.untold.add(channel)
            return
        self._watched.untold.discard(channel)

    # -- what channels ask (channels.Chain) -----------------------------------------------------

    async def watch(self, channel: t.ChannelId, our_key: t.VerificationKey) -> None:
        async with self._telling:
            self._watched.add(channel, our_key)

    def settled_time(self) -> PosixMs:
        """The time of the newest block at safe depth that the providers agree on; 0 while there is none. What has
        not happened by then is proven, so a block that one provider alone shows proves nothing (W2)."""
        depth = self._profile.safe_depth
        while (deep := self._view.at_depth(depth)) is not None and not self._is_sure(deep.point):
            depth += 1
        return PosixMs(0) if deep is None else deep.time_ms

    async def pick_seed(self, amount: Lovelace) -> t.OutputRef:
        """An output of the wallet for an opening; raises cl.l1.no_funds with what is free."""
        return await self._wallet.patiently(lambda: self._wallet.pick_seed(amount))

    async def publish_opening(self, agreement: s.Agreement) -> bytes:
        """Idempotent: the channel's id follows from the seed, so two openings of one channel cannot both be."""
        channel = agreement.channel
        purpose = f"open {channel.hex()}"
        made = self._settlement.on_chain(channel)
        if made is not None:
            return made.ref.tx_id
        async with self._wallet.building:
            known = self._own.on_the_way(self._clock.now(), purpose=purpose)
            if known is not None:
                return known.tx_id
            terms = AgreedTerms(
                channel, agreement.opener_key, agreement.other_key, agreement.amount, agreement.gift,
                agreement.min_ada, 0, agreement.respond_period,
            )  # fmt: skip
            view = await self._wallet.frozen(instead_of=(agreement.seed,))
            return await self._wallet.send(view, (OpenChannel(terms, agreement.seed),), purpose, channel)

    async def perform(self, intents: Sequence[settle.Intent]) -> tuple[Refusal, ...]:
        """See `Settlement.perform`."""
        return await self._settlement.perform(intents)

    async def ahead(self) -> dict[t.ChannelId, s.Output] | None:
        """See `Settlement.ahead`."""
        return await self._settlement.ahead()

    async def add_funds(self, channel: t.ChannelId, lovelace: Lovelace) -> bytes:
        """Ours on top (step add); raises cl.l1.bad_intent while another step of the channel is under way."""
        return await self._wallet.patiently(lambda: self._add_funds(channel, lovelace))

    async def _add_funds(self, channel: t.ChannelId, lovelace: Lovelace) -> bytes:
        async with self._wallet.building:
            output = self._settlement.on_chain(channel)
            if output is None or not isinstance(output.datum.stage, t.Opened):
                raise Refused(BAD_INTENT(field="channel", got=channel.hex(), allowed="an open channel"))
            if self._own.on_the_way(self._clock.now(), spends=output.ref) is not None:
                raise Refused(BAD_INTENT(field="channel", got="a step is under way", allowed="none"))
            key = self._watched.keys[channel]
            step = StepChannel(output, t.Add(output.datum.keys[0] == key), key, lovelace)
            view = await self._wallet.frozen(instead_of=(output.ref,))
            return await self._wallet.send(view, (step,), f"Add {channel.hex()}", channel)

    @property
    def payout_address(self) -> str:
        return self._wallet.address

    async def build_end(self, state: s.Ending, address: str, payout: Lovelace) -> EndTerms:
        return await self._ender.build(state, address, payout)

    async def approve_end(self, state: s.EndSigned) -> t.Signature:
        return await self._ender.approve(state)

    async def publish_end(self, state: s.EndHeld) -> None:
        await self._ender.publish(state)

    # -- the wallet -----------------------------------------------------------------------------

    async def send(self, address: str, lovelace: Lovelace) -> bytes:
        return await self._wallet.patiently(lambda: self._pay(address, lovelace))

    async def _pay(self, address: str, lovelace: Lovelace) -> bytes:
        async with self._wallet.building:
            view = await self._wallet.frozen()
            return await self._wallet.send(view, (Pay(address, lovelace),), "send", None)

    async def utxos(self) -> tuple[tuple[Utxo, bool], ...]:
        """The wallet's outputs, and whether each is reserved."""
        return await self._wallet.utxos()

    async def ensure_reference_script(self) -> None:
        """Publishes the validator once: every later transaction is smaller by its size."""
        async with self._wallet.building:
            view = await self._wallet.frozen()
            if view.script_utxo is None and self._own.on_the_way(view.now, purpose="publish") is None:
                await self._wallet.send(view, (PublishScript(),), "publish", None)

    async def split_coins(self) -> None:
        """See `Wallet.split`."""
        await self._wallet.split()

    async def rebroadcast(self) -> None:
        await self._own.rebroadcast(self._clock.now())

    def blind(self) -> str:
        """Why no new risk may be taken on what this chain shows; empty: it is seen as it is. A channel could have
        been closed, and a cheque of ours opened, where we do not look."""
        if self._clock.is_off:
            return "this machine's clock is off by more than 30 s against Cardano's blocks"
        newest, silence = self._view.newest, self._profile.cardano_silence
        if newest is None:
            return "the Cardano chain has not been followed to its tip yet"
        quiet_ms = (asyncio.get_running_loop().time() - self._heard) * 1000
        if quiet_ms > silence.value or self._clock.now() > newest.time_ms + silence:
            return f"no Cardano block for {silence.value // 1000} s"
        return self._doubt()

    def health(self) -> dict[str, Any]:
        newest = self._view.newest
        trouble = self._trouble
        return {
            "ok": trouble is None and newest is not None and not self._bug,
            "detail": self._bug or self._doubt() if trouble is None else f"{trouble.code}: {trouble}",
            "height": 0 if newest is None else newest.height,
            "slot": 0 if newest is None else newest.point.slot.value,
            "time_ms": 0 if newest is None else newest.time_ms.value,
        }
