"""X11: the feed over simulated exchanges: cached prices, dying venues, restarts, its history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gateway.app.price_views import price_view
from gateway.app.prices import StoredHistory, price_feed
from gateway.config import Settings, validate
from gateway.errors import Refused, Rejection
from gateway.prices.feed import FixedPrice, PriceFeed
from gateway.prices.model import Market, Sample, price_of
from gateway.prices.tickers import VENUES
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.units import PosixMs, Rate
from regtest.exchanges.server import Exchanges

pytestmark = pytest.mark.threat("X11")
START = 1_796_000_000_000


class World:
    """Six exchanges, a store and a clock that a test moves."""

    def __init__(self, exchanges: Exchanges, path: Path) -> None:
        self.exchanges, self.path, self.time = exchanges, path, START

    def now(self) -> PosixMs:
        return PosixMs(self.time)

    def settings(self, **prices: Any) -> Settings:
        urls = {f"{name}_url": self.exchanges.url for name in VENUES}
        oracle = f"{self.exchanges.url}/oracle"
        base = {"source": "exchanges", "oracle_url": oracle, "timeout_ms": 10_000, **urls}
        return validate({"network": "regtest", "prices": {**base, **prices}})

    @asynccontextmanager
    async def feed(self, **prices: Any) -> AsyncIterator[PriceFeed]:
        store = await Store.open(f"sqlite:///{self.path / 'p.db'}", network="regtest", codecs=Codecs())
        feed = price_feed(self.settings(**prices), store, self.now)
        assert isinstance(feed, PriceFeed)
        await feed.start()
        try:
            yield feed
        finally:
            await feed.close()
            await store.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Exchanges(lambda: 0) as exchanges:
        made = World(exchanges, tmp_path)
        exchanges.now_ms = lambda: made.time
        yield made


def code(feed: PriceFeed) -> str:
    market = feed.market()
    return market.code if isinstance(market, Rejection) else "priced"


async def test_a_price_is_cached_and_ages(world: World) -> None:
    async with world.feed() as feed:
        assert code(feed) == "price.too_few"  # nobody was asked yet
        assert {s.code for s in price_view(feed.standing()).sources} == {"price.source.silent"}
        await feed.poll()
        asked = world.exchanges.asked
        market = feed.market()
        assert isinstance(market, Market)
        assert set(market.sources) == set(VENUES)
        assert abs(price_of(market.rate) / Fraction("0.00000712") - 1) < Fraction(1, 10**4)
        world.time += 29_000
        assert isinstance(feed.market(), Market)
        assert world.exchanges.asked == asked  # from memory
        world.time += 1_001
        assert code(feed) == "price.too_few"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dead", "price.source.unreachable"),
        ("hangs", "price.source.timeout"),
        ("garbage", "price.source.malformed"),
        ("number:NaN", "price.source.number"),
        ("redirect", "price.source.redirect"),
        ("huge", "price.source.too_large"),
    ],
)
async def test_quoting_goes_on_while_three_sources_live_and_stops_with_a_code(
    world: World, fault: str, said: str
) -> None:
    patience = 500 if fault == "hangs" else 10_000
    async with world.feed(timeout_ms=patience) as feed:
        await feed.poll()
        for dying, name in enumerate(sorted(VENUES), 1):
            world.exchanges.faults[name] = fault
            world.time += 31_000
            await feed.poll()
            assert code(feed) == ("priced" if dying <= 3 else "price.too_few")
            view = price_view(feed.standing())
            assert {s.name: s.code for s in view.sources if not s.ok}.get(name) == said
            assert view.ok is (dying <= 3)
        world.exchanges.faults.clear()
        await feed.poll()
        assert code(feed) == "priced"


@pytest.mark.parametrize("factor", ["10", "0.1", "1.03"])
async def test_one_exchange_ten_times_off_moves_nothing(world: World, factor: str) -> None:
    async with world.feed() as feed:
        await feed.poll()
        before = feed.market()
        assert isinstance(before, Market)
        world.exchanges.factors["kraken"] = Decimal(factor)
        world.time += 10_000
        await feed.poll()
        after = feed.market()
        assert isinstance(after, Market)
        assert "kraken" not in after.sources
        assert abs(after.rate.lovelace - before.rate.lovelace) < before.rate.lovelace // 10_000
        assert [s.code for s in price_view(feed.standing()).sources if not s.ok] == ["price.source.outlier"]


async def test_one_lost_answer_stops_nothing(world: World) -> None:
    async with world.feed(exchanges="kraken,okx,binance") as feed:
        await feed.poll()
        world.exchanges.faults["okx"] = "dead"
        world.time += 10_000
        await feed.poll()
        assert code(feed) == "priced"
        world.time += 20_001
        await feed.poll()
        assert code(feed) == "price.too_few"


async def test_a_stuck_and_a_future_source_are_left_out(world: World) -> None:
    world.exchanges.faults["kraken"] = "repeats"  # it has no time of its own: only the repetition tells
    world.exchanges.late_ms["okx"] = -60_000
    world.exchanges.late_ms["binance"] = 31_000
    async with world.feed() as feed:
        for _ in range(21):
            await feed.poll()
            world.time += 30_000
            world.exchanges.price += Decimal("0.0000000001")
        world.time -= 30_000

        def bad() -> dict[str, str]:
            return {s.name: s.code for s in price_view(feed.standing()).sources if not s.ok}

        others = {"okx": "price.source.future", "binance": "price.source.stale"}
        assert bad() == others
        world.time += 1
        assert bad() == {**others, "kraken": "price.source.stale"}
        assert code(feed) == "priced"


async def test_an_oracle_alone_may_not_jump_also_not_over_a_restart(world: World) -> None:
    async with world.feed(source="oracle") as feed:
        await feed.poll()
        assert code(feed) == "priced"
    world.exchanges.factors["oracle"] = Decimal(10)
    world.time += 60_000
    async with world.feed(source="oracle") as feed:
        await feed.poll()
        assert code(feed) == "price.jump"
        for _ in range(60):
            world.time += 60_000
            await feed.poll()
        assert code(feed) == "priced"  # it stayed for an hour, and the operator saw it


async def test_the_history_survives_and_is_bounded(world: World) -> None:
    async with world.feed(exchanges="binance,okx,kraken") as feed:
        for _ in range(4):
            await feed.poll()
            world.time += 150_000
        assert price_view(feed.standing()).history_samples == 2  # one in five minutes
    async with world.feed(exchanges="binance,okx,kraken") as feed:
        view = price_view(feed.standing())
        assert (view.history_samples, view.history_ms) == (2, 300_000)
        assert (view.volatility_daily_ppm, view.volatility_measured) == (50_000, False)
        world.time += 9 * 86_400_000
        await feed.poll()
        assert price_view(feed.standing()).history_samples == 1
        assert len(await feed._history.recent(PosixMs(0))) == 1


async def test_samples_of_a_clock_that_was_ahead_are_forgotten(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path / 'h.db'}", network="regtest", codecs=Codecs())
    history = StoredHistory(store)
    for at in (START, START + 10**9, START + 300_000):
        await history.keep(Sample(PosixMs(at), 140_449_438_202), PosixMs(START - 1))
    assert [s.at.value - START for s in await history.recent(PosixMs(0))] == [0, 300_000]
    await store.close()


async def test_a_bug_in_one_client_takes_no_other_price_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.feed() as feed:

        async def broken() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(feed._sources[0], "read", broken)
        await feed.poll()
        assert code(feed) == "priced"


def test_the_operators_own_rate() -> None:
    fixed = FixedPrice(Rate(13, 100), 30_000, lambda: PosixMs(START))
    market = fixed.market()
    assert (market.rate, market.volatility_ppm) == (Rate(13, 100), 30_000)
    view = price_view(fixed.standing())
    assert (view.ok, view.source, view.rate_lovelace, view.rate_msat) == (True, "fixed", 13, 100)


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"exchanges": "kraken,mtgox"}, "exchanges"),
        ({"exchanges": "kraken,kraken,okx"}, "exchanges"),
        ({"source": "exchanges", "exchanges": "kraken,okx"}, "least_sources"),
        ({"source": "oracle"}, "oracle_url"),
        ({"okx_url": "ftp://x"}, "https"),
        ({"least_sources": 2}, "greater than or equal to 3"),
    ],
)
def test_settings_that_make_no_feed_are_refused(prices: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused) as caught:
        validate({"network": "regtest", "prices": prices})
    assert caught.value.rejection.code == "config.invalid"
    assert says in caught.value.rejection.detail


def test_a_fixed_rate_is_refused_on_mainnet() -> None:
    raw = {"network": "mainnet", "allow_mainnet": True, "swap": {"enabled": True}}
    with pytest.raises(Refused) as caught:
        validate(raw)
    assert caught.value.rejection.field == "prices.source"
    assert validate({**raw, "prices": {"source": "exchanges"}}).prices.source == "exchanges"
