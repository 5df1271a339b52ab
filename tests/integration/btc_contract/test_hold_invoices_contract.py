"""Hold invoices through the adapter: accepted, settled, cancelled, by us or by LND itself; whole sets only."""

import asyncio

import pytest

from gateway.btc import ports as p
from tests.support.btc_lab import Lab
from tests.support.btc_steps import (
    AMOUNT,
    CLTV,
    MEMO,
    accepted,
    answers,
    collect,
    hold,
    refused,
    secret,
    trouble,
    within,
)

STATES = list[p.InvoiceState | str]


async def test_a_hold_invoice_is_open_accepted_settled(lab: Lab) -> None:
    lnd = lab.adapter()
    preimage = secret("settled")
    lock = preimage.hashlock
    assert await lnd.lookup_invoice(lock) == p.InvoiceNotFound()
    invoice = await lnd.add_hold_invoice(hold(preimage))
    assert await lnd.lookup_invoice(lock) == p.InvoiceOpen(invoice, MEMO)
    seen: STATES = []
    watching = asyncio.create_task(collect(lnd, lock, seen))
    await lab.until(lambda: _count(seen), bool)
    paying = lab.alice_pays(invoice)
    held = await accepted(lab, lnd, lock)
    assert held.amount.value == AMOUNT
    assert held.invoice == invoice
    height = await lab.height()
    assert CLTV <= held.expiry.value - height <= CLTV + 3
    assert (await lnd.balances()).pending_htlcs == 1
    await lnd.settle_invoice(preimage)
    paid = await within(paying, lab)
    assert paid.settled
    assert paid.preimage == preimage.raw
    assert await lnd.lookup_invoice(lock) == p.InvoiceSettled(preimage, held.amount, MEMO)
    await within(watching, lab)
    assert seen[0] == p.InvoiceOpen(invoice, MEMO)
    assert seen[-1] == p.InvoiceSettled(preimage, held.amount, MEMO)
    await lnd.settle_invoice(preimage)  # again: no error
    assert await refused(lnd.cancel_invoice(lock)) == "btc.invoice.refused"


