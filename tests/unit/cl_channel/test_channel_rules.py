"""The rules of one channel, each by the shortest history that shows it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.cl.channel import effects as f
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.channel.cheques import MOST_HELD
from gateway.cl.channel.decide import LONG_BOOKS
from gateway.cl.channel.ledger import Sides, balance
from gateway.cl.data import types as t
from gateway.cl.data.codec import EMPTY_COMMITMENT, cheque_message
from gateway.outcome import Reject
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.channel_pair import (
    CID,
    FUNDS,
    KEYS,
    LIFE,
    MIN_ADA,
    PERIOD,
    START,
    End,
    Pair,
    lock,
    opened,
    preimage,
    sign,
)

pytestmark = pytest.mark.kind("SM")


def closed_by(closer: int, used: t.Snapshot) -> s.Output:
    """The stage Closed: `used` as the close used it, no cheque presented."""
    keys = (KEYS[closer], KEYS[1 - closer])
    stage = t.Closed(
        FUNDS[closer],
        used.received_by(keys[0], keys[1]),
        used.received_by(keys[1], keys[0]),
        START + PERIOD,
        EMPTY_COMMITMENT,
    )
    return replace(opened(7), datum=t.Datum(b"\x09" * 28, keys, stage, MIN_ADA, closer))


def sides(end: End) -> Sides:
    assert isinstance(end.state, s.WithBooks)
    return Sides(end.state.agreement)


def standing(end: End) -> tuple[int, int]:
    assert isinstance(end.state, s.WithBooks)
    now = balance(end.state.agreement, end.state.books)
    return now.local.value, now.remote.value


def add_of(n: int, index: int, amount: int, timeout: PosixMs, signer: int = 0) -> m.AddCheque:
    cheque = t.Cheque(index, timeout, lock(n), Lovelace(amount))
    return m.AddCheque(cheque, sign(KEYS[signer], cheque_message(CID, cheque)))


@pytest.mark.threat("P1")
@pytest.mark.threat("P9")
def test_cheques_of_both_sides_in_flight_together_end_in_one_snapshot() -> None:
    pair = Pair.open()
    a, b = pair.ends
    for n in range(3):
        a.offer(n, 100)
        b.offer(10 + n, 10)
    pair.settle()
    for index in (2, 1, 3):
        b.feed(i.FulfilHeld(index, preimage(index - 1)))
        a.feed(i.FulfilHeld(index, preimage(10 + index - 1)))
    pair.settle()
    assert a.books.ours == b.books.ours
    assert sorted(b.told(f.NoticeSettled)) == sorted(a.told(f.NoticeSettled)) == [1, 2, 3]
    assert standing(a) == (1000 - 300 + 30, 1000 + 300 - 30) == standing(b)[::-1]


@pytest.mark.threat("P1")
def test_every_message_twice_changes_nothing() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    for _ in range(4):
        for message in [*a.out]:
            b.feed(i.PeerSaid(message))
        for message in [*b.out]:
            a.feed(i.PeerSaid(message))
        if not isinstance(b.books.held[0].status, s.Settled):
            b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    assert b.told(f.NoticeLocked) == [1]
    assert standing(b) == (1100, 900)


def test_a_cancel_counts_once_the_receivers_squash_is_above_ours() -> None:
    """Decision 5.1: a crossing squash of the issuer's makes the cancel wait for the merge."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    a.offer(1)
    pair.settle()
    a.feed(i.PeerSaid(m.Fulfil(1, preimage(0))))  # A squashes 1 ...
    b.feed(i.CancelHeld(2, "cl.test"))  # ... while B cancels 2 below that
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.deliver(1)
    assert isinstance(a.books.issued[1].status, s.CancelSeen)
    assert a.told(f.NoticeDead) == []
    pair.settle()
    assert a.told(f.NoticeDead) == [2]
    assert b.told(f.NoticeReleased) == [2]
    assert standing(a) == (900, 1100)


