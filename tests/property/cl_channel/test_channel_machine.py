"""Random histories of two channel ends over a modelled ledger: each side can always enforce what it is owed.

GATEWAY_HISTORIES sets how many histories of 50 actions a run tries.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway.cl.channel import inputs as i
from gateway.units import Ms
from tests.support.channel_model import ModelEnd, World
from tests.support.channel_pair import MIN_ADA

pytestmark = [pytest.mark.kind("SM"), pytest.mark.timeout(1800), pytest.mark.long]

HISTORIES = int(os.environ.get("GATEWAY_HISTORIES", "100"))
ACTIONS = 50
# Hypothesis remembers what it has tried, and is slower the more it remembers: many short runs, spread over processes.
PARTS = max(1, HISTORIES // 200)
SETTINGS = settings(
    max_examples=-(-HISTORIES // PARTS),
    stateful_step_count=ACTIONS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
HOSTILE = settings(
    SETTINGS, max_examples=-(-SETTINGS.max_examples // 4)
)  # beyond what is asked of the honest line
SIDE = st.integers(0, 1)
NTH = st.integers(0, 30)


class ChannelMachine(RuleBasedStateMachine):
    end: type[ModelEnd] = ModelEnd
    compared = 0  # histories whose payout was held against both books
    quiet_end = False  # every history ends with a long silence of the line

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.end)
        self.closer, self.talk, self.silence = 0, True, 0

    @initialize(closer=SIDE, talk=st.booleans(), silence=st.sampled_from([0, 0, 35]))
    def begin(self, closer: int, talk: bool, silence: int) -> None:
        self.closer, self.talk, self.silence = closer, talk, silence

    @rule(who=SIDE, amount=st.sampled_from([1, 10, 100, 400, 900]), life=st.sampled_from([60, 200, 400, 900]))
    def offer(self, who: int, amount: int, life: int) -> None:
        self.world.offer(who, amount, Ms(life * 1_000))

    @rule(who=SIDE, count=st.integers(1, 4))
    def deliver(self, who: int, count: int) -> None:
        for _ in range(count):
            self.world.pair.deliver(who)

    @rule(count=st.integers(1, 20), first=SIDE)
    def deliver_both(self, count: int, first: int) -> None:
        for n in range(count):
            self.world.pair.deliver((first + n) % 2)

    @rule(who=SIDE, nth=NTH, amount=st.sampled_from([1, 10, 100]), lost=st.booleans())
    def pay(self, who: int, nth: int, amount: int, lost: bool) -> None:
        """A payment whose squash may never come."""
        self.world.offer(who, amount, Ms(900_000))
        for _ in range(3):
            self.world.pair.deliver(who)
        self.world.fulfil(1 - who, nth)
        if lost:
            for end in self.world.ends:
                end.out.clear()

    @rule(who=SIDE, amount=st.sampled_from([10, 100]), after=st.lists(SIDE, max_size=4))
    def pay_and_cancel_crossing(self, who: int, amount: int, after: list[int]) -> None:
        """The receiver cancels one cheque while the issuer's squash over another is on its way."""
        world, partner = self.world, 1 - who
        for _ in range(2):
            world.offer(who, amount, Ms(900_000))
        self.deliver_both(12, who)
        world.fulfil(partner, 0)
        world.pair.deliver(partner)
        world.cancel(partner, 0)
        for sender in after:
            world.pair.deliver(sender)

    @rule(who=SIDE)
    def close_that_is_rolled_back(self, who: int) -> None:
        self.world.ends[who].feed(i.CloseAsked(True, "test"))
        self.world.act(who)
        self.world.rollback()

    @rule(who=SIDE, nth=NTH)
    def fulfil(self, who: int, nth: int) -> None:
        self.world.fulfil(who, nth)

    @rule(who=SIDE, nth=NTH)
    def cancel(self, who: int, nth: int) -> None:
        self.world.cancel(who, nth)

    @rule(who=SIDE, nth=NTH, seconds=st.sampled_from([30, 300]))
    def ask_extension(self, who: int, nth: int, seconds: int) -> None:
        self.world.ask_extension(who, nth, Ms(seconds * 1000))

    @rule(who=SIDE, nth=NTH)
    def ask_resolution(self, who: int, nth: int) -> None:
        self.world.ask_resolution(who, nth)

    @rule(who=SIDE, nth=NTH)
    def replay(self, who: int, nth: int) -> None:
        self.world.replay(who, nth)

    @rule()
    def drop_and_reconnect(self) -> None:
        self.world.reconnect()

    @rule(who=SIDE)
    def crash(self, who: int) -> None:
        self.world.crash(who)

    @rule(who=SIDE)
    def next_write_fails(self, who: int) -> None:
        self.world.ends[who].fail_write = True

    @rule(who=SIDE)
    def dies_after_the_next_commit(self, who: int) -> None:
        self.world.ends[who].fail_send = True

    @rule(seconds=st.sampled_from([1, 1, 2, 10, 30]), first=SIDE, behind=st.sampled_from([None, None, 0, 1]))
    def time_passes(self, seconds: int, first: int, behind: int | None) -> None:
        self.world.advance(seconds, first, behind)

    @rule(who=SIDE, amount=st.sampled_from([300, 500]))
    def spends_at_once_what_is_free_again(self, who: int, amount: int) -> None:
        """Its expired cheques and added funds count for it before its partner has seen them."""
        self.world.offer(who, amount, Ms(60_000))
        self.world.advance(10, who, 1 - who)
        self.world.offer(who, amount, Ms(900_000))
        self.deliver(who, 4)

    @rule()
    def rollback(self) -> None:
        self.world.rollback()

    @rule(who=SIDE, amount=st.sampled_from([1, 500]))
    def add_funds(self, who: int, amount: int) -> None:
        self.world.add_funds(who, amount)

    @rule(who=SIDE, now=st.booleans(), sure=st.integers(0, 3))
    def close(self, who: int, now: bool, sure: int) -> None:
        if sure == 0:
            self.world.ends[who].feed(i.CloseAsked(now, "test"))

    def teardown(self) -> None:
        if self.quiet_end:
            self.world.finish(self.closer, False, 35)
        else:
            type(self).compared += self.world.finish(self.closer, self.talk, self.silence)


