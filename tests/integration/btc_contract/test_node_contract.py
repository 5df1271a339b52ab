"""The node itself: what it says about itself, who may ask, locked wallets, blocks and their reorganisation."""

import asyncio
from pathlib import Path

import pytest

from gateway.btc import ports as p
from gateway.btc.lnd import Lnd, LndOptions
from gateway.errors import Refused
from tests.support.btc_lab import Lab
from tests.support.btc_steps import AMOUNT, answers, hashlock_of, hold, refused, request, secret


async def test_it_introduces_itself(lab: Lab) -> None:
    lnd = lab.adapter()
    info = await lnd.info()
    assert info.node_id.hex() == lab.node("gateway")["pubkey"]
    assert info.network == "regtest"
    assert info.synced
    assert info.height.value == await lab.height()
    assert info.version.startswith("0.")
    constants = await lnd.time_constants()
    assert constants.warning == ""
    assert constants.hold_cancel.value in (12, 18)
    balances = await lnd.balances()
    assert 0 < balances.local.value < lab.too_much_msat
    assert balances.remote.value > 0
    assert balances.pending_htlcs == 0


@pytest.mark.threat("A1")
@pytest.mark.kind("IT")
async def test_a_wrong_or_weak_macaroon_is_named_as_such(lab: Lab, tmp_path: Path) -> None:
    right = await asyncio.to_thread(Path(lab.node("gateway")["macaroon"]).read_bytes)
    wrong = tmp_path / "wrong.macaroon"
    for raw in (right[:-1] + bytes([right[-1] ^ 1]), b"no macaroon at all", b""):
        wrong.write_bytes(raw)
        lnd = lab.adapter(macaroon=wrong)
        assert await refused(lnd.info()) == "btc.macaroon"
        assert await refused(lnd.lookup_invoice(secret("m").hashlock)) == "btc.macaroon"
        assert await refused(lnd.add_hold_invoice(hold(secret("m")))) == "btc.macaroon"
    weak = lab.adapter(macaroon=lab.weak_macaroon())
    assert (await weak.info()).synced
    assert await refused(weak.add_hold_invoice(hold(secret("m")))) == "btc.macaroon"
    assert await refused(weak.settle_invoice(secret("m"))) == "btc.macaroon"
    invoice = await lab.client().add_invoice(AMOUNT)
    assert isinstance(await weak.pay(request(invoice)), p.PaymentUnknown)
    assert await lab.client("gateway").lookup_payment(hashlock_of(invoice).raw) is None


async def test_a_foreign_certificate_is_named_as_such(lab: Lab, tmp_path: Path) -> None:
    foreign = Path(lab.node("alice")["tls_cert"])
    assert await refused(lab.adapter(tls_cert=foreign).info()) == "btc.certificate"
    node = lab.node("gateway")
    with pytest.raises(Refused) as missing:
        Lnd(LndOptions("127.0.0.1", lab.cable.port, node["tls_cert"], str(tmp_path / "none")))
    assert missing.value.rejection.code == "btc.file"


@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
async def test_a_locked_wallet_is_named_and_everything_goes_on_after_unlocking(lab: Lab) -> None:
    lnd, alice = lab.adapter(), lab.client()
    preimage = secret("locked")
    invoice = await alice.add_hold_invoice(preimage.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    raw = preimage.hashlock.raw
    await lab.until(lambda: alice.lookup_invoice(raw), lambda state: state == "ACCEPTED")
    await lab.stop_node("gateway")
    await lab.start_node("gateway", locked=True)

    async def code() -> str:
        return await refused(lnd.info())

    await lab.until(code, lambda c: c == "btc.locked")
    assert await refused(lnd.balances()) == "btc.locked"
    assert await refused(lnd.lookup_invoice(preimage.hashlock)) == "btc.locked"
    assert await refused(lnd.add_hold_invoice(hold(preimage))) == "btc.locked"
    assert await refused(lnd.settle_invoice(preimage)) == "btc.locked"
    assert await refused(lnd.cancel_invoice(preimage.hashlock)) == "btc.locked"
    assert isinstance(await paying, p.PaymentUnknown)
    assert isinstance(await lnd.track(preimage.hashlock), p.PaymentUnknown)
    assert isinstance(await lnd.pay(request(invoice)), p.PaymentUnknown)
    await alice.settle(preimage.raw)
    await lab.unlock("gateway")
    await answers(lab, lnd)
    result = await lab.until(
        lambda: lnd.track(preimage.hashlock), lambda r: not isinstance(r, p.PaymentUnknown)
    )
    assert isinstance(result, p.PaymentSettled)


async def _heights(lnd: Lnd, into: list[p.BlockEpoch | str]) -> None:
    try:
        async for epoch in lnd.watch_blocks():
            into.append(epoch)
    except Refused as error:
        into.append(error.rejection.code)


async def _until_seen(lab: Lab, seen: list[p.BlockEpoch | str], count: int) -> None:
    async def number() -> int:
        return len(seen)

    await lab.until(number, lambda n: n >= count)


@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
async def test_blocks_come_in_order_and_again_after_a_reorganisation(lab: Lab) -> None:
    lnd = lab.adapter()
    start = await lab.height()
    seen: list[p.BlockEpoch | str] = []
    watching = asyncio.create_task(_heights(lnd, seen))
    await _until_seen(lab, seen, 1)
    await lab.mine(3)
    await _until_seen(lab, seen, 4)
    await lab.reorganise(2)
    await _until_seen(lab, seen, 7)
    assert [e.height.value - start for e in seen if isinstance(e, p.BlockEpoch)] == [0, 1, 2, 3, 2, 3, 4]
    hashes = [e.block_hash for e in seen if isinstance(e, p.BlockEpoch)]
    assert len(set(hashes)) == 7
    assert all(len(h) == 32 for h in hashes)
    assert (await lnd.info()).height.value == start + 4
    lab.cable.cut()
    await asyncio.wait_for(watching, lab.times.patience_s)
    assert seen[-1] == "btc.unavailable"
    await answers(lab, lnd)
    seen.clear()
    watching = asyncio.create_task(_heights(lnd, seen))
    await _until_seen(lab, seen, 1)
    assert isinstance(seen[0], p.BlockEpoch)
    assert seen[0].height.value == start + 4
    watching.cancel()


async def test_header_times_follow_the_blocks(lab: Lab) -> None:
    lnd = lab.adapter()
    before = await lnd.info()
    await asyncio.sleep(1.1)  # headers know whole seconds
    await lab.mine(5)
    after = await lnd.info()
    assert after.height.value == before.height.value + 5
    assert after.best_header_ms > before.best_header_ms
