"""What the engine may conclude about a payment that it is about to send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.btc import ports as b
from gateway.cl.data.types import ChannelId
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.dispatcher import Dispatcher
from gateway.store.store import Store
from gateway.swap import codecs, errors
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import OUT, SwapEngine
from gateway.swap.quote import Direction, Quote, SwapPolicy
from gateway.swap.runner import Key
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate

SECRET = Preimage(b"\x09" * 32)
NOW = PosixMs(1_700_000_000_000)
CHANNEL, PEER = ChannelId(b"c" * 20), b"\x02" + b"p" * 32
QUOTE = Quote(
    id=b"q" * 32, direction=Direction.CL_TO_BTC, peer=PEER, channel=CHANNEL, hashlock=SECRET.hashlock,
    bitcoin=Msat(10_000_000), cardano=Lovelace(25_000_000), rate=Rate(5, 2), base_fee=Lovelace(0),
    proportional_fee=Lovelace(0), routing_budget=Msat(1000), invoice="lnbcrt1…", final_cltv=BlockDelta(80),
    cheque_timeout=NOW + Ms(1_000_000), valid_until=NOW + Ms(60_000), eps=REGTEST.eps(10_000_000),
)  # fmt: skip
CHEQUE = i.ChequeLocked(PEER, CHANNEL, 3, Lovelace(25_000_000), NOW + Ms(1_500_000))
INFO = b.NodeInfo(b"\x03" * 33, "lnd", "0.21.0", "regtest", BlockHeight(600), NOW, True)


@dataclass
class HandClock:
    time: PosixMs = NOW

    def now(self) -> PosixMs:
        return self.time


@dataclass
class SlowLnd:
    """Knows no payment, as an LND that ran for days. `hold`: the next question for its height waits at the gate."""

    hold: bool = False
    synced: bool = True
    held: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    paid: list[Hashlock] = field(default_factory=list)
    looked: int = 0

    async def info(self) -> b.NodeInfo:
        if self.hold:
            self.hold = False
            self.held.set()
            await self.gate.wait()
        return replace(INFO, synced=self.synced)

    async def pay(self, request: b.PaymentRequest) -> b.PaymentResult:
        self.paid.append(request.hashlock)
        return b.PaymentSettled(SECRET, Msat(0))

    async def track(self, hashlock: Hashlock) -> b.PaymentResult:
        self.looked += 1
        return b.PaymentFailed("never_sent", "LND has no record")


class Cheques:
    """Of the channel under the swap: which were claimed, which given back."""

    def __init__(self) -> None:
        self.fulfilled: list[int] = []
        self.cancelled: list[int] = []
        self.held = True
        self.gone = ""

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> str:
        self.fulfilled.append(index)
        return self.gone

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> str:
        self.cancelled.append(index)
        return self.gone

    async def holds(self, channel: ChannelId, index: int) -> bool:
        return self.held


async def _engine(
    path: Path, lnd: SlowLnd, cheques: Cheques, clock: HandClock | None = None
) -> tuple[Store, SwapEngine, Dispatcher]:
    known = Codecs()
    codecs.register(known)

    def intended(_: Key, __: Any, event: Any) -> None:
        lnd.hold = lnd.hold or isinstance(event, e.OutgoingWasIntended)

    store = await Store.open(f"sqlite:///{path}/a.db", network="regtest", codecs=known)
    engine = SwapEngine(
        store, cast(Any, lnd), cast(Any, cheques), clock or HandClock(), REGTEST, cast(SwapPolicy, None),
        on_change=intended, on_alarm=lambda *_: None,
    )  # fmt: skip
    await engine.runner.start()
    dispatcher = Dispatcher(store, engine.deliver)
    await dispatcher.start()
    return store, engine, dispatcher


@pytest.mark.threat("X5")
async def test_no_record_of_a_payment_that_is_about_to_be_sent_proves_nothing(tmp_path: Path) -> None:
    """Found by the kill matrix under load: a look-up between intent and send gave the cheque back, then paid."""
    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques)
    key = await engine.runner.begin(
        lambda n: Key(OUT, QUOTE.hashlock, n), QUOTE.hashlock, e.QuoteGiven(QUOTE)
    )
    await engine.notify(QUOTE.hashlock, CHEQUE)
    await asyncio.wait_for(lnd.held.wait(), 10)  # the send has begun: it asks for the height
    await engine.reconcile()
    assert isinstance(await engine.runner.state_of(key), s.OutgoingIntended)
    lnd.gate.set()
    await dispatcher.drain()
    assert lnd.paid == [QUOTE.hashlock]
    assert isinstance(await engine.runner.state_of(key), s.IncomingClaiming)
    assert (cheques.fulfilled, cheques.cancelled) == ([3], [])
    await dispatcher.stop()
    await store.close()


@pytest.mark.threat("X6")
async def test_a_swap_that_was_released_is_not_paid_afterwards(tmp_path: Path) -> None:
    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques)
    late = replace(CHEQUE, timeout=NOW + Ms(1_000))
    key = await engine.runner.begin(
        lambda n: Key(OUT, QUOTE.hashlock, n), QUOTE.hashlock, e.QuoteGiven(QUOTE)
    )
    await engine.notify(QUOTE.hashlock, late)
    await dispatcher.drain()
    assert lnd.paid == []
    assert cheques.cancelled == [3]
    state = await engine.runner.state_of(key)
    assert isinstance(state, s.IncomingReleasing)
    assert errors.TIMELOCK_TOO_SHORT.code in state.proof
    await dispatcher.stop()
    await store.close()


async def _intended(engine: SwapEngine, lnd: SlowLnd) -> Key:
    """A swap whose send has begun and asks LND for its height."""
    key = await engine.runner.begin(
        lambda n: Key(OUT, QUOTE.hashlock, n), QUOTE.hashlock, e.QuoteGiven(QUOTE)
    )
    await engine.notify(QUOTE.hashlock, CHEQUE)
    await asyncio.wait_for(lnd.held.wait(), 10)
    return key


@pytest.mark.threat("X5")
@pytest.mark.threat("X6")
async def test_a_send_that_lnd_put_off_is_sent_later_and_once(tmp_path: Path) -> None:
    """LND calls itself unsynced for a moment at each block; what was not handed over is not looked up but sent."""
    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques)
    key = await _intended(engine, lnd)
    lnd.synced = False
    lnd.gate.set()
    await asyncio.sleep(0.5)  # some deliveries fail
    await engine.reconcile()
    assert (lnd.paid, lnd.looked) == ([], 0)
    assert isinstance(await engine.runner.state_of(key), s.OutgoingIntended)
    lnd.synced = True
    dispatcher.hurry()
    await asyncio.wait_for(dispatcher.drain(), 10)
    assert lnd.paid == [QUOTE.hashlock]
    assert (cheques.fulfilled, cheques.cancelled) == ([3], [])
    await dispatcher.stop()
    await store.close()


@pytest.mark.threat("X14")
async def test_a_pause_without_end_holds_no_payers_funds(tmp_path: Path) -> None:
    """Nothing was sent, and at the old price nothing will be: the cheque goes back long before it expires."""
    lnd, cheques, clock = SlowLnd(), Cheques(), HandClock()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques, clock)
    key = await _intended(engine, lnd)
    engine.paused = "the chain is not seen"
    lnd.synced = False
    lnd.gate.set()
    await asyncio.sleep(0.3)
    assert isinstance(await engine.runner.state_of(key), s.OutgoingIntended)
    clock.time = QUOTE.valid_until + REGTEST.skew + Ms(1)
    dispatcher.hurry()
    await asyncio.wait_for(dispatcher.drain(), 10)
    state = await engine.runner.state_of(key)
    assert isinstance(state, s.IncomingReleasing)
    assert errors.QUOTE_EXPIRED.code in state.proof
    engine.paused, lnd.synced = "", True
    await engine.reconcile()
    await asyncio.wait_for(dispatcher.drain(), 10)
    assert lnd.paid == []
    assert set(cheques.cancelled) == {3}
    await dispatcher.stop()
    await store.close()


@pytest.mark.threat("X3")
async def test_what_cannot_be_sent_in_time_any_more_is_given_back_unsent(tmp_path: Path) -> None:
    """A limit of no blocks would be LND's own maximum: such a payment never leaves."""
    lnd, cheques, clock = SlowLnd(), Cheques(), HandClock()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques, clock)
    key = await _intended(engine, lnd)
    clock.time = CHEQUE.timeout - Ms(1)
    lnd.gate.set()
    await asyncio.wait_for(dispatcher.drain(), 10)
    assert lnd.paid == []
    assert cheques.cancelled == [3]
    state = await engine.runner.state_of(key)
    assert isinstance(state, s.IncomingReleasing)
    assert errors.QUOTE_EXPIRED.code in state.proof
    await dispatcher.stop()
    await store.close()


@pytest.mark.threat("X5")
async def test_another_process_only_looks_for_what_this_one_intended(tmp_path: Path) -> None:
    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques)
    key = await _intended(engine, lnd)
    await dispatcher.stop()  # the process ends before the hand-over
    await store.close()
    again = SlowLnd()
    store, engine, dispatcher = await _engine(tmp_path, again, cheques)
    await asyncio.wait_for(dispatcher.drain(), 10)
    assert (again.paid, again.looked) == ([], 1)
    assert isinstance(await engine.runner.state_of(key), s.IncomingReleasing)
    await dispatcher.stop()
    await store.close()


def test_a_payment_without_a_time_lock_limit_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        b.PaymentRequest("lnbcrt1…", QUOTE.hashlock, Msat(1), Msat(0), BlockDelta(0))
