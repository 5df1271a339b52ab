"""The two swap machines: every edge, every recovery, and that no leg is given up while the other may live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.btc import ports as b
from gateway.cl.data.types import ChannelId
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.outcome import Continue, Reject, Wait
from gateway.profile import REGTEST
from gateway.swap import btc_to_cl, cl_to_btc, errors, payer
from gateway.swap import effects as f
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import Direction
from gateway.swap.risk import Risk, payment_outlives_cheque
from gateway.swap.timelock import Clocks
from gateway.swap.transitions import EDGES, IllegalEdge, evolve
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat
from tests.support.swap_machines import (
    CANCELLED,
    CHANNEL,
    FAILED,
    HELD,
    LND_SETTLED,
    NEVER_SENT,
    NOW,
    OPEN,
    PEER,
    READY,
    SECRET,
    SETTLED,
    UNKNOWN,
    cheque,
    clocks,
    in_context,
    out_context,
    quote,
    run,
)


class TestClToBtc:
    def test_a_payment_is_intended_before_it_is_asked_for(self) -> None:
        state, effects = run(Direction.CL_TO_BTC, cheque())
        assert isinstance(state, s.OutgoingIntended)
        (pay,) = effects
        assert isinstance(pay, f.PayInvoice)
        assert pay.request.fee_limit == Msat(1000)
        assert pay.request.cltv_limit >= BlockDelta(83)

    @pytest.mark.threat("X1")
    def test_a_late_send_never_lives_above_the_height_of_its_intent(self) -> None:
        """Else the risk of a payment in flight could not be told from what is stored."""
        state, _ = run(Direction.CL_TO_BTC, cheque())
        assert isinstance(state, s.OutgoingIntended)
        assert isinstance(state.outgoing, s.PaymentOut)
        limit = state.outgoing.cltv_limit
        assert cl_to_btc.limit_now(REGTEST, clocks(), state) == limit
        late = cl_to_btc.limit_now(REGTEST, clocks(height=605), state)
        assert late == limit - BlockDelta(5)
        gone = cl_to_btc.limit_now(REGTEST, clocks(height=600 + limit.value), state)
        assert isinstance(gone, Rejection)
        assert gone.spec is errors.TIMELOCK_TOO_SHORT
        older = replace(state, outgoing=replace(state.outgoing, latest=BlockHeight(0)))
        assert cl_to_btc.limit_now(REGTEST, clocks(height=605), older) == limit

    @pytest.mark.threat("X1")
    def test_a_payment_at_risk_asks_for_more_time_and_takes_it(self) -> None:
        state, _ = run(Direction.CL_TO_BTC, cheque(), UNKNOWN)
        assert isinstance(state, s.OutgoingInFlight)
        assert isinstance(state.outgoing, s.PaymentOut)
        late = out_context(after=600_000)
        for probability, kinds in ((1e-4, [f.Alarm]), (1e-3, [f.Alarm, f.AskExtension])):
            outcome = cl_to_btc.decide(state, i.RiskSeen(Risk(probability, "late")), late)
            assert isinstance(outcome, Continue)
            assert not outcome.events
            assert [type(one) for one in outcome.effects] == kinds
        ask = outcome.effects[-1]
        assert isinstance(ask, f.AskExtension)
        assert (ask.channel, ask.index) == (CHANNEL, 3)
        again = payment_outlives_cheque(REGTEST, late.clocks, state.outgoing.latest, ask.timeout)
        assert again.probability <= float(state.quote.eps) * 1.0001  # as safe as its quote states
        away = cl_to_btc.Context(REGTEST, Clocks(late.clocks.now, BlockHeight(0)))  # no height is known
        outcome = cl_to_btc.decide(state, i.RiskSeen(Risk(1.0, "late")), away)
        assert isinstance(outcome, Continue)
        assert any(isinstance(one, f.AskExtension) for one in outcome.effects)

        given = i.ChequeExtended(CHANNEL, 3, ask.timeout)
        outcome = cl_to_btc.decide(state, given, late)
        assert isinstance(outcome, Continue)
        assert outcome.events == (e.IncomingWasExtended(ask.timeout),)
        longer = evolve(state, outcome.events[0])
        assert longer == replace(state, incoming=s.ChequeIn(CHANNEL, 3, ask.timeout))
        for other in (
            given,
            i.ChequeExtended(CHANNEL, 4, ask.timeout + Ms(1)),
            i.ChequeExtended(CHANNEL, 3, NOW),
        ):
            assert isinstance(cl_to_btc.decide(longer, other, late), Wait)
        claiming, _ = run(Direction.CL_TO_BTC, cheque(), SETTLED)
        outcome = cl_to_btc.decide(claiming, given, late)
        assert isinstance(outcome, Continue)
        assert outcome.events == (e.IncomingWasExtended(ask.timeout),)

    def test_the_payer_gives_time_up_to_what_its_user_agreed_to(self) -> None:
        order = payer.Order(SECRET.hashlock, "x", Msat(5), PEER, CHANNEL, Lovelace(100), Ms(1_000_000), NOW)
        offer = payer.Offer(b"q" * 32, SECRET.hashlock, Msat(5), Lovelace(90), NOW, NOW)
        live = payer.ChequeLive(order, offer, 3)
        context = payer.Context(NOW + Ms(500_000), Ms(5_000), Ms(30_000))
        most = NOW + Ms(1_000_000)
        outcome = payer.decide(live, i.ExtensionAsked(CHANNEL, 3, most), context)
        assert outcome == Continue((), (f.ExtendCheque(CHANNEL, 3, most),))
        outcome = payer.decide(live, i.ExtensionAsked(CHANNEL, 3, most + Ms(1)), context)
        assert isinstance(outcome, Reject)
        assert outcome.rejection.spec is errors.EXTENSION_TOO_LONG
        for state, index in ((live, 4), (payer.Paid(order, offer, SECRET), 3)):
            assert isinstance(payer.decide(state, i.ExtensionAsked(CHANNEL, index, most), context), Wait)

    @pytest.mark.threat("X1")
    def test_a_gateway_never_extends_a_cheque_of_its_own(self) -> None:
        """Decision 12: its incoming leg would not move with it."""
        state, _ = run(Direction.BTC_TO_CL, READY, HELD, i.ChequeOffered(9))
        given = i.ExtensionAsked(CHANNEL, 9, NOW + Ms(10**7))
        assert isinstance(btc_to_cl.decide(state, given, in_context()), Wait)

    def test_no_squash_in_time_claims_on_chain(self) -> None:
        state, _ = run(Direction.CL_TO_BTC, cheque(), SETTLED)
        for probability, kinds in ((9e-5, []), (1e-4, [f.Alarm]), (1e-3, [f.Alarm, f.ClaimOnChain])):
            outcome = cl_to_btc.decide(state, i.RiskSeen(Risk(probability, "late")), out_context())
            assert isinstance(outcome, Continue)
            assert not outcome.events
            assert [type(one) for one in outcome.effects] == kinds

    def test_settled_claims_the_cheque(self) -> None:
        state, effects = run(Direction.CL_TO_BTC, cheque(), SETTLED)
        assert isinstance(state, s.IncomingClaiming)
        assert effects[-1] == f.FulfilCheque(CHANNEL, 3, SECRET)
        state, _ = run(
            Direction.CL_TO_BTC, cheque(), SETTLED, i.IncomingChequeSettled(CHANNEL, 3, "squash 5")
        )
        assert isinstance(state, s.Done)

    @pytest.mark.threat("X5")
    @pytest.mark.threat("X7")
    def test_unknown_stays_in_flight_for_weeks(self) -> None:
        state, _ = run(Direction.CL_TO_BTC, cheque(), UNKNOWN)
        assert isinstance(state, s.OutgoingInFlight)
        month = cl_to_btc.Context(REGTEST, clocks(30 * 86_400_000))
        outcome = cl_to_btc.decide(state, i.Tick(), month)
        assert isinstance(outcome, Continue)
        assert not outcome.events
        assert {type(x) for x in outcome.effects} == {f.LookUpPayment}
        certain = cl_to_btc.decide(state, i.RiskSeen(Risk(1.0, "too late")), month)
        assert isinstance(certain, Continue)
        assert not certain.events
        assert [x.code for x in certain.effects if isinstance(x, f.Alarm)] == [errors.AT_RISK.code]

    def test_only_a_proof_cancels_the_cheque(self) -> None:
        state, effects = run(Direction.CL_TO_BTC, cheque(), UNKNOWN, FAILED)
        assert isinstance(state, s.IncomingReleasing)
        assert effects[-1] == f.CancelCheque(CHANNEL, 3, "btc.payment.no_route")
        state, _ = run(
            Direction.CL_TO_BTC, cheque(), FAILED, i.IncomingChequeReleased(CHANNEL, 3, "signed cancel")
        )
        assert isinstance(state, s.Released)
        assert "FAILED, 0 attempts" in state.proof

    @pytest.mark.threat("X5")
    def test_a_payment_that_lnd_has_shown_is_never_proven_unsent(self) -> None:
        """LND's database was lost or replaced under it: no record is no proof, and the cheque is kept."""
        state, _ = run(Direction.CL_TO_BTC, cheque(), UNKNOWN)
        outcome = cl_to_btc.decide(state, NEVER_SENT, out_context())
        assert isinstance(outcome, Continue)
        assert not outcome.events
        assert [x.code for x in outcome.effects if isinstance(x, f.Alarm)] == ["swap.payment_lost"]
        state, _ = run(Direction.CL_TO_BTC, cheque(), UNKNOWN, NEVER_SENT, SETTLED)
        assert isinstance(state, s.IncomingClaiming)

    @pytest.mark.threat("X5")
    def test_a_payment_that_lnd_has_not_shown_may_turn_out_unsent(self) -> None:
        unseen = i.PaymentAnswer(b.PaymentUnknown("stream lost"))
        state, _ = run(Direction.CL_TO_BTC, cheque(), unseen)
        assert isinstance(state, s.OutgoingIntended)
        state, _ = run(Direction.CL_TO_BTC, cheque(), unseen, NEVER_SENT)
        assert isinstance(state, s.IncomingReleasing)

    @pytest.mark.threat("X9")
    def test_a_preimage_that_does_not_fit_is_refused(self) -> None:
        state, _ = run(Direction.CL_TO_BTC, cheque())
        wrong = i.PaymentAnswer(b.PaymentSettled(Preimage(b"\x08" * 32), Msat(0)))
        outcome = cl_to_btc.decide(state, wrong, out_context())
        assert isinstance(outcome, Reject)
        assert outcome.rejection.spec is errors.PREIMAGE_WRONG

    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (cheque(amount=24_999_999), "swap.cheque.amount"),
            (cheque(amount=25_000_001), "swap.cheque.amount"),
            (cheque(life=300_000), "swap.timelock.too_short"),
        ],
    )
    def test_a_cheque_that_does_not_fit_goes_back_and_nothing_is_paid(
        self, bad: i.ChequeLocked, code: str
    ) -> None:
        state, effects = run(Direction.CL_TO_BTC, bad)
        assert isinstance(state, s.IncomingReleasing)
        assert effects == [f.CancelCheque(CHANNEL, 3, code)]

    def test_somebody_elses_cheque_goes_back_and_ends_nobodys_quote(self) -> None:
        """An invoice is no secret: whoever saw it must not be able to end the payer's quote."""
        stranger = i.ChequeLocked(
            b"\x03" * 33, ChannelId(b"z" * 20), 3, Lovelace(25_000_000), cheque().timeout
        )
        for before in ((), (cheque(),), (cheque(), SETTLED), (cheque(), FAILED)):
            state, effects = run(Direction.CL_TO_BTC, *before)
            after, more = run(Direction.CL_TO_BTC, *before, stranger)
            assert after == state
            assert [type(one) for one in more[len(effects) :]] == [f.CancelCheque]
            assert more[-1].channel == stranger.channel

    def test_late_or_paused_takes_no_risk(self) -> None:
        fresh = s.Quoted(quote(Direction.CL_TO_BTC))
        for context, code in (
            (out_context(after=60_001), "swap.quote.expired"),
            (out_context(paused="LND is not synced"), "swap.paused"),
        ):
            outcome = cl_to_btc.decide(fresh, cheque(), context)
            assert isinstance(outcome, Continue)
            assert outcome.effects == (f.CancelCheque(CHANNEL, 3, code),)

    @pytest.mark.threat("X6")
    def test_the_end_of_a_second_cheque_is_not_the_end_of_the_first(self) -> None:
        """Its payer issued another with the same lock; that one came back, and the swap called the first released."""
        other = ChannelId(b"z" * 20)
        for before, ending in ((FAILED, i.IncomingChequeReleased), (SETTLED, i.IncomingChequeSettled)):
            state, _ = run(Direction.CL_TO_BTC, cheque(), before)
            for channel, index in ((CHANNEL, 4), (other, 3)):
                outcome = cl_to_btc.decide(state, ending(channel, index, "another"), out_context())
                assert isinstance(outcome, Wait)
            ended, _ = run(Direction.CL_TO_BTC, cheque(), before, ending(CHANNEL, 3, "ours"))
            assert isinstance(ended, (s.Released, s.Done))

    @pytest.mark.threat("X6")
    def test_a_second_cheque_for_the_hash_is_given_back(self) -> None:
        for before in ((cheque(),), (cheque(), SETTLED), (cheque(), FAILED)):
            _, effects = run(Direction.CL_TO_BTC, *before, cheque(index=4))
            assert effects[-1] == f.CancelCheque(CHANNEL, 4, errors.HASH_IN_USE.code)


