"""The simulated network itself: its file after a kill, its default shape, random schedules with an oracle."""

import asyncio
import contextlib
import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.btc import ports as p
from regtest.bitcoin.simulated.backend import SimulatedBitcoin, SimulationOptions
from regtest.bitcoin.simulated.ledger import LndError, Rows
from regtest.bitcoin.simulated.network import Network, Request
from regtest.bitcoin.simulated.registry import Registry
from regtest.bitcoin.simulated.state import ACCEPTED, FAILED, IN_FLIGHT, OPEN, SETTLED, SUCCEEDED
from regtest.bitcoin.simulated.store import Store
from tests.support.btc_lab_sim import SimulatedLab
from tests.support.btc_steps import (
    AMOUNT,
    accepted,
    answers,
    final,
    hold,
    request,
    secret,
    within,
)

# -- the file -----------------------------------------------------------------------------------


def _copy_of(directory: Path) -> Path:
    copy = directory / "copy"
    copy.mkdir()
    for path in directory.glob("network.sqlite*"):
        shutil.copy(path, copy)
    return copy / "network.sqlite"


async def test_what_was_answered_is_on_disk(simulated: SimulatedLab, tmp_path: Path) -> None:
    """A copy of the file, taken while everything runs, holds all of it: a kill at that moment loses nothing."""
    lnd = simulated.adapter()
    await lnd.pay(request(await simulated.client().add_invoice(AMOUNT)))
    invoice = await lnd.add_hold_invoice(hold(secret("disk")))
    paying = simulated.alice_pays(invoice)
    await accepted(simulated, lnd, secret("disk").hashlock)
    await simulated.mine(2)
    await simulated.reorganise(1)
    store = Store(_copy_of(tmp_path))
    assert store.load() == simulated.bitcoin.world.network.rows
    store.close()
    await lnd.cancel_invoice(secret("disk").hashlock)
    assert not (await within(paying, simulated)).settled


async def test_payments_in_flight_survive_the_whole_network(simulated: SimulatedLab) -> None:
    lnd, alice = simulated.adapter(), simulated.client()
    out, held = secret("out"), secret("in")
    invoice = await alice.add_hold_invoice(out.hashlock.raw, AMOUNT)
    paying = asyncio.create_task(lnd.pay(request(invoice)))
    await simulated.until(lambda: alice.lookup_invoice(out.hashlock.raw), lambda state: state == "ACCEPTED")
    coming = await lnd.add_hold_invoice(hold(held))
    lost = simulated.alice_pays(coming)
    before = await accepted(simulated, lnd, held.hashlock)
    nodes = simulated.describe()["nodes"]
    await simulated.reload()
    assert simulated.describe()["nodes"] == nodes  # keys, ports, files
    assert isinstance(await within(paying, simulated), p.PaymentUnknown)
    with pytest.raises(grpc.aio.AioRpcError):
        await within(lost, simulated)
    await answers(simulated, lnd)
    assert await lnd.lookup_invoice(held.hashlock) == before
    await lnd.settle_invoice(held)
    await alice.settle(out.raw)
    assert isinstance(await final(simulated, lnd, out.hashlock), p.PaymentSettled)
    paid = await alice.lookup_payment(held.hashlock.raw)
    assert paid is not None
    assert paid.preimage == held.raw


async def test_the_default_network_is_a_gateway_a_hub_and_alice(tmp_path: Path) -> None:
    bitcoin = SimulatedBitcoin(tmp_path / "a", SimulationOptions(seed="same"))
    twin = SimulatedBitcoin(tmp_path / "b", SimulationOptions(seed="same"))
    await bitcoin.start()
    await twin.start()
    try:
        one, other = bitcoin.describe(), twin.describe()
        assert set(one) == {"backend", "version", "height", "nodes"}
        assert set(one["nodes"]) == {"gateway", "hub", "alice"}
        assert set(one["nodes"]["alice"]) == {"pubkey", "host", "port", "tls_cert", "macaroon", "p2p"}
        assert [n["pubkey"] for n in one["nodes"].values()] == [n["pubkey"] for n in other["nodes"].values()]
        await bitcoin.mine(3, 30_000)
        assert await bitcoin.height() == one["height"] + 3
        times = [b.time_ms for b in bitcoin.world.network.rows.blocks]
        assert times[-1] - times[0] == 30_000
    finally:
        await bitcoin.stop()
        await twin.stop()


# -- random schedules ---------------------------------------------------------------------------


