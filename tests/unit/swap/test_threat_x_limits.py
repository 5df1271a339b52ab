"""X15: limits for a peer, a day and in all, lists, pause, a bucket of quotes: each with its code, under a crowd."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc import ports as b
from gateway.config import SwapSettings, validate
from gateway.errors import Refused, Rejection
from gateway.hashlock import Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.swap import btc_to_cl, codecs, errors
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT, EngineOptions, SwapEngine
from gateway.swap.gate import DAY_MS, Gate
from gateway.swap.limits import Buckets, Limits, Usage, over, unwelcome, usage
from gateway.swap.quote import Quote
from gateway.swap.runner import Key
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat
from tests.unit.swap.test_threat_x_quotes import (
    CHANNEL,
    HUGE,
    OWN,
    PEER,
    Clock,
    Legs,
    Lightning,
    answers,
    invoice,
    lock,
    policy,
)

TEN = 10_000_000  # msat of one invoice


@asynccontextmanager
async def engine(directory: Path, limits: Limits) -> AsyncIterator[SwapEngine]:
    known = Codecs()
    codecs.register(known)
    store = await Store.open(f"sqlite:///{directory / 'a.db'}", network="regtest", codecs=known)
    found = SwapEngine(
        store, cast(Any, Lightning(HUGE, HUGE)), cast(Any, Legs(HUGE, HUGE, 500)), cast(Any, Clock()), REGTEST,
        policy(limits=limits), on_change=lambda *_: None, on_alarm=lambda *_: None,
        options=EngineOptions(tick_s=3600),
    )  # fmt: skip
    await found.runner.start()
    await found.gate.start(found.runner.kinds)
    try:
        yield found
    finally:
        await found.stop()
        await store.close()


CROWDS = [
    (Limits(peer_open=Msat(5 * TEN + 1)), "swap.limit.peer_open"),
    (Limits(all_open=Msat(5 * TEN)), "swap.limit.open"),
    (Limits(peer_day=Msat(6 * TEN - 1)), "swap.limit.peer_day"),
    (Limits(all_day=Msat(5 * TEN)), "swap.limit.day"),
    (Limits(quotes_per_minute=5), "swap.quotes.too_many"),
]


@pytest.mark.threat("X15")
@pytest.mark.kind("SM")
@pytest.mark.parametrize(("limits", "code"), CROWDS)
async def test_two_hundred_quotes_at_once_pass_no_limit(tmp_path: Path, limits: Limits, code: str) -> None:
    async with engine(tmp_path, limits) as swaps:
        texts = [invoice(n, TEN) for n in range(200)]
        quotes, codes = await answers([swaps.quote_out(PEER, CHANNEL, text) for text in texts])
        assert len(quotes) == 5
        assert codes == {code}
        # what was quoted is answered again, at no cost
        assert await swaps.quote_out(PEER, CHANNEL, quotes[0].invoice) == quotes[0]


@pytest.mark.parametrize(
    "limits",
    [Limits(deny=frozenset((PEER,))), Limits(allow=frozenset((OWN,)))],
    ids=["denied", "not allowed"],
)
async def test_a_peer_that_is_not_welcome_gets_no_quote(tmp_path: Path, limits: Limits) -> None:
    async with engine(tmp_path, limits) as swaps:
        for asked in (
            swaps.quote_out(PEER, CHANNEL, invoice(1, TEN)),
            swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000)),
        ):
            refused = await asked
            assert isinstance(refused, Rejection)
            assert (refused.spec, refused.got) == (errors.PEER_REFUSED, PEER.hex())
    assert unwelcome(limits, b"\x03" * 33) is None or limits.allow


async def test_what_is_done_counts_for_a_day_also_after_a_restart(tmp_path: Path) -> None:
    limits = Limits(peer_day=Msat(2 * TEN))
    async with engine(tmp_path, limits) as swaps:
        secret = Preimage(b"\x01" * 32)
        quote = await swaps.quote_out(PEER, CHANNEL, invoice(1, TEN))
        assert isinstance(quote, Quote)
        key = Key(OUT, quote.hashlock, 1)
        assert await _finish(swaps, key, quote, secret)
        assert swaps.gate.usage(PEER, swaps.runner.live.values()).peer_done == Msat(TEN)
    async with engine(tmp_path, limits) as swaps:
        assert isinstance(await swaps.quote_out(PEER, CHANNEL, invoice(2, TEN)), Quote)
        third = await swaps.quote_out(PEER, CHANNEL, invoice(3, TEN))
        assert isinstance(third, Rejection)
        assert (third.code, third.allowed) == ("swap.limit.peer_day", "<= 0")
        now = swaps.gate._now_ms()
        swaps.gate._now_ms = lambda: now + DAY_MS + 60_000
        assert isinstance(await swaps.quote_out(PEER, CHANNEL, invoice(3, TEN)), Quote)


async def _finish(swaps: SwapEngine, key: Key, quote: Quote, secret: Preimage) -> bool:
    """The swap as its machine would have ended it; the events pass through the engine's own ear."""
    outgoing = s.PaymentOut(quote.routing_budget, BlockDelta(9), BlockHeight(609))
    events: tuple[e.Event, ...] = (
        e.IncomingWasLocked(s.ChequeIn(CHANNEL, 1, quote.cheque_timeout)), e.OutgoingWasIntended(outgoing),
        e.PreimageLearned(secret), e.ClaimStarted(), e.IncomingClaimed("squash"),
    )  # fmt: skip
    machine = swaps.runner._machines[OUT]
    async with swaps._store.transaction("test") as tx:
        state, version = await tx.load(key.kind, key.entity_id)
        for event in events:
            state = machine.evolve(state, event)
        await tx.append(key.kind, key.entity_id, version, events, state, live=False)
        await tx.swaps.end(key.hashlock.hex(), 1)
    swaps.runner._committed(key, state, events)
    return isinstance(state, s.Done)