OUT_INPUTS: list[Any] = [
    cheque(), cheque(index=4), cheque(amount=1), SETTLED, FAILED, UNKNOWN, NEVER_SENT, i.PreimageSeen(SECRET),
    i.PreimageSeen(Preimage(b"\x08" * 32)), i.IncomingChequeSettled(CHANNEL, 3, "s"),
    i.IncomingChequeReleased(CHANNEL, 3, "r"), i.IncomingChequeReleased(CHANNEL, 4, "r"),
    i.Tick(), i.CancelAsked(), i.RiskSeen(Risk(2e-4, "x")), i.RiskSeen(Risk(1.0, "x")),
    i.ChequeExtended(CHANNEL, 3, NOW + Ms(9_000_000)),
]  # fmt: skip
IN_INPUTS: list[Any] = [
    READY, HELD, CANCELLED, LND_SETTLED, OPEN, i.InvoiceAnswer(b.InvoiceOpen("x", "a shop's")),
    i.InvoiceAnswer(b.InvoiceNotFound()), i.ChequeOffered(9), i.ChequeNotOffered("c", "d"),
    i.PreimageSeen(SECRET), i.PreimageSeen(Preimage(b"\x08" * 32)), i.OutgoingChequeDead(CHANNEL, 9, "proof"),
    i.OutgoingChequeDead(CHANNEL, 8, "an earlier one's"),
    i.Tick(), i.CancelAsked(), i.RiskSeen(Risk(2e-4, "x")), i.RiskSeen(Risk(1.0, "x")),
]  # fmt: skip
visited: set[tuple[str, str]] = set()


