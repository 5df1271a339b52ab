"""A peer that asks for quotes without end, or while LND hangs, costs nobody else an answer."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from gateway.app.peer_swaps import MOST_OF_A_PEER, PeerSwaps
from gateway.cl.data.types import ChannelId
from gateway.cl.wire import session_messages
from gateway.cl.wire import swap_messages as w
from gateway.cl.wire.codec import Envelope
from gateway.hashlock import Hashlock
from gateway.swap import errors
from gateway.units import Lovelace

pytestmark = [pytest.mark.threat("P13")]
GREEDY, OTHER = b"\x02" * 33, b"\x03" * 33
CHANNEL = ChannelId(b"\x07" * 20)


async def test_a_peer_that_asks_without_end_is_told_so_and_others_are_answered() -> None:
    hangs = asyncio.Event()

    async def quote_in(peer: bytes, *_: object) -> Any:
        if peer == GREEDY:
            await hangs.wait()
        return errors.PAUSED(detail="a test")

    engine, sent = mock.Mock(quote_in=quote_in), []

    async def send(peer: bytes, envelope: Envelope) -> None:
        sent.append((peer, envelope.message))

    swaps = PeerSwaps(mock.Mock())
    swaps.engine, swaps.peers = engine, mock.Mock(send=send)
    try:
        for n in range(200):
            asked = w.SwapReceiveRequest(Hashlock(n.to_bytes(32, "big")), Lovelace(5))
            await asyncio.wait_for(swaps.received(GREEDY, Envelope(asked, CHANNEL, n)), 1)
        told = [m for peer, m in sent if peer == GREEDY]
        assert len(told) == 200 - MOST_OF_A_PEER
        for one in told:
            assert isinstance(one, session_messages.Warning)
            assert one.code == "swap.asked_too_much"
            assert "questions=" in one.text
        await asyncio.wait_for(swaps.received(OTHER, Envelope(asked, CHANNEL, 1)), 1)
        await asyncio.sleep(0.01)
        assert [type(m) for peer, m in sent if peer == OTHER] == [w.SwapRefused]
        hangs.set()
        await asyncio.sleep(0.01)
        await swaps.received(GREEDY, Envelope(asked, CHANNEL, 1))
        await asyncio.sleep(0.01)
        assert [type(m) for peer, m in sent if peer == GREEDY].count(w.SwapRefused) == MOST_OF_A_PEER + 1
    finally:
        await swaps.stop()
