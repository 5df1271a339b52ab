"""btc_to_cl's machine: a held payment becomes a cheque, or goes back; and whose invoice it is."""

from __future__ import annotations

import pytest

from gateway.btc import ports as b
from gateway.cl.data.types import ChannelId
from gateway.outcome import Continue, Wait
from gateway.profile import REGTEST
from gateway.swap import btc_to_cl
from gateway.swap import effects as f
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import Direction
from gateway.swap.risk import Risk
from gateway.swap.transitions import evolve
from gateway.units import BlockHeight, Lovelace, Msat
from tests.support.swap_machines import (
    CANCELLED,
    CHANNEL,
    HELD,
    LND_SETTLED,
    MEMO,
    NOW,
    OPEN,
    READY,
    SECRET,
    in_context,
    quote,
    run,
)


class TestBtcToCl:
    def test_a_held_payment_becomes_a_cheque(self) -> None:
        state, effects = run(Direction.BTC_TO_CL, READY, HELD)
        assert isinstance(state, s.OutgoingIntended)
        offer = effects[-1]
        assert isinstance(offer, f.OfferCheque)
        assert offer.amount == Lovelace(25_000_000)
        assert NOW + REGTEST.min_cheque_life <= offer.timeout

    def test_fulfil_settles_the_invoice(self) -> None:
        path = (READY, HELD, i.ChequeOffered(9), i.PreimageSeen(SECRET))
        state, effects = run(Direction.BTC_TO_CL, *path)
        assert isinstance(state, s.IncomingClaiming)
        assert effects[-1] == f.SettleInvoice(SECRET)
        state, _ = run(Direction.BTC_TO_CL, *path, LND_SETTLED)
        assert isinstance(state, s.Done)

    def test_a_dead_cheque_frees_the_payer(self) -> None:
        path = (
            READY,
            HELD,
            i.ChequeOffered(9),
            i.OutgoingChequeDead(CHANNEL, 9, "cancel signed by the receiver"),
        )
        state, effects = run(Direction.BTC_TO_CL, *path)
        assert isinstance(state, s.IncomingReleasing)
        assert effects[-1] == f.CancelInvoice(SECRET.hashlock)
        state, _ = run(Direction.BTC_TO_CL, *path, CANCELLED)
        assert isinstance(state, s.Released)

    @pytest.mark.threat("X6")
    @pytest.mark.parametrize("other", [(CHANNEL, 8), (ChannelId(b"\x09" * 20), 9)])
    def test_the_end_of_another_cheque_with_this_hash_ends_nothing(
        self, other: tuple[ChannelId, int]
    ) -> None:
        """Told again after a crash it is an earlier attempt's, while this one's cheque can still be claimed."""
        path = (READY, HELD, i.ChequeOffered(9))
        before, _ = run(Direction.BTC_TO_CL, *path)
        after, effects = run(Direction.BTC_TO_CL, *path, i.OutgoingChequeDead(*other, "proof"))
        assert after == before
        assert not any(isinstance(one, f.CancelInvoice) for one in effects)

    @pytest.mark.threat("X13")
    def test_a_partial_set_never_becomes_a_cheque(self) -> None:
        part = i.InvoiceAnswer(b.InvoiceAccepted("lnbcrt1…", Msat(9_999_999), BlockHeight(760), MEMO))
        state, effects = run(Direction.BTC_TO_CL, READY, part)
        assert isinstance(state, s.IncomingReleasing)
        assert not any(isinstance(x, f.OfferCheque) for x in effects)

    @pytest.mark.threat("X3")
    def test_too_little_time_is_refused(self) -> None:
        late = i.InvoiceAnswer(b.InvoiceAccepted("lnbcrt1…", Msat(10_000_000), BlockHeight(625), MEMO))
        state, effects = run(Direction.BTC_TO_CL, READY, late)
        assert isinstance(state, s.IncomingReleasing)
        assert effects[-1] == f.CancelInvoice(SECRET.hashlock)

    @pytest.mark.threat("X4")
    def test_lnd_giving_up_does_not_make_us_follow(self) -> None:
        state, _ = run(Direction.BTC_TO_CL, READY, HELD, i.ChequeOffered(9))
        outcome = btc_to_cl.decide(state, CANCELLED, in_context())
        assert isinstance(outcome, Continue)
        assert not outcome.events
        assert [x.code for x in outcome.effects if isinstance(x, f.Alarm)] == ["swap.incoming_lost"]

    def test_the_offer_is_repeated_with_the_same_reference_and_timeout(self) -> None:
        state, effects = run(Direction.BTC_TO_CL, READY, HELD)
        outcome = btc_to_cl.decide(state, i.Tick(), in_context(after=5_000))
        assert isinstance(outcome, Continue)
        assert effects[-1] in outcome.effects

    @pytest.mark.threat("X3")
    def test_the_receiver_is_asked_before_lnd_cancels(self) -> None:
        state, _ = run(Direction.BTC_TO_CL, READY, HELD, i.ChequeOffered(9))
        outcome = btc_to_cl.decide(state, i.RiskSeen(Risk(1e-3, "x"), 2), in_context(height=740))
        assert isinstance(outcome, Continue)
        assert not outcome.events
        assert outcome.effects[-1] == f.AskResolution(CHANNEL, 9)

    def test_an_alarm_rings_before_lnd_cancels(self) -> None:
        state, _ = run(Direction.BTC_TO_CL, READY, HELD, i.ChequeOffered(9))
        outcome = btc_to_cl.decide(state, i.RiskSeen(Risk(2e-4, "20 blocks"), 2), in_context(height=740))
        assert isinstance(outcome, Continue)
        assert any(isinstance(x, f.Alarm) for x in outcome.effects)
        assert not outcome.events

    @pytest.mark.threat("X4")
    @pytest.mark.parametrize("why", ["the owner", "the clock"])
    def test_a_withdrawn_quote_gets_no_cheque_though_a_payment_just_arrives(self, why: str) -> None:
        """Found in an audit: LND was told to cancel while its "accepted" was on the way to us; the payer got his
        payment back, and the cheque was signed."""
        state, _ = run(Direction.BTC_TO_CL, READY)
        given_input = i.CancelAsked() if why == "the owner" else OPEN
        outcome = btc_to_cl.decide(state, given_input, in_context(after=0 if why == "the owner" else 70_000))
        assert isinstance(outcome, Continue)
        assert [type(x) for x in outcome.events] == [e.QuoteWithdrawn]  # durable before LND hears of it
        assert outcome.effects == (f.CancelInvoice(SECRET.hashlock),)
        state = evolve(state, outcome.events[0])
        late = btc_to_cl.decide(state, HELD, in_context())
        assert late == Continue((), (f.CancelInvoice(SECRET.hashlock),))
        assert btc_to_cl.decide(state, i.Tick(), in_context()) == late
        ended = btc_to_cl.decide(state, CANCELLED, in_context())
        assert isinstance(ended, Continue)
        assert isinstance(evolve(state, ended.events[0]), s.Refused)

    def test_a_quote_without_an_invoice_is_cancelled_without_lnd(self) -> None:
        state, effects = run(Direction.BTC_TO_CL, i.CancelAsked())
        assert isinstance(state, s.Refused)
        assert effects == []

    @pytest.mark.threat("X16")
    @pytest.mark.parametrize(
        "foreign",
        [
            b.InvoiceOpen("lnbcrt1…", "a shop's"),
            b.InvoiceAccepted("lnbcrt1…", Msat(10_000_000), BlockHeight(760), ""),
            b.InvoiceCancelled("swap 0000000000000000"),
            b.InvoiceSettled(SECRET, Msat(10_000_000), "another gateway's"),
        ],
    )
    def test_an_invoice_that_we_did_not_make_is_left_alone(self, foreign: b.InvoiceState) -> None:
        """The operator's LND serves others too. A peer that knows such an invoice's hash could have it cancelled by
        asking for a receipt with it, or get a cheque against a payment that is somebody else's."""
        for after in (0, 70_000):
            state: s.State = evolve(None, e.QuoteGiven(quote(Direction.BTC_TO_CL)))
            outcome = btc_to_cl.decide(state, i.InvoiceAnswer(foreign), in_context(after))
            assert isinstance(outcome, Continue)
            assert outcome.effects == ()
            state = evolve(state, outcome.events[0])
            assert isinstance(state, s.Refused)
            assert state.code == "swap.foreign_invoice"
            for again in (i.InvoiceAnswer(foreign), i.Tick(), i.CancelAsked()):
                assert isinstance(btc_to_cl.decide(state, again, in_context(after)), Wait)

    def test_before_an_invoice_is_known_as_ours_lnd_is_only_asked(self) -> None:
        state: s.State = evolve(None, e.QuoteGiven(quote(Direction.BTC_TO_CL)))
        outcome = btc_to_cl.decide(state, i.Tick(), in_context(after=70_000))
        assert outcome == Continue((), (f.LookUpInvoice(SECRET.hashlock),))

    def test_lnd_may_forget_what_it_cancelled(self) -> None:
        path = (
            READY,
            HELD,
            i.ChequeOffered(9),
            i.OutgoingChequeDead(CHANNEL, 9, "cancel signed by the receiver"),
        )
        state, _ = run(Direction.BTC_TO_CL, *path, i.InvoiceAnswer(b.InvoiceNotFound()))
        assert isinstance(state, s.Released)

    @pytest.mark.threat("X3")
    @pytest.mark.parametrize(
        ("answer", "after", "height", "code"),
        [
            (b.InvoiceCancelled(MEMO), 0, 600, "swap.incoming_lost"),
            (b.InvoiceNotFound(), 0, 600, "swap.incoming_lost"),
            (
                b.InvoiceAccepted("x", Msat(10_000_000), BlockHeight(760), "a shop's"),
                0,
                600,
                "swap.incoming_lost",
            ),
            (b.InvoiceAccepted("x", Msat(9_999_999), BlockHeight(760), MEMO), 0, 600, "swap.hold.amount"),
            (HELD.state, 0, 700, "swap.hold.too_late"),  # a hundred blocks came while we were down
            (HELD.state, 60_000 + REGTEST.skew.value + 1, 600, "swap.quote.expired"),
        ],
    )
    def test_what_was_intended_before_a_crash_is_judged_again_before_it_is_signed(
        self, answer: b.InvoiceState, after: int, height: int, code: str
    ) -> None:
        state, _ = run(Direction.BTC_TO_CL, READY, HELD)
        assert isinstance(state, s.OutgoingIntended)
        assert isinstance(state.outgoing, s.ChequeOut)
        timeout = state.outgoing.timeout
        assert btc_to_cl.offer_refusal(state, HELD.state, in_context(), timeout) is None
        refusal = btc_to_cl.offer_refusal(state, answer, in_context(after, height=height), timeout)
        assert refusal is not None
        assert refusal.code == code
