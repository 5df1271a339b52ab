"""Double entry: each event balances, each end leaves nothing hanging, a difference with a network is seen."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc import ports as b
from gateway.btc.errors import UNAVAILABLE
from gateway.cli.commands_ledger import Form, _write
from gateway.errors import Refused
from gateway.outcome import Continue
from gateway.store.codec import Codecs
from gateway.store.hooks import HookPoint
from gateway.store.ledger_rows import Leg
from gateway.store.store import Store
from gateway.swap import btc_to_cl, cl_to_btc, codecs, errors, ledger, payee, payer
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT
from gateway.swap.ledger import LOVELACE, MSAT, Row
from gateway.swap.ledger_watch import LedgerWatch
from gateway.swap.quote import Direction, Quote
from gateway.swap.runner import Key
from gateway.swap.transitions import evolve
from gateway.units import BlockHeight, Lovelace, Ms, Msat, Rate
from tests.support.swap_machines import (
    CHANNEL,
    MEMO,
    NOW,
    PEER,
    SECRET,
    in_context,
    out_context,
    quote,
)
from tests.unit.swap.test_swap_machines import IN_INPUTS, OUT_INPUTS

PENDING = ("lightning.sending", "channels.offered", "lightning.held", "channels.held", "payer", "issuer")


def priced(direction: Direction, amount: int, rate: Rate) -> Quote:
    """As the quotes make it: rounded in the gateway's favour, with a base and half a percent."""
    base, budget = Lovelace(1_000), Msat(1_000 + amount // 200)
    if direction is Direction.CL_TO_BTC:
        converted = rate.lovelace_up(Msat(amount) + budget)
        part = Lovelace(-(-converted.value * 5_000 // 1_000_000))
        sums: dict[str, Any] = {
            "bitcoin": Msat(amount),
            "cardano": converted + base + part,
            "routing_budget": budget,
        }
    else:
        receive = Lovelace(amount)
        part = Lovelace(-(-amount * 5_000 // 1_000_000))
        exact = rate.msat_up(receive + base + part)
        sums = {
            "bitcoin": Msat(-(-exact.value // 1000) * 1000),
            "cardano": receive,
            "routing_budget": Msat(0),
        }
    return replace(quote(direction), rate=rate, base_fee=base, proportional_fee=part, **sums)


def sums_of(rows: list[Row]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        found[row.account, row.unit] = found.get((row.account, row.unit), 0) + row.amount
    return {key: amount for key, amount in found.items() if amount}


def play(direction: Direction, q: Quote, sequence: list[Any]) -> tuple[s.State, list[Row]]:
    state: s.State = evolve(None, e.QuoteGiven(q))
    rows: list[Row] = []
    for given_input in sequence:
        outcome: Any
        if direction is Direction.CL_TO_BTC:
            outcome = cl_to_btc.decide(state, given_input, out_context())
        else:
            outcome = btc_to_cl.decide(state, given_input, in_context())
        for event in outcome.events if isinstance(outcome, Continue) else ():
            moved = ledger.whole(ledger.swap_rows(state, event))
            assert ledger.is_balanced(moved), (event, moved)
            assert len({(row.account, row.unit) for row in moved}) == len(moved)
            rows += moved
            state = evolve(state, event)
    return state, rows


RATES = st.builds(Rate, st.integers(1, 10**6), st.integers(1, 10**6))


@given(amount=st.integers(1, 10**11), rate=RATES, fee=st.integers(0, 10**9), known=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_paid_invoice_is_booked_to_the_last_unit(amount: int, rate: Rate, fee: int, known: bool) -> None:
    q = priced(Direction.CL_TO_BTC, amount, rate)
    fee = min(fee, q.routing_budget.value)
    locked = i.ChequeLocked(PEER, CHANNEL, 3, q.cardano, NOW + Ms(1_500_000))
    paid = i.PaymentAnswer(b.PaymentSettled(SECRET, Msat(fee))) if known else i.PreimageSeen(SECRET)
    state, rows = play(Direction.CL_TO_BTC, q, [locked, paid, i.IncomingChequeSettled(CHANNEL, 3, "squash")])
    assert isinstance(state, s.Done)
    sums = sums_of(rows)
    assert not [key for key in sums if key[0] in PENDING]
    assert sums.get(("channels", LOVELACE), 0) == q.cardano.value
    spent = -sums.get(("lightning", MSAT), 0)
    if known:
        assert spent == amount + fee
        assert sums.get(("cost.routing", MSAT), 0) == fee
    else:
        assert (
            spent == amount + q.routing_budget.value == amount + sums.get(("lightning.fee_unknown", MSAT), 0)
        )
    assert -sums.get(("exchange", LOVELACE), 0) == rate.lovelace_down(Msat(amount)).value
    assert sums.get(("exchange", MSAT), 0) == amount
    assert 0 <= -sums.get(("rounding", LOVELACE), 0) <= 1
    assert ("fee.other", LOVELACE) not in sums


@given(amount=st.integers(1, 10**13), rate=RATES, over=st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_a_received_payment_is_booked_to_the_last_unit(amount: int, rate: Rate, over: int) -> None:
    q = priced(Direction.BTC_TO_CL, amount, rate)
    held = q.bitcoin + Msat(over)
    sequence = [
        i.InvoiceCreated("lnbcrt1…"), i.InvoiceAnswer(b.InvoiceAccepted("x", held, BlockHeight(760), MEMO)),
        i.ChequeOffered(9), i.PreimageSeen(SECRET), i.InvoiceAnswer(b.InvoiceSettled(SECRET, held, MEMO)),
    ]  # fmt: skip
    state, rows = play(Direction.BTC_TO_CL, q, sequence)
    assert isinstance(state, s.Done)
    sums = sums_of(rows)
    assert not [key for key in sums if key[0] in PENDING]
    assert sums[("lightning", MSAT)] == held.value
    assert -sums.get(("channels", LOVELACE), 0) == amount == sums[("exchange", LOVELACE)]
    assert -sums.get(("exchange", MSAT), 0) == rate.msat_down(q.cardano).value
    assert -sums.get(("fee.other", MSAT), 0) == over
    earned = -sum(amount for (account, _), amount in sums.items() if account in ledger.PROFIT)
    assert earned == held.value - rate.msat_down(q.cardano).value


@given(direction=st.sampled_from(list(Direction)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_order_of_inputs_leaves_an_entry_open(direction: Direction, data: st.DataObject) -> None:
    """The same inputs as the law's own test; an ended swap has nothing in flight, held or owed."""
    inputs = OUT_INPUTS if direction is Direction.CL_TO_BTC else IN_INPUTS
    sequence = data.draw(st.lists(st.sampled_from(inputs), max_size=12))
    state, rows = play(direction, quote(direction), sequence)
    sums = sums_of(rows)
    pending = {account for account, _ in sums if account in PENDING}
    if isinstance(state, (s.Released, s.Refused)):
        assert sums == {}
    if isinstance(state, s.Done):
        assert not pending
    if isinstance(state, (s.OutgoingIntended, s.OutgoingInFlight)):
        outgoing = "lightning.sending" if direction is Direction.CL_TO_BTC else "channels.offered"
        assert outgoing in pending


def test_payments_and_receipts_of_the_nodes_own() -> None:
    order = payer.Order(SECRET.hashlock, "x", Msat(5), PEER, CHANNEL, Lovelace(100), Ms(60_000), NOW)
    offer = payer.Offer(b"q" * 32, SECRET.hashlock, Msat(5), Lovelace(90), NOW, NOW)
    intended = ledger.payment_rows(payer.AwaitingQuote(order), payer.Intended(offer, NOW))
    live = payer.ChequeLive(order, offer, 1)
    paid = ledger.payment_rows(live, payer.WasPaid(SECRET))
    failed = ledger.payment_rows(live, payer.HasFailed("p"))
    refused = ledger.payment_rows(payer.ChequeIntended(order, offer, NOW), payer.WasRefused("c", "d"))
    assert sums_of([*intended, *paid]) == {("channels", LOVELACE): -90, ("payments", LOVELACE): 90}
    assert sums_of([*intended, *failed]) == sums_of([*intended, *refused]) == {}
    assert ledger.payment_rows(payer.AwaitingQuote(order), payer.WasRefused("c", "d")) == ()
    request = payee.Request(SECRET, Lovelace(70), PEER, CHANNEL, NOW)
    got = ledger.receipt_rows(payee.Fulfilling(request, "x", Msat(5), 1), payee.WasReceived("p"))
    assert sums_of([*got]) == {("channels", LOVELACE): 70, ("receipts", LOVELACE): -70}
    assert ledger.receipt_rows(payee.AwaitingInvoice(request), payee.WasRefused("c", "d")) == ()


def test_profit_by_day_and_by_swap() -> None:
    hash_ = SECRET.hashlock.hex()
    day = 86_400_000
    lines = [
        ledger.Line(f"swap.out/{hash_}.1/8", Row("fee.base", LOVELACE, -1_000), NOW.value),
        ledger.Line(f"swap.out/{hash_}.1/5", Row("cost.routing", MSAT, 30), NOW.value - day),
        ledger.Line(f"swap.out/{hash_}.1/5", Row("exchange", MSAT, 9_999), NOW.value),
        ledger.Line("l1tx/ab", Row("cost.chain", LOVELACE, 200), NOW.value),
    ]
    assert ledger.profit(lines, by_swap=True) == {
        hash_: {LOVELACE: 1_000, MSAT: -30}, "": {LOVELACE: -200, MSAT: 0},
    }  # fmt: skip
    assert ledger.profit(lines, by_swap=False) == {
        "2023-11-14": {LOVELACE: 800, MSAT: 0}, "2023-11-13": {LOVELACE: 0, MSAT: -30},
    }  # fmt: skip


def test_a_difference_is_what_the_network_has_more() -> None:
    sums = {
        ("channels", LOVELACE): 100, ("channels.offered", LOVELACE): 20, ("lightning", MSAT): -50,
        ("lightning.sending", MSAT): 10, ("lightning.fee_unknown", MSAT): 5,
    }  # fmt: skip
    assert not ledger.difference(sums, Lovelace(120), Msat(-40))
    assert not ledger.difference(sums, Lovelace(120), Msat(-35))  # the unknown fee was nothing
    assert not ledger.difference(sums, Lovelace(120), None)
    found = ledger.difference(sums, Lovelace(119), Msat(-41))
    assert (found.lovelace, found.msat) == (Lovelace(-1), Msat(-1))
    assert "-1 lovelace" in found.words()
    assert "-1 msat" in found.words()
    assert ledger.is_balanced(ledger.accepted(found))
    assert ledger.difference(sums, Lovelace(120), Msat(-34)).msat == Msat(1)
    for off in (-44, -31):  # a node that speaks in whole satoshis is believed to its rounding, and not beyond
        assert not ledger.difference(sums, Lovelace(120), Msat(off), Msat(4))
    assert ledger.difference(sums, Lovelace(120), Msat(-45), Msat(4)).msat == Msat(-1)


# -- the watch ------------------------------------------------------------------------------------


class Networks:
    """What the channels and the Lightning node hold, by hand."""

    def __init__(self) -> None:
        self.lovelace, self.msat, self.channels, self.away = 500, 7_000, ("a:0", "b:1"), False
        self.alarms: list[str] = []
        self.slack = 0
        self.pending: tuple[b.PendingHtlc, ...] = ()

    def in_channels(self) -> Lovelace:
        return Lovelace(self.lovelace)

    async def holdings(self) -> b.Holdings:
        if self.away:
            raise Refused(UNAVAILABLE())
        return b.Holdings(Msat(self.msat), self.channels, Msat(self.slack), self.pending)

    def alarm(self, _: str, code: str, detail: str) -> None:
        self.alarms.append(code)

    async def watch(self, path: Path) -> tuple[Store, LedgerWatch]:
        known = Codecs()
        codecs.register(known)
        store = await Store.open(f"sqlite:///{path}/a.db", network="regtest", codecs=known)
        watch = LedgerWatch(store, self.in_channels, self.holdings, self.alarm)
        await watch.start()
        return store, watch


async def test_a_difference_that_stays_stops_new_swaps_until_it_is_explained(tmp_path: Path) -> None:
    net = Networks()
    store, watch = await net.watch(tmp_path)
    for _ in range(3):  # what was there before the ledger is the operator's own
        assert not await watch.check()
    net.msat -= 30  # somebody pays out of the Lightning node
    await watch.check()
    assert watch.why == ""  # a swap that is just being settled looks like this
    await watch.check()
    assert errors.LEDGER.code in watch.why
    assert "-30 msat" in watch.why
    await watch.check()
    assert net.alarms == [errors.LEDGER.code]  # told once
    net.away = True
    await watch.check()
    assert watch.why != ""  # a node that cannot be asked explains nothing
    net.away = False
    found = await watch.accept("paid the plumber")
    assert found.msat == Msat(-30)
    assert watch.why == ""
    assert not await watch.check()
    net.lovelace += 5
    await watch.check()
    net.lovelace -= 5
    assert not await watch.check()
    assert watch.why == ""
    async with store.read() as tx:
        memos = [one.memo for one in await tx.audit.rows(prefix="accepted/")]
    assert set(memos) == {"paid the plumber"}
    await store.close()
    net.lovelace += 1  # the node was off meanwhile: that is seen, and a restart forgives nothing
    store, watch = await net.watch(tmp_path)
    await watch.check()
    await watch.check()
    assert "+1 lovelace" in watch.why
    await store.close()


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_peer_that_does_not_sign_a_settled_htlc_away_stops_no_swap(
    tmp_path: Path, direction: Direction
) -> None:
    """LND's record and the books say that it is settled; the commitment keeps it until LND's peer wakes up."""
    net = Networks()
    store, watch = await net.watch(tmp_path)
    await watch.check()
    incoming = direction is Direction.BTC_TO_CL
    lock, amount = SECRET.hashlock, 10_000_000
    swap = quote(direction)
    key = Key(IN if incoming else OUT, lock, 1)
    states: dict[str, s.State] = {
        "open": s.Quoted(swap),
        "settled": s.Done(swap, SECRET, "settled"),
    }
    version = 0
    net.pending = (b.PendingHtlc(lock.raw, incoming, Msat(amount)), b.PendingHtlc(b"f" * 32, True, Msat(7)))
    for name, state in states.items():
        async with store.transaction("test") as tx:
            if not version:
                await tx.swaps.begin(lock.hex(), 1, lock, key.kind)
            events = (e.QuoteGiven(swap),)
            version = await tx.append(key.kind, key.entity_id, version, events, state, ())
        if name == "open":
            assert not await watch.check()  # in flight: the ledger says the same
    async with store.transaction("test") as tx:  # what the swap's own events have booked meanwhile
        moved = amount if incoming else -amount
        legs = [Leg("lightning", MSAT, moved, ""), Leg("exchange", MSAT, -moved, "")]
        await tx.audit.post("swap/1", legs)
    for _ in range(3):
        assert not await watch.check()
    net.pending, net.msat = (), 7_000 + moved
    assert not await watch.check()
    net.msat -= 5
    for _ in range(2):
        await watch.check()
    assert "-5 msat" in watch.why
    await store.close()


async def test_rounding_hides_no_difference_that_stays(tmp_path: Path) -> None:
    """LND's whole satoshis flicker between two checks: it is the same difference all the same."""
    net = Networks()
    store, watch = await net.watch(tmp_path)
    net.slack = 4_000
    await watch.check()
    net.msat -= 3_000
    for _ in range(2):
        assert not await watch.check()
    for flicker in (0, 1_000):
        net.msat = 7_000 - 90_000 + flicker
        assert await watch.check()
    assert errors.LEDGER.code in watch.why
    await store.close()


async def test_channels_that_open_or_close_are_the_operators(tmp_path: Path) -> None:
    net = Networks()
    store, watch = await net.watch(tmp_path)
    await watch.check()
    net.channels, net.msat = ("a:0", "b:1", "c:0"), 900_000
    for _ in range(2):
        assert not await watch.check()
    async with store.read() as tx:
        assert (await tx.audit.balances())["operator", MSAT] == -900_000
    await store.close()


async def test_what_moves_by_itself_is_no_difference(tmp_path: Path) -> None:
    """Two checks that differ from one another are two swaps being settled."""
    net = Networks()
    store, watch = await net.watch(tmp_path)
    for moved in (1, 2, 3, 0):
        net.lovelace = 500 + moved
        await watch.check()
        assert watch.why == ""
    await store.close()


async def test_rows_and_event_are_one_write(tmp_path: Path) -> None:
    """A crash before the commit leaves neither; after it both are there (the runner's own transaction)."""
    from gateway.swap.engine import OUT
    from gateway.swap.runner import Key
    from tests.unit.swap.test_engine_sending import CHEQUE, QUOTE, Cheques, SlowLnd, _engine

    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(tmp_path, lnd, cheques)
    key = await engine.runner.begin(
        lambda n: Key(OUT, QUOTE.hashlock, n), QUOTE.hashlock, e.QuoteGiven(QUOTE)
    )

    def dies(point: HookPoint) -> None:
        if point.stage == "before_commit" and point.name == f"{OUT}.ChequeLocked":
            raise RuntimeError("the process ends here")

    remove = store.hooks.add(dies)
    with pytest.raises(RuntimeError):
        await engine.notify(QUOTE.hashlock, CHEQUE)
    remove()
    async with store.read() as tx:
        assert await tx.audit.balances() == {}
        assert await tx.swap_inputs.of(key.kind, key.entity_id) == ()
        state, _ = await tx.load(key.kind, key.entity_id)
    assert isinstance(state, s.Quoted)
    await engine.notify(QUOTE.hashlock, CHEQUE)
    async with store.read() as tx:
        sums = await tx.audit.balances()
        (seen,) = await tx.swap_inputs.of(key.kind, key.entity_id)
    assert seen.version == 1
    assert sums["lightning.sending", MSAT] == (QUOTE.bitcoin + QUOTE.routing_budget).value
    assert sums["channels.held", LOVELACE] == QUOTE.cardano.value
    await dispatcher.stop()
    await store.close()


def test_export_forms() -> None:
    head = {"id": 1, "entry": "l1tx/ab", "account": "wallet", "unit": "lovelace"}
    rows = [{**head, "amount": -5, "memo": 'a,"b"', "at_ms": 7}]
    for form in Form:
        text = io.StringIO()
        _write(text, form, rows)
        if form is Form.JSON:
            assert json.loads(text.getvalue()) == rows
        else:
            (read,) = csv.DictReader(io.StringIO(text.getvalue()))
            assert read == {name: str(value) for name, value in rows[0].items()}
