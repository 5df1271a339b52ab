"""The engine as an attacker of the gateway's money sees it: races, crashes, other people's invoices, another LND."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.btc import ports as b
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.profile import REGTEST
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT
from gateway.swap.quote import Quote
from gateway.swap.runner import Key
from gateway.units import BlockDelta, Lovelace, Ms, Msat, PosixMs
from tests.support.bolt11_drafts import made, simple_draft
from tests.support.swap_engine import (
    CHANNEL,
    CONSTANTS,
    FIRST_NODE,
    NOW,
    OTHER_NODE,
    PEER,
    Gateway,
    HandClock,
    HandLegs,
    HandLnd,
    gateway,
)

SECRET = Preimage(hashlib.sha256(b"attack").digest())
LOCK = SECRET.hashlock
RECEIVE = Lovelace(5_000_000)
FAR = 10_000  # a height at which no held payment of a test has too little time left


def invoice(lock: Hashlock = LOCK) -> str:
    return made(simple_draft(amount=Msat(10_000_000), created=PosixMs(NOW.value), hashlock=lock))


async def receipt(node: Gateway) -> tuple[Key, Quote]:
    quote = await node.engine.quote_in(PEER, CHANNEL, LOCK, RECEIVE)
    assert isinstance(quote, Quote), quote
    return Key(IN, LOCK, 1), quote


async def payment(node: Gateway) -> tuple[Key, i.ChequeLocked]:
    """A quote, and the cheque that fits it."""
    quote = await node.engine.quote_out(PEER, CHANNEL, invoice())
    assert isinstance(quote, Quote), quote
    return Key(OUT, LOCK, 1), i.ChequeLocked(
        PEER, CHANNEL, 3, quote.cardano, quote.cheque_timeout + Ms(5_000)
    )


async def state(node: Gateway, key: Key) -> Any:
    return await node.engine.runner.state_of(key)


async def refused(waiting: Any) -> str:
    try:
        found = await waiting
    except Refused as error:
        return error.rejection.code
    assert isinstance(found, Rejection), found
    return found.code


# -- a cancel races what is just arriving ----------------------------------------------------------------


@pytest.mark.threat("X4")
async def test_a_payment_that_arrives_while_lnd_cancels_gets_no_cheque(tmp_path: Path) -> None:
    """The payer had his payment back, and the receiver a cheque."""
    lnd, legs = HandLnd(), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        key, quote = await receipt(node)

        async def just_then() -> None:
            lnd.before_cancel = None
            held = lnd.pays(LOCK, quote.bitcoin, FAR)
            await node.engine.runner.feed(key, i.InvoiceAnswer(held))

        lnd.before_cancel = just_then
        after = await node.engine.cancel(LOCK)
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        assert isinstance(after, s.Refused)
        assert isinstance(await state(node, key), s.Refused)
        assert legs.signed == {}
        assert isinstance(lnd.invoices[LOCK], b.InvoiceCancelled)


@pytest.mark.threat("X4")
async def test_a_cancel_that_comes_second_is_refused(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    async with gateway(tmp_path, lnd, legs, dispatching=False) as node:
        key, quote = await receipt(node)
        held = lnd.pays(LOCK, quote.bitcoin, FAR)
        both = await asyncio.gather(
            node.engine.runner.feed(key, i.InvoiceAnswer(held)), refused(node.engine.cancel(LOCK))
        )
        assert isinstance(both[0], s.OutgoingIntended)
        assert both[1] == "swap.not_cancellable"
        assert lnd.cancelled == []


@pytest.mark.threat("X1")
async def test_a_cheque_that_arrives_with_the_cancel_of_its_quote_is_paid_or_given_back(
    tmp_path: Path,
) -> None:
    for order in ("cheque first", "cancel first"):
        lnd, legs = HandLnd(), HandLegs()
        directory = tmp_path / order
        directory.mkdir()
        async with gateway(directory, lnd, legs) as node:
            key, cheque = await payment(node)
            if order == "cheque first":
                told, cancelled = node.engine.notify(LOCK, cheque), refused(node.engine.cancel(LOCK))
                assert (await asyncio.gather(told, cancelled))[1] == "swap.not_cancellable"
            else:
                assert isinstance(await node.engine.cancel(LOCK), s.Refused)
                await node.engine.notify(LOCK, cheque)
            await asyncio.wait_for(node.dispatcher.drain(), 10)
            assert len(lnd.paid) == (order == "cheque first")
            assert legs.cancelled == ([] if lnd.paid else [(3, "swap.cheque.unexpected")])
            assert isinstance(await state(node, key), s.OutgoingIntended if lnd.paid else s.Refused)


# -- an intent that a crash made old ---------------------------------------------------------------------


@pytest.mark.threat("X4")
@pytest.mark.parametrize("while_down", ["nothing", "given back", "fast blocks", "a day", "signed before"])
async def test_a_cheque_intended_before_a_crash_is_judged_again(tmp_path: Path, while_down: str) -> None:
    lnd, legs, clock = HandLnd(), HandLegs(), HandClock()
    async with gateway(tmp_path, lnd, legs, clock, dispatching=False) as node:
        key, quote = await receipt(node)
        held = lnd.pays(LOCK, quote.bitcoin, 760)
        assert isinstance(await node.engine.runner.feed(key, i.InvoiceAnswer(held)), s.OutgoingIntended)
    if while_down == "given back":
        lnd.invoices[LOCK] = b.InvoiceCancelled(held.memo)
    elif while_down == "fast blocks":
        lnd.height = 700
    elif while_down == "a day":
        clock.time = NOW + Ms(86_400_000)
    elif while_down == "signed before":
        legs.signed[LOCK.raw + (1).to_bytes(4, "big")] = 7
        lnd.height = 700  # what is owed is owed
    async with gateway(tmp_path, lnd, legs, clock) as node:
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        after = await state(node, key)
        if while_down in ("nothing", "signed before"):
            assert isinstance(after, s.OutgoingInFlight)
            assert len(legs.signed) == 1
        else:
            assert isinstance(after, s.Released)
            assert legs.signed == {}
            assert isinstance(lnd.invoices[LOCK], b.InvoiceCancelled)


@pytest.mark.threat("X1")
async def test_what_was_intended_waits_while_we_are_blind(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    why = "no Cardano block for 300 s"
    async with gateway(tmp_path, lnd, legs, dispatching=False) as node:
        key, quote = await receipt(node)
        held = lnd.pays(LOCK, quote.bitcoin, FAR)
        await node.engine.runner.feed(key, i.InvoiceAnswer(held))
    async with gateway(tmp_path, lnd, legs, blind=lambda: why) as node:
        await asyncio.sleep(0.1)
        assert isinstance(await state(node, key), s.OutgoingIntended)
        assert legs.signed == {}
        why = ""
        node.dispatcher.hurry()
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        assert isinstance(await state(node, key), s.OutgoingInFlight)


@pytest.mark.threat("X1")
@pytest.mark.parametrize("meanwhile", ["nothing", "the cheque went", "the price grew old", "blind"])
async def test_a_payment_intended_and_put_off_is_judged_again(tmp_path: Path, meanwhile: str) -> None:
    lnd, legs, clock = HandLnd(), HandLegs(), HandClock()
    why = "no Cardano block for 300 s"
    async with gateway(tmp_path, lnd, legs, clock, dispatching=False, blind=lambda: why) as node:
        why = ""
        key, cheque = await payment(node)
        await node.engine.notify(LOCK, cheque)
        assert isinstance(await state(node, key), s.OutgoingIntended)
        if meanwhile == "the cheque went":
            legs.held = False
        elif meanwhile == "the price grew old":
            clock.time = NOW + Ms(60_000) + REGTEST.skew + Ms(1)
        elif meanwhile == "blind":
            why = "no Cardano block for 300 s"
        await node.dispatcher.start()
        if meanwhile == "blind":
            await asyncio.sleep(0.1)
            assert lnd.paid == []
            assert isinstance(await state(node, key), s.OutgoingIntended)
            return
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        assert len(lnd.paid) == (meanwhile == "nothing")
        if meanwhile != "nothing":
            after = await state(node, key)
            assert isinstance(after, s.IncomingReleasing)
            assert {"the cheque went": "swap.cheque.gone"}.get(meanwhile, "swap.quote.expired") in after.proof


# -- invoices of somebody else ---------------------------------------------------------------------------


@pytest.mark.threat("X16")
@pytest.mark.parametrize("accepted", [False, True])
async def test_a_receipt_with_the_hash_of_a_foreign_invoice_touches_it_not(
    tmp_path: Path, accepted: bool
) -> None:
    """By asking and waiting, a peer could cancel any invoice of the operator's LND whose hash it knew."""
    lnd, legs, clock = HandLnd(), HandLegs(), HandClock()
    lnd.invoices[LOCK] = b.InvoiceOpen("lnbcrt shop", "two coffees")
    if accepted:
        lnd.pays(LOCK, Msat(10**12), FAR)
    before = lnd.invoices[LOCK]
    async with gateway(tmp_path, lnd, legs, clock) as node:
        assert await refused(node.engine.quote_in(PEER, CHANNEL, LOCK, RECEIVE)) == "btc.invoice.exists"
        key = Key(IN, LOCK, 1)
        for after in (0, 30_000, 70_000, 90_000):
            clock.time = NOW + Ms(after)
            await node.engine.reconcile()
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        ended = await state(node, key)
        assert isinstance(ended, s.Refused)
        assert ended.code == "swap.foreign_invoice"
        assert await refused(node.engine.cancel(LOCK)) == "swap.not_cancellable"
    assert lnd.invoices[LOCK] == before
    assert (lnd.cancelled, legs.signed) == ([], {})


