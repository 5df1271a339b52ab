"""R4. The node's channels: an inbox each; load, decide, commit, perform.

One lock a channel, one database transaction an input that changes something. Messages to a peer that is
away are not kept: `PeerBack` says everything again. Notices stay in the outbox until their receiver has
stored them. Settlement is level-triggered: every block asks each closing channel what is due.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from gateway.cl.channel import effects as f
from gateway.cl.channel import errors
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.decide import decide
from gateway.cl.channel.evolve import evolve
from gateway.cl.channel.ledger import Balance, balance
from gateway.cl.data.codec import channel_id
from gateway.cl.data.types import ChannelId, OutputRef, SignedSnapshot, VerificationKey
from gateway.cl.node.deadlines import Deadlines, Performs, unsettled
from gateway.cl.node.ending import EndChain, perform_end
from gateway.cl.node.freshness import Freshness
from gateway.cl.node.open_policy import OpenPolicy, PeerTerms, outside
from gateway.cl.node.peers import Peers
from gateway.cl.ports import Clock, Signer
from gateway.cl.wire import session_messages
from gateway.cl.wire.codec import Envelope
from gateway.errors import Fault, Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.outcome import Continue, Reject
from gateway.profile import NetworkProfile
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem
from gateway.units import Lovelace, Ms, PosixMs

log = structlog.get_logger("gateway.channels")
KIND = "channel"
MOST_FUNDING_A_PEER, MOST_FUNDING = 4, 256


class Chain(EndChain, Performs, Protocol):
    """What channels ask of the chain (gateway.cl.node.chain_service)."""

    async def pick_seed(self, amount: Lovelace) -> OutputRef: ...
    async def publish_opening(self, agreement: s.Agreement) -> bytes: ...
    async def watch(self, channel: ChannelId, our_key: VerificationKey) -> None: ...
    def settled_time(self) -> PosixMs: ...


Notify = Callable[[s.State, f.Notice], Awaitable[None]]
OnChange = Callable[[ChannelId, s.State, e.Event], None]
OnSwap = Callable[[bytes, Envelope], Awaitable[None]]


class Channels:
    """Implements peers.Events. `notify` must return only once the notice is stored by its receiver."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        chain: Chain,
        clock: Clock,
        profile: NetworkProfile,
        policy: OpenPolicy,
        verify: i.Verify,
        *,
        notify: Notify,
        on_change: OnChange,
        on_swap: OnSwap,
        on_alarm: Callable[[str, str, str], None],
    ) -> None:
        self._store, self._signer, self._chain, self._clock = store, signer, chain, clock
        self._profile, self.policy, self._verify = profile, policy, verify
        self._notify, self._on_change, self._on_swap, self._on_alarm = notify, on_change, on_swap, on_alarm
        self._locks: defaultdict[ChannelId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._states: dict[ChannelId, tuple[s.State, int]] = {}
        self._peers: Peers | None = None
        self._fresh, self._terms = Freshness(signer), PeerTerms()
        self._deadlines = Deadlines(chain, self.context, on_alarm)

    async def start(self, peers: Peers, *, old_copy: str = "") -> None:
        """Loads every channel and tells the chain which to watch. A channel of which the signer remembers more than
        the books say is frozen; with `old_copy` (why the database is known to be old) each one is."""
        self._peers = peers
        async with self._store.read() as tx:
            for row in await tx.list(KIND, live_only=False):
                self._states[ChannelId(bytes.fromhex(row.id))] = (row.state, row.version)
        for channel, (state, _) in self._states.items():
            key = _local_key(state)
            if key is not None:
                await self._chain.watch(channel, key)
        for channel, state in self.states().items():
            why = old_copy or await self._fresh.behind(channel, state)
            if why and isinstance(state, (s.Normal, s.Draining)):
                await self.feed(channel, i.OldCopy(why))

    # -- views ----------------------------------------------------------------------------------

    def states(self) -> dict[ChannelId, s.State]:
        return {channel: state for channel, (state, _) in self._states.items()}

    def state(self, channel: ChannelId) -> s.State | None:
        found = self._states.get(channel)
        return None if found is None else found[0]

    def context(self) -> i.Context:
        return i.Context(
            self._clock.now(),
            self._chain.settled_time(),
            self._profile,
            self._verify,
            self.policy.least_cheque,
        )

    def balance(self, channel: ChannelId) -> Balance | None:
        state = self.state(channel)
        return balance(state.agreement, state.books) if isinstance(state, s.WithBooks) else None

    # -- the owner ------------------------------------------------------------------------------

    async def open(
        self, peer: bytes, amount: Lovelace, gift: Lovelace, respond_period: Ms | None
    ) -> ChannelId:
        """Proposes a channel; the seed is reserved first, since the channel's id follows from it."""
        period = respond_period or self.policy.respond_period
        if period < self._profile.min_respond_period:  # decision 14
            raise Refused(
                errors.OPEN_TERMS(
                    field="respond_period_ms",
                    got=period.value,
                    allowed=self._profile.min_respond_period.value,
                )
            )
        if not Lovelace(0) <= gift <= amount:
            raise Refused(
                errors.OPEN_TERMS(field="gift_lovelace", got=gift.value, allowed=f"0..{amount.value}")
            )
        if self._peers is not None:
            terms = await self._terms.ask(self._peers, peer)
            refusal = None if terms is None else outside(terms, amount, period)
            if refusal is not None:
                raise Refused(refusal)
        seed = await self._chain.pick_seed(amount + self.policy.min_ada)
        channel = channel_id(seed, 1)
        key = await self._signer.new_channel_key()
        proposal = s.Proposal(channel, seed, peer, key, amount, gift, period, self.policy.min_ada)
        await self._chain.watch(channel, key)
        await self._must(channel, i.ProposeOpen(proposal))
        return channel

    async def offer(
        self, channel: ChannelId, reference: bytes, lock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> int | Rejection:
        """The index of the one cheque for `reference`, or why none was signed and none will be. Raises Refused
        (cl.channel.unheard, .stale) where that is not known: try again."""
        await self._fresh.listen(channel, lambda: self._is_here(channel))
        outcome = await self.feed(channel, i.OfferCheque(reference, lock, amount, timeout))
        if isinstance(outcome, Reject):
            return outcome.rejection
        state = self.state(channel)
        assert isinstance(state, s.WithBooks)
        return next(one.cheque.index for one in state.books.issued if one.reference == reference)

    async def fulfil(self, channel: ChannelId, index: int, preimage: Preimage) -> None:
        await self._must(channel, i.FulfilHeld(index, preimage))

    async def cancel(self, channel: ChannelId, index: int, code: str) -> None:
        await self._must(channel, i.CancelHeld(index, code))

    async def extend(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        """Our cheque, with a later timeout; raises cl.cheque.* when it may not be."""
        await self._must(channel, i.ExtendIssued(index, timeout))

    async def ask_extension(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        await self._must(channel, i.AskForExtension(index, timeout))

    async def ask_resolution(self, channel: ChannelId, index: int) -> None:
        await self._must(channel, i.AskForResolution(index))

    async def close(self, channel: ChannelId, *, now: bool, reason: str) -> None:
        await self._must(channel, i.CloseAsked(now, reason))

    async def _must(self, channel: ChannelId, given: i.Input) -> None:
        outcome = await self.feed(channel, given)
        if isinstance(outcome, Reject):
            raise Refused(outcome.rejection)

    # -- one input ------------------------------------------------------------------------------

    async def feed(self, channel: ChannelId, given: i.Input) -> Any:
        """Decides on the newest state; stores events with their effects; performs the rest at once."""
        outcome = await self._feed(channel, given)
        if (early := self._fresh.early(channel, self.state(channel))) is not None:
            await self._feed(channel, early)
        if self._fresh.unsaid(channel):
            await self._feed(channel, i.PeerBack())
        return outcome

    async def _feed(self, channel: ChannelId, given: i.Input) -> Any:
        async with self._locks[channel]:
            state, version = self._states.get(channel, (None, 0))
            outcome = decide(state, given, self.context())
            if isinstance(given, i.OfferCheque):
                self._fresh.judge_offer(channel, state, outcome)
            self._fresh.note(channel, state, given)
            if isinstance(outcome, Continue) and outcome.events:
                for event in outcome.events:
                    state = evolve(state, event)
                assert state is not None
                async with self._store.transaction(f"channel.{type(given).__name__}") as tx:
                    version = await tx.append(
                        KIND,
                        channel.hex(),
                        version,
                        outcome.events,
                        state,
                        outcome.effects,
                        live=not isinstance(state, (s.Ended, s.Abandoned)),
                    )
                self._states[channel] = (state, version)
                for event in outcome.events:
                    log.info("channel.event", channel=channel.hex(), name=type(event).__name__)
                    self._on_change(channel, state, event)
                return outcome
        if isinstance(outcome, Reject):
            log.warning(
                "channel.refused",
                channel=channel.hex(),
                code=outcome.rejection.code,
                why=str(outcome.rejection),
            )
        if isinstance(outcome, (Continue, Reject)):
            for effect in outcome.effects:
                await self.perform(channel, effect)
        return outcome

    async def deliver(self, item: OutboxItem) -> None:
        """One committed effect, from the dispatcher; at least once."""
        channel = ChannelId(bytes.fromhex(item.entity_id))
        async with self._locks[channel]:
            pass  # the commit that filed it tells memory before it lets go: perform on nothing older
        await self.perform(channel, item.effect)

    async def perform(self, channel: ChannelId, effect: f.Effect) -> None:
        match effect:
            case f.Send(message):
                await self._send(channel, lambda _: _ready(message))
            case f.SendCheque(cheque) if self._may_sign(channel):
                await self._send(
                    channel,
                    lambda key: self._signed(
                        self._signer.sign_cheque(key, channel, cheque), lambda sig: m.AddCheque(cheque, sig)
                    ),
                )
            case f.SendCheque():
                log.info("channel.unsigned", channel=channel.hex(), index=effect.cheque.index)
            case f.SendSnapshot():
                await self._send_snapshot(channel, m.Squashed)
            case f.SendCancel(index, code):
                await self._send_snapshot(channel, lambda signed: m.Cancel(index, code, signed))
            case f.PublishOpening():
                state = self.state(channel)
                if isinstance(state, (s.Funding, s.Normal)):
                    tx_id = await self._chain.publish_opening(state.agreement)
                    await self._send(channel, lambda _: _ready(m.Staged(OutputRef(tx_id, 0))))
            case f.BuildEnd() | f.SignEnd() if not self._may_sign(channel):
                log.info("channel.unsigned", channel=channel.hex(), effect=type(effect).__name__)
            case f.TellPayout() | f.BuildEnd() | f.SignEnd() | f.PublishEnd():
                await perform_end(
                    effect,
                    self.state(channel),
                    self._chain,
                    lambda message: self._send(channel, lambda _: _ready(message)),
                    lambda given: self.feed(channel, given),
                )
            case f.Alarm(code, detail):
                log.error("channel.alarm", channel=channel.hex(), code=code, detail=detail)
                self._on_alarm(channel.hex(), code, detail)
            case _:
                state = self.state(channel)
                assert state is not None
                await self._notify(state, effect)

    async def _send_snapshot(
        self, channel: ChannelId, wrap: Callable[[SignedSnapshot], m.ChannelMessage]
    ) -> None:
        """Always the newest: a redelivered effect must not sign below what was signed since (decision 5)."""
        state = self.state(channel)
        if not isinstance(state, s.WithBooks) or not self._may_sign(channel):
            return
        newest = state.books.ours
        await self._send(
            channel,
            lambda key: self._signed(
                self._signer.sign_snapshot(key, channel, newest),
                lambda sig: wrap(SignedSnapshot(newest, sig)),
            ),
        )

    def _may_sign(self, channel: ChannelId) -> bool:
        return self._fresh.may_sign(channel, self.state(channel))

    def _is_here(self, channel: ChannelId) -> bool:
        state = self.state(channel)
        peer = None if state is None else _peer(state)
        return peer is not None and self._peers is not None and self._peers.is_connected(peer)

    @staticmethod
    async def _signed(signing: Awaitable[Any], wrap: Callable[[Any], m.ChannelMessage]) -> m.ChannelMessage:
        return wrap(await signing)

    async def _send(
        self, channel: ChannelId, make: Callable[[VerificationKey], Awaitable[m.ChannelMessage]]
    ) -> None:
        """A peer that is away hears it on its return. A signer that refuses raises: the effect stays."""
        state = self.state(channel)
        key = None if state is None else _local_key(state)
        if state is None or key is None or self._peers is None or not self._is_here(channel):
            return
        message = await make(key)
        try:
            await self._peers.send(_peer(state), Envelope(message, channel))
        except Refused as refused:
            log.info("channel.unsent", channel=channel.hex(), code=refused.rejection.code)

    # -- peers.Events ---------------------------------------------------------------------------

    async def peer_connected(self, node_id: bytes, remote: session_messages.Init) -> None:
        for channel, state in self.states().items():
            if _peer(state) == node_id:
                await self.feed(channel, i.PeerBack())

    async def peer_disconnected(self, node_id: bytes) -> None:
        log.info("peer.gone", peer=node_id.hex())

    async def peer_message(self, node_id: bytes, envelope: Envelope) -> None:
        """Never raises for what a peer says: a refusal is logged and, where a rule asks for it, answered. Raises
        for our own trouble (a full disk): what was not stored was not heard, so the link must end, and the
        peer says it again on the next one."""
        message, channel = envelope.message, envelope.channel
        try:
            match message:
                case session_messages.Error(code, text) | session_messages.Warning(code, text):
                    log.warning("peer.says", peer=node_id.hex(), code=code, text=text[:300])
                case m.QueryTerms():
                    terms = self.policy.terms(self._profile)
                    await self._reply(node_id, Envelope(terms, channel, envelope.conversation))
                case m.Terms():
                    self._terms.heard(node_id, envelope.conversation, message)
                case _ if isinstance(message, m.ChannelMessage) and channel is not None:
                    await self._channel_message(node_id, channel, message)
                case _:
                    await self._on_swap(node_id, envelope)
        except Refused as refused:
            log.warning("peer.refused", peer=node_id.hex(), code=refused.rejection.code)
            if refused.rejection.spec.fault is Fault.ENVIRONMENT:
                raise

    async def _reply(self, node_id: bytes, envelope: Envelope) -> None:
        if self._peers is not None:
            await self._peers.send(node_id, envelope)

    async def _channel_message(self, node_id: bytes, channel: ChannelId, message: m.ChannelMessage) -> None:
        state = self.state(channel)
        if state is None and isinstance(message, m.OpenChannel):
            await self._opened_by_peer(node_id, channel, message)
            return
        if state is None or isinstance(state, s.Abandoned) or _peer(state) != node_id:
            unknown = errors.PEER_MESSAGE(
                field="channel", got=channel.hex(), detail="no such channel with you"
            )
            answer: object = session_messages.Warning(unknown.code, str(unknown))
            if isinstance(
                message, m.Reestablish
            ):  # it believes in the channel: it must close it to get its funds
                answer = m.ChannelFailed(unknown.code, str(unknown))
            await self._reply(node_id, Envelope(answer, channel))
            return
        outcome = await self.feed(channel, i.PeerSaid(message))
        if isinstance(outcome, Reject) and outcome.rejection.spec.fault is Fault.REMOTE:
            told = session_messages.Warning(outcome.rejection.code, str(outcome.rejection))
            await self._reply(node_id, Envelope(told, channel))

    async def _opened_by_peer(self, node_id: bytes, channel: ChannelId, proposal: m.OpenChannel) -> None:
        refusal = self.policy.refusal(proposal)
        if refusal is None and channel_id(proposal.seed, 1) != channel:
            refusal = errors.OPEN_TERMS(
                field="seed", got=str(proposal.seed), allowed="the channel id's own seed"
            )
        if refusal is not None:
            await self._reply(node_id, Envelope(m.RefuseChannel(refusal.code, str(refusal)), channel))
            return
        waiting = [one for one, _ in self._states.values() if isinstance(one, s.Funding)]
        theirs = sum(one.agreement.peer == node_id for one in waiting)
        if theirs >= MOST_FUNDING_A_PEER or len(waiting) >= MOST_FUNDING:
            # each costs us a key, a row and a watch for as long as its opener likes
            busy = errors.OPEN_TERMS(
                field="channels", got=f"{theirs} of yours wait for funds", allowed=f"{MOST_FUNDING_A_PEER}"
            )
            await self._reply(node_id, Envelope(m.RefuseChannel(busy.code, str(busy)), channel))
            return
        key = await self._signer.new_channel_key()
        agreement = s.Agreement(
            channel=channel, seed=proposal.seed, peer=node_id, local_is_opener=False, local_key=key,
            remote_key=proposal.opener_key, amount=proposal.amount, gift=proposal.gift,
            respond_period=proposal.respond_period, min_ada=proposal.min_ada,
        )  # fmt: skip
        await self._chain.watch(channel, key)
        await self._must(channel, i.AcceptOpen(agreement))

    # -- chain and clock ------------------------------------------------------------------------

    async def chain_news(self, channel: ChannelId, given: i.Input) -> None:
        if channel in self._states:
            await self.feed(channel, given)

    async def on_block(self) -> None:
        """Every block: deadlines, expiries, and what settlement asks for."""
        for channel in list(self._states):
            try:
                await self.feed(channel, i.Tick(self._is_here(channel)))
            except Refused as refused:  # of this channel alone: the others' deadlines do not wait
                unsettled(channel, "Tick", refused.rejection)
        await self._deadlines.act(self.states())


async def _ready(message: m.ChannelMessage) -> m.ChannelMessage:
    return message


def _local_key(state: s.State) -> VerificationKey | None:
    match state:
        case s.Proposing(proposal):
            return proposal.local_key
        case s.Abandoned():
            return None
        case _:
            return state.agreement.local_key


def _peer(state: s.State) -> bytes:
    match state:
        case s.Proposing(proposal):
            return proposal.peer
        case s.Abandoned(peer=peer):
            return peer
        case _:
            return state.agreement.peer
