"""X11, X12, X15 on priced quotes: every part of the price, no quote without a market, lives that nest, and speed."""

from __future__ import annotations

import math
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

from gateway.app import peer_swaps
from gateway.app.prices import price_feed
from gateway.bolt import crypto
from gateway.btc import ports as b
from gateway.cl.wire import swap_messages as w
from gateway.config import SwapSettings, validate
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.prices import errors as price_errors
from gateway.prices.model import Market
from gateway.prices.tickers import VENUES
from gateway.profile import MAINNET, REGTEST
from gateway.store.codec import Codecs, dump_json, load_json
from gateway.store.store import Store
from gateway.swap import btc_to_cl, codecs
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT, EngineOptions, SwapEngine
from gateway.swap.ports import ChannelStanding
from gateway.swap.pricing import EVEN, Fees, payment_adds_up, receipt_adds_up, share_ppm
from gateway.swap.quote import (
    Liquidity,
    Quote,
    QuoteContext,
    SwapPolicy,
    quote_btc_to_cl,
    quote_cl_to_btc,
)
from gateway.swap.runner import Key
from gateway.swap.timelock import Clocks
from gateway.units import BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate
from regtest.exchanges.server import Exchanges
from tests.unit.swap.test_threat_x_quotes import (
    CHANNEL,
    CONSTANTS,
    HUGE,
    NOW,
    OWN,
    PEER,
    Clock,
    Legs,
    Lightning,
    facts,
    invoice,
    lock,
    policy,
)

HOUR = 3_600_000
LIVE = Rate(140_449_438_202, 100_000_000_000)


def context(terms: SwapPolicy, share: int = EVEN, network: Any = REGTEST) -> QuoteContext:
    plenty = Liquidity(Msat(HUGE), Msat(HUGE), Lovelace(HUGE), Lovelace(HUGE), 20, 20, share)
    clocks = Clocks(NOW, BlockHeight(600))
    return QuoteContext(b"q" * 32, PEER, CHANNEL, network, terms, clocks, CONSTANTS, plenty, OWN, False)


def paying(terms: SwapPolicy, amount: int = 10_000_000, share: int = EVEN) -> Quote:
    found = quote_cl_to_btc(context(terms, share), facts(amount))
    assert isinstance(found, Quote), found
    return found


def receiving(terms: SwapPolicy, receive: int = 10_000_000, share: int = EVEN) -> Quote:
    found = quote_btc_to_cl(context(terms, share), Hashlock(b"\x01" * 32), Lovelace(receive))
    assert isinstance(found, Quote), found
    return found


def parts(quote: Quote) -> list[int]:
    found = (quote.base_fee, quote.proportional_fee, quote.spread_fee, quote.inventory_fee, quote.option_fee)
    return [one.value for one in found]


terms = st.builds(
    policy,
    st.builds(Rate, st.integers(1, 10**12), st.integers(1, 10**12)),
    base_fee=st.builds(Lovelace, st.integers(0, 10**6)),
    proportional_ppm=st.integers(0, 10**5),
    routing_fee_ppm=st.integers(0, 10**5),
    spread_ppm=st.integers(0, 10**5),
    inventory_ppm=st.integers(0, 10**5),
    volatility_ppm=st.integers(0, 10**6),
    option_percent=st.integers(0, 200),
)
shares = st.integers(0, 10**6)


def sums(quote: Quote, direction: w.SwapDirection, invoice_text: str = "") -> w.SwapQuote:
    return w.SwapQuote(
        id=quote.id, direction=direction, hashlock=quote.hashlock, bitcoin=quote.bitcoin, cardano=quote.cardano,
        rate=quote.rate, base_fee=quote.base_fee, proportional_fee=quote.proportional_fee,
        routing_budget=quote.routing_budget, invoice=invoice_text or quote.invoice,
        cheque_timeout=quote.cheque_timeout, valid_until=quote.valid_until,
        eps_denominator=quote.eps.denominator, spread_fee=quote.spread_fee, inventory_fee=quote.inventory_fee,
        option_fee=quote.option_fee, lock_life=quote.lock_life, signature=b"",
    )  # fmt: skip


