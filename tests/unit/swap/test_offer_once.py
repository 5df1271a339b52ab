"""A cheque that the channel refused was never signed: no later delivery of the same effect may sign it after all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.cl.data.types import ChannelId
from gateway.hashlock import Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.swap import codecs, payer
from gateway.swap import effects as f
from gateway.swap import inputs as i
from gateway.swap.client import PAYMENT, SwapClient
from gateway.swap.runner import Key
from gateway.units import Lovelace, Ms, Msat, PosixMs

NOW = PosixMs(1_700_000_000_000)
LOCK = Preimage(b"\x07" * 32).hashlock
CHANNEL, PEER = ChannelId(b"c" * 20), b"\x02" + b"p" * 32
ORDER = payer.Order(
    LOCK, "lnbcrt1…", Msat(5_000), PEER, CHANNEL, Lovelace(900), Ms(86_400_000), NOW
)  # fmt: skip
OFFER = payer.Offer(b"q" * 32, LOCK, Msat(5_000), Lovelace(800), NOW + Ms(1_000_000), NOW + Ms(60_000))


class Clock:
    def now(self) -> PosixMs:
        return NOW


class Channel:
    """Refuses the first offer, slowly, and would sign every other."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()

    async def offer_cheque(self, *_: Any) -> i.ChequeOffered | i.ChequeNotOffered:
        self.asked += 1
        if self.asked > 1:
            return i.ChequeOffered(1)
        await self.gate.wait()
        return i.ChequeNotOffered("cl.cheque.slots", "no slot is free")


@pytest.mark.threat("X8")
async def test_a_refused_offer_is_not_made_again(tmp_path: Path) -> None:
    known = Codecs()
    codecs.register(known)
    store = await Store.open(f"sqlite:///{tmp_path}/a.db", network="regtest", codecs=known)
    channel = Channel()
    client = SwapClient(
        store, cast(Any, channel), cast(Any, None), cast(Any, Clock()), REGTEST, on_change=lambda *_: None
    )
    key = await client.runner.begin(lambda n: Key(PAYMENT, LOCK, n), LOCK, payer.Ordered(ORDER))
    await client.runner.feed(key, payer.QuoteArrived(OFFER))
    (item,) = await store.open_effects()
    assert isinstance(item.effect, f.OfferCheque)
    twice = [asyncio.create_task(client.deliver(item)) for _ in range(2)]
    await asyncio.sleep(0.05)
    channel.gate.set()
    await asyncio.gather(*twice)
    await client.deliver(item)  # as after a crash
    assert channel.asked == 1
    assert isinstance(await client.runner.state_of(key), payer.Refused)
    await store.close()