def check_law(direction: Direction, sequence: list[tuple[Any, int]]) -> None:
    """The incoming leg is released only after the outgoing leg's proof, and never once a preimage is known."""
    state: s.State = evolve(None, e.QuoteGiven(quote(direction)))
    sent = proven_dead = known = withdrawn = False
    for given_input, after in sequence:
        outcome: Any
        if direction is Direction.CL_TO_BTC:
            outcome = cl_to_btc.decide(state, given_input, out_context(after))
        else:
            outcome = btc_to_cl.decide(state, given_input, in_context(after))
        assert isinstance(outcome, (Continue, Wait, Reject))
        if not isinstance(outcome, Continue):
            continue
        for event in outcome.events:
            visited.add((type(state).__name__, type(event).__name__))
            state = evolve(state, event)
            sent |= isinstance(event, e.OutgoingWasIntended)
            withdrawn |= isinstance(event, e.QuoteWithdrawn)
            proven_dead |= isinstance(event, e.OutgoingProvedDead)
            known |= isinstance(event, e.PreimageLearned)
        for effect in outcome.effects:
            if isinstance(effect, (f.PayInvoice, f.OfferCheque)):
                assert sent  # intent durable first
                assert not withdrawn
            held = getattr(getattr(state, "incoming", None), "index", None)
            releases_ours = isinstance(effect, f.CancelInvoice) or (
                isinstance(effect, f.CancelCheque) and effect.index == held
            )
            if releases_ours and sent:
                assert proven_dead
            if isinstance(effect, f.CancelInvoice):
                # durable first: no cheque may follow
                assert withdrawn or proven_dead or isinstance(state, s.FINAL)
            if isinstance(effect, (f.FulfilCheque, f.SettleInvoice)):
                assert known
        assert not (known and proven_dead)