@pytest.mark.threat("X12")
@settings(max_examples=200, deadline=None)
@given(terms, st.integers(1, 10**9), shares)
def test_every_part_of_a_price_is_named_and_they_add_up(t: SwapPolicy, amount: int, share: int) -> None:
    out = paying(t, amount, share)
    assert min(parts(out)) >= 0
    worth = t.rate.lovelace_up(out.bitcoin + out.routing_budget)
    assert out.cardano.value == worth.value + sum(parts(out))
    assert peer_swaps._adds_up(sums(out, w.SwapDirection.CL_TO_BTC))
    for part, ppm in ((out.spread_fee, t.spread_ppm), (out.proportional_fee, t.proportional_ppm)):
        assert 0 <= part.value - Fraction(worth.value * ppm, 10**6) < 1
    back = quote_btc_to_cl(
        context(replace(t, most=Msat(10**30)), share), Hashlock(b"\x01" * 32), Lovelace(amount)
    )
    if isinstance(back, Quote):
        fees = Lovelace(sum(parts(back)))
        owed = Fraction((back.cardano + fees).value * t.rate.msat, t.rate.lovelace)
        assert 0 <= back.bitcoin.value - owed < 1001
    else:
        assert back.code == "swap.liquidity.bitcoin"


@pytest.mark.threat("X12")
def test_a_quote_whose_parts_do_not_add_up_is_seen() -> None:
    dear = policy(LIVE, spread_ppm=2_000, volatility_ppm=50_000, base_fee=Lovelace(1_000))
    q = paying(dear)
    assert payment_adds_up(q.rate, q.bitcoin, q.routing_budget, q.cardano, q_fees(q))
    assert not payment_adds_up(q.rate, q.bitcoin, q.routing_budget, q.cardano + Lovelace(1), q_fees(q))
    r = receiving(dear)
    assert receipt_adds_up(r.rate, r.bitcoin, r.cardano, q_fees(r))
    assert not receipt_adds_up(r.rate, r.bitcoin + Msat(1_000), r.cardano, q_fees(r))
    for name, changed in (("cardano", q.cardano + Lovelace(1)), ("option_fee", q.option_fee + Lovelace(1))):
        assert not peer_swaps._adds_up(sums(replace(q, **{name: changed}), w.SwapDirection.CL_TO_BTC))
    # a receipt's invoice must be for the quoted hash and amount
    good = invoice(1, r.bitcoin.value)
    r = replace(r, hashlock=lock(1))
    assert peer_swaps._adds_up(sums(r, w.SwapDirection.BTC_TO_CL, good))
    assert not peer_swaps._adds_up(sums(r, w.SwapDirection.BTC_TO_CL, invoice(2, r.bitcoin.value)))
    assert not peer_swaps._adds_up(sums(r, w.SwapDirection.BTC_TO_CL, invoice(1, r.bitcoin.value + 1_000)))
    assert not peer_swaps._adds_up(sums(r, w.SwapDirection.BTC_TO_CL, "lnbcrt1nonsense"))


def q_fees(quote: Quote) -> Fees:
    return Fees(
        quote.base_fee, quote.proportional_fee, quote.spread_fee, quote.inventory_fee, quote.option_fee
    )


# -- the option -----------------------------------------------------------------------------------


def test_the_option_costs_what_the_note_says_and_trusted_peers_pay_none() -> None:
    volatile = policy(LIVE, volatility_ppm=50_000)
    out = paying(volatile, 10**9)
    worth = LIVE.lovelace_up(out.bitcoin).value
    expected = 0.4 * 0.05 * math.sqrt(out.lock_life.value / (24 * HOUR))
    assert out.option_fee.value / worth == pytest.approx(expected, rel=0.001, abs=2e-6)
    assert paying(replace(volatile, option_free=frozenset((PEER,)))).option_fee == Lovelace(0)
    assert paying(replace(volatile, option_percent=0)).option_fee == Lovelace(0)
    assert paying(policy(LIVE)).option_fee == Lovelace(0)  # a fixed rate: no market, no option