class HostileMachine(ChannelMachine):
    """One partner also closes with old snapshots and signs an index twice; the other loses nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.thief = 0

    @initialize(thief=SIDE)
    def choose(self, thief: int) -> None:
        self.thief = thief

    @rule(nth=NTH, show=st.booleans(), sure=st.integers(0, 2))
    def old_close(self, nth: int, show: bool, sure: int) -> None:
        if sure == 0:
            self.world.cheat_close(self.thief, nth, show)

    @rule(nth=st.integers(0, 3), after=st.permutations([0, 0, 1, 1]))
    def crossing_and_old_close(self, nth: int, after: list[int]) -> None:
        self.pay_and_cancel_crossing(1 - self.thief, 100, after[:3])
        self.world.cheat_close(self.thief, nth, True)

    @rule(
        payout=st.sampled_from([0, 700, 900, 1_000, 1_100, 2_000]),
        owner=st.booleans(),
        sure=st.integers(0, 3),
    )
    def end_of_its_own_making(self, payout: int, owner: bool, sure: int) -> None:
        if sure == 0:
            self.world.cheat_end(self.thief, payout + (MIN_ADA.value if owner else 0))

    @rule()
    def pay_and_same_index_again(self) -> None:
        self.pay(self.thief, 0, 100, True)
        self.world.cheat_cheque(self.thief, 0)

    @rule(nth=NTH, sure=st.integers(0, 2))
    def same_index_again(self, nth: int, sure: int) -> None:
        if sure == 0:
            self.world.cheat_cheque(self.thief, nth)


@pytest.mark.threat("P1")
@pytest.mark.threat("P2")
@pytest.mark.threat("P9")
@pytest.mark.threat("P15")
@pytest.mark.parametrize("part", range(PARTS))
def test_honest_ends_lose_nothing_whatever_line_store_and_chain_do(part: int) -> None:
    """From the state that each history reached, a close also pays what both books said (ledger.balance)."""
    ChannelMachine.compared = 0
    run_state_machine_as_test(ChannelMachine, settings=SETTINGS)
    assert ChannelMachine.compared > 0


@pytest.mark.threat("V7")
@pytest.mark.threat("P6")
@pytest.mark.parametrize("part", range(PARTS))
def test_an_honest_end_loses_nothing_to_a_partner_that_cheats(part: int) -> None:
    run_state_machine_as_test(HostileMachine, settings=HOSTILE)
