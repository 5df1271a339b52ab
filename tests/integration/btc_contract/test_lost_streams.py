"""A stream of updates that is lost while LND still answers: its record has the last word, as far as it proves
anything. Only the simulation loses a stream at will."""

import asyncio
from typing import Any

import pytest

from gateway.btc import ports as p
from regtest.bitcoin.simulated.services import Router
from tests.support.btc_lab_sim import SimulatedLab
from tests.support.btc_steps import AMOUNT, answers, final, hashlock_of, request, secret, within

pytestmark = [pytest.mark.threat("X5"), pytest.mark.kind("IT")]
REAL = Router.SendPaymentV2


async def _patched(lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch, send: Any) -> None:
    monkeypatch.setattr(Router, "SendPaymentV2", send)
    monkeypatch.setattr("gateway.btc.lnd._SLACK_S", 1.0)
    await lab.restart("gateway")  # handlers are looked up when a server starts


async def _first_update_only(self: Router, message: Any, context: Any) -> Any:
    """The payment goes on, its stream falls silent."""
    updates = REAL(self, message, context)
    yield await anext(updates)
    async for _ in updates:
        pass
    await asyncio.sleep(60)


@pytest.mark.parametrize("end", ["settled", "failed"])
async def test_our_deadline_comes_before_lnds_answer(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Found on a machine under load: a payment that LND had failed was left unknown."""
    await _patched(simulated, monkeypatch, _first_update_only)
    lnd = simulated.adapter()  # with the minute's patience: LND has told of this very attempt
    await answers(simulated, lnd)
    invoice = await simulated.client().add_invoice(AMOUNT)
    if end == "failed":
        await simulated.break_route()
    result = await lnd.pay(request(invoice, timeout_s=3))
    wanted = p.PaymentSettled if end == "settled" else p.PaymentFailed
    assert isinstance(result, wanted), result
    assert await lnd.track(hashlock_of(invoice)) == result


async def test_what_fails_after_the_stream_was_lost_is_proven_at_once(simulated: SimulatedLab) -> None:
    lnd, alice = simulated.adapter(), simulated.client()
    preimage = secret("lost, then failed")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await simulated.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    simulated.cable.cut()
    lost = await within(paying, simulated)
    assert isinstance(lost, p.PaymentUnknown)
    assert lost.known
    await alice.cancel(raw)
    assert isinstance(await final(simulated, lnd, preimage.hashlock), p.PaymentFailed)


async def _silent(self: Router, message: Any, context: Any) -> Any:
    """The request may have arrived, and nothing tells."""
    await asyncio.sleep(60)
    async for update in REAL(self, message, context):
        yield update


async def test_the_failure_of_an_earlier_attempt_is_none_of_a_silent_one(
    simulated: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lnd = simulated.adapter()
    invoice = await simulated.client().add_invoice(AMOUNT)
    await simulated.break_route()
    assert isinstance(await lnd.pay(request(invoice)), p.PaymentFailed)
    assert isinstance(await lnd.track(hashlock_of(invoice)), p.PaymentFailed)
    await _patched(simulated, monkeypatch, _silent)
    await answers(simulated, lnd)
    for result in (await lnd.pay(request(invoice, timeout_s=1)), await lnd.track(hashlock_of(invoice))):
        assert isinstance(result, p.PaymentUnknown)
        assert not result.known


async def test_a_record_that_is_gone_again_is_no_proof(simulated: SimulatedLab) -> None:
    """LND's database was replaced under a payment that LND had told of."""
    lnd, alice = simulated.adapter(), simulated.client()
    preimage = secret("gone")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await simulated.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    simulated.cable.cut()
    await within(paying, simulated)
    with simulated.bitcoin.world.change() as network:
        row = network.rows.payments.pop(f"gateway/{raw.hex()}")
    try:
        gone = await lnd.track(preimage.hashlock)
    finally:
        with simulated.bitcoin.world.change() as network:
            network.rows.payments[f"gateway/{raw.hex()}"] = row
    assert isinstance(gone, p.PaymentUnknown)
    assert gone.known
    await alice.settle(preimage.raw)
    assert isinstance(await final(simulated, lnd, preimage.hashlock), p.PaymentSettled)
