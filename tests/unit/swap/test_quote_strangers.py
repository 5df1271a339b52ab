"""Who may ask for a quote on a channel, and what the question costs the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.cl.data.types import ChannelId
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.swap.quote import Quote
from gateway.units import Lovelace, Msat, PosixMs
from tests.support.bolt11_drafts import made, simple_draft
from tests.support.swap_engine import CHANNEL, NOW, PEER, HandLegs, HandLnd, gateway

LOCK = Preimage(b"\x11" * 32).hashlock
INVOICE = made(simple_draft(amount=Msat(10_000_000), created=PosixMs(NOW.value), hashlock=LOCK))
STRANGER, OTHER = b"\x02" + b"s" * 32, ChannelId(b"d" * 20)


class Asked(HandLnd):
    """Counts what it is asked."""

    count = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("balances", "info", "time_constants"):
            Asked.count += 1
        return super().__getattribute__(name)


async def test_a_strangers_question_asks_nothing_of_lnd(tmp_path: Path) -> None:
    async with gateway(tmp_path, Asked(), HandLegs()) as node:
        before = Asked.count
        answers = (
            await node.engine.quote_out(STRANGER, CHANNEL, INVOICE),
            await node.engine.quote_in(STRANGER, CHANNEL, LOCK, Lovelace(5_000_000)),
        )
        for one in answers:
            assert isinstance(one, Rejection)
            assert one.code == "swap.quote.other_peer"
        assert Asked.count == before


async def test_a_quote_is_for_the_channel_that_was_named(tmp_path: Path) -> None:
    """A cheque in another channel than the quote's goes back: the quote must not be given for it."""
    async with gateway(tmp_path, HandLnd(), HandLegs()) as node:
        first = await node.engine.quote_out(PEER, CHANNEL, INVOICE)
        assert isinstance(first, Quote)
        assert await node.engine.quote_out(PEER, CHANNEL, INVOICE) == first
        second = await node.engine.quote_out(PEER, OTHER, INVOICE)
        assert isinstance(second, Rejection)
        assert second.code == "swap.hash.in_use"
