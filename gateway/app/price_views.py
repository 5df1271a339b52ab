"""R4. The price feed, and quotes made with it, as the API shows them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gateway.api import models as m
from gateway.errors import Refused, Rejection
from gateway.prices.feed import Standing
from gateway.prices.model import Verdict, price_of, rate_of
from gateway.swap.quote import Quote


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


def quote_view(quote: Quote | Rejection, *, firm: bool) -> m.QuoteAnswer:
    """An indicative one has no id, no hash and no moment until which it holds. Raises the refusal."""
    if isinstance(quote, Rejection):
        raise Refused(quote)
    return m.QuoteAnswer(
        firm=firm,
        id=quote.id.hex() if firm else "",
        direction=quote.direction.value,
        payment_hash=quote.hashlock.hex() if firm else "",
        amount_msat=quote.bitcoin.value,
        lovelace=quote.cardano.value,
        base_fee_lovelace=quote.base_fee.value,
        proportional_fee_lovelace=quote.proportional_fee.value,
        spread_fee_lovelace=quote.spread_fee.value,
        inventory_fee_lovelace=quote.inventory_fee.value,
        option_fee_lovelace=quote.option_fee.value,
        routing_budget_msat=quote.routing_budget.value,
        rate_lovelace=quote.rate.lovelace,
        rate_msat=quote.rate.msat,
        cheque_timeout_ms=quote.cheque_timeout.value,
        lock_life_ms=quote.lock_life.value,
        valid_until_ms=quote.valid_until.value if firm else 0,
        eps=f"1/{quote.eps.denominator}",
    )
