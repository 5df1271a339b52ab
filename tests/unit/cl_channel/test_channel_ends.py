"""The end that both sign, rule by rule (decision 9): two real machines, a wallet and a signer of two lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cl.channel import effects as f
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.outcome import Continue, Reject
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms
from tests.support.channel_pair import FUNDS, KEYS, MIN_ADA, End, Pair, opened, preimage, sign

pytestmark = pytest.mark.kind("SM")


def drained(asker: int = 0) -> Pair:
    """Both stand in Ending; the asker's query is on its way."""
    pair = Pair.open()
    pair.ends[asker].feed(i.CloseAsked(False, "the owner asked"))
    pair.settle()
    pair.tick()
    assert all(isinstance(end.state, s.Ending) for end in pair.ends)
    return pair


def signed(asker: int = 0) -> Pair:
    pair = drained(asker)
    pair.settle()
    assert isinstance(pair.ends[asker].state, s.EndHeld)
    assert isinstance(pair.ends[1 - asker].state, s.EndSigned)
    return pair


def terms_at(end: End) -> t.OutputRef:
    assert isinstance(end.state, s.WithOutput)
    return end.state.output.ref


@pytest.mark.parametrize("asker", [0, 1])
def test_the_asker_builds_and_the_partner_signs_first(asker: int) -> None:
    pair = signed(asker)
    (terms,) = pair.ends[asker].published
    due = FUNDS[1 - asker] + (
        MIN_ADA if asker == 1 else Lovelace(0)
    )  # the opener's min-ada goes with its share
    assert (terms.payout, terms.address) == (due, f"address of {1 - asker}")
    assert pair.ends[1 - asker].published == []


def test_what_was_paid_over_the_channel_is_in_the_payout() -> None:
    pair = Pair.open()
    pair.ends[0].offer(1, 300)
    pair.settle()
    pair.ends[1].feed(i.FulfilHeld(1, preimage(1)))
    pair.settle()
    pair.ends[1].feed(i.CloseAsked(False, "the owner asked"))
    pair.settle()
    pair.tick()
    pair.settle()
    assert pair.ends[1].published[0].payout == FUNDS[0] - Lovelace(300) + MIN_ADA


def test_while_a_cheque_is_pending_nobody_speaks_of_an_end() -> None:
    """Of the asker's own cheque as of the partner's."""
    for issuer in (0, 1):
        pair = Pair.open()
        pair.ends[issuer].offer(1, 300)
        pair.settle()
        pair.ends[0].feed(i.CloseAsked(False, "the owner asked"))
        pair.settle()
        pair.tick()
        assert all(isinstance(end.state, s.Draining) for end in pair.ends)
        pair.ends[1].feed(i.PeerSaid(m.EndQuery()))
        assert not any(isinstance(one, m.EndPayout) for one in pair.ends[1].out)


def test_of_two_that_ask_at_once_the_opener_builds() -> None:
    pair = Pair.open()
    for end in pair.ends:
        end.feed(i.CloseAsked(False, "the owner asked"))
    pair.settle()
    pair.tick()
    pair.settle()
    assert isinstance(pair.ends[0].state, s.EndHeld)
    assert isinstance(pair.ends[1].state, s.EndSigned)


def test_a_partner_that_is_away_is_not_waited_for() -> None:
    pair = Pair.open()
    end = pair.ends[0]
    end.feed(i.CloseAsked(False, "the owner asked"))
    end.feed(i.Tick(peer_here=False))
    assert isinstance(end.state, s.Closing)


@pytest.mark.threat("P14")
def test_silence_ends_the_talk_in_every_state() -> None:
    """Both sides: whatever was lost, each closes alone in the end."""
    for stop in range(6):
        pair = drained()
        for _ in range(stop):
            if not pair.deliver(0):
                pair.deliver(1)
        for end in pair.ends:
            end.out.clear()
        pair.pass_time(REGTEST.validity + REGTEST.inclusion + Ms(1))
        pair.tick()
        for end in pair.ends:
            assert isinstance(end.state, s.Closing), (stop, end.state)
            assert settle.intent(end.state, end.context()) is not None


def test_the_owner_can_always_close_now() -> None:
    for pair in (drained(), signed()):
        for end in pair.ends:
            end.feed(i.CloseAsked(True, "now"))
            assert isinstance(end.state, s.Closing)


