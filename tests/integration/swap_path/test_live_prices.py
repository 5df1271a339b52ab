"""Payments at the price of simulated exchanges through two real nodes: their cost, and what a dead market stops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.prices.tickers import VENUES
from gateway.prices.volatility import option_ppm
from gateway.units import Ms
from regtest.exchanges.server import Exchanges
from tests.support.gateway_world import SWAPS, gateway_world, until

OWN_PRICE = ("swap.rate_lovelace=140", "swap.rate_msat=100")  # the payer's, near what the exchanges say

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.threat("X11")]


async def test_a_payment_at_the_live_price_and_none_without_one(tmp_path: Path) -> None:
    async with Exchanges(lambda: time.time_ns() // 1_000_000) as exchanges:
        terms = (
            *SWAPS, "prices.source=exchanges", "prices.poll_ms=1000", "prices.most_age_ms=4000",
            "prices.timeout_ms=10000", "swap.spread_ppm=2000", "swap.inventory_ppm=10000",
            *(f"prices.{name}_url={exchanges.url}" for name in VENUES),
        )  # fmt: skip
        async with gateway_world(tmp_path, swaps=terms, own_price=OWN_PRICE) as world:

            async def priced() -> Any:
                found = await world.gateway.get("/price")
                return found if found["ok"] else None

            price = await until("a price", priced)
            assert len([one for one in price["sources"] if one["ok"]]) >= 3
            assert (price["rate_msat"], price["volatility_daily_ppm"]) == (10**11, 50_000)
            estimate = await world.gateway.post("/swaps/estimate", amount_msat=2_000_000)
            assert (estimate["firm"], estimate["id"], estimate["valid_until_ms"]) == (False, "", 0)

            paid = await world.pay()
            assert paid["status"] == "paid", paid
            (swap,) = await world.gateway.get("/swaps")
            assert swap["lovelace"] == paid["lovelace"]
            budget = 1_000 + 10_000  # base and 5,000 ppm
            worth = -(-(2_000_000 + budget) * price["rate_lovelace"] // 10**11)
            over = paid["lovelace"] - worth - 1_000 - worth // 200 - worth // 500
            option = worth * option_ppm(50_000, Ms(estimate["lock_life_ms"])) // 10**6
            assert (
                0 <= over - option <= worth // 100 + 5 + worth // 1_000
            )  # the rest is inventory, and a moved lock

            exchanges.faults.update(dict.fromkeys(VENUES, "garbage"))

            async def dead() -> Any:
                return not (await world.gateway.get("/price"))["ok"]

            await until("the price to grow too old", dead)
            refused = await world.pay()
            assert (refused["status"], refused["code"]) == ("failed", "price.too_few")
            assert "price.too_few" in (await world.gateway.get("/status"))["paused"]
            problem = await world.gateway.refused("/swaps/estimate", lovelace=1_000_000)
            assert problem["code"] == "price.too_few"
            exchanges.faults.clear()
            await until("the price to come back", priced)
            assert (await world.pay())["status"] == "paid"

            await world.gateway._http.post("/swaps/pause", json={"reason": "moving house"})
            refused = await world.pay()
            assert (refused["status"], refused["code"]) == ("failed", "swap.paused")
            await world.gateway._http.post("/swaps/resume")
            assert (await world.pay())["status"] == "paid"