# -- another LND -----------------------------------------------------------------------------------------


@pytest.mark.threat("X5")
async def test_another_node_proves_nothing_and_gets_no_new_swap(tmp_path: Path) -> None:
    """Its "no such payment" gave the cheque back while the first LND's payment was under way."""
    lnd, legs = HandLnd(), HandLegs()
    other = Preimage(b"\x05" * 32).hashlock
    async with gateway(tmp_path, lnd, legs) as node:
        key, cheque = await payment(node)
        await node.engine.notify(LOCK, cheque)
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        assert len(lnd.paid) == 1
    lnd.node = OTHER_NODE
    async with gateway(
        tmp_path, lnd, legs, accepted_node=OTHER_NODE.hex()
    ) as node:  # not while a leg is live
        await node.engine.reconcile()
        assert isinstance(await state(node, key), s.OutgoingIntended)
        assert legs.cancelled == []
        assert await refused(node.engine.quote_out(PEER, CHANNEL, invoice(other))) == "swap.other_node"
        assert await refused(node.engine.quote_in(PEER, CHANNEL, other, RECEIVE)) == "swap.other_node"
        assert await node.engine.why_paused() == "swap.other_node"
        lnd.node = FIRST_NODE
        await node.engine.reconcile()  # the right node's word counts
        assert isinstance(await state(node, key), s.IncomingReleasing)