def test_a_longer_lock_costs_more() -> None:
    volatile = policy(LIVE, volatility_ppm=50_000)
    costs = []
    for cltv in (18, 40, 80, 144):
        found = quote_cl_to_btc(
            context(volatile, network=MAINNET), replace(facts(10**9, cltv), network="mainnet")
        )
        assert isinstance(found, Quote), found
        costs.append(found.option_fee.value)
    assert costs == sorted(set(costs))


@pytest.mark.parametrize(("hours", "left"), [(1, 0.24), (24, 1.15), (48, 1.63)])
def test_what_an_option_paid_on_success_only_still_gives_away(hours: int, left: float) -> None:
    """E[max(0, move - price)] in percent: the note's own numbers, which docs/prices.md tells the operator."""
    sigma = 5 * math.sqrt(hours / 24)
    d = 0.4
    density = math.exp(-d * d / 2) / math.sqrt(2 * math.pi)
    above = math.erfc(d / math.sqrt(2)) / 2
    assert sigma * (density - d * above) == pytest.approx(left, abs=0.011)


# -- inventory ------------------------------------------------------------------------------------


def test_who_brings_what_we_lack_pays_no_inventory() -> None:
    skewed = policy(LIVE, inventory_ppm=10_000)
    no_ada, no_bitcoin = 0, 10**6
    assert paying(skewed, share=no_ada).inventory_fee == Lovelace(0)  # ada comes in
    assert receiving(skewed, share=no_bitcoin).inventory_fee == Lovelace(0)  # bitcoin comes in
    worth = LIVE.lovelace_up(Msat(10_000_000)).value
    assert paying(skewed, share=no_bitcoin).inventory_fee == Lovelace(-(-worth // 100))
    assert receiving(skewed, share=no_ada).inventory_fee == Lovelace(100_000)
    costs = [paying(skewed, share=one).inventory_fee.value for one in range(0, 10**6 + 1, 125_000)]
    assert costs == sorted(costs)


@given(st.integers(-5, 10**15), st.integers(-5, 10**15))
def test_a_share_is_a_part(cardano: int, bitcoin: int) -> None:
    assert 0 <= share_ppm(Lovelace(cardano), Msat(bitcoin), LIVE) <= 10**6


# -- lives that nest ------------------------------------------------------------------------------


def test_invoice_quote_and_cheque_lives_nest() -> None:
    q = paying(policy(LIVE))
    assert NOW < q.valid_until < q.cheque_timeout
    assert q.lock_life == q.cheque_timeout - NOW
    late = quote_cl_to_btc(
        context(policy(LIVE)), replace(facts(10_000_000), expires_at=q.valid_until - Ms(1))
    )
    assert isinstance(late, Rejection)
    assert late.code == "swap.invoice.expired"
    r = receiving(policy(LIVE))
    at = btc_to_cl.Context(REGTEST, Clocks(NOW + Ms(1_500), BlockHeight(600)), CONSTANTS, 1)
    hold = btc_to_cl.invoice_for(s.Quoted(r), at)
    assert at.clocks.now + Ms(hold.expiry_s * 1000) <= r.valid_until


@pytest.mark.parametrize("expiry", [1_000, 10_000, 2**40])
def test_a_receivers_cheque_lives_no_longer_than_it_was_priced_for(expiry: int) -> None:
    """The payer may choose any expiry: a day of it would be a day's free option."""
    r = receiving(policy(LIVE, volatility_ppm=50_000))
    assert r.lock_life == REGTEST.receive_life
    at = btc_to_cl.Context(REGTEST, Clocks(NOW, BlockHeight(600)), CONSTANTS, 1)
    held = i.InvoiceAnswer(b.InvoiceAccepted("x", r.bitcoin, BlockHeight(expiry), btc_to_cl._memo(r)))
    outcome: Any = btc_to_cl.decide(s.Quoted(r), held, at)
    assert outcome.effects[0].timeout == NOW + r.lock_life


# -- the engine -----------------------------------------------------------------------------------


class AllLegs(Legs):
    async def standings(self) -> list[ChannelStanding]:
        return [self.now, replace(self.now, usable=False, local=Lovelace(HUGE))]


@asynccontextmanager
async def engine(
    directory: Path, market: Callable[[], Market | Rejection], terms_: SwapPolicy, legs: Legs | None = None
) -> AsyncIterator[SwapEngine]:
    known = Codecs()
    codecs.register(known)
    store = await Store.open(f"sqlite:///{directory / 'a.db'}", network="regtest", codecs=known)
    lnd = Lightning(10**12, 10**12)
    found = SwapEngine(
        store, cast(Any, lnd), cast(Any, legs or AllLegs(10**9, 10**9, 20)), cast(Any, Clock()), REGTEST, terms_,
        on_change=lambda *_: None, on_alarm=lambda *_: None, market=market, options=EngineOptions(tick_s=3600),
    )  # fmt: skip
    await found.runner.start()
    try:
        yield found
    finally:
        await found.stop()
        await store.close()


@pytest.mark.threat("X11")
async def test_without_a_price_nothing_new_is_quoted_and_open_swaps_go_on(tmp_path: Path) -> None:
    now: list[Market | Rejection] = [Market(LIVE, 50_000, NOW, ("a", "b", "c"))]
    async with engine(tmp_path, lambda: now[0], policy()) as swaps:
        out = await swaps.quote_out(PEER, CHANNEL, invoice(1, 10_000_000))
        receipt = await swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000))
        assert isinstance(out, Quote)
        assert isinstance(receipt, Quote)
        assert (out.rate, receipt.rate) == (LIVE, LIVE)
        now[0] = price_errors.TOO_FEW(
            field="sources", got=1, allowed=">= 3", detail="okx: price.source.stale"
        )
        assert (await swaps.why_paused()).startswith("price.too_few")
        for asked in (
            swaps.quote_out(PEER, CHANNEL, invoice(3, 10_000_000)),
            swaps.quote_in(PEER, CHANNEL, lock(4), Lovelace(5_000_000)),
            swaps.estimate(PEER, CHANNEL, Msat(10_000_000)),
            swaps.estimate(PEER, CHANNEL, Lovelace(5_000_000)),
        ):
            refused = await asked
            assert isinstance(refused, Rejection)
            assert (refused.code, refused.field) == ("price.too_few", "sources")
        # what was promised holds: the same answer to the same question, the cheque is taken, the payment goes out
        assert await swaps.quote_out(PEER, CHANNEL, invoice(1, 10_000_000)) == out
        assert await swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000)) == receipt
        cheque = i.ChequeLocked(PEER, CHANNEL, 3, out.cardano, out.cheque_timeout + Ms(5_000))
        assert isinstance(await swaps.runner.feed(Key(OUT, lock(1), 1), cheque), s.OutgoingIntended)
        held = b.InvoiceAccepted("lnbcrt1…", receipt.bitcoin, BlockHeight(10_000), btc_to_cl._memo(receipt))
        state = await swaps.runner.feed(Key(IN, lock(2), 1), i.InvoiceAnswer(held))
        assert isinstance(state, s.OutgoingIntended)


