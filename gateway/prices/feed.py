"""R4. The price feed: asks every source from time to time, keeps their last answers, and gives a price from memory.

`market` never waits: a quote takes it from what is cached, through the gates at that moment. A source that fails
keeps its last reading until that is too old, so that one lost answer stops nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from gateway.errors import Refused, Rejection
from gateway.prices import combine, errors
from gateway.prices.model import (
    Gates,
    History,
    Market,
    Price,
    Reading,
    Sample,
    Source,
    Verdict,
    Volatility,
    price_of,
    rate_of,
)
from gateway.prices.volatility import measure
from gateway.units import Ms, PosixMs, Rate

log = structlog.get_logger("gateway.prices")


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How the history is kept, and the volatility to price with while it says too little."""

    sample_every: Ms = Ms(300_000)
    kept: Ms = Ms(8 * 86_400_000)  # a little more than the longest window
    volatility_least_ppm: int = 20_000
    volatility_default_ppm: int = 50_000


@dataclass(frozen=True, slots=True)
class Standing:
    """All there is to see of the feed at one moment."""

    mode: str
    now: PosixMs
    market: Market | Rejection
    spread_ppm: int
    verdicts: tuple[Verdict, ...]
    volatility: Volatility


class FixedPrice:
    """The operator's own fixed rate: always there, always now, and as volatile as the operator says."""

    def __init__(self, rate: Rate, volatility_ppm: int, now: Callable[[], PosixMs]) -> None:
        self._rate, self._volatility_ppm, self._now = rate, volatility_ppm, now

    def market(self) -> Market:
        return Market(self._rate, self._volatility_ppm, self._now(), ("fixed",))

    async def start(self) -> None:
        return None

    async def poll(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def standing(self) -> Standing:
        market = self.market()
        reading = Reading("fixed", price_of(self._rate), market.at)
        return Standing(
            "fixed", market.at, market, 0, (Verdict("fixed", reading, None),),
            Volatility(self._volatility_ppm, False, 0, Ms(0)),
        )  # fmt: skip


class PriceFeed:
    """`start` loads the history; `poll` asks every source once. Both survive whatever the sources do."""

    def __init__(
        self,
        mode: str,
        sources: Sequence[Source],
        gates: Gates,
        history: History,
        now: Callable[[], PosixMs],
        options: FeedOptions | None = None,
    ) -> None:
        self._mode, self._sources, self._gates = mode, tuple(sources), gates
        self._history, self._now, self._options = history, now, options or FeedOptions()
        self._known: dict[str, Reading | Rejection] = {
            source.name: errors.SILENT(field=source.name) for source in self._sources
        }
        self._failed: dict[str, Rejection] = {}
        self._unchanged: dict[str, PosixMs] = {}
        self._samples: tuple[Sample, ...] = ()
        self._last: Price | None = None
        self._volatility = self._measured(self._now())
        self._polling = asyncio.Lock()

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        now = self._now()
        self._samples = await self._history.recent(PosixMs(max(0, (now - self._options.kept).value)))
        self._volatility = self._measured(now)
        if self._samples:  # a restart does not forget what a jump is measured from
            newest = self._samples[-1]
            price = price_of(Rate(newest.lovelace_per_bitcoin, 100_000_000_000))
            self._last = Price(price, newest.at, ("history",), 0)

    async def close(self) -> None:
        for source in self._sources:
            await source.close()

    async def poll(self) -> None:
        """One round. Raises only what the history's store does."""
        async with self._polling:
            await asyncio.gather(*(self._ask(source) for source in self._sources))
            now = self._now()
            price, _ = self._price(now)
            if isinstance(price, Price):
                self._last = price
                await self._sample(price, now)
            else:
                log.warning("prices.unusable", code=price.code, detail=price.detail)

    async def _ask(self, source: Source) -> None:
        try:
            found = await source.read()
        except Refused as refused:
            self._note_failure(source.name, refused.rejection)
            return
        except Exception:  # a bug in one client must not take the others' prices away
            log.exception("prices.bug", source=source.name)
            self._note_failure(source.name, errors.MALFORMED(field=source.name, detail="see the log"))
            return
        before = self._known[source.name]
        if isinstance(before, Rejection) or not found.print or before.print != found.print:
            self._unchanged[source.name] = self._now()
        self._known[source.name] = found
        if self._failed.pop(source.name, None) is not None:
            log.info("prices.source_back", source=source.name)

    def _note_failure(self, name: str, why: Rejection) -> None:
        if self._failed.get(name) is None or self._failed[name].code != why.code:
            log.warning("prices.source", source=name, code=why.code, got=why.got, detail=why.detail)
        self._failed[name] = why
        if isinstance(self._known[name], Rejection):
            self._known[name] = why

    async def _sample(self, price: Price, now: PosixMs) -> None:
        every = self._options.sample_every
        if self._samples and self._samples[-1].at <= now < self._samples[-1].at + every:
            return
        oldest = PosixMs(max(0, (now - self._options.kept).value))
        sample = Sample(now, rate_of(price.price).lovelace)
        await self._history.keep(sample, oldest)
        # what lies in the future of a clock that was set back is forgotten with the old
        self._samples = (*(s for s in self._samples if oldest <= s.at < now), sample)
        self._volatility = self._measured(now)

    # -- answers --------------------------------------------------------------------------------

    def market(self) -> Market | Rejection:
        """The price now, or why there is none (price.*)."""
        price, _ = self._price(self._now())
        return price if isinstance(price, Rejection) else self._market(price)

    def standing(self) -> Standing:
        now = self._now()
        price, verdicts = self._price(now)
        spread = price.spread_ppm if isinstance(price, Price) else 0
        market = price if isinstance(price, Rejection) else self._market(price)
        return Standing(self._mode, now, market, spread, verdicts, self._volatility)

    def _market(self, price: Price) -> Market:
        return Market(rate_of(price.price), self._volatility.daily_ppm, price.at, price.sources)

    def _price(self, now: PosixMs) -> tuple[Price | Rejection, tuple[Verdict, ...]]:
        verdicts = combine.judge(self._known, self._unchanged, now, self._gates)
        verdicts = tuple(self._with_cause(verdict) for verdict in verdicts)
        return combine.combine(verdicts, self._gates, self._last, now), verdicts

    def _with_cause(self, verdict: Verdict) -> Verdict:
        """A reading that has grown old because its source fails: the failure says more than the age."""
        failed = self._failed.get(verdict.source)
        stale = verdict.why_not is not None and verdict.why_not.spec is errors.STALE
        return replace(verdict, why_not=failed) if failed is not None and stale else verdict

    def _measured(self, now: PosixMs) -> Volatility:
        options = self._options
        return measure(
            self._samples,
            now,
            least_ppm=options.volatility_least_ppm,
            default_ppm=options.volatility_default_ppm,
        )
