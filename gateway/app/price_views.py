"""R4. The price feed as the API shows it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gateway.api import models as m
from gateway.errors import Rejection
from gateway.prices.feed import Standing
from gateway.prices.model import Verdict, price_of, rate_of


def price_view(standing: Standing) -> m.PriceStatus:
    market, volatility = standing.market, standing.volatility
    mode: Any = standing.mode
    view = m.PriceStatus(
        source=mode,
        ok=not isinstance(market, Rejection),
        volatility_daily_ppm=volatility.daily_ppm,
        volatility_measured=volatility.measured,
        history_samples=volatility.samples,
        history_ms=volatility.covered.value,
        sources=[_source_view(verdict, standing) for verdict in standing.verdicts],
    )
    if isinstance(market, Rejection):
        view.code, view.detail = market.code, str(market)
        return view
    view.price, view.age_ms = _decimal(price_of(market.rate)), (standing.now - market.at).value
    view.rate_lovelace, view.rate_msat = market.rate.lovelace, market.rate.msat
    view.spread_ppm = standing.spread_ppm
    return view


def _source_view(verdict: Verdict, standing: Standing) -> m.PriceSource:
    view = m.PriceSource(name=verdict.source, ok=verdict.why_not is None)
    if verdict.reading is not None:
        view.price = _decimal(verdict.reading.price)
        view.rate_lovelace = rate_of(verdict.reading.price).lovelace
        view.age_ms = (standing.now - verdict.reading.at).value
    if verdict.why_not is not None:
        why = verdict.why_not
        view.code, view.got, view.allowed, view.detail = why.code, why.got, why.allowed, why.detail
    return view


def _decimal(price: Fraction) -> str:
    """Twelve places, rounded; for people only."""
    scaled = round(price * 10**12)
    return f"{scaled // 10**12}.{scaled % 10**12:012d}"
