"""What a rollback leaves behind is never a dead end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cl.channel import effects as f
from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.outcome import Continue, Wait
from gateway.profile import REGTEST
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
    end.state = s.Funding(agreed)
    output = opened()
    output = replace(output, datum=replace(output.datum, keys=(agreed.opener_key, agreed.other_key)))
    for _ in range(2):  # seen, taken back, seen again
        assert isinstance(end.feed(i.OutputSeen(output, REGTEST.staged_depth - 1)), Wait)
        result = end.feed(i.Tick())
        assert (isinstance(result, Continue) and result.effects == (f.PublishOpening(),)) is we_open
        assert isinstance(end.state, s.Funding)
    end.feed(i.OutputSeen(output, REGTEST.staged_depth))
    assert isinstance(end.state, s.Normal)  # type: ignore[unreachable]
