"""What a payment may cost: who overcharges is not paid, and where nothing bounds it nobody pays unasked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.app.init import parse_settings
from gateway.app.prices import payment_bound
from gateway.bolt import bolt11_encode
from gateway.bolt.invoice import Description, Draft, Network
from gateway.cl.data.types import ChannelId
from gateway.config import validate
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.prices.errors import TOO_FEW
from gateway.prices.model import Market
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.swap import codecs, payer
from gateway.swap.client import ClientOptions, SwapClient
from gateway.swap.ports import ChannelStanding
from gateway.units import Lovelace, Ms, Msat, PosixMs, Rate
from tests.support.bolt11_drafts import NODE, sign

NOW = PosixMs(1_700_000_000_000)
LOCK = Preimage(b"\x09" * 32).hashlock
CHANNEL, PEER = ChannelId(b"c" * 20), b"\x02" + b"p" * 32
AMOUNT = Msat(1_000_000)
RATE = ("swap.rate_lovelace=13", "swap.rate_msat=100")  # 1,000,000 msat are 130,000 lovelace
OFFER = payer.Offer(b"q" * 32, LOCK, AMOUNT, Lovelace(140_400), NOW + Ms(600_000), NOW + Ms(60_000))
made = bolt11_encode.encode(
    Draft(Network.REGTEST, AMOUNT, NOW, LOCK, b"s" * 32, Description("coffee")), NODE, sign
)
assert isinstance(made, str)
INVOICE: str = made


def bound(*words: str, market: Market | Rejection | None = None) -> Lovelace | Rejection:
    settings = validate({"network": "regtest", **parse_settings(list(words))})
    fixed = Market(Rate(settings.swap.rate_lovelace, settings.swap.rate_msat), 0, NOW, ("fixed",))
    return payment_bound(settings, lambda: market or fixed)(AMOUNT)


@pytest.mark.threat("X11")
def test_the_nodes_own_price_bounds_what_a_payment_costs() -> None:
    assert bound(*RATE) == Lovelace(140_400)
    assert bound(*RATE, "swap.pay_most_fee_permille=0") == Lovelace(130_000)
    assert bound("swap.enabled=true") == Lovelace(1_080_000)  # the rate that it quotes with itself
    sources = ("prices.source=exchanges",)
    assert bound(*sources, market=Market(Rate(2, 1), 0, NOW, ("a",))) == Lovelace(2_160_000)
    for words, market in (((), None), (RATE[:1], None), (sources, TOO_FEW(field="price"))):
        unbounded = bound(*words, market=market)
        assert isinstance(unbounded, Rejection)
        assert unbounded.code == "swap.pay.unbounded"


class Gateway:
    """The link to a gateway that answers every question at once with `answer`, or never."""

    def __init__(self, answer: payer.Offer | tuple[str, str] | None) -> None:
        self.answer, self.client = answer, cast(SwapClient, None)

    async def standings(self) -> list[ChannelStanding]:
        return [ChannelStanding(CHANNEL, PEER, True, Lovelace(10**9), Lovelace(0), 5, 5)]

    async def ask_quote(self, peer: bytes, channel: ChannelId, invoice: str) -> None:
        match self.answer:
            case payer.Offer():
                await self.client.quote_arrived(
                    b"\x03" + b"x" * 32, replace(self.answer, cardano=Lovelace(1))
                )
                await self.client.quote_arrived(peer, self.answer)
            case (code, detail):
                await self.client.quote_denied(peer, LOCK, code, detail)
            case None:
                return


class Clock:
    """Ten seconds later at every look."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> PosixMs:
        self.at += Ms(10_000)
        return self.at


@asynccontextmanager
async def paying(
    directory: Path, answer: Any, cap: Callable[[Msat], Lovelace | Rejection] | None = None
) -> AsyncIterator[SwapClient]:
    known = Codecs()
    codecs.register(known)
    store = await Store.open(f"sqlite:///{directory}/a.db", network="regtest", codecs=known)
    link = Gateway(answer)
    end: Any = {} if cap is None else {"bound": cap}
    link.client = client = SwapClient(
        store, cast(Any, link), cast(Any, link), cast(Any, Clock()), REGTEST,
        on_change=lambda *_: None, options=ClientOptions(tick_s=0.01), **end,
    )  # fmt: skip
    try:
        yield client
    finally:
        await client.stop()
        await store.close()


@pytest.mark.threat("X11")
async def test_a_dearer_quote_signs_no_cheque(tmp_path: Path) -> None:
    async with paying(tmp_path, OFFER, lambda _: Lovelace(140_399)) as client:
        key = await client.pay(INVOICE, None, None)
        await client.runner.feed(key, payer.QuoteArrived(OFFER))
        state = await client.runner.state_of(key)
        assert isinstance(state, payer.Refused)
        assert state.code == "swap.quote.too_dear"


async def test_without_a_price_of_its_own_a_node_pays_nothing_unasked(tmp_path: Path) -> None:
    async with paying(tmp_path, OFFER) as client:
        with pytest.raises(Refused) as caught:
            await client.pay(INVOICE, None, None)
        assert caught.value.rejection.code == "swap.pay.unbounded"
        assert await client.runner.latest(LOCK) is None
        assert await client.price(INVOICE, None) == (CHANNEL, OFFER)
        key = await client.pay(INVOICE, OFFER.cardano, None)
        assert await client.pay(INVOICE, None, None) == key  # the same payment again needs no new bound


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (("swap.paused", "not today"), "swap.quote.denied"),
        (replace(OFFER, bitcoin=Msat(1)), "swap.quote.mismatch"),
        (replace(OFFER, hashlock=Hashlock(b"\x01" * 32)), "swap.quote.no_answer"),
        (None, "swap.quote.no_answer"),
    ],
)
async def test_a_price_is_told_or_why_it_is_not(tmp_path: Path, answer: Any, code: str) -> None:
    async with paying(tmp_path, answer) as client:
        with pytest.raises(Refused) as caught:
            await client.price(INVOICE, None)
        assert caught.value.rejection.code == code
