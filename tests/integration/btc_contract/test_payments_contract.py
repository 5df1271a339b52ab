"""Payments through the adapter: three results, each with what it needs to be one (docs/swaps, the law)."""

import asyncio

import pytest

from gateway.btc import ports as p
from gateway.units import Msat
from tests.support.btc_lab import Lab
from tests.support.btc_steps import (
    AMOUNT,
    answers,
    final,
    hashlock_of,
    hold,
    outcome,
    refused,
    request,
    secret,
    trouble,
    within,
)


async def test_a_payment_settles_with_its_preimage_and_fee(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    before = (await lnd.balances()).local.value, await alice.channel_balance()
    invoice = await alice.add_invoice(AMOUNT, "coffee")
    result = await outcome(lab, lnd, request(invoice))
    assert isinstance(result, p.PaymentSettled)
    assert result.preimage.opens(hashlock_of(invoice))
    # our LND knows the preimage before it has all signatures, and so before the hub and alice have theirs
    await lab.until(lambda: alice.lookup_invoice(hashlock_of(invoice).raw), lambda state: state == "SETTLED")
    await lab.until(alice.channel_balance, lambda msat: msat == before[1] + AMOUNT)
    assert result.fee.value > 0
    left = before[0] - AMOUNT - result.fee.value
    # satoshis are what LND reports of a channel
    await lab.until(lnd.balances, lambda b: abs(b.local.value - left) < 2_000)
    assert await lnd.track(hashlock_of(invoice)) == result


@pytest.mark.threat("X6")
@pytest.mark.kind("IT")
async def test_an_invoice_is_paid_once_however_often_it_is_sent(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    invoice = await alice.add_invoice(AMOUNT)
    before = await alice.channel_balance()
    results = await asyncio.gather(*(lnd.pay(request(invoice)) for _ in range(20)))
    again = await outcome(lab, lnd, request(invoice))
    assert isinstance(again, p.PaymentSettled)
    assert all(r == again or isinstance(r, p.PaymentUnknown) for r in results)
    await lab.until(alice.channel_balance, lambda msat: msat == before + AMOUNT)


async def test_no_route_is_a_proven_failure_and_the_invoice_can_be_paid_later(lab: Lab) -> None:
    lnd = lab.adapter(never_sent_after_s=0.0)
    invoice = await lab.client().add_invoice(AMOUNT)
    await lab.break_route()
    result = await outcome(lab, lnd, request(invoice))
    assert isinstance(result, p.PaymentFailed)
    assert result.reason == "no_route"
    assert "no attempt in flight" in result.proof
    assert await lnd.track(hashlock_of(invoice)) == result
    await lab.mend_route()
    assert isinstance(await outcome(lab, lnd, request(invoice)), p.PaymentSettled)


async def test_more_than_the_balance_fails_as_that(lab: Lab) -> None:
    lnd = lab.adapter()
    invoice = await lab.client().add_invoice(lab.too_much_msat)
    result = await outcome(lab, lnd, request(invoice))
    assert isinstance(result, p.PaymentFailed)
    assert result.reason == "insufficient_balance"


@pytest.mark.parametrize(("fee_limit", "cltv_limit"), [(1, 500), (1_000_000, 100)])
async def test_limits_on_fee_and_time_lock_hold(lab: Lab, fee_limit: int, cltv_limit: int) -> None:
    """The route costs more than 1 msat; the invoice's 80 blocks, padding and the hop need more than 100."""
    lnd = lab.adapter()
    invoice = await lab.client().add_invoice(AMOUNT)
    result = await outcome(lab, lnd, request(invoice, fee_limit=fee_limit, cltv_limit=cltv_limit))
    assert isinstance(result, p.PaymentFailed)
    assert result.reason == "no_route"


async def test_what_lnd_refuses_to_start_is_a_proven_failure(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    short = await alice.add_invoice(AMOUNT)
    refusals = [await lnd.pay(request(short, cltv_limit=80))]
    own = await lnd.add_hold_invoice(hold(secret("own")))
    refusals.append(await lnd.pay(request(own)))
    expired = await alice.add_invoice(AMOUNT, expiry_s=1)
    raw = hashlock_of(expired).raw
    await lab.until(lambda: alice.lookup_invoice(raw), lambda state: state == "CANCELED")
    refusals.append(await lnd.pay(request(expired)))
    for result, words in zip(refusals, ("cltv limit", "self-payments", "invoice expired"), strict=True):
        assert isinstance(result, p.PaymentFailed), result
        assert result.reason == "error"
        assert words in result.proof


async def test_a_payee_that_knows_nothing_of_it_fails_it(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    invoice = await alice.add_invoice(AMOUNT)
    await alice.cancel(hashlock_of(invoice).raw)
    result = await outcome(lab, lnd, request(invoice))
    assert isinstance(result, p.PaymentFailed)
    assert result.reason == "incorrect_details"


async def test_a_payment_in_two_parts_settles_as_one(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    invoice = await alice.add_invoice(lab.two_parts_msat)
    result = await outcome(lab, lnd, request(invoice))
    assert isinstance(result, p.PaymentSettled)
    record = await lab.client("gateway").lookup_payment(hashlock_of(invoice).raw)
    assert record is not None
    assert record.parts >= 2
    assert Msat(record.fee_msat) == result.fee


@pytest.mark.threat("X5")
@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
@pytest.mark.parametrize("end", ["settled", "cancelled"])
@pytest.mark.parametrize("kind", ["restart", "cut"])
async def test_a_payment_in_flight_survives(lab: Lab, kind: str, end: str) -> None:
    """Unknown while in flight, whatever happens to the connection; final once the payee decided."""
    lnd, alice = lab.adapter(never_sent_after_s=0.0), lab.client()
    preimage = secret(f"{kind}/{end}")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await lab.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    await trouble(lab, lnd, kind)
    assert isinstance(await within(paying, lab), p.PaymentUnknown)
    assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    if end == "settled":
        await alice.settle(preimage.raw)
    else:
        await alice.cancel(raw)
    result = await final(lab, lnd, preimage.hashlock)
    if end == "settled":
        assert isinstance(result, p.PaymentSettled)
        assert result.preimage == preimage
    else:
        assert isinstance(result, p.PaymentFailed)
        assert result.reason == "incorrect_details"
    assert await lnd.track(preimage.hashlock) == result


@pytest.mark.threat("X5")
@pytest.mark.kind("IT")
async def test_a_payment_that_settles_while_our_lnd_is_down_is_found(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    preimage = secret("down")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await lab.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    await lab.stop_node("gateway")
    assert isinstance(await within(paying, lab), p.PaymentUnknown)
    assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    await alice.settle(preimage.raw)
    await lab.start_node("gateway")
    await answers(lab, lnd)
    result = await final(lab, lnd, preimage.hashlock)
    assert isinstance(result, p.PaymentSettled)
    assert result.preimage == preimage


@pytest.mark.threat("X5")
@pytest.mark.threat("X6")
@pytest.mark.threat("X7")
@pytest.mark.kind("IT")
async def test_a_payment_held_past_every_deadline_lives_on_and_is_never_paid_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lnd #7621: a payment was taken for expired, paid again, and both arrived."""
    monkeypatch.setattr("gateway.btc.lnd._SLACK_S", 1.0)
    lnd, alice = lab.adapter(never_sent_after_s=0.0), lab.client()
    preimage = secret("deadline")
    before = await alice.channel_balance()
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    for _ in range(2):  # LND's own timeout of 5 s is over, then ours
        assert isinstance(await lnd.pay(request(invoice, timeout_s=5)), p.PaymentUnknown)
        assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    assert await alice.lookup_invoice(preimage.hashlock.raw) == "ACCEPTED"
    await lab.mine(6)
    assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    await alice.settle(preimage.raw)
    assert isinstance(await final(lab, lnd, preimage.hashlock), p.PaymentSettled)
    assert isinstance(await outcome(lab, lnd, request(invoice)), p.PaymentSettled)
    await lab.until(alice.channel_balance, lambda msat: msat == before + AMOUNT)


@pytest.mark.threat("X5")
@pytest.mark.kind("IT")
async def test_a_send_that_never_arrived_is_unknown_until_its_sender_is_long_dead(lab: Lab) -> None:
    lnd = lab.adapter(never_sent_after_s=1.0)
    invoice = await lab.client().add_invoice(AMOUNT)
    await answers(lab, lnd)
    lab.cable.unplug()
    assert isinstance(await lnd.pay(request(invoice)), p.PaymentUnknown)
    lab.cable.plug()
    await answers(lab, lnd)
    result = await final(lab, lnd, hashlock_of(invoice))
    assert isinstance(result, p.PaymentFailed)
    assert result.reason == "never_sent"
    patient = lab.adapter(never_sent_after_s=60.0)
    assert isinstance(await patient.track(hashlock_of(invoice)), p.PaymentUnknown)


async def test_calls_are_refused_by_name_while_the_node_is_gone(lab: Lab) -> None:
    lnd = lab.adapter()
    await answers(lab, lnd)
    lab.cable.unplug()
    assert await refused(lnd.info()) == "btc.unavailable"
    assert await refused(lnd.balances()) == "btc.unavailable"
    assert await refused(lnd.lookup_invoice(secret("x").hashlock)) == "btc.unavailable"
    assert await refused(lnd.add_hold_invoice(hold(secret("x")))) == "btc.unavailable"
    assert await refused(lnd.settle_invoice(secret("x"))) == "btc.unavailable"
    assert await refused(lnd.cancel_invoice(secret("x").hashlock)) == "btc.unavailable"


async def test_what_the_node_owns_changes_only_by_payments_that_ended(lab: Lab) -> None:
    """The ledger's own measure: HTLCs in flight, commitment fees and rounding move nothing."""
    lnd, alice = lab.adapter(), lab.client()
    before = await lnd.holdings()
    assert before.channels
    preimage = secret("owned")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT + 1)  # a fraction of a satoshi
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    await lab.until(lambda: alice.lookup_invoice(preimage.hashlock.raw), lambda state: state == "ACCEPTED")
    during = await lnd.holdings()
    assert abs(during.owned.value - before.owned.value) <= during.slack.value
    assert during.channels == before.channels
    await alice.settle(preimage.raw)
    result = await within(paying, lab)
    assert isinstance(result, p.PaymentSettled)
    left = before.owned.value - AMOUNT - 1 - result.fee.value
    await lab.until(lnd.holdings, lambda now: abs(now.owned.value - left) <= now.slack.value)
