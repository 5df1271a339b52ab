"""What a rollback leaves behind is never a dead end."""

from __future__ import annotations

import pytest

from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from tests.support.channel_model import World

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