def test_no_cancel_counts_while_our_own_close_may_confirm() -> None:
    """Decision 5.2."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    b.feed(i.CancelHeld(1, "cl.test"))
    a.feed(i.CloseAsked(True, "test"))
    pair.settle()
    assert a.told(f.NoticeDead) == []
    assert not isinstance(a.books.issued[0].status, s.Dead)


@pytest.mark.threat("P6")
def test_one_index_twice_with_another_lock_fails_the_channel_and_a_later_timeout_extends() -> None:
    pair = Pair.open()
    b = pair.ends[1]
    timeout = START + LIFE
    b.feed(i.PeerSaid(add_of(0, 1, 100, timeout)))
    b.feed(i.PeerSaid(add_of(0, 1, 100, timeout + Ms(5))))
    assert b.books.held[0].cheque.timeout == timeout + Ms(5)
    b.feed(i.PeerSaid(add_of(0, 1, 100, timeout)))
    assert b.books.held[0].cheque.timeout == timeout + Ms(5)
    b.feed(i.PeerSaid(add_of(1, 1, 100, timeout)))
    assert isinstance(b.state, s.Closing)
    assert b.books.held[0].cheque.lock == lock(0)


@pytest.mark.threat("P12")
def test_no_extension_puts_the_claim_off_for_ever() -> None:
    """What is opened and not squashed is claimed by its timeout: one in a thousand years would be claimed never."""
    pair = Pair.open()
    b = pair.ends[1]
    b.feed(i.PeerSaid(add_of(0, 1, 100, START + LIFE)))
    got = b.feed(i.PeerSaid(add_of(0, 1, 100, START + Ms(1_000 * 365 * 86_400_000))))
    assert isinstance(got, Reject)
    assert got.rejection.code == "cl.cheque.timeout_too_far"
    assert b.books.held[0].cheque.timeout == START + LIFE
    assert isinstance(b.state, s.Normal)
    b.feed(i.FulfilHeld(1, preimage(0)))
    status = b.books.held[0].status
    assert isinstance(status, s.Fulfilled)
    assert status.close_by < START + LIFE


@pytest.mark.threat("P6")
def test_one_index_twice_with_another_amount_fails_the_channel() -> None:
    b = Pair.open().ends[1]
    b.feed(i.PeerSaid(add_of(0, 1, 100, START + LIFE)))
    b.feed(i.PeerSaid(add_of(0, 1, 101, START + LIFE)))
    assert isinstance(b.state, s.Closing)


@pytest.mark.threat("X1")
@pytest.mark.threat("P12")
def test_a_receiver_asks_for_time_and_the_origin_signs_the_same_cheque_again() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    longer = START + LIFE + LIFE
    b.feed(i.AskForExtension(1, longer))
    pair.settle()
    assert [(one.index, one.timeout) for one in a.notices if isinstance(one, f.NoticeExtensionAsked)] == [
        (1, longer)
    ]
    assert b.books.held[0].cheque.timeout == START + LIFE  # the channel alone gives nothing
    a.feed(i.ExtendIssued(1, longer))
    pair.settle()
    assert a.books.issued[0].cheque == b.books.held[0].cheque
    assert b.books.held[0].cheque == t.Cheque(1, longer, lock(0), Lovelace(100))
    assert [(one.index, one.timeout) for one in b.notices if isinstance(one, f.NoticeExtended)] == [
        (1, longer)
    ]
    # its old end passes at depth: neither side takes it for dead
    pair.pass_time(LIFE + Ms(10_000))
    pair.tick()
    assert isinstance(a.books.issued[0].status, s.Live)
    assert isinstance(b.books.held[0].status, s.Unanswered)
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    assert b.told(f.NoticeSettled) == [1]
    assert standing(b) == (1100, 900)


@pytest.mark.threat("P12")
def test_an_extension_that_was_lost_is_sent_again_and_none_shortens() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    longer = START + LIFE + LIFE
    a.feed(i.ExtendIssued(1, longer))
    a.crash()  # stored, never sent
    b.feed(i.AskForExtension(1, longer))
    pair.settle()
    assert b.books.held[0].cheque.timeout == longer
    assert a.told(f.NoticeExtensionAsked) == []
    a.feed(i.ExtendIssued(1, longer))  # again: the same cheque
    pair.settle()
    before = a.books
    for timeout in (longer - Ms(1), START + REGTEST.max_cheque_life + Ms(1)):
        a.feed(i.ExtendIssued(1, timeout))
    assert a.refused == ["cl.cheque.timeout_too_soon", "cl.cheque.timeout_too_far"]
    assert a.books == before
    b.feed(i.CancelHeld(1, "cl.test"))
    pair.settle()
    a.feed(i.ExtendIssued(1, longer + Ms(1)))
    b.feed(i.AskForExtension(1, longer + Ms(1)))
    assert a.refused[-1] == b.refused[-1] == "cl.cheque.unknown"
    a.offer(1)
    pair.settle()
    b.feed(i.AskForExtension(2, PosixMs(2**62)))  # never for longer than the issuer could sign
    assert isinstance(b.out[-1], m.AskExtension)
    assert b.out[-1].timeout == START + REGTEST.max_cheque_life


@pytest.mark.threat("X3")
def test_a_receiver_that_is_asked_answers_again() -> None:
    pair = Pair.open()
    a, b = pair.ends
    for n in range(3):
        a.offer(n)
    pair.settle()
    b.feed(i.FulfilHeld(2, preimage(1)))
    b.feed(i.CancelHeld(3, "cl.test"))
    b.out.clear()  # both answers are lost
    b.notices.clear()
    for index in (1, 2, 3):
        a.feed(i.AskForResolution(index))
    pair.settle()
    assert b.told(f.NoticeLocked) == [1]
    assert (a.told(f.NoticeDead), len(a.told(f.NoticePreimage))) == ([3], 1)
    assert b.told(f.NoticeSettled) == [2]
    a.feed(i.AskForResolution(2))
    assert a.refused == ["cl.cheque.unknown"]
    b.feed(i.PeerSaid(m.AskResolution(99)))
    a.feed(i.PeerSaid(m.AskExtension(99, START)))
    assert not a.out
    assert not b.out


@pytest.mark.threat("V10")
@pytest.mark.parametrize("amount", [1001, 10**18])
def test_a_cheque_beyond_the_issuers_balance_is_never_taken(amount: int) -> None:
    b = Pair.open().ends[1]
    b.feed(i.PeerSaid(add_of(0, 1, amount, START + LIFE)))
    assert [type(one.status) for one in b.books.held] == [s.Cancelled]
    assert b.told(f.NoticeLocked) == []
    assert isinstance(b.state, s.Normal)
    b.feed(i.FulfilHeld(1, preimage(0)))
    assert b.refused == ["cl.cheque.answered"]


@pytest.mark.threat("V10")
@pytest.mark.parametrize("amount", [0, -1])
def test_a_cheque_of_nothing_fails_the_channel(amount: int) -> None:
    b = Pair.open().ends[1]
    b.feed(i.PeerSaid(add_of(0, 1, amount, START + LIFE)))
    assert b.books.held == ()
    assert isinstance(b.state, s.Closing)


@pytest.mark.threat("V10")
def test_cheques_beyond_all_means_without_end_fail_the_channel() -> None:
    b = Pair.open().ends[1]
    for index in range(1, 30):
        b.feed(i.PeerSaid(add_of(index, index, 5_000, START + LIFE)))
    assert len(b.books.held) == t.MAX_PENDING
    assert isinstance(b.state, s.Closing)


def test_one_more_than_the_slots_is_given_back() -> None:
    pair = Pair.open()
    a, b = pair.ends
    for n in range(t.MAX_PENDING):
        a.offer(n, 1)
    pair.settle()
    b.feed(i.PeerSaid(add_of(77, t.MAX_PENDING + 1, 1, START + LIFE)))
    assert isinstance(b.books.held[-1].status, s.Cancelled)
    assert isinstance(b.state, s.Normal)
    assert sides(b).for_us(b.books.ours).is_canonical()


def test_a_cheque_that_meets_a_closing_peer_is_given_back_and_blocks_nothing() -> None:
    """The issuer's squash over a fulfilled cheque, signed after one that we did not keep, still counts."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    b.feed(i.PeerSaid(m.Closing(True, "test")))
    a.offer(1)
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    assert b.told(f.NoticeLocked) == [1]
    assert b.told(f.NoticeSettled) == [1]
    assert a.told(f.NoticeDead) == [2]


