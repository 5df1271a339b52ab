"""What a rollback leaves behind is never a dead end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cl.channel import effects as f
from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.channel.decide import decide
from gateway.cl.channel.evolve import evolve
from gateway.cl.data import types as t
from gateway.hashlock import Hashlock
from gateway.outcome import Continue, Reject, Wait
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms
from tests.support.channel_model import World
from tests.support.channel_pair import End, opened
from tests.support.provoke_channel import agreement

pytestmark = pytest.mark.kind("SM")


def test_a_partners_close_that_a_rollback_took_for_good_leaves_our_own_close() -> None:
    world = World()
    a, b = world.ends
    a.feed(i.CloseAsked(True, "test"))
    world.act(0)
    world.ledger.rollback()
    world.show(1)  # only we see the rollback; the partner never publishes again
    assert isinstance(b.state, s.OnChain)
    assert settle.intent(b.state, b.context()) is None
    b.feed(i.CloseAsked(True, "the operator wants the funds"))
    due = settle.intent(b.state, b.context())
    assert due is not None
    assert isinstance(due.step, t.Close)
    assert due.output == world.ledger.top.output.ref  # type: ignore[union-attr]


@pytest.mark.threat("V12")
@pytest.mark.parametrize("we_open", [False, True])
def test_an_opening_that_a_rollback_took_before_its_depth_is_published_again(we_open: bool) -> None:
    """Until the depth nothing depends on the output: the opener publishes at each tick, its partner waits."""
    end, agreed = End(1), replace(agreement(), local_is_opener=we_open)
    end.state = s.Funding(agreed, end.now)
    output = opened()
    output = replace(output, datum=replace(output.datum, keys=(agreed.opener_key, agreed.other_key)))
    for _ in range(2):  # seen, taken back, seen again
        assert isinstance(end.feed(i.OutputSeen(output, REGTEST.staged_depth - 1)), Wait)
        result = end.feed(i.Tick())
        assert (isinstance(result, Continue) and result.effects == (f.PublishOpening(),)) is we_open
        assert isinstance(end.state, s.Funding)
    end.feed(i.OutputSeen(output, REGTEST.staged_depth))
    assert isinstance(end.state, s.Normal)  # type: ignore[unreachable]


@pytest.mark.threat("V12")
@pytest.mark.threat("W1")
@pytest.mark.parametrize("we_open", [False, True])
def test_an_opening_that_a_rollback_took_after_its_depth_freezes_the_channel_until_it_is_back(
    we_open: bool,
) -> None:
    world = World()
    end = world.ends[0 if we_open else 1]
    output = end.state.output  # type: ignore[union-attr]
    end.feed(i.OutputGone())
    assert isinstance(end.state, s.Normal)
    assert end.state.frozen == s.TAKEN_BACK
    offer = i.OfferCheque(b"r", Hashlock(b"\x01" * 32), Lovelace(5), end.context().now + Ms(600_000))
    assert isinstance(end.feed(offer), Reject)
    result = end.feed(i.Tick())
    assert (isinstance(result, Continue) and f.PublishOpening() in result.effects) is we_open
    end.feed(i.OutputSeen(output, REGTEST.staged_depth - 1))
    assert end.state.frozen
    end.feed(i.OutputSeen(output, REGTEST.staged_depth))
    assert not end.state.frozen
    assert isinstance(end.feed(offer), Continue)


def test_another_reason_to_be_frozen_stays_when_the_opening_is_back() -> None:
    world = World()
    end = world.ends[0]
    assert isinstance(end.state, s.Normal)
    output = end.state.output
    end.state = replace(end.state, frozen="the peer broke a rule")
    end.feed(i.OutputGone())
    end.feed(i.OutputSeen(output, REGTEST.staged_depth))
    assert end.state.frozen == "the peer broke a rule"


def test_an_accepted_channel_waits_for_its_funds_only_so_long() -> None:
    """Each waiting one takes a place that others could have: the opener who never pays loses it."""
    end = End(1)
    agreed = replace(agreement(), local_is_opener=False)
    waiting = s.Funding(agreed, end.context().now)
    life = REGTEST.funding_life
    for settled, still in ((waiting.since + life - Ms(1), True), (waiting.since + life, False)):
        end.state = waiting
        result = decide(end.state, i.Tick(), replace(end.context(), settled=settled))
        assert isinstance(result, Wait) is still
        if isinstance(result, Continue):
            (event,) = result.events
            assert evolve(waiting, event) == s.Abandoned(
                agreed.channel,
                agreed.peer,
                "cl.open.never_funded",
                event.detail,  # type: ignore[union-attr]
            )
    assert isinstance(decide(waiting, i.CloseAsked(True, "test"), end.context()), Continue)
    ours = s.Funding(replace(agreed, local_is_opener=True))
    assert isinstance(decide(ours, i.CloseAsked(True, "test"), end.context()), Reject)