@pytest.mark.threat("X15")
async def test_a_pause_stops_what_is_new_lasts_over_a_restart_and_lets_open_swaps_finish(
    tmp_path: Path,
) -> None:
    async with engine(tmp_path, Limits()) as swaps:
        quote = await swaps.quote_out(PEER, CHANNEL, invoice(1, TEN))
        assert isinstance(quote, Quote)
        cheque = i.ChequeLocked(PEER, CHANNEL, 3, quote.cardano, quote.cheque_timeout + Ms(5_000))
        assert isinstance(await swaps.runner.feed(Key(OUT, lock(1), 1), cheque), s.OutgoingIntended)
        receipt = await swaps.quote_in(PEER, CHANNEL, lock(2), Lovelace(5_000_000))
        assert isinstance(receipt, Quote)
        await swaps.gate.pause("moving house")
    async with engine(tmp_path, Limits()) as swaps:
        assert await swaps.why_paused() == "moving house"
        refused = await swaps.quote_out(PEER, CHANNEL, invoice(3, TEN))
        assert isinstance(refused, Rejection)
        assert (refused.code, refused.detail) == ("swap.paused", "moving house")
        # a quote that nobody has acted on locks nothing any more; the payment under way ends as it would have
        held = b.InvoiceAccepted("lnbcrt1…", receipt.bitcoin, BlockHeight(10_000), btc_to_cl._memo(receipt))
        state = await swaps.runner.feed(Key(IN, lock(2), 1), i.InvoiceAnswer(held))
        assert isinstance(state, s.IncomingReleasing)
        settled = i.PaymentAnswer(b.PaymentSettled(_secret(1), Msat(0)))
        assert isinstance(await swaps.runner.feed(Key(OUT, lock(1), 1), settled), s.IncomingClaiming)
        await swaps.gate.resume()
        assert await swaps.why_paused() == ""
    async with engine(tmp_path, Limits()) as swaps:
        assert isinstance(await swaps.quote_out(PEER, CHANNEL, invoice(3, TEN)), Quote)


def _secret(n: int) -> Preimage:
    return Preimage(hashlib.sha256(b"crowd %d" % n).digest())


# -- pure -----------------------------------------------------------------------------------------

amounts = st.integers(0, 10**6).map(Msat)


@settings(max_examples=300)
@given(st.builds(Limits, amounts, amounts, amounts, amounts), st.builds(Usage, *[amounts] * 4), amounts)
def test_a_limit_holds_exactly(limits: Limits, used: Usage, amount: Msat) -> None:
    fits = all(
        not limit or taken + amount <= limit
        for limit, taken in (
            (limits.peer_open, used.peer_open), (limits.all_open, used.all_open),
            (limits.peer_day, used.peer_open + used.peer_done), (limits.all_day, used.all_open + used.all_done),
        )
    )  # fmt: skip
    assert (over(limits, used, amount) is None) is fits


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), amounts)))
def test_usage_is_the_sum(rows: list[tuple[bytes, Msat]]) -> None:
    found = usage(b"a", rows, rows)
    assert found.all_open == found.all_done == Msat(sum(value.value for _, value in rows))
    assert found.peer_open.value == sum(value.value for who, value in rows if who == b"a")


@given(st.integers(1, 600), st.lists(st.integers(0, 5_000), max_size=200))
def test_no_minute_passes_more_than_two_buckets(rate: int, gaps: list[int]) -> None:
    """A full bucket and what flows in while it is emptied."""
    buckets, now, passed = Buckets(rate), 0, []
    for gap in gaps:
        now += gap
        refusal = buckets.take(b"a", now)
        if refusal is None:
            passed.append(now)
        else:
            assert refusal.retry_after_ms is not None
            again = Buckets(rate)
            again._left = buckets._left.copy()
            assert again.take(b"a", now + refusal.retry_after_ms) is None
            assert again.take(b"b", now) is None  # nobody pays for another's haste
    for start in passed:
        assert sum(start <= at < start + 60_000 for at in passed) <= 2 * rate


def test_the_buckets_of_ten_thousand_peers_are_bounded() -> None:
    buckets = Buckets(60)
    for n in range(10_000):
        assert buckets.take(n.to_bytes(33, "big"), 0) is None
    assert len(buckets._left) <= 4_096


def test_the_settings_become_the_limits() -> None:
    found = SwapSettings(
        peer_open_most_msat=1, open_most_msat=2, peer_day_most_msat=3, day_most_msat=4, quotes_per_minute=5,
        allow_peers=PEER.hex(), deny_peers=OWN.hex(),
    ).policy(REGTEST)  # fmt: skip
    assert found.limits == Limits(
        Msat(1), Msat(2), Msat(3), Msat(4), frozenset((PEER,)), frozenset((OWN,)), 5
    )


@pytest.mark.parametrize("text", ["02aa", PEER.hex() + ",", "05" + "a" * 64, PEER.hex() + " " + OWN.hex()])
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        validate({"network": "regtest", "swap": {"deny_peers": text}})
    assert caught.value.rejection.field == "swap.deny_peers"


def test_a_gate_reads_its_limits_when_it_is_asked() -> None:
    limits = [Limits()]
    gate = Gate(cast(Any, None), lambda: limits[0], monotonic_ms=lambda: 0)
    assert gate.refusal(PEER) is None
    limits[0] = replace(limits[0], deny=frozenset((PEER,)))
    assert gate.refusal(PEER) is not None