async def test_a_cancelled_hold_invoice_gives_the_payer_his_money_back(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    lock = secret("cancelled").hashlock
    before = await alice.channel_balance()
    invoice = await lnd.add_hold_invoice(hold(secret("cancelled")))
    paying = lab.alice_pays(invoice)
    await accepted(lab, lnd, lock)
    await lnd.cancel_invoice(lock)
    paid = await within(paying, lab)
    assert (paid.status, paid.reason) == ("FAILED", "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS")
    assert await alice.channel_balance() == before
    assert await lnd.lookup_invoice(lock) == p.InvoiceCancelled(MEMO)
    await lnd.cancel_invoice(lock)  # again: no error
    assert await refused(lnd.settle_invoice(secret("cancelled"))) == "btc.invoice.refused"


async def test_an_unpaid_invoice_expires_by_the_clock(lab: Lab) -> None:
    lnd = lab.adapter()
    lock = secret("expired").hashlock
    await lnd.add_hold_invoice(hold(secret("expired"), expiry_s=1))
    await lab.until(lambda: lnd.lookup_invoice(lock), lambda s: s == p.InvoiceCancelled(MEMO))


@pytest.mark.threat("X4")
@pytest.mark.kind("IT")
async def test_lnd_cancels_an_accepted_invoice_before_its_expiry(lab: Lab) -> None:
    """At expiry - D and not a block before, with the D that the adapter reads."""
    lnd = lab.adapter()
    preimage = secret("late")
    constants = await lnd.time_constants()
    assert constants.warning == ""
    invoice = await lnd.add_hold_invoice(hold(preimage))
    paying = lab.alice_pays(invoice)
    held = await accepted(lab, lnd, preimage.hashlock)
    left = held.expiry.value - constants.hold_cancel.value - await lab.height()
    await lab.mine(left - 1)
    assert isinstance(await lnd.lookup_invoice(preimage.hashlock), p.InvoiceAccepted)
    await lab.mine(1)
    lock = preimage.hashlock
    await lab.until(lambda: lnd.lookup_invoice(lock), lambda s: s == p.InvoiceCancelled(MEMO))
    assert not (await within(paying, lab)).settled
    assert await refused(lnd.settle_invoice(preimage)) == "btc.invoice.refused"


@pytest.mark.threat("X4")
@pytest.mark.kind("IT")
async def test_another_hold_expiry_delta_of_lnd_is_read_and_true(lab: Lab) -> None:
    await lab.stop_node("gateway")
    await lab.start_node("gateway", hold_delta=30)
    lnd = lab.adapter()
    await answers(lab, lnd)
    assert (await lnd.time_constants()).hold_cancel.value == 30
    invoice = await lnd.add_hold_invoice(hold(secret("delta")))
    paying = lab.alice_pays(invoice)
    lock = secret("delta").hashlock
    held = await accepted(lab, lnd, lock)
    await lab.mine(held.expiry.value - 30 - await lab.height())
    await lab.until(lambda: lnd.lookup_invoice(lock), lambda s: s == p.InvoiceCancelled(MEMO))
    assert not (await within(paying, lab)).settled


async def test_our_own_longer_delta_wins(lab: Lab) -> None:
    lnd = lab.adapter(own_hold_cancel=33)
    assert (await lnd.time_constants()).hold_cancel.value == 33


async def test_the_same_hash_gives_the_same_invoice_or_a_refusal(lab: Lab) -> None:
    lnd = lab.adapter()
    first = await lnd.add_hold_invoice(hold(secret("same")))
    assert await lnd.add_hold_invoice(hold(secret("same"))) == first
    assert await refused(lnd.add_hold_invoice(hold(secret("same"), amount=1))) == "btc.invoice.exists"
    assert await refused(lnd.add_hold_invoice(hold(secret("short"), cltv=5))) == "btc.invoice.refused"
    await lnd.cancel_invoice(secret("nobody's").hashlock)  # nothing to cancel is no error
    assert await refused(lnd.settle_invoice(secret("nobody's"))) == "btc.invoice.refused"
    assert await refused(lnd.settle_invoice(secret("same"))) == "btc.invoice.refused"  # still open


async def test_a_set_of_two_parts_is_accepted_as_a_whole(lab: Lab) -> None:
    lnd = lab.adapter()
    preimage = secret("two parts")
    invoice = await lnd.add_hold_invoice(hold(preimage, amount=lab.two_parts_msat))
    paying = lab.alice_pays(invoice)
    held = await accepted(lab, lnd, preimage.hashlock)
    assert held.amount.value == lab.two_parts_msat
    assert (await lnd.balances()).pending_htlcs >= 2
    await lnd.settle_invoice(preimage)
    paid = await within(paying, lab)
    assert paid.settled
    assert paid.parts >= 2
    assert isinstance(await lnd.lookup_invoice(preimage.hashlock), p.InvoiceSettled)


@pytest.mark.threat("X13")
@pytest.mark.kind("IT")
async def test_a_part_alone_is_never_accepted_and_goes_back(lab: Lab) -> None:
    lnd = lab.adapter()
    preimage = secret("one part")
    lock = preimage.hashlock
    invoice = await lnd.add_hold_invoice(hold(preimage))
    seen: STATES = []
    watching = asyncio.create_task(collect(lnd, lock, seen))
    await lab.until(lambda: _count(seen), bool)
    await lab.send_part(invoice, AMOUNT // 2)
    assert (await lnd.balances()).pending_htlcs == 1
    assert await lnd.lookup_invoice(lock) == p.InvoiceOpen(invoice, MEMO)
    assert await refused(lnd.settle_invoice(preimage)) == "btc.invoice.refused"

    async def pending() -> int:
        return (await lnd.balances()).pending_htlcs

    await lab.until(pending, lambda n: n == 0, lab.times.part_hold_s + lab.times.patience_s)
    assert await lnd.lookup_invoice(lock) == p.InvoiceOpen(invoice, MEMO)
    assert set(map(type, seen)) == {p.InvoiceOpen}
    alice = lab.client()  # her LND refuses a second payment while it believes the first in flight
    await lab.until(lambda: alice.lookup_payment(lock.raw), lambda r: r is None or r.status == "FAILED")
    paying = lab.alice_pays(invoice)
    held = await accepted(lab, lnd, lock)
    assert held.amount.value == AMOUNT  # the part that went back does not count
    await lnd.settle_invoice(preimage)
    assert (await within(paying, lab)).settled
    await within(watching, lab)


@pytest.mark.threat("X13")
@pytest.mark.kind("IT")
async def test_the_second_part_completes_the_set(lab: Lab) -> None:
    lnd = lab.adapter()
    preimage = secret("late part")
    invoice = await lnd.add_hold_invoice(hold(preimage))
    await lab.send_part(invoice, AMOUNT // 2)
    first = await lab.height()
    await lab.mine(2)
    await lab.send_part(invoice, AMOUNT // 2)
    held = await accepted(lab, lnd, preimage.hashlock)
    assert held.amount.value == AMOUNT
    # the lowest expiry of the two is the one of the part that came first
    assert held.expiry.value - first <= CLTV + 3
    await lnd.settle_invoice(preimage)
    assert isinstance(await lnd.lookup_invoice(preimage.hashlock), p.InvoiceSettled)


@pytest.mark.threat("X4")
@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("kind", ["restart", "cut"])
@pytest.mark.parametrize("stage", ["open", "accepted", "two parts", "settled", "cancelled"])
async def test_trouble_at_any_stage_loses_the_stream_and_nothing_else(
    lab: Lab, stage: str, kind: str
) -> None:
    lnd = lab.adapter()
    preimage = secret(f"{stage}/{kind}")
    lock = preimage.hashlock
    amount = lab.two_parts_msat if stage == "two parts" else AMOUNT
    invoice = await lnd.add_hold_invoice(hold(preimage, amount=amount))
    paying = None
    if stage != "open":
        paying = lab.alice_pays(invoice)
        await accepted(lab, lnd, lock)
    if stage == "settled":
        await lnd.settle_invoice(preimage)
    if stage == "cancelled":
        await lnd.cancel_invoice(lock)
    before = await lnd.lookup_invoice(lock)
    seen: STATES = []
    watching = asyncio.create_task(collect(lnd, lock, seen))
    await lab.until(lambda: _count(seen), bool)
    await trouble(lab, lnd, kind)
    await within(watching, lab)
    assert seen[0] == before
    if stage not in ("settled", "cancelled"):  # those streams had ended well
        assert seen[-1] == "btc.unavailable"
    assert await lnd.lookup_invoice(lock) == before
    if stage == "open":
        paying = lab.alice_pays(invoice)
        await accepted(lab, lnd, lock)
    if stage != "cancelled":
        await lnd.settle_invoice(preimage)
    assert paying is not None
    assert (await within(paying, lab)).settled == (stage != "cancelled")


async def _count(seen: STATES) -> int:
    return len(seen)


@pytest.mark.threat("X4")
@pytest.mark.kind("IT")
async def test_an_invoice_that_grew_late_while_lnd_slept_is_not_settled_after_all(lab: Lab) -> None:
    """LND was down when its expiry came near: the look-up, not our wish, says what became of it."""
    lnd = lab.adapter()
    preimage = secret("slept")
    lock = preimage.hashlock
    invoice = await lnd.add_hold_invoice(hold(preimage))
    paying = lab.alice_pays(invoice)
    held = await accepted(lab, lnd, lock)
    delta = (await lnd.time_constants()).hold_cancel.value
    await lab.stop_node("gateway")
    await lab.mine(held.expiry.value - delta - await lab.height())
    await lab.start_node("gateway")
    await answers(lab, lnd)
    await lab.until(lambda: lnd.lookup_invoice(lock), lambda s: s == p.InvoiceCancelled(MEMO))
    assert await refused(lnd.settle_invoice(preimage)) == "btc.invoice.refused"
    assert not (await within(paying, lab)).settled