@pytest.mark.threat("X5")
@given(st.lists(st.tuples(st.sampled_from(OUT_INPUTS), st.sampled_from([0, 30_000, 70_000])), max_size=12))
@settings(max_examples=400, deadline=None)
def test_no_order_of_inputs_breaks_the_law_paying_out(sequence: list[tuple[Any, int]]) -> None:
    check_law(Direction.CL_TO_BTC, sequence)


@pytest.mark.threat("X4")
@given(st.lists(st.tuples(st.sampled_from(IN_INPUTS), st.sampled_from([0, 30_000, 70_000])), max_size=12))
@settings(max_examples=400, deadline=None)
def test_no_order_of_inputs_breaks_the_law_paying_in(sequence: list[tuple[Any, int]]) -> None:
    check_law(Direction.BTC_TO_CL, sequence)


def test_edges_are_exactly_what_evolve_takes() -> None:
    """EDGES (from which the diagram is drawn) and evolve agree on every pair of state and event."""
    q = quote(Direction.CL_TO_BTC)
    incoming, outgoing = s.ChequeIn(CHANNEL, 3, NOW), s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690))
    states = [
        s.Quoted(q), s.Withdrawing(q, "c", "d"), s.IncomingLocked(q, incoming),
        s.OutgoingIntended(q, incoming, outgoing),
        s.OutgoingInFlight(q, incoming, outgoing, 0), s.PreimageKnown(q, incoming, SECRET),
        s.IncomingClaiming(q, incoming, SECRET), s.Done(q, SECRET, "p"),
        s.OutgoingProvenDead(q, incoming, "p"), s.IncomingReleasing(q, incoming, "p"),
        s.Released(q, "p"), s.Refused(q, "c", "d"),
    ]  # fmt: skip
    events = [
        e.InvoiceMade("i"), e.QuoteWithdrawn("c", "d"), e.IncomingWasLocked(incoming),
        e.OutgoingWasIntended(outgoing), e.OutgoingWasSent(1), e.IncomingWasExtended(NOW),
        e.PreimageLearned(SECRET), e.ClaimStarted(), e.IncomingClaimed("p"), e.OutgoingProvedDead("p"),
        e.ReleaseStarted(), e.IncomingReleased("p"), e.SwapRefused("c", "d"),
    ]  # fmt: skip
    taken = {}
    for state in states:
        for event in events:
            try:
                taken[type(state).__name__, type(event).__name__] = type(evolve(state, event)).__name__
            except IllegalEdge:
                continue
    assert taken == EDGES