@pytest.mark.threat("P7")
@pytest.mark.parametrize("wrong", ["payout", "output", "until", "long", "added"])
def test_terms_that_are_not_ours_are_refused_in_words(wrong: str) -> None:
    pair = drained()
    end = pair.ends[1]
    terms = pair.ends[0].terms(terms_at(end), "address", FUNDS[1])
    now = end.now
    bad = {
        "payout": replace(terms, payout=FUNDS[1] - Lovelace(1)),
        "output": replace(terms, output=t.OutputRef(b"\x05" * 32, 0)),
        "until": replace(terms, until=now),
        "long": replace(terms, until=now + REGTEST.validity + REGTEST.skew + Ms(1)),
        "added": terms,
    }[wrong]
    if wrong == "added":  # funds that are not deep: the two might not count the same
        more = opened(9)
        end.feed(i.OutputSeen(replace(more, lovelace=more.lovelace + Lovelace(500)), 1))
        bad = replace(terms, output=more.ref)
    result = end.feed(i.PeerSaid(m.ProposeEnd(bad)))
    assert isinstance(result, Reject)
    assert result.rejection.code == "cl.channel.end_terms"
    assert isinstance(end.state, s.Ending)
    assert isinstance(end.out[-1], m.RefuseEnd)
    pair.ends[0].feed(i.EndBuilt(terms))
    pair.ends[0].feed(i.PeerSaid(end.out[-1]))
    assert isinstance(pair.ends[0].state, s.Closing)


@pytest.mark.threat("P16")
def test_after_the_end_is_signed_nothing_else_is() -> None:
    pair = signed()
    for end in pair.ends:
        end.offer(7, 10)
        assert end.refused[-1] == "cl.channel.frozen"
        assert end.books.issued == ()
    end = pair.ends[1]
    before = end.state
    other = pair.ends[0].terms(t.OutputRef(b"\x05" * 32, 0), "address", FUNDS[1])
    result = end.feed(i.PeerSaid(m.ProposeEnd(other)))
    assert isinstance(result, Reject)
    assert end.state == before


def test_the_signature_must_be_of_the_terms() -> None:
    pair = drained()
    asker = pair.ends[0]
    asker.feed(i.EndBuilt(asker.terms(terms_at(asker), "address", FUNDS[1])))
    asker.feed(i.PeerSaid(m.EndSignature(sign(KEYS[1], b"another transaction"))))
    assert isinstance(asker.state, s.Closing)
    assert asker.published == []


def test_a_lost_message_is_said_again_on_reconnect() -> None:
    for stop in range(6):
        pair = drained()
        for _ in range(stop):
            if not pair.deliver(0):
                pair.deliver(1)
        for end in pair.ends:
            end.crash()
        pair.reconnect()
        pair.tick()
        pair.settle()
        assert isinstance(pair.ends[0].state, s.EndHeld), stop
        assert isinstance(pair.ends[1].state, s.EndSigned), stop


def test_another_output_makes_the_terms_void() -> None:
    for end in signed().ends:
        more = opened(9)
        end.feed(i.OutputSeen(replace(more, lovelace=more.lovelace + Lovelace(500)), 1))
        assert isinstance(end.state, s.Closing)
        assert end.state.output.ref == more.ref


def test_a_rollback_of_the_end_leads_to_a_close_alone() -> None:
    for end in signed().ends:
        end.feed(i.TokenBurnt(b"\x01" * 32, (), 1))
        assert isinstance(end.state, s.Ended)
        end.feed(i.OutputSeen(opened(), 50))
        assert isinstance(end.state, s.OnChain)
        due = settle.intent(end.state, end.context())
        assert due is not None
        assert isinstance(due.step, t.Close)


def test_a_failure_of_our_own_is_no_reason_to_wait() -> None:
    pair = drained()
    end = pair.ends[0]
    result = end.feed(i.EndFailed("cl.l1.no_funds", "the wallet is empty"))
    assert isinstance(result, Continue)
    assert isinstance(end.state, s.Closing)
    assert "cl.l1.no_funds" in end.state.reason
    assert not any(isinstance(effect, f.BuildEnd) for effect in result.effects)