@pytest.mark.threat("X11")
async def test_a_quote_holds_while_the_price_moves_and_the_next_one_follows_it(tmp_path: Path) -> None:
    now = [Market(LIVE, 50_000, NOW, ("a", "b", "c"))]
    async with engine(tmp_path, lambda: now[0], policy()) as swaps:
        first = await swaps.quote_out(PEER, CHANNEL, invoice(1, 10_000_000))
        now[0] = replace(now[0], rate=Rate(LIVE.lovelace * 2, LIVE.msat), volatility_ppm=90_000)
        assert await swaps.quote_out(PEER, CHANNEL, invoice(1, 10_000_000)) == first
        second = await swaps.quote_out(PEER, CHANNEL, invoice(2, 10_000_000))
        assert isinstance(first, Quote)
        assert isinstance(second, Quote)
        assert second.rate.lovelace == 2 * first.rate.lovelace
        assert second.option_fee.value > 3 * first.option_fee.value


async def test_an_estimate_says_the_same_and_reserves_nothing(tmp_path: Path) -> None:
    def market() -> Market:
        return Market(LIVE, 50_000, NOW, ("a",))

    async with engine(tmp_path, market, policy(spread_ppm=1_000, inventory_ppm=10_000)) as swaps:
        indicative = await swaps.estimate(PEER, CHANNEL, Lovelace(5_000_000))
        firm = await swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000))
        assert isinstance(indicative, Quote)
        assert isinstance(firm, Quote)
        assert (indicative.bitcoin, parts(indicative)) == (firm.bitcoin, parts(firm))
        assert firm.inventory_fee.value > 0
        await swaps.estimate(PEER, CHANNEL, Msat(10_000_000))
        assert list(swaps.runner.live) == [Key(IN, lock(2), 1)]


