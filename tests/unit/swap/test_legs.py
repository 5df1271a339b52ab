"""What the channels tell the swaps of a cheque that is to be paid for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.app.legs import Legs
from gateway.cl.channel import state as s
from tests.support.channel_pair import CID, Pair

NOBODY: Any = None


@pytest.mark.threat("X3")
async def test_no_cheque_of_a_frozen_channel_is_paid_for() -> None:
    """Its opening was taken back, or its books are old: what it holds may be worth nothing."""
    pair = Pair.open()
    pair.ends[0].offer(0)
    pair.settle()
    whole = pair.ends[1].state
    assert isinstance(whole, s.Normal)
    held = {s.TAKEN_BACK: False, "cl.channel.stale: an old copy": False, "": True}
    for frozen, expected in held.items():
        state = replace(whole, frozen=frozen)
        channels = cast(Any, SimpleNamespace(state=lambda _, state=state: state))
        assert await Legs(channels, NOBODY, NOBODY).holds(CID, 1) is expected
