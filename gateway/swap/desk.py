"""R4. The desk: what a peer is offered, out of what both networks hold and earlier quotes left free.

Quotes are given under one lock, so that reservations never exceed balances, and stored before they are answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from gateway.btc.ports import BitcoinLightning, TimeConstants
from gateway.cl.data.types import ChannelId
from gateway.cl.ports import Clock
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock
from gateway.prices.model import Market
from gateway.profile import NetworkProfile
from gateway.swap import errors
from gateway.swap import events as e
from gateway.swap import state as s
from gateway.swap.gate import Gate
from gateway.swap.identity import Identity
from gateway.swap.ports import ChannelLegs
from gateway.swap.pricing import EVEN, share_ppm
from gateway.swap.quote import (
    Liquidity,
    Quote,
    QuoteContext,
    SwapPolicy,
    quote_btc_to_cl,
    quote_cl_to_btc,
    read_invoice,
    typical_invoice,
)
from gateway.swap.risk_watch import RiskWatch
from gateway.swap.runner import Key, Runner
from gateway.swap.tasks import Tasks
from gateway.swap.timelock import Clocks
from gateway.units import Lovelace, Ms, Msat

log = structlog.get_logger("gateway.swap")

OUT, IN = "swap.out", "swap.in"


class Desk:
    """Begins swaps as quotes; the engine runs them from there. Methods answer a coded `Rejection` where no quote
    is given, and raise `Refused` where LND or the store cannot tell."""

    def __init__(
        self,
        runner: Runner,
        bitcoin: BitcoinLightning,
        legs: ChannelLegs,
        clock: Clock,
        profile: NetworkProfile,
        policy: SwapPolicy,
        *,
        gate: Gate,
        risks: RiskWatch,
        identity: Identity,
        tasks: Tasks,
        market: Callable[[], Market | Rejection],
        clocks: Callable[[], Awaitable[Clocks]],
        constants: Callable[[], Awaitable[TimeConstants]],
        why_paused: Callable[[], str],
        invoice: Callable[[Key, s.Quoted], Awaitable[s.State]],
    ) -> None:
        """`invoice` has LND make a quote's invoice, and gives the swap's state after it."""
        self._runner, self._btc, self._legs, self._clock = runner, bitcoin, legs, clock
        self._profile, self._policy = profile, policy
        self._gate, self._risks, self._identity, self._tasks = gate, risks, identity, tasks
        self._market, self._clocks, self._constants = market, clocks, constants
        self._why_paused, self._invoice = why_paused, invoice
        self._quoting = asyncio.Lock()
        self._adding: set[ChannelId] = set()

    # -- quotes -------------------------------------------------------------------------------

    async def quote_out(self, peer: bytes, channel: ChannelId, invoice: str) -> Quote | Rejection:
        """cl_to_btc. Stored before it is answered; the same open invoice gets the same quote again."""
        facts = read_invoice(invoice)
        if isinstance(facts, Rejection):
            return facts
        async with self._quoting:
            known = self._open_quote(OUT, facts.hashlock, peer, channel)
            if known is not None and known.invoice == facts.text:
                return known
            context = await self._quote_context(OUT, peer, channel, facts.hashlock)
            if isinstance(context, Rejection):
                return context
            quote = quote_cl_to_btc(context, facts)
            if isinstance(quote, Rejection):
                return quote
            await self._runner.begin(
                lambda n: Key(OUT, facts.hashlock, n), facts.hashlock, e.QuoteGiven(quote)
            )
            return quote

    async def quote_in(
        self, peer: bytes, channel: ChannelId, hashlock: Hashlock, receive: Lovelace
    ) -> Quote | Rejection:
        """btc_to_cl. Answers once LND has made the invoice; the same open request gets the same answer."""
        async with self._quoting:
            known = self._open_quote(IN, hashlock, peer, channel)
            if known is None or known.cardano != receive:
                context = await self._quote_context(IN, peer, channel, hashlock)
                if isinstance(context, Rejection):
                    return context
                quote = quote_btc_to_cl(context, hashlock, receive)
                if isinstance(quote, Rejection):
                    return self._add_missing(quote, context, receive)
                await self._runner.begin(lambda n: Key(IN, hashlock, n), hashlock, e.QuoteGiven(quote))
        return await self._made_invoice(hashlock, peer)

    async def estimate(self, peer: bytes, channel: ChannelId, wanted: Msat | Lovelace) -> Quote | Rejection:
        """Indicative: what a quote would say now, to pay `Msat` or to receive `Lovelace`. Nothing is stored."""
        nobody = Hashlock(secrets.token_bytes(32))
        context = await self._quote_context(OUT, peer, channel, nobody)
        if isinstance(context, Rejection):
            return context
        if isinstance(wanted, Lovelace):
            return quote_btc_to_cl(context, nobody, wanted)
        return quote_cl_to_btc(context, typical_invoice(context, nobody, wanted))

    def _add_missing(self, refusal: Rejection, context: QuoteContext, receive: Lovelace) -> Rejection:
        """On request the gateway adds what a receiver lacks, up to what it wants to hold in one channel at all;
        the answer says when to ask again. A peer that never uses it costs one fee and locks no more than that."""
        wanted = receive + self._policy.cardano_reserve
        have, most = context.liquidity.channel_local, self._policy.auto_add_most
        if refusal.spec is not errors.NO_CARDANO_LIQUIDITY or wanted > most or wanted <= have:
            return refusal
        if context.channel not in self._adding:
            self._adding.add(context.channel)
            self._tasks.spawn("top up", self._top_up(context.channel, wanted - have))
        return replace(
            refusal,
            retry_after_ms=self._until_added().value,
            detail=f"{refusal.detail}; the gateway adds it now, ask again",
        )

    def _until_added(self) -> Ms:
        profile = self._profile
        return profile.cardano.blocks_within(profile.staged_depth + 1, profile.eps(0))

    async def _top_up(self, channel: ChannelId, missing: Lovelace) -> None:
        try:
            await self._legs.top_up(channel, missing)
            log.info("swap.added", channel=channel.hex(), lovelace=missing.value)
            # until it lies deep the same lack is seen again: one addition at a time
            await asyncio.sleep(self._until_added().value / 1000)
        except Refused as refused:
            log.warning("swap.not_added", channel=channel.hex(), code=refused.rejection.code)
        finally:
            self._adding.discard(channel)

    async def _made_invoice(self, hashlock: Hashlock, peer: bytes) -> Quote | Rejection:
        key = await self._runner.latest(hashlock)
        state = None if key is None else await self._runner.state_of(key)
        if key is None or not isinstance(state, s.Quoted) or state.quote.peer != peer:
            return errors.HASH_IN_USE(field="payment_hash", got=hashlock.hex())
        if not state.quote.invoice:
            state = await self._invoice(key, state)
        if not isinstance(state, s.Quoted):
            return errors.HASH_IN_USE(field="payment_hash", got=hashlock.hex())
        return state.quote

    def _open_quote(self, kind: str, hashlock: Hashlock, peer: bytes, channel: ChannelId) -> Quote | None:
        for key, state in self._runner.live.items():
            if key.kind == kind and key.hashlock == hashlock and isinstance(state, s.Quoted):
                quote: Quote = state.quote
                ours = (quote.peer, quote.channel) == (peer, channel)
                if ours and quote.valid_until > self._clock.now():
                    return quote
        return None

    # -- what quotes see ----------------------------------------------------------------------

    async def _liquidity(self, channel: ChannelId, peer: bytes) -> Liquidity | Rejection:
        standing = await self._legs.standing(channel)
        if standing is not None and standing.peer != peer:
            # nothing is asked of LND for a stranger: channel ids are public, and all quotes wait for one another
            return errors.QUOTE_OTHER_PEER(field="channel", got=channel.hex())
        if standing is None or not standing.usable:
            why = standing.why_not if standing else "no such channel"
            return errors.NO_CARDANO_LIQUIDITY(field="channel", got=channel.hex(), detail=why)
        balances = await self._btc.balances()
        reserved_out = reserved_in = Msat(0)
        reserved_cheques, promised, slots_in, slots_out = Lovelace(0), Lovelace(0), 0, 0
        for key, state in self._runner.live.items():
            quote = state.quote
            waiting = isinstance(state, (s.Quoted, s.IncomingLocked, s.OutgoingIntended))
            if not waiting:
                continue
            if key.kind == OUT:
                reserved_out += quote.bitcoin + quote.routing_budget
                if quote.channel == channel:
                    slots_in += 1
                    # what a quote promises to be paid with cannot back a second one
                    promised += quote.cardano if isinstance(state, s.Quoted) else Lovelace(0)
            else:
                reserved_in += quote.bitcoin
                if quote.channel == channel:
                    reserved_cheques += quote.cardano
                    slots_out += 1
        return Liquidity(
            bitcoin_local=balances.local - reserved_out,
            bitcoin_remote=balances.remote - reserved_in,
            channel_local=standing.local - reserved_cheques,
            channel_remote=standing.remote - promised,
            free_slots_in=standing.free_slots_in - slots_in,
            free_slots_out=standing.free_slots_out - slots_out,
        )

    async def _ada_share(self, market: Market) -> int:
        """Which part of all that we may swap with is ada; not asked for while it costs nothing."""
        if not self._policy.inventory_ppm:
            return EVEN
        local = [one.local.value for one in await self._legs.standings() if one.usable]
        return share_ppm(Lovelace(sum(local)), (await self._btc.balances()).local, market.rate)

    async def _quote_context(
        self, kind: str, peer: bytes, channel: ChannelId, hashlock: Hashlock
    ) -> QuoteContext | Rejection:
        paused = self._why_paused()
        if paused:
            return errors.PAUSED(detail=paused)
        refusal = self._gate.refusal(peer) or self._risks.refusal(peer)
        if refusal is not None:
            return refusal
        market = self._market()
        if isinstance(market, Rejection):
            return market  # X11: no new risk at a price that nobody knows; open swaps keep theirs
        liquidity = await self._liquidity(channel, peer)
        if isinstance(liquidity, Rejection):
            return liquidity
        return QuoteContext(
            id=secrets.token_bytes(32),
            peer=peer,
            channel=channel,
            profile=self._profile,
            policy=self._policy.at(market),
            clocks=await self._clocks(),
            constants=await self._constants(),
            liquidity=replace(liquidity, ada_share_ppm=await self._ada_share(market)),
            own_node=(await self._identity.info()).node_id,
            hash_in_use=await self._hash_in_use(kind, hashlock),
            usage=self._gate.usage(peer, self._runner.live.values()),
        )

    async def _hash_in_use(self, kind: str, hashlock: Hashlock) -> bool:
        """A payment that failed may be tried again. One that was paid would be paid for twice; and a receipt's
        preimage may be known by now, while LND makes one invoice for a hash: it takes a fresh one."""
        latest = await self._runner.latest(hashlock)
        if latest is None:
            return False
        state = await self._runner.state_of(latest)
        if kind == OUT and isinstance(state, s.Refused):
            return (
                False  # nothing was locked: who asks for a receipt must not bar an invoice of somebody else
            )
        return (kind, latest.kind) != (OUT, OUT) or not isinstance(state, s.Released)
