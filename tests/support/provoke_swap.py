"""Provocations of the swap engine's rules: the pure quotes and machines, and a client over an empty store."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.bolt.bolt11 import decode
from gateway.btc import ports as b
from gateway.cl.data.types import ChannelId
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.profile import REGTEST
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.swap import btc_to_cl, cl_to_btc, codecs, payee, payer, transitions
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.client import SwapClient
from gateway.swap.engine import OUT
from gateway.swap.ports import ChannelStanding
from gateway.swap.quote import (
    Direction,
    InvoiceFacts,
    Liquidity,
    Quote,
    QuoteContext,
    SwapPolicy,
    quote_btc_to_cl,
    quote_cl_to_btc,
    read_invoice,
)
from gateway.swap.risk import Risk
from gateway.swap.risk_watch import RiskWatch
from gateway.swap.runner import Key
from gateway.swap.timelock import Clocks
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate
from tests.support.provoke import arefused, proved_by, provokes

SECRET = Preimage(b"\x07" * 32)
PEER, OWN, PAYEE = b"\x02" + b"p" * 32, b"\x02" + b"o" * 32, b"\x03" + b"x" * 32
CHANNEL = ChannelId(b"c" * 20)
NOW = PosixMs(1_700_000_000_000)
MEMO = f"swap {(b'q' * 8).hex()}"  # of an invoice that the gateway made for the quote below
CONSTANTS = b.TimeConstants(BlockDelta(18), BlockDelta(22), BlockDelta(19), BlockDelta(24))
POLICY = SwapPolicy(
    rate=Rate(5, 2), base_fee=Lovelace(1000), proportional_ppm=5000, routing_fee_base=Msat(1000),
    routing_fee_ppm=5000, least=Msat(1_000_000), most=Msat(1_000_000_000), quote_life=Ms(60_000),
    hop_blocks=BlockDelta(40), receive_life=REGTEST.receive_life, bitcoin_reserve=Msat(0),
    cardano_reserve=Lovelace(0), slot_reserve=2, auto_add_most=Lovelace(0),
)  # fmt: skip
PLENTY = Liquidity(Msat(10**12), Msat(10**12), Lovelace(10**13), Lovelace(10**13), 20, 20)
BASE = QuoteContext(
    b"q" * 32, PEER, CHANNEL, REGTEST, POLICY, Clocks(NOW, BlockHeight(600)), CONSTANTS, PLENTY, OWN, False
)
INVOICE = InvoiceFacts(
    "lnbcrt…", "regtest", PAYEE, SECRET.hashlock, Msat(10_000_000), NOW + Ms(3_600_000), BlockDelta(18), None
)


def out(**changes: Any) -> Quote | Rejection:
    """A quote for an invoice; changes of the invoice, of the liquidity or of the context, by field."""
    liquidity = {k: v for k, v in changes.items() if hasattr(PLENTY, k)}
    facts = {k: v for k, v in changes.items() if hasattr(INVOICE, k)}
    rest = {k: v for k, v in changes.items() if k not in liquidity and k not in facts}
    context = replace(BASE, liquidity=replace(PLENTY, **liquidity), **rest)
    return quote_cl_to_btc(context, replace(INVOICE, **facts))


assert isinstance(out(), Quote), out()


@provokes(
    "swap.invoice.wrong_network", "swap.invoice.expired", "swap.invoice.amountless",
    "swap.invoice.unknown_feature", "swap.invoice.own_node", "swap.hash.in_use", "swap.amount.too_small",
    "swap.amount.too_large", "swap.liquidity.bitcoin", "swap.liquidity.cardano", "swap.liquidity.slots",
    "swap.timelock.too_long",
)  # fmt: skip
def invoices_that_are_not_quoted(_: Path) -> Any:
    return [
        out(network="mainnet"), out(expires_at=NOW), out(amount=None), out(unknown_required_feature=100),
        out(payee=OWN), out(hash_in_use=True), out(amount=Msat(1)), out(amount=Msat(10**10)),
        out(bitcoin_local=Msat(5)), out(channel_remote=Lovelace(5)), out(free_slots_in=2),
        out(final_cltv=BlockDelta(100_000)),
    ]  # fmt: skip


@provokes("swap.liquidity.cardano")
def a_receipt_that_the_channel_cannot_pay(_: Path) -> Any:
    context = replace(BASE, liquidity=replace(PLENTY, channel_local=Lovelace(5)))
    return quote_btc_to_cl(context, SECRET.hashlock, Lovelace(25_000_000))


@provokes("swap.invoice.malformed")
def not_an_invoice(_: Path) -> Any:
    assert isinstance(decode("lnbcrt1nonsense"), Rejection)
    return read_invoice("lnbcrt1nonsense")


def quoted(direction: Direction = Direction.CL_TO_BTC) -> s.Quoted:
    return s.Quoted(
        Quote(
            id=b"q" * 32, direction=direction, peer=PEER, channel=CHANNEL, hashlock=SECRET.hashlock,
            bitcoin=Msat(10_000_000), cardano=Lovelace(25_000_000), rate=Rate(5, 2), base_fee=Lovelace(0),
            proportional_fee=Lovelace(0), routing_budget=Msat(1000), invoice="lnbcrt1…",
            final_cltv=BlockDelta(80), cheque_timeout=NOW + Ms(1_000_000), valid_until=NOW + Ms(60_000),
            eps=Fraction(1, 10**6),
        )
    )  # fmt: skip


def cheque(**changes: Any) -> i.ChequeLocked:
    base = i.ChequeLocked(PEER, CHANNEL, 3, Lovelace(25_000_000), NOW + Ms(1_500_000))
    return replace(base, **changes)


def offered(given: i.Input, after: int = 0, paused: str = "") -> Any:
    context = cl_to_btc.Context(REGTEST, Clocks(NOW + Ms(after), BlockHeight(600)), paused)
    return cl_to_btc.decide(quoted(), given, context)


@provokes(
    "swap.cheque.amount",
    "swap.timelock.too_short",
    "swap.quote.expired",
    "swap.quote.other_peer",
    "swap.paused",
)
def cheques_that_do_not_fit_their_quote(_: Path) -> Any:
    return [
        offered(cheque(amount=Lovelace(24_999_999))),
        offered(cheque(timeout=NOW + Ms(300_000))),
        offered(cheque(), after=60_001),
        offered(cheque(peer=b"\x03" * 33)),
        offered(cheque(), paused="the Lightning node is not synced"),
    ]


@provokes("swap.cheque.unexpected")
def a_cheque_after_the_receipt_has_ended(_: Path) -> Any:
    request = payee.Request(SECRET, Lovelace(5), PEER, CHANNEL, NOW)
    context = payee.Context(NOW, Ms(1), Ms(1), Ms(1))
    return payee.decide(payee.Refused(request, "swap.cancelled", ""), cheque(), context)


def held(amount: int, expiry: int) -> Any:
    """The details of the proof why no cheque was signed for a held payment."""
    context = btc_to_cl.Context(REGTEST, Clocks(NOW, BlockHeight(600)), CONSTANTS, 1)
    given = i.InvoiceAnswer(b.InvoiceAccepted("x", Msat(amount), BlockHeight(expiry), MEMO))
    outcome = btc_to_cl.decide(quoted(Direction.BTC_TO_CL), given, context)
    proofs = [one.proof for one in getattr(outcome, "events", ()) if isinstance(one, e.OutgoingProvedDead)]
    return [proof.split(": ")[1] for proof in proofs]


@provokes("swap.hold.amount", "swap.hold.too_late")
def held_payments_that_become_no_cheque(_: Path) -> Any:
    return held(9_999_999, 760) + held(10_000_000, 625)


@provokes("swap.payment_lost", "btc.payment.never_sent")
def a_payment_without_a_record(_: Path) -> Any:
    """Before and after LND has shown it."""
    incoming, outgoing = s.ChequeIn(CHANNEL, 3, NOW), s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690))
    context = cl_to_btc.Context(REGTEST, Clocks(NOW, BlockHeight(600)), "")
    none = i.PaymentAnswer(b.PaymentFailed(b.NEVER_SENT, "LND has no record"))
    states = (
        s.OutgoingInFlight(quoted().quote, incoming, outgoing, 0),
        s.OutgoingIntended(quoted().quote, incoming, outgoing),
    )
    return [cl_to_btc.decide(state, none, context) for state in states]


@provokes("swap.foreign_invoice")
def a_hash_that_lnd_has_an_invoice_of_somebody_else_for(_: Path) -> Any:
    return incoming(i.InvoiceAnswer(b.InvoiceOpen("lnbcrt1…", "two coffees")))


@provokes("swap.other_node")
async def another_lnd_answers(directory: Path) -> Any:
    from tests.support import swap_engine as hand

    lnd = hand.HandLnd()
    async with hand.gateway(directory, lnd, hand.HandLegs()) as node:
        await node.engine.quote_in(PEER, CHANNEL, SECRET.hashlock, Lovelace(5))
        lnd.node = hand.OTHER_NODE
        return await arefused(node.engine.quote_in(PEER, CHANNEL, Preimage(PEER[1:]).hashlock, Lovelace(5)))


@provokes("swap.cheque_lost")
async def a_payment_that_succeeded_after_its_cheque_had_ended(directory: Path) -> Any:
    from tests.support import swap_engine as hand

    settled = b.PaymentSettled(SECRET, Msat(0))
    lnd, legs = hand.HandLnd(answer=settled), hand.HandLegs(gone="cheque 3 had ended before")
    async with hand.gateway(directory, lnd, legs) as node:
        given, first = cheque(peer=hand.PEER, channel=hand.CHANNEL), e.QuoteGiven(quoted().quote)
        await node.engine.runner.begin(lambda n: Key(OUT, SECRET.hashlock, n), SECRET.hashlock, first)
        await node.engine.notify(SECRET.hashlock, given)
        await node.dispatcher.drain()
        return node.alarms


@provokes("swap.cheque.gone")
async def a_cheque_that_went_before_its_payment_was_sent(directory: Path) -> Any:
    from tests.support import swap_engine as hand

    lnd, legs = hand.HandLnd(), hand.HandLegs(held=False)
    async with hand.gateway(directory, lnd, legs) as node:
        given, first = cheque(peer=hand.PEER, channel=hand.CHANNEL), e.QuoteGiven(quoted().quote)
        key = await node.engine.runner.begin(lambda n: Key(OUT, SECRET.hashlock, n), SECRET.hashlock, first)
        await node.engine.notify(SECRET.hashlock, given)
        await node.dispatcher.drain()
        state = await node.engine.runner.state_of(key)
        assert lnd.paid == []
        return str(state.proof).rsplit("not sent: ", maxsplit=1)[-1].split(":")[0]


@provokes("swap.preimage.wrong", "swap.not_cancellable")
def a_payment_under_way(_: Path) -> Any:
    incoming, outgoing = s.ChequeIn(CHANNEL, 3, NOW), s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690))
    state = s.OutgoingInFlight(quoted().quote, incoming, outgoing, 0)
    context = cl_to_btc.Context(REGTEST, Clocks(NOW, BlockHeight(600)), "")
    wrong = i.PaymentAnswer(b.PaymentSettled(Preimage(b"\x08" * 32), Msat(0)))
    return [cl_to_btc.decide(state, wrong, context), cl_to_btc.decide(state, i.CancelAsked(), context)]


@provokes("swap.illegal_edge")
def an_event_that_does_not_fit(_: Path) -> Any:
    try:
        transitions.evolve(quoted(), e.ClaimStarted())
    except transitions.IllegalEdge as error:
        return error.rejection
    return None


class NoLegs:
    async def standings(self) -> list[ChannelStanding]:
        return []


class FixedClock:
    def now(self) -> PosixMs:
        return NOW


async def client(directory: Path, call: Any) -> Rejection:
    registry = Codecs()
    codecs.register(registry)
    store = await Store.open(f"sqlite:///{directory / 'x.db'}", network="regtest", codecs=registry)
    legs: Any = NoLegs()
    link: Any = None
    clock: Any = FixedClock()
    try:
        swaps = SwapClient(store, legs, link, clock, REGTEST, on_change=lambda *_: None)
        await swaps.runner.start()
        waiting: Awaitable[Any] = call(swaps)
        return await arefused(waiting)
    finally:
        await store.close()


@provokes("swap.no_channel")
async def nothing_to_receive_into(directory: Path) -> Any:
    return await client(directory, lambda swaps: swaps.receive(Lovelace(5), None))


@provokes("swap.unknown")
async def a_swap_that_never_was(directory: Path) -> Any:
    return await client(directory, lambda swaps: swaps.cancel(SECRET.hashlock))


@provokes("swap.cancelled")
def a_quote_that_its_owner_cancels(_: Path) -> Any:
    return offered(i.CancelAsked())


def incoming(given: Any, after: int = 0, height: int = 600, state: s.State | None = None) -> Any:
    context = btc_to_cl.Context(REGTEST, Clocks(NOW + Ms(after), BlockHeight(height)), CONSTANTS, 1)
    return btc_to_cl.decide(state or quoted(Direction.BTC_TO_CL), given, context)


@provokes(
    "swap.invoice.cancelled",
    "swap.incoming_lost",
    "swap.incoming_settled",
    "swap.at_risk",
    "swap.proof_contradicted",
)
def what_lnd_does_to_a_held_payment(_: Path) -> Any:
    quote = quoted(Direction.BTC_TO_CL).quote
    hold = s.HoldIn(Msat(10_000_000), BlockHeight(760))
    live = s.OutgoingInFlight(quote, hold, s.ChequeOut(CHANNEL, NOW + Ms(1_000_000)), 9)
    gone = i.InvoiceAnswer(b.InvoiceCancelled(MEMO))
    settled = i.InvoiceAnswer(b.InvoiceSettled(SECRET, Msat(10_000_000), MEMO))
    return [
        incoming(gone),
        incoming(settled),
        incoming(gone, state=live),
        incoming(i.RiskSeen(Risk(2e-3, "3 Bitcoin blocks may come"), 5), height=740, state=live),
        incoming(settled, state=s.IncomingReleasing(quote, hold, "the receiver cancelled")),
    ]


proved_by(
    "tests/unit/swap/test_ledger.py::test_a_difference_that_stays_stops_new_swaps_until_it_is_explained",
    "swap.ledger.differs",
)


@provokes("swap.extension.too_long")
def a_gateway_that_wants_the_cheque_for_ever(_: Path) -> Any:
    order = payer.Order(SECRET.hashlock, "x", Msat(5), PEER, CHANNEL, Lovelace(100), Ms(60_000), NOW)
    offer = payer.Offer(b"q" * 32, SECRET.hashlock, Msat(5), Lovelace(90), NOW, NOW)
    given = i.ExtensionAsked(CHANNEL, 3, NOW + Ms(60_001))
    return payer.decide(payer.ChequeLive(order, offer, 3), given, payer.Context(NOW, Ms(1), Ms(1)))


@provokes("swap.peer_at_risk")
def a_peer_whose_payment_is_late(_: Path) -> Any:
    world: Any = None  # nothing is looked at: the risk is known already
    state = s.OutgoingInFlight(
        quoted().quote,
        s.ChequeIn(CHANNEL, 3, NOW),
        s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690)),
        0,
    )
    key = Key("swap.out", SECRET.hashlock, 1)
    watch = RiskWatch(SimpleNamespace(live={key: state}), world, world, REGTEST, world, world)  # type: ignore[arg-type]
    assert watch.refusal(PEER) is None
    watch.risks[key] = Risk(1e-3, "the payment is late")
    return watch.refusal(PEER)


def priced(after: int = 0, **changes: Any) -> Any:
    """What the payer's side says to a quote of the gateway's."""
    order = payer.Order(
        SECRET.hashlock, "x", Msat(5), PEER, CHANNEL, Lovelace(100), REGTEST.max_cheque_life, NOW
    )
    offer = payer.Offer(
        b"q" * 32, SECRET.hashlock, Msat(5), Lovelace(90), NOW + Ms(600_000), NOW + Ms(60_000)
    )
    context = payer.Context(NOW + Ms(after), Ms(5_000), Ms(30_000))
    given = payer.QuoteArrived(replace(offer, **changes)) if not after else i.Tick()
    return payer.decide(payer.AwaitingQuote(order), given, context)


@provokes("swap.quote.mismatch", "swap.quote.too_dear", "swap.quote.too_long", "swap.quote.no_answer")
def quotes_that_the_payer_does_not_take(_: Path) -> Any:
    return [
        priced(bitcoin=Msat(6)), priced(cardano=Lovelace(101)),
        priced(cheque_timeout=NOW + REGTEST.max_cheque_life), priced(after=30_001),
    ]  # fmt: skip


@provokes("swap.quote.signature")
async def a_quote_that_another_key_signed(_: Path) -> Any:
    from unittest import mock

    from gateway.app.peer_swaps import PeerSwaps
    from gateway.cl.wire.swap_messages import SwapDirection, SwapQuote

    swaps = PeerSwaps(mock.Mock())
    swaps.client = mock.AsyncMock(spec=SwapClient)
    quote = SwapQuote(
        id=b"q" * 32, direction=SwapDirection.CL_TO_BTC, hashlock=SECRET.hashlock, bitcoin=Msat(5),
        cardano=Lovelace(9), rate=Rate(5, 2), base_fee=Lovelace(0), proportional_fee=Lovelace(0),
        routing_budget=Msat(0), invoice="x", cheque_timeout=NOW, valid_until=NOW, eps_denominator=10,
        spread_fee=Lovelace(0), inventory_fee=Lovelace(0), option_fee=Lovelace(0), lock_life=Ms(0),
        signature=b"\x01" * 65,
    )  # fmt: skip
    await swaps._quoted(PEER, CHANNEL, quote)
    return list(swaps.client.quote_denied.await_args.args)


@provokes(
    "btc.payment.timeout", "btc.payment.no_route", "btc.payment.error", "btc.payment.incorrect_details",
    "btc.payment.insufficient_balance", "btc.payment.failed",
)  # fmt: skip
def payments_that_lnd_proves_failed(_: Path) -> Any:
    """Every reason that the adapter tells apart goes back with the cheque."""
    from gateway.btc.lnd import _REASONS

    context = cl_to_btc.Context(REGTEST, Clocks(NOW, BlockHeight(600)), "")
    paying = s.OutgoingInFlight(
        quoted().quote,
        s.ChequeIn(CHANNEL, 3, NOW + Ms(10**7)),
        s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690)),
        0,
    )
    reasons = set(_REASONS.values())
    given = [i.PaymentAnswer(b.PaymentFailed(reason, "FAILED")) for reason in sorted(reasons)]
    answers = [cl_to_btc.decide(paying, one, context) for one in given]
    releasing = s.IncomingReleasing(quoted().quote, paying.incoming, "proof")
    return [*answers, cl_to_btc.decide(releasing, i.Tick(), context)]


_BOUND = "tests/unit/swap/test_payment_bound.py::"
proved_by(_BOUND + "test_without_a_price_of_its_own_a_node_pays_nothing_unasked", "swap.pay.unbounded")
proved_by(_BOUND + "test_a_price_is_told_or_why_it_is_not", "swap.quote.denied")
