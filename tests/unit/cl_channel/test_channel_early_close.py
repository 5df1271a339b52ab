"""The partner acts on chain before the channel's depth: what it cannot do is leave our funds there for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cl.channel import inputs as i
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.channel.decide import decide
from gateway.cl.channel.evolve import evolve
from gateway.cl.data import types as t
from gateway.outcome import Continue
from gateway.profile import REGTEST
from gateway.units import Lovelace
from tests.support.channel_pair import Pair, opened
from tests.support.provoke_channel import agreement
from tests.unit.cl_channel.test_channel_rules import closed_by


def _told(output: s.Output, depth: int) -> tuple[s.State, object]:
    state: s.State = s.Funding(agreement())
    context = Pair.open().ends[1].context()
    outcome = decide(state, i.OutputSeen(output, depth), context)
    for event in outcome.events if isinstance(outcome, Continue) else ():
        state = evolve(state, event)
    return state, outcome


@pytest.mark.threat("V12")
@pytest.mark.parametrize("closer", [0, 1])
def test_a_close_before_the_depth_is_settled(closer: int) -> None:
    state, _ = _told(closed_by(closer, t.Snapshot()), 1)
    assert isinstance(state, s.OnChain)
    due = settle.intent(state, Pair.open().ends[1].context())
    if closer == 0:  # the partner's close: we answer at once
        assert due is not None
        assert isinstance(due.step, t.Respond)


@pytest.mark.threat("V12")
def test_an_add_before_the_depth_opens_with_what_is_there() -> None:
    more = opened()
    more = replace(more, lovelace=more.lovelace + Lovelace(7))
    state, _ = _told(more, REGTEST.staged_depth)
    assert isinstance(state, s.Normal)
    assert state.books.local_deposit + state.books.remote_deposit == more.lovelace - more.datum.min_ada


@pytest.mark.threat("V13")
def test_an_opening_with_a_staking_credential_is_never_used() -> None:
    """Its opener would earn rewards on what we put into the channel, for as long as it lives."""
    state, outcome = _told(replace(opened(), staked=True), REGTEST.safe_depth)
    assert isinstance(state, s.Funding)
    assert getattr(outcome, "rejection").field == "stake"  # noqa: B009 - the outcome's type varies
    state, _ = _told(opened(), REGTEST.safe_depth)
    assert isinstance(state, s.Normal)


def test_a_strangers_close_under_our_token_is_refused() -> None:
    other = closed_by(1, t.Snapshot())
    keys = (t.VerificationKey(b"\x09" * 32), other.datum.keys[1])
    state, outcome = _told(replace(other, datum=replace(other.datum, keys=keys)), 1)
    assert isinstance(state, s.Funding)
    assert getattr(outcome, "rejection").code == "cl.open.mismatch"  # noqa: B009 - the outcome's type varies
