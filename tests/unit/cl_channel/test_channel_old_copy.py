"""P4 in the pure machine: books that are known to be an old copy sign nothing, whoever asks and however."""

from __future__ import annotations

import pytest

from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.data.types import Snapshot
from gateway.outcome import Continue, Reject
from gateway.units import Ms
from tests.support.channel_pair import LIFE, Pair, preimage

pytestmark = [pytest.mark.threat("P4"), pytest.mark.kind("SM")]
SIGNING = (f.SendCheque, f.SendSnapshot, f.SendCancel)


def old_copy() -> Pair:
    """End 0 goes on from before its second cheque; it holds one cheque and has a snapshot that it knows of."""
    pair = Pair.open()
    a, b = pair.ends
    b.offer(9)
    a.offer(0)
    pair.settle()
    b.feed(i.FulfilHeld(1, preimage(0)))
    pair.settle()
    assert a.books.ours != Snapshot()
    old = list(a.log)
    a.offer(1)
    pair.settle()
    a.log = old
    a.crash()
    return pair


ASKED: list[i.Input] = [
    i.PeerBack(),
    i.CloseAsked(False, "closed by the owner"),
    i.CloseAsked(True, "closed by the owner, now"),
    i.PeerSaid(m.Closing(False, "cl.channel.close_asked")),
    i.PeerSaid(m.Closing(True, "cl.channel.close_asked")),
    i.PeerSaid(m.Reestablish(0, 0, None)),  # a partner that does not admit what it holds
    i.CancelHeld(1, "cl.test"),
    i.FulfilHeld(1, preimage(9)),
    i.Tick(),
]


@pytest.mark.parametrize("given", ASKED, ids=lambda one: type(getattr(one, "message", one)).__name__)
def test_nothing_is_signed_once_the_copy_is_known_to_be_old(given: i.Input) -> None:
    a = old_copy().ends[0]
    a.feed(i.OldCopy("the signer's record has cheque 2, the database ends at 1"))
    before = a.books.ours
    outcome = a.feed(given)
    if isinstance(outcome, (Continue, Reject)):
        assert not [one for one in outcome.effects if isinstance(one, SIGNING)]
    if isinstance(outcome, Continue):
        assert not [one for one in outcome.events if isinstance(one, (e.SnapshotSigned, e.ChequeIssued))]
    assert a.books.ours == before
    assert not isinstance(a.state, s.Draining)  # a draining channel signs


def test_the_owner_is_told_once_and_closes_with_what_the_copy_holds() -> None:
    a = old_copy().ends[0]
    for _ in range(2):
        a.feed(i.OldCopy("a backup"))
    assert [one.code for one in a.alarms] == ["cl.channel.stale"]
    a.feed(i.CloseAsked(False, "closed by the owner"))
    assert isinstance(a.state, s.Closing)
    assert a.state.reason.startswith("cl.channel.stale")


def test_an_old_copy_that_drains_closes_at_once() -> None:
    a = old_copy().ends[0]
    a.feed(i.CloseAsked(False, "closed by the owner"))
    assert isinstance(a.state, s.Draining)
    a.feed(i.OldCopy("a backup"))
    assert isinstance(a.state, s.Closing)


def test_an_old_copy_proves_no_cheque_dead() -> None:
    """Its holder may have opened it since: the books would not know."""
    pair = Pair.open()
    a, _ = pair.ends
    a.offer(0)
    pair.settle()
    a.feed(i.OldCopy("a backup"))
    pair.pass_time(LIFE + Ms(100_000))
    a.feed(i.Tick())
    assert a.told(f.NoticeDead) == []


def test_each_end_says_what_it_holds_as_soon_as_the_channel_is_open() -> None:
    """Else the first cheque would wait for the next connection."""
    a = Pair.open().ends[0]
    assert isinstance(a.state, s.Normal)
    a.state = s.Funding(a.state.agreement)
    from gateway.profile import REGTEST
    from tests.support.channel_pair import opened

    outcome = a.feed(i.OutputSeen(opened(), REGTEST.staged_depth))
    assert isinstance(outcome, Continue)
    assert f.Send(m.Reestablish(0, 0, None)) in outcome.effects