@pytest.mark.threat("P12")
@pytest.mark.parametrize(
    ("life", "kept"),
    [
        (REGTEST.min_cheque_life.value - 1, False),
        (REGTEST.min_cheque_life.value, True),
        (REGTEST.max_cheque_life.value, True),
        (REGTEST.max_cheque_life.value + 1, False),
    ],
)
def test_timeouts_too_near_or_too_far_are_given_back_at_once(life: int, kept: bool) -> None:
    b = Pair.open().ends[1]
    b.feed(i.PeerSaid(add_of(0, 1, 100, START + Ms(life))))
    assert isinstance(b.books.held[0].status, s.Unanswered if kept else s.Cancelled)
    assert b.told(f.NoticeLocked) == ([1] if kept else [])


@pytest.mark.threat("V19")
def test_a_close_whose_list_we_cannot_read_proves_no_cheque_absent() -> None:
    a = Pair.open().ends[0]
    a.offer(1)
    close = closed_by(1, t.Snapshot())
    stage = close.datum.stage
    assert isinstance(stage, t.Closed)
    hidden = replace(stage, entries=t.Commitment(b"\x05" * 32, Lovelace(100), Lovelace(0)))
    a.feed(i.OutputSeen(replace(close, datum=replace(close.datum, stage=hidden)), REGTEST.safe_depth))
    assert isinstance(a.state, s.OnChain)
    assert a.told(f.NoticeDead) == []
    a.feed(i.OutputSeen(close, REGTEST.safe_depth))  # and this one shows that it lists none
    assert len(a.told(f.NoticeDead)) == 1