@pytest.mark.threat("X5")
async def test_a_preimage_counts_whichever_node_tells_it(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        key, cheque = await payment(node)
        await node.engine.notify(LOCK, cheque)
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        lnd.node, lnd.record = OTHER_NODE, b.PaymentSettled(SECRET, Msat(0))
        await node.engine.reconcile()
        assert isinstance(await state(node, key), s.IncomingClaiming)


async def test_the_operator_replaces_an_lnd_by_name_once_no_swap_has_a_leg(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        assert isinstance(await node.engine.quote_out(PEER, CHANNEL, invoice()), Quote)
    lnd.node = OTHER_NODE
    other = Preimage(b"\x05" * 32).hashlock
    for accepted, fine in (
        ("", False),
        (FIRST_NODE.hex(), False),
        (OTHER_NODE.hex().upper(), True),
        ("", True),
    ):
        async with gateway(tmp_path, lnd, legs, accepted_node=accepted) as node:
            quote = node.engine.quote_out(PEER, CHANNEL, invoice(other))
            if fine:
                assert isinstance(await quote, Quote)
            else:
                assert await refused(quote) == "swap.other_node"


@pytest.mark.threat("X5")
async def test_a_database_of_lnd_that_lost_a_payment_it_had_shown_proves_nothing(tmp_path: Path) -> None:
    """The same node from its seed, with nothing in its database: the payment may still settle on chain."""
    lnd, legs = HandLnd(answer=b.PaymentUnknown("stream lost", known=True)), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        key, cheque = await payment(node)
        await node.engine.notify(LOCK, cheque)
        await asyncio.wait_for(node.dispatcher.drain(), 10)
    async with gateway(tmp_path, lnd, legs) as node:
        await node.engine.reconcile()
        assert isinstance(await state(node, key), s.OutgoingInFlight)
        assert node.alarms == ["swap.payment_lost"]
        assert legs.cancelled == []


@pytest.mark.threat("X4")
async def test_an_lnd_that_was_updated_under_us_is_asked_again_what_it_keeps_for_itself(
    tmp_path: Path,
) -> None:
    """0.20 cancels a held payment 12 blocks before its expiry, 0.21 18: six blocks more for a thief."""
    lnd, legs = HandLnd(), HandLegs()
    lnd.constants = replace(CONSTANTS, hold_cancel=BlockDelta(12))
    timeouts = []
    for number, hold_cancel in enumerate((12, 18)):
        lock = Preimage(bytes([number + 1]) * 32).hashlock
        directory = tmp_path / str(number)
        directory.mkdir()
        async with gateway(directory, lnd, legs, dispatching=False) as node:
            lnd.constants = replace(CONSTANTS, hold_cancel=BlockDelta(12))
            quote = await node.engine.quote_in(PEER, CHANNEL, lock, RECEIVE)
            assert isinstance(quote, Quote)
            lnd.constants = replace(CONSTANTS, hold_cancel=BlockDelta(hold_cancel))
            # at the invoice's own time lock: a longer one is cut to the life that the quote was priced for
            held = lnd.pays(lock, quote.bitcoin, 600 + quote.final_cltv.value)
            intended = await node.engine.runner.feed(Key(IN, lock, 1), i.InvoiceAnswer(held))
            assert isinstance(intended, s.OutgoingIntended)
            assert isinstance(intended.outgoing, s.ChequeOut)
            timeouts.append(intended.outgoing.timeout)
    assert timeouts[1] < timeouts[0]


# -- nothing is stuck, nothing is silent -----------------------------------------------------------------


@pytest.mark.threat("X7")
async def test_a_cheque_that_expired_and_was_forgotten_while_lnd_paid_ends_its_swap(tmp_path: Path) -> None:
    """The channel's one notice came while the payment was in flight; the cancel afterwards found nothing."""
    lnd, legs = HandLnd(answer=b.PaymentUnknown("in flight", known=True)), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        key, cheque = await payment(node)
        await node.engine.notify(LOCK, cheque)
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        await node.engine.notify(LOCK, i.IncomingChequeReleased(CHANNEL, 3, "cheque 3 expired"))
        assert isinstance(await state(node, key), s.OutgoingInFlight)
        legs.gone = "the channel holds no cheque 3 any more"
        lnd.record = b.PaymentFailed("no_route", "LND: FAILED (no_route), no attempt in flight")
        await node.engine.reconcile()
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        after = await state(node, key)
        assert isinstance(after, s.Released)
        assert legs.gone in after.proof


@pytest.mark.threat("X4")
async def test_an_invoice_that_cannot_be_settled_any_more_rings(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        key, quote = await receipt(node)
        held = lnd.pays(LOCK, quote.bitcoin, FAR)
        await node.engine.runner.feed(key, i.InvoiceAnswer(held))
        await asyncio.wait_for(node.dispatcher.drain(), 10)
        lnd.invoices[LOCK] = b.InvoiceCancelled(held.memo)
        await node.engine.notify(LOCK, i.PreimageSeen(SECRET))
        await node.engine.reconcile()
        assert isinstance(await state(node, key), s.IncomingClaiming)
        assert "swap.incoming_lost" in node.alarms