@pytest.mark.threat("X11")
async def test_a_quote_with_live_prices_takes_less_than_300_ms(tmp_path: Path) -> None:
    """Six exchanges, asked beforehand; the price is taken from memory. Processor time: the machine may be busy."""
    async with Exchanges(lambda: time.time_ns() // 1_000_000) as exchanges:
        urls = {f"{name}_url": exchanges.url for name in VENUES}
        given_ = validate(
            {"network": "regtest", "prices": {"source": "exchanges", "timeout_ms": 20_000, **urls}}
        )
        known = Codecs()
        store = await Store.open(f"sqlite:///{tmp_path / 'p.db'}", network="regtest", codecs=known)
        feed = price_feed(given_, store)
        await feed.start()
        await feed.poll()
        async with engine(tmp_path, feed.market, policy(), AllLegs(HUGE, HUGE, 500)) as swaps:
            spent = []
            for n in range(100):
                text = invoice(n, 10_000_000)
                begun = time.process_time()
                assert isinstance(await swaps.quote_out(PEER, CHANNEL, text), Quote)
                spent.append(time.process_time() - begun)
        await feed.close()
        await store.close()
    assert sorted(spent)[98] < 0.3


def test_the_settings_become_the_terms() -> None:
    found = SwapSettings(
        spread_ppm=7, inventory_ppm=8, option_percent=9, option_free_peers=f"{PEER.hex()},{OWN.hex()}"
    ).policy(REGTEST)
    assert (found.spread_ppm, found.inventory_ppm, found.option_percent) == (7, 8, 9)
    assert found.option_free == {PEER, OWN}
    at = found.at(Market(LIVE, 11, PosixMs(0), ("a",)))
    assert (at.rate, at.volatility_ppm) == (LIVE, 11)


def test_quotes_of_before_are_still_read() -> None:
    """Version 1 knew neither spread, inventory and option, nor a cap of the cheque's life."""
    known = Codecs()
    codecs.register(known)
    quote = replace(paying(policy(LIVE)), lock_life=Ms(14 * 24 * HOUR))
    new = ("spread_fee_lovelace", "inventory_fee_lovelace", "option_fee_lovelace", "lock_life_ms")
    incoming = s.ChequeIn(CHANNEL, 3, NOW)
    for value in (
        quote,
        s.Quoted(quote),
        s.IncomingLocked(quote, incoming),
        s.Refused(quote, "swap.paused", ""),
    ):
        document = load_json(known.encode(value))
        inner = document["d"].get("quote", document["d"])
        for name in new:
            inner.pop(name)
        assert known.decode(dump_json({**document, "v": 1})) == value


async def test_the_gateway_signs_and_the_partner_recovers_the_signer() -> None:
    key = b"\x07" * 32

    class Signer:
        async def sign_invoice(self, digest: bytes) -> bytes:
            return crypto.sign_recoverable(key, digest)

    swaps = peer_swaps.PeerSwaps(cast(Any, Signer()))
    signed = await swaps._sign(CHANNEL, paying(policy(LIVE, volatility_ppm=50_000)))
    assert crypto.recover(signed.signature, w.quote_digest(CHANNEL, signed)) == crypto.public_key(key)
    forged = replace(signed, option_fee=Lovelace(0))
    assert crypto.recover(signed.signature, w.quote_digest(CHANNEL, forged)) != crypto.public_key(key)