@pytest.mark.threat("X8")
def test_a_cheque_that_was_signed_is_never_called_unsigned_whatever_the_channel_does() -> None:
    """The answer to its offer was lost; asked again, "nothing was signed" would release the other leg."""
    a = Pair.open().ends[0]
    given = i.OfferCheque(b"ref 1", lock(1), Lovelace(100), a.now + LIFE)
    a.feed(given)
    for turn in (
        i.CloseAsked(False, "drain"),
        i.CloseAsked(True, "close"),
        i.OutputSeen(closed_by(0, t.Snapshot()), 1),
    ):
        a.feed(turn)
        assert not isinstance(a.feed(given), Reject), type(a.state)
        assert [one.reference for one in a.books.issued] == [b"ref 1"]
        assert isinstance(a.feed(replace(given, reference=b"ref 2")), Reject)


@pytest.mark.threat("P13")
def test_a_flood_of_cheques_with_far_timeouts_neither_fills_the_books_nor_slows_them() -> None:
    """Each is given back; an issuer that signs nothing for it loses the channel, an honest one goes on."""
    pair = Pair.open()
    a, b = pair.ends
    for index in range(1, MOST_HELD + 2):
        b.feed(i.PeerSaid(add_of(0, index, 1, PosixMs(2**63 - 1))))
    assert isinstance(b.state, s.Closing)
    assert len(b.books.held) <= MOST_HELD
    pair = Pair.open()
    a, b = pair.ends
    for n in range(3 * LONG_BOOKS):
        a.offer(n, amount=1)
        pair.settle()
        b.feed(i.CancelHeld(b.books.last_received, "swap.payment.no_route"))
        pair.settle()
        assert len(b.books.held) <= LONG_BOOKS + 1
    assert isinstance(b.state, s.Normal)


@pytest.mark.threat("P5")
def test_an_index_that_jumps_is_refused() -> None:
    b = Pair.open().ends[1]
    for index in (2, 2**63):
        b.feed(i.PeerSaid(add_of(0, index, 100, START + LIFE)))
    assert b.books.held == ()
    assert b.refused == ["cl.cheque.index"] * 2


@pytest.mark.threat("P5")
def test_indexes_rise_across_a_thousand_ends_of_the_process() -> None:
    """Whatever part of a cheque's way was gone, no index ever stands for a second cheque."""
    pair, rng = Pair.open(), random.Random(5)
    a, b = pair.ends
    signed: dict[int, t.Cheque] = {}
    for n in range(1_000):
        before = a.books.last_issued
        if rng.random() < 0.9:
            a.offer(n)
        for message in a.out:
            if isinstance(message, m.AddCheque):
                assert signed.setdefault(message.cheque.index, message.cheque) == message.cheque
        assert before <= a.books.last_issued == max(signed, default=0)
        for _ in range(rng.randrange(3)):
            pair.deliver(0)
        if n % 250 == 249:
            kept = a.state
            a.crash()
            assert a.state == kept
        pair.reconnect()
        for held in b.books.held:
            if isinstance(held.status, s.Unanswered):
                b.feed(i.CancelHeld(held.cheque.index, "swap.payment.no_route"))
        pair.settle()
        pair.pass_time(LIFE)
        pair.tick()
        pair.settle()
    assert len(signed) > 800


