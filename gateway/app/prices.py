"""R4. Which price feed the settings ask for, and its history in the node's store."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import PricesSettings, Settings
from gateway.errors import Rejection
from gateway.prices.feed import FeedOptions, FixedPrice, PriceFeed
from gateway.prices.http import ExchangeSource, Limits, OracleSource
from gateway.prices.model import Gates, Market, Sample, Source
from gateway.prices.tickers import VENUES
from gateway.store.store import Store, system_ms
from gateway.swap import errors as swap_errors
from gateway.units import Lovelace, Ms, Msat, PosixMs, Rate

ADA = "ada"


def wall_clock() -> PosixMs:
    """Tickers carry the world's time, so their ages are counted on the machine's clock, also on a test network."""
    return PosixMs(system_ms())


class StoredHistory:
    """Implements prices.model.History."""

    def __init__(self, store: Store, asset: str = ADA) -> None:
        self._store, self._asset = store, asset

    async def recent(self, since: PosixMs) -> tuple[Sample, ...]:
        async with self._store.read() as tx:
            rows = await tx.prices.since(self._asset, since.value)
        return tuple(Sample(PosixMs(at_ms), units) for at_ms, units in rows)

    async def keep(self, sample: Sample, oldest: PosixMs) -> None:
        async with self._store.transaction("prices.sample") as tx:
            await tx.prices.put(self._asset, sample.at.value, sample.lovelace_per_bitcoin)
            await tx.prices.forget(self._asset, oldest.value, sample.at.value)


def price_feed(
    settings: Settings, store: Store, now: Callable[[], PosixMs] = wall_clock
) -> PriceFeed | FixedPrice:
    """The feed of `[prices]`; nothing is asked before its first `poll`."""
    wanted = settings.prices
    if wanted.source == "fixed":
        rate = Rate(settings.swap.rate_lovelace, settings.swap.rate_msat)
        return FixedPrice(rate, wanted.volatility_fixed_ppm, now)
    options = FeedOptions(
        volatility_least_ppm=wanted.volatility_least_ppm, volatility_default_ppm=wanted.volatility_default_ppm
    )
    gates = Gates(
        # one oracle is the operator's own word; only a jump can be told from it
        least_sources=1 if wanted.source == "oracle" else wanted.least_sources,
        most_age=Ms(wanted.most_age_ms),
        most_spread_ppm=wanted.most_spread_ppm,
        most_jump_ppm=wanted.most_jump_ppm,
    )
    return PriceFeed(wanted.source, _sources(wanted, now), gates, StoredHistory(store), now, options)


def payment_bound(
    settings: Settings, market: Callable[[], Market | Rejection]
) -> Callable[[Msat], Lovelace | Rejection]:
    """The most that a payment may cost where its order names no bound: this node's own price of the invoice and
    `swap.pay_most_fee_permille` of it. A hostile gateway names any price, so without one nothing is paid unasked
    (swap.pay.unbounded)."""
    swap = settings.swap

    def bound(amount: Msat) -> Lovelace | Rejection:
        if settings.prices.source == "fixed" and not swap.has_own_rate:
            return swap_errors.PAY_UNBOUNDED(field="most_lovelace")
        found = market()
        if isinstance(found, Rejection):
            return swap_errors.PAY_UNBOUNDED(
                field="most_lovelace", detail=f"{found.code}: {found.spec.meaning}"
            )
        worth = found.rate.lovelace_up(amount).value
        return Lovelace(worth + worth * swap.pay_most_fee_permille // 1_000)

    return bound


def _sources(wanted: PricesSettings, now: Callable[[], PosixMs]) -> list[Source]:
    limits = Limits(timeout_s=wanted.timeout_ms / 1000)
    if wanted.source == "oracle":
        return [OracleSource(wanted.oracle_url, limits=limits)]
    return [
        ExchangeSource(VENUES[name], now, base_url=wanted.url_of(name), limits=limits)
        for name in wanted.venues
    ]