class _Schedule:
    """Random steps on the bare network, with an oracle after each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_700_000_000_000
        self.network = Network(Rows(f"random {seed}"), part_hold_ms=5_000)
        self.network.start_chain(501, self.now)
        for name in ("a", "b", "c"):
            self.network.add_node(name)
        for pair in (("a", "b"), ("a", "b"), ("b", "c")):
            self.network.add_channel(*pair, 300_000_000, 300_000_000)
        for name in ("a", "b", "c"):
            self.network.up(name, self.now)
        self.secrets: list[bytes] = []

    def step(self) -> None:
        often = (self.pay, self.hold, self.settle, self.wake)
        action = self.random.choice((*often, *often, self.cancel, self.mine, self.sleep))
        self._try(action)
        self.now += self.random.randrange(3_000)
        self.network.tick(self.now)
        self.check()

    def _ends(self) -> tuple[str, str]:
        payer, payee = self.random.sample(("a", "b", "c"), 2)
        return payer, payee

    def _send(self, payer: str, text: str) -> None:
        if payer in self.network.online:
            self.network.pay(payer, Request(text, 0, 10_000_000, 0, 16, False), self.now)

    def _invoice(self, payee: str, **more: bytes) -> str:
        row = self.network.add_invoice(
            payee,
            self.now,
            value_msat=self.random.choice((1_000, 50_000_000, 290_000_000, 500_000_000)),
            memo="",
            expiry_s=60,
            cltv=30,
            **more,
        )
        return row.payment_request

    def pay(self) -> None:
        payer, payee = self._ends()
        self._send(payer, self._invoice(payee))

    def hold(self) -> None:
        payer, payee = self._ends()
        preimage = self.random.randbytes(32)
        self.secrets.append(preimage)
        self._send(payer, self._invoice(payee, hold_hash=hashlib.sha256(preimage).digest()))

    def settle(self) -> None:
        if self.secrets:
            preimage = self.random.choice(self.secrets)
            for name in sorted(self.network.online):
                self._try(lambda n=name: self.network.settle(n, preimage, self.now))

    def cancel(self) -> None:
        if self.secrets:
            lock = hashlib.sha256(self.random.choice(self.secrets)).digest()
            for name in sorted(self.network.online):
                self._try(lambda n=name: self.network.cancel(n, lock, self.now))

    def _try(self, what: Any) -> None:
        with contextlib.suppress(LndError):
            what()

    def mine(self) -> None:
        self.network.mine(self.random.randrange(1, 12), 10_000, self.now)

    def sleep(self) -> None:
        self.network.down(self.random.choice(("a", "b", "c")))

    def wake(self) -> None:
        for name in ("a", "b", "c"):
            self.network.up(name, self.now)

    def check(self) -> None:
        """No msat is made or lost; a payment is settled only with the preimage, failed only with nothing open."""
        rows = self.network.rows
        for channel in rows.channels.values():
            locked = sum(h.amount_msat for _, h in self.network.pending(channel.chan_id))
            assert channel.a_msat + channel.b_msat + locked == channel.capacity_sat * 1000
            assert min(channel.a_msat, channel.b_msat) >= 0
        for payment in rows.payments.values():
            open_hops = [h for a in payment.attempts for h in a.hops if h.open]
            if payment.status == SUCCEEDED:
                assert hashlib.sha256(bytes.fromhex(payment.preimage)).hexdigest() == payment.hash
            if payment.status != IN_FLIGHT:
                assert not open_hops
        for invoice in rows.invoices.values():
            if invoice.state == ACCEPTED:
                assert sum(h.amount_msat for h in invoice.accepted()) >= invoice.value_msat

    def drain(self) -> None:
        """All awake, all expired: nothing is left in flight, and both ends agree on every payment."""
        self.wake()
        self.now += 120_000
        self.network.tick(self.now)
        self.network.mine(60, 1_000, self.now)
        self.check()
        for payment in self.network.rows.payments.values():
            assert payment.status in (SUCCEEDED, FAILED)
            states = [i.state for i in self.network.rows.invoices.values() if i.hash == payment.hash]
            assert (payment.status == SUCCEEDED) == (states == [SETTLED])
        assert all(i.state not in (OPEN, ACCEPTED) for i in self.network.rows.invoices.values())


@pytest.mark.parametrize("seed", range(12))
def test_no_schedule_makes_or_loses_money(seed: int, tmp_path: Path) -> None:
    schedule = _Schedule(seed)
    store = Store(tmp_path / "rows.sqlite")
    for _ in range(60):
        schedule.step()
        changed, _ = schedule.network.take_changes()
        store.save(schedule.network.rows, changed)
    assert store.load() == schedule.network.rows  # every change was noted as one
    store.close()
    schedule.drain()
    done = {payment.status for payment in schedule.network.rows.payments.values()}
    assert SUCCEEDED in done


def test_the_registry_alone_knows_no_way_to_pay() -> None:
    """Invoices are taken by HTLCs only: settling one without any is refused."""
    registry = Registry(Rows("alone"))
    registry.add_node("a")
    row = registry.add_invoice("a", 0, value_msat=1, memo="", expiry_s=1, cltv=30, hold_hash=bytes(32))
    with pytest.raises(LndError, match="unable to locate invoice"):
        registry.settle_invoice("a", bytes(32), 0)
    with pytest.raises(LndError, match="already exists"):
        registry.add_invoice("a", 0, value_msat=1, memo="", expiry_s=1, cltv=30, hold_hash=bytes(32))
    assert row.state == OPEN