@pytest.mark.threat("P7")
@pytest.mark.parametrize(
    ("squash", "code"),
    [
        (t.Squash(Lovelace(99), 1), "cl.snapshot.amount"),
        (t.Squash(Lovelace(101), 1), "cl.snapshot.amount"),
        (t.Squash(Lovelace(100), 3, (2,)), "cl.snapshot.form"),
        (t.Squash(Lovelace(100), 2), "cl.snapshot.drops"),
        (t.Squash(Lovelace(0), 2, (2,)), "cl.snapshot.form"),
    ],
)
def test_a_squash_that_drops_or_counts_wrongly_is_refused(squash: t.Squash, code: str) -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    a.offer(1)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    forged = a.signed(t.Snapshot.of({KEYS[1]: squash, KEYS[0]: t.Squash()}))
    b.feed(i.PeerSaid(m.Squashed(forged)))
    assert b.refused == [code]
    assert isinstance(b.books.held[0].status, s.Fulfilled)


@pytest.mark.threat("P14")
@pytest.mark.threat("P15")
def test_no_squash_by_the_margin_closes_with_every_secret_that_is_still_usable() -> None:
    pair = Pair.open()
    a, b = pair.ends
    for n, life in enumerate((LIFE, LIFE * 2, LIFE * 3)):
        a.offer(n, 100, life)
    pair.settle()
    for index in (1, 2, 3):
        b.feed(i.FulfilHeld(index, preimage(index - 1)))
    b.now = START + LIFE - REGTEST.claim_margin - REGTEST.skew
    b.feed(i.Tick())
    assert isinstance(b.state, s.Closing)
    step = settle.intent(b.state, b.context())
    assert step is not None
    assert isinstance(step.step, t.Close)
    assert [c.secret for c in step.step.receipt.cheques] == [preimage(n) for n in range(3)]
    assert step.usable_until == START + LIFE
    b.now = START + LIFE  # the first can no longer be used: it must not spoil the others
    step = settle.intent(b.state, b.context())
    assert step is not None
    assert isinstance(step.step, t.Close)
    assert [c.signed.cheque.index for c in step.step.receipt.cheques] == [2, 3]
    assert step.usable_until == START + LIFE * 2


@pytest.mark.threat("P16")
def test_a_close_on_chain_freezes_the_channel_at_once() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    b.feed(i.OutputSeen(closed_by(0, t.Snapshot()), 0))
    b.offer(5)
    b.feed(i.PeerSaid(add_of(1, 2, 100, START + LIFE)))
    assert b.refused == ["cl.channel.frozen", "cl.channel.message"]
    assert len(b.books.held) == 1
    assert b.books.issued == ()


@pytest.mark.threat("V7")
@pytest.mark.threat("W8")
@pytest.mark.threat("W9")
def test_an_old_close_is_answered_at_once_with_the_newest_squash_and_every_live_cheque() -> None:
    pair = Pair.open()
    a, b = pair.ends
    for n in range(3):
        a.offer(n)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    b.feed(i.FulfilHeld(2, preimage(1)))
    b.feed(i.OutputSeen(closed_by(0, t.Snapshot()), 1))  # A closes as if nothing had been paid
    assert b.state is not None
    step = settle.intent(b.state, b.context())
    assert step is not None
    assert isinstance(step.step, t.Respond)
    shown = step.step.receipt
    assert shown.snapshot is not None
    assert shown.snapshot.snapshot.received_by(KEYS[1], KEYS[0]) == t.Squash(Lovelace(100), 1)
    assert [(c.signed.cheque.index, c.secret) for c in shown.cheques] == [(2, preimage(1)), (3, None)]
    assert step.deadline <= START + PERIOD


