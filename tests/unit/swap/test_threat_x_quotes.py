"""X12, X15, X6, X1 on quotes: exact integers, reservations under a crowd, and invoices made to hurt."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc import ports as b
from gateway.btc.errors import UNAVAILABLE
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.swap import codecs
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT, EngineOptions, SwapEngine
from gateway.swap.ports import ChannelStanding
from gateway.swap.quote import (
    InvoiceFacts,
    Liquidity,
    Quote,
    QuoteContext,
    SwapPolicy,
    quote_btc_to_cl,
    quote_cl_to_btc,
)
from gateway.swap.runner import Key
from gateway.swap.timelock import Clocks, cheque_timeout
from gateway.swap.transitions import evolve
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate
from tests.support.bolt11_drafts import made, simple_draft

NOW = PosixMs(1_700_000_000_000)
PEER, OWN = b"\x02" + b"p" * 32, b"\x02" + b"o" * 32
CHANNEL = ChannelId(b"c" * 20)
CONSTANTS = b.TimeConstants(BlockDelta(18), BlockDelta(22), BlockDelta(19), BlockDelta(24))
HUGE = 10**18
RATE = Rate(5, 2)
PLENTY = Liquidity(Msat(HUGE), Msat(HUGE), Lovelace(HUGE), Lovelace(HUGE), 20, 20)


def policy(rate: Rate = RATE, **changes: Any) -> SwapPolicy:
    base = SwapPolicy(
        rate=rate, base_fee=Lovelace(0), proportional_ppm=0, routing_fee_base=Msat(0), routing_fee_ppm=0,
        least=Msat(1), most=Msat(HUGE), quote_life=Ms(60_000), hop_blocks=BlockDelta(40),
        receive_life=REGTEST.receive_life, bitcoin_reserve=Msat(0), cardano_reserve=Lovelace(0), slot_reserve=2,
        auto_add_most=Lovelace(0),
    )  # fmt: skip
    return replace(base, **changes)


def context(terms: SwapPolicy) -> QuoteContext:
    clocks = Clocks(NOW, BlockHeight(600))
    return QuoteContext(b"q" * 32, PEER, CHANNEL, REGTEST, terms, clocks, CONSTANTS, PLENTY, OWN, False)


def facts(amount: int, cltv: int = 18) -> InvoiceFacts:
    lock = Preimage(b"\x07" * 32).hashlock
    return InvoiceFacts(
        "x", "regtest", b"\x03" * 33, lock, Msat(amount), NOW + Ms(10**7), BlockDelta(cltv), None
    )


rates = st.builds(Rate, st.integers(1, 10**9), st.integers(1, 10**9))
terms = st.builds(
    policy,
    rates,
    base_fee=st.builds(Lovelace, st.integers(0, 10**6)),
    proportional_ppm=st.integers(0, 10**6),
    routing_fee_base=st.builds(Msat, st.integers(0, 10**6)),
    routing_fee_ppm=st.integers(0, 10**5),
)


@pytest.mark.threat("X12")
@settings(max_examples=300, deadline=None)
@given(terms, st.integers(1, 10**9))
def test_a_payment_costs_the_exact_sum_and_at_most_one_unit_a_rounding(t: SwapPolicy, amount: int) -> None:
    quote = quote_cl_to_btc(context(t), facts(amount))
    assert isinstance(quote, Quote), quote
    budget = amount * t.routing_fee_ppm * Fraction(1, 10**6) + t.routing_fee_base.value
    assert 0 <= quote.routing_budget.value - budget < 1
    worth = Fraction((amount + quote.routing_budget.value) * t.rate.lovelace, t.rate.msat)
    parts = (quote.cardano - quote.base_fee - quote.proportional_fee).value
    assert 0 <= parts - worth < 1
    assert 0 <= quote.proportional_fee.value - Fraction(parts * t.proportional_ppm, 10**6) < 1
    assert quote.cardano.value == parts + quote.base_fee.value + quote.proportional_fee.value
    # the gateway never gives more than it takes, even when the whole routing budget is spent
    spent = Fraction((quote.bitcoin + quote.routing_budget).value * t.rate.lovelace, t.rate.msat)
    assert quote.cardano.value >= spent


@pytest.mark.threat("X12")
@settings(max_examples=300, deadline=None)
@given(terms, st.integers(1, 10**9))
def test_a_receipt_gives_exactly_what_was_asked_for_less_than_a_satoshi_more(
    t: SwapPolicy, receive: int
) -> None:
    quote = quote_btc_to_cl(context(replace(t, most=Msat(10**30))), Hashlock(b"\x01" * 32), Lovelace(receive))
    if isinstance(quote, Rejection):
        assert quote.code == "swap.liquidity.bitcoin"  # beyond all bitcoin there is
        return
    assert quote.cardano == Lovelace(receive)
    owed = Fraction(
        (quote.cardano + quote.base_fee + quote.proportional_fee).value * t.rate.msat, t.rate.lovelace
    )
    assert quote.bitcoin.value % 1000 == 0
    assert 0 <= quote.bitcoin.value - owed < 1001


@pytest.mark.threat("X12")
@given(rates, st.integers(0, 10**12))
def test_there_and_back_never_gains(rate: Rate, amount: int) -> None:
    assert rate.msat_down(rate.lovelace_down(Msat(amount))) <= Msat(amount)
    assert rate.lovelace_down(rate.msat_down(Lovelace(amount))) <= Lovelace(amount)
    assert rate.msat_up(rate.lovelace_up(Msat(amount))) >= Msat(amount)


@pytest.mark.threat("X1")
@pytest.mark.parametrize("cltv", [2017, 10**6, 2**31, 2**60])
def test_a_time_lock_beyond_reason_is_refused_at_once(cltv: int) -> None:
    """Found here: the exact sum over the blocks of a hostile invoice kept the node busy for minutes."""
    begun = time.monotonic()
    quote = quote_cl_to_btc(context(policy()), facts(5_000_000, cltv))
    assert isinstance(quote, Rejection)
    assert (quote.code, quote.field) == ("swap.timelock.too_long", "min_final_cltv_expiry_delta")
    assert time.monotonic() - begun < 1


@pytest.mark.threat("X3")
def test_a_held_payment_with_an_expiry_beyond_reason_is_counted_in_bounded_time() -> None:
    begun = time.monotonic()
    at = Clocks(NOW, BlockHeight(600))
    eps = Fraction(1, 10**6)
    far = cheque_timeout(REGTEST, CONSTANTS, at, BlockHeight(2**60), eps, small=False)
    near = cheque_timeout(REGTEST, CONSTANTS, at, BlockHeight(10_000), eps, small=False)
    assert far > near
    assert time.monotonic() - begun < 10


def memo(quote: Quote) -> str:
    return f"swap {quote.id.hex()[:16]}"


# -- a crowd --------------------------------------------------------------------------------------


class Clock:
    def now(self) -> PosixMs:
        return NOW


class Lightning:
    """Balances that do not move: what 200 quotes may promise together."""

    def __init__(self, local: int, remote: int) -> None:
        self.have = b.Balances(Msat(local), Msat(remote), 0)
        self.away = False

    async def info(self) -> b.NodeInfo:
        await asyncio.sleep(0)
        if self.away:
            raise Refused(UNAVAILABLE())
        return b.NodeInfo(OWN, "lnd", "0.21.0", "regtest", BlockHeight(600), NOW, True)

    async def balances(self) -> b.Balances:
        await asyncio.sleep(0)
        return self.have

    async def time_constants(self) -> b.TimeConstants:
        if self.away:
            raise Refused(UNAVAILABLE())
        return CONSTANTS

    async def add_hold_invoice(self, invoice: b.HoldInvoice) -> str:
        await asyncio.sleep(0)
        return f"lnbcrt {invoice.hashlock.hex()}"

    async def watch_invoice(self, hashlock: Hashlock) -> AsyncIterator[b.InvoiceState]:
        await asyncio.Event().wait()
        yield b.InvoiceNotFound()


class Legs:
    def __init__(self, local: int, remote: int, slots: int) -> None:
        self.now = ChannelStanding(CHANNEL, PEER, True, Lovelace(local), Lovelace(remote), slots, slots)

    async def standing(self, channel: ChannelId) -> ChannelStanding:
        await asyncio.sleep(0)
        return self.now


@asynccontextmanager
async def engine(
    directory: Path, lnd: Lightning, legs: Legs, terms: SwapPolicy, blind: Callable[[], str] = lambda: ""
) -> AsyncIterator[SwapEngine]:
    known = Codecs()
    codecs.register(known)
    store = await Store.open(f"sqlite:///{directory / 'a.db'}", network="regtest", codecs=known)
    made_engine = SwapEngine(
        store, cast(Any, lnd), cast(Any, legs), cast(Any, Clock()), REGTEST, terms,
        on_change=lambda *_: None, on_alarm=lambda *_: None, blind=blind, options=EngineOptions(tick_s=3600),
    )  # fmt: skip
    await made_engine.runner.start()
    try:
        yield made_engine
    finally:
        await made_engine.stop()
        await store.close()


def lock(n: int) -> Hashlock:
    return Preimage(hashlib.sha256(b"crowd %d" % n).digest()).hashlock


def invoice(n: int, amount: int) -> str:
    created = PosixMs(NOW.value)
    return made(simple_draft(amount=Msat(amount), created=created, hashlock=lock(n)))


async def answers(waiting: list[Any]) -> tuple[list[Quote], set[str]]:
    got = await asyncio.gather(*waiting, return_exceptions=True)
    codes = set()
    for one in got:
        if isinstance(one, Rejection):
            codes.add(one.code)
        elif isinstance(one, Refused):
            codes.add(one.rejection.code)
        elif isinstance(one, BaseException):
            raise one
    return [one for one in got if isinstance(one, Quote)], codes


LIMITS = [
    (45_000_000, HUGE, 20, "swap.liquidity.bitcoin"),
    (HUGE, 110_000_000, 20, "swap.liquidity.cardano"),
    (HUGE, HUGE, 9, "swap.liquidity.slots"),
]


@pytest.mark.threat("X15")
@pytest.mark.kind("SM")
@pytest.mark.parametrize(("bitcoin", "cardano", "slots", "code"), LIMITS)
async def test_two_hundred_quotes_at_once_never_promise_more_than_there_is(
    tmp_path: Path, bitcoin: int, cardano: int, slots: int, code: str
) -> None:
    texts = [invoice(n, 10_000_000) for n in range(200)]
    async with engine(tmp_path, Lightning(bitcoin, HUGE), Legs(HUGE, cardano, slots), policy()) as swaps:
        quotes, codes = await answers([swaps.quote_out(PEER, CHANNEL, text) for text in texts])
    assert quotes
    assert codes == {code}
    assert sum((q.bitcoin + q.routing_budget).value for q in quotes) <= bitcoin
    assert sum(q.cardano.value for q in quotes) <= cardano
    assert len(quotes) <= slots - 2  # the reserve of places


@pytest.mark.threat("X15")
@pytest.mark.kind("SM")
@pytest.mark.parametrize(("bitcoin", "cardano", "slots", "code"), LIMITS)
async def test_two_hundred_receipts_at_once_never_promise_more_than_there_is(
    tmp_path: Path, bitcoin: int, cardano: int, slots: int, code: str
) -> None:
    asked = Lovelace(25_000_000)
    async with engine(tmp_path, Lightning(HUGE, bitcoin), Legs(cardano, HUGE, slots), policy()) as swaps:
        quotes, codes = await answers([swaps.quote_in(PEER, CHANNEL, lock(n), asked) for n in range(200)])
    assert quotes
    assert codes == {code}
    assert sum(q.bitcoin.value for q in quotes) <= bitcoin
    assert sum(q.cardano.value for q in quotes) <= cardano
    assert len(quotes) <= slots - 2


@pytest.mark.threat("X6")
@pytest.mark.kind("SM")
async def test_a_hundred_requests_for_one_invoice_are_one_swap(tmp_path: Path) -> None:
    text = invoice(1, 10_000_000)
    async with engine(tmp_path, Lightning(HUGE, HUGE), Legs(HUGE, HUGE, 20), policy()) as swaps:
        quotes, codes = await answers([swaps.quote_out(PEER, CHANNEL, text) for _ in range(100)])
        assert codes == set()
        assert len({q.id for q in quotes}) == 1
        assert [key for key in swaps.runner.live if key.kind == OUT] == [Key(OUT, lock(1), 1)]
        other = await swaps.quote_in(PEER, CHANNEL, lock(1), Lovelace(5_000_000))
        assert isinstance(other, Rejection)
        assert other.code == "swap.hash.in_use"


@pytest.mark.threat("X1")
@pytest.mark.kind("SM")
async def test_who_does_not_see_the_chain_takes_no_new_risk(tmp_path: Path) -> None:
    """The receiver could open its cheque on a chain that we do not see, and LND would give the payment back."""
    why = ""
    async with engine(
        tmp_path, Lightning(HUGE, HUGE), Legs(HUGE, HUGE, 20), policy(), blind=lambda: why
    ) as swaps:
        quote = await swaps.quote_in(PEER, CHANNEL, lock(1), Lovelace(5_000_000))
        assert isinstance(quote, Quote)
        assert await swaps.why_paused() == ""
        why = "no Cardano block for 300 s"
        assert await swaps.why_paused() == why
        for asked in (
            swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000)),
            swaps.quote_out(PEER, CHANNEL, invoice(3, 10_000_000)),
        ):
            refused = await asked
            assert isinstance(refused, Rejection)
            assert (refused.code, refused.detail) == ("swap.paused", why)
        held = b.InvoiceAccepted("lnbcrt1…", quote.bitcoin, BlockHeight(10_000), memo(quote))
        state = await swaps.runner.feed(Key(IN, lock(1), 1), i.InvoiceAnswer(held))
        assert isinstance(state, s.IncomingReleasing)  # no cheque was signed, the payer gets it back


@pytest.mark.threat("X8")
@pytest.mark.kind("CR")
async def test_a_preimage_does_not_wait_for_lnd(tmp_path: Path) -> None:
    """After a restart, with LND still away: what the receiver showed is stored all the same."""
    lnd, secret = Lightning(HUGE, HUGE), Preimage(hashlib.sha256(b"crowd 1").digest())
    async with engine(tmp_path, lnd, Legs(HUGE, HUGE, 20), policy()) as swaps:
        quote = await swaps.quote_in(PEER, CHANNEL, lock(1), Lovelace(5_000_000))
        assert isinstance(quote, Quote)
        held = b.InvoiceAccepted("lnbcrt1…", quote.bitcoin, BlockHeight(10_000), memo(quote))
        key = Key(IN, lock(1), 1)
        assert isinstance(await swaps.runner.feed(key, i.InvoiceAnswer(held)), s.OutgoingIntended)
        lnd.away, swaps._constants = True, None
        assert isinstance(await swaps.runner.feed(key, i.PreimageSeen(secret)), s.IncomingClaiming)


@pytest.mark.threat("X6")
@pytest.mark.kind("SM")
@pytest.mark.parametrize(("end", "again"), [("paid", False), ("failed", True)])
async def test_only_a_payment_that_failed_is_quoted_again(tmp_path: Path, end: str, again: bool) -> None:
    """Whoever pays an invoice that is paid already would get nothing for it but the preimage."""
    text, peer = invoice(1, 10_000_000), PEER
    async with engine(tmp_path, Lightning(HUGE, HUGE), Legs(HUGE, HUGE, 20), policy()) as swaps:
        quote = await swaps.quote_out(peer, CHANNEL, text)
        assert isinstance(quote, Quote)
        key = Key(OUT, quote.hashlock, 1)
        locked = e.IncomingWasLocked(s.ChequeIn(CHANNEL, 1, quote.cheque_timeout))
        ending: tuple[e.Event, ...] = (e.SwapRefused("swap.cancelled", "test"),)
        if end == "paid":
            ending = (
                locked, e.OutgoingWasIntended(s.PaymentOut(quote.routing_budget, BlockDelta(9), BlockHeight(609))),
                e.PreimageLearned(Preimage(b"\x01" * 32)), e.ClaimStarted(), e.IncomingClaimed("squash"),
            )  # fmt: skip
        async with swaps._store.transaction("test") as tx:
            state, version = await tx.load(key.kind, key.entity_id)
            for event in ending:
                state = evolve(state, event)
            await tx.append(key.kind, key.entity_id, version, ending, state, live=False)
            await tx.swaps.end(key.hashlock.hex(), 1)
        swaps.runner.live.clear()
        second = await swaps.quote_out(peer, CHANNEL, text)
        assert isinstance(second, Quote) is again
        assert again or getattr(second, "code", "") == "swap.hash.in_use"


@pytest.mark.threat("X6")
@pytest.mark.kind("SM")
async def test_a_hash_that_was_used_gets_no_second_invoice(tmp_path: Path) -> None:
    """Its preimage may be known, and a swap that cannot end would hold what it reserves for ever."""
    asked = Lovelace(5_000_000)
    async with engine(tmp_path, Lightning(HUGE, HUGE), Legs(HUGE, HUGE, 20), policy()) as swaps:
        first = await swaps.quote_in(PEER, CHANNEL, lock(1), asked)
        assert isinstance(first, Quote)
        assert await swaps.quote_in(PEER, CHANNEL, lock(1), asked) == first
        key = Key(IN, lock(1), 1)
        await swaps.runner.feed(key, i.InvoiceAnswer(b.InvoiceCancelled(memo(first))))
        assert key not in swaps.runner.live
        again = await swaps.quote_in(PEER, CHANNEL, lock(1), asked)
        assert isinstance(again, Rejection)
        assert again.code == "swap.hash.in_use"


@pytest.mark.threat("X9")
@settings(max_examples=200)
@given(st.binary(max_size=64))
def test_only_thirty_two_bytes_are_a_preimage_and_only_one_opens_a_lock(raw: bytes) -> None:
    wanted = lock(3)
    if len(raw) != 32:
        with pytest.raises(ValueError, match="32"):
            Preimage(raw)
    else:
        assert Preimage(raw).opens(wanted) == (raw == hashlib.sha256(b"crowd 3").digest())