@pytest.mark.threat("W9")
def test_a_squash_that_the_chain_did_not_use_settles_nothing() -> None:
    """B holds a squash over 1 that crossed its own cancel of 2. A closes with B's: 1 must still be presented."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    a.offer(1)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.deliver(1)  # A squashes 1 ...
    b.feed(i.CancelHeld(2, "cl.test"))  # ... B signs 2 away without it ...
    cancel = b.books.ours
    pair.deliver(0)  # ... and then holds A's squash over 1, which does not dominate
    assert isinstance(b.books.held[0].status, s.Fulfilled)
    assert not sides(b).for_us(cancel).covers(1)
    b.feed(i.OutputSeen(closed_by(0, cancel), REGTEST.safe_depth + 5))
    assert isinstance(b.books.held[0].status, s.Fulfilled)
    assert b.state is not None
    step = settle.intent(b.state, b.context())
    assert step is not None
    assert isinstance(step.step, t.Respond)
    assert [(c.signed.cheque.index, c.secret) for c in step.step.receipt.cheques] == [(1, preimage(0))]


def test_a_squash_that_the_close_used_settles_at_depth() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    a.offer(1)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.deliver(1)
    b.feed(i.CancelHeld(2, "cl.test"))
    pair.deliver(0)
    assert isinstance(b.books.held[0].status, s.Fulfilled)
    used = t.Snapshot.of({KEYS[1]: t.Squash(Lovelace(100), 1), KEYS[0]: t.Squash()})
    b.feed(i.OutputSeen(closed_by(0, used), REGTEST.safe_depth - 1))
    assert b.told(f.NoticeSettled) == []
    b.feed(i.OutputSeen(closed_by(0, used), REGTEST.safe_depth))
    assert b.told(f.NoticeSettled) == [1]


@pytest.mark.threat("P1")
def test_a_cheque_that_was_lost_and_expired_does_not_block_those_after_it() -> None:
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0, 100, REGTEST.min_cheque_life)
    a.out.clear()  # never arrives
    pair.pass_time(Ms(REGTEST.min_cheque_life.value + 10_000))
    a.feed(i.Tick())
    assert a.told(f.NoticeDead) == [1]
    pair.settle()
    pair.reconnect()
    a.offer(1)
    pair.settle()
    assert b.told(f.NoticeLocked) == [2]
    assert a.books.ours == b.books.ours


def test_a_lasting_disagreement_falls_silent() -> None:
    """The issuer holds the cheque dead, the receiver opened it too late: both keep their word, no message storm."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    a.now = START + LIFE + Ms(60_000)
    a.feed(i.Tick())
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    pair.reconnect()
    assert "cl.snapshot.amount" in b.refused
    assert isinstance(b.books.held[0].status, s.Fulfilled)


@pytest.mark.threat("P4")
def test_an_old_copy_signs_nothing_once_the_partner_shows_more() -> None:
    pair = Pair.open()
    a, b = pair.ends
    b.offer(9)
    pair.settle()
    old = list(a.log)
    a.offer(0)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    a.log = old
    a.crash()
    pair.reconnect()
    before = a.books.ours
    a.offer(1)
    a.feed(i.CancelHeld(1, "cl.test"))
    b.feed(i.CloseAsked(True, "the peer closes"))
    pair.settle()
    assert a.books.ours == before
    assert a.books.issued == ()
    assert [one.code for one in a.alarms] == ["cl.channel.stale"]


@pytest.mark.threat("P2")
def test_a_crash_at_any_event_and_a_reconnect_finish_the_payment() -> None:
    for crash_at in range(8):
        pair = Pair.open()
        a, b = pair.ends
        steps = 0

        def maybe_crash(pair: Pair = pair, at: int = crash_at) -> None:
            nonlocal steps
            if steps == at:
                for end in pair.ends:
                    end.crash()
                pair.reconnect()
            steps += 1

        a.offer(0)
        maybe_crash()
        pair.deliver(0)
        maybe_crash()
        b.feed(i.FulfilHeld(1, preimage(0)))
        maybe_crash()
        for _ in range(5):
            pair.deliver(1)
            pair.deliver(0)
            maybe_crash()
        pair.settle()
        assert standing(a) == (900, 1100), crash_at
        assert isinstance(b.books.held[0].status, s.Settled)


def test_the_receiver_is_told_which_cheque_timed_out_before_the_snapshot_that_says_so() -> None:
    """Decision 6; its own clock and the snapshot decide, so the word alone changes nothing."""
    pair = Pair.open()
    a, b = pair.ends
    a.offer(0)
    pair.settle()
    b.feed(i.PeerSaid(m.TimedOut(1, START + LIFE)))
    assert isinstance(b.books.held[0].status, s.Unanswered)
    pair.pass_time(LIFE + Ms(10_000))
    a.feed(i.Tick())
    kinds = [type(one) for one in a.out]
    assert kinds == [m.TimedOut, m.Squashed]
    assert a.out[0] == m.TimedOut(1, START + LIFE)
