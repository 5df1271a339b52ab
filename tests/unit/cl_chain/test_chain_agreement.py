"""Several chains, one told: what a quorum has, and nothing that fewer say is called sure."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.cl.chain.agreement import Agreement
from gateway.cl.chain.points import ORIGIN
from gateway.cl.ports import Block, ChainEvent, Point, RollBackward, RollForward, Tip
from gateway.units import PosixMs, Slot

NAMES = ("a", "b", "c")


def block(height: int, branch: str = "", *raws: bytes) -> Block:
    digest = f"{height}{branch}".encode().ljust(32, b".")
    return Block(Point(Slot(height * 20), digest), height, PosixMs(height * 20_000), raws)


def forward(one: Block) -> RollForward:
    return RollForward(one, Tip(one.point, one.height))


def back(to: Block | None) -> RollBackward:
    return RollBackward(
        None if to is None else to.point, Tip(ORIGIN, 0) if to is None else Tip(to.point, to.height)
    )


class Told:
    """Applies what the agreement tells and fails when it does not fit."""

    def __init__(self, quorum: int, names: tuple[str, ...] = NAMES) -> None:
        self.agreement = Agreement([], quorum, names)
        self.blocks: list[Block] = []

    def take(self, names: str, *events: ChainEvent) -> Told:
        for name in names:
            for event in events:
                self.agreement.take(name, event)
        return self

    def run(self, need: int) -> list[Block]:
        while (event := self.agreement.step(need)) is not None:
            if isinstance(event, RollForward):
                self.blocks.append(event.block)
            else:
                while self.blocks and self.blocks[-1].point != event.to:
                    self.blocks.pop()
                assert (event.to is None) == (not self.blocks)
        return self.blocks


CHAIN = [block(n) for n in range(6)]
ALL = [back(None), *(forward(one) for one in CHAIN)]


def test_a_block_waits_for_its_quorum_and_is_then_sure() -> None:
    told = Told(2).take("a", *ALL).take("b", *ALL[:4])
    assert told.run(2) == CHAIN[:3]
    assert told.agreement.is_sure(CHAIN[2].point)
    assert told.take("c", *ALL).run(2) == CHAIN
    assert told.agreement.is_sure(CHAIN[-1].point)


@pytest.mark.threat("W2")
@pytest.mark.kind("SM")
def test_one_alone_may_go_on_but_nothing_is_sure_until_another_shows_the_same() -> None:
    told = Told(2).take("ab", *ALL[:4])
    told.run(2)
    told.agreement.lost("b")
    told.take("a", *ALL[4:])
    assert told.run(1) == CHAIN
    assert [told.agreement.is_sure(one.point) for one in CHAIN] == [True] * 3 + [False] * 3
    assert told.agreement.resume_at()[0] == CHAIN[2].point  # so that the rest is told again, and compared
    told.take("b", back(CHAIN[2]), *ALL[4:])
    assert told.run(2) == CHAIN
    assert all(told.agreement.is_sure(one.point) for one in CHAIN)


@pytest.mark.threat("W2")
@pytest.mark.kind("SM")
def test_a_block_with_a_transaction_left_out_is_a_dispute_and_never_sure() -> None:
    whole, robbed = block(6, "", b"close"), block(6)
    told = Told(2).take("ab", *ALL)
    told.run(2)
    told.agreement.lost("b")
    told.take("a", forward(robbed))
    assert told.run(1)[-1] == robbed
    told.take("b", back(CHAIN[5]), forward(whole))
    told.run(2)
    assert told.agreement.disputes == {"b": "other transactions in block 6"}
    assert not told.agreement.is_sure(robbed.point)


def test_two_of_three_outvote_the_one_that_leaves_a_transaction_out() -> None:
    whole, robbed = block(6, "", b"close"), block(6)
    told = Told(2).take("abc", *ALL)
    told.take("a", forward(robbed)).take("bc", forward(whole))
    assert told.run(2)[-1] == whole
    assert told.agreement.is_sure(whole.point)
    assert len(told.agreement.differing()) == 0
    assert not told.agreement.keeps_up("a")


def test_a_rollback_needs_as_many_as_a_block() -> None:
    other = [block(4, "x"), block(5, "x")]
    told = Told(2).take("abc", *ALL)
    told.run(2)
    told.take("a", back(CHAIN[3]), *map(forward, other))
    assert told.run(2) == CHAIN
    told.take("b", back(CHAIN[3]), *map(forward, other))
    assert told.run(2) == [*CHAIN[:4], *other]
    assert all(told.agreement.is_sure(one.point) for one in other)
    assert not told.agreement.is_sure(CHAIN[5].point)
    told.take("c", back(CHAIN[3]), *map(forward, other))
    assert told.agreement.keeps_up("c")


def test_one_that_stayed_when_the_others_went_and_came_back_is_asked_anew() -> None:
    told = Told(2).take("abc", *ALL)
    told.run(2)
    told.take("ab", back(CHAIN[2])).run(2)
    assert told.blocks == CHAIN[:3]
    assert told.agreement.stranded() == ["c"]
    told.agreement.lost("c")
    told.take("ab", *ALL[4:])
    assert told.run(2) == CHAIN


def test_who_is_only_behind_does_not_roll_the_others_back() -> None:
    told = Told(2).take("a", *ALL)
    told.run(1)
    told.take("b", back(None), *ALL[1:3]).take("c", back(None), *ALL[1:3])
    assert told.run(2) == CHAIN
    assert not told.agreement.is_sure(CHAIN[3].point)
    told.take("b", *ALL[3:])
    assert told.run(2) == CHAIN
    assert told.agreement.is_sure(CHAIN[5].point)


def test_points_of_an_earlier_run_are_where_it_begins() -> None:
    points = [one.point for one in reversed(CHAIN)]
    agreement = Agreement(points, 2, NAMES)
    agreement.take("a", back(CHAIN[5]))
    agreement.take("b", back(CHAIN[3]))
    first = agreement.step(2)
    assert isinstance(first, RollBackward)
    assert first.to == CHAIN[5].point
    assert agreement.is_sure(CHAIN[3].point)
    assert not agreement.is_sure(CHAIN[5].point)
    agreement.take("b", forward(CHAIN[4]))
    agreement.take("b", forward(CHAIN[5]))
    assert agreement.is_sure(CHAIN[5].point)


@pytest.mark.threat("W1")
@pytest.mark.threat("W2")
@pytest.mark.kind("SM")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_they_tell_in_whatever_order_what_is_told_is_a_chain_and_ends_at_theirs(seed: int) -> None:
    """Three providers follow one chain at their own pace, with forks, losses and restarts. In the end all have the
    whole chain, and it is sure."""
    rng = random.Random(seed)
    truth = [block(n) for n in range(4)]
    told = Told(2)
    at: dict[str, list[Block]] = {}

    def advance(name: str) -> None:
        mine = at.get(name)
        if mine is None:
            for point in [*told.agreement.resume_at(), None]:
                base = next((one for one in truth if point is not None and one.point == point), None)
                if base is not None or point in (None, ORIGIN):
                    break
            at[name] = truth[: truth.index(base) + 1] if base else []
            told.agreement.take(name, back(base))
            return
        common = 0
        while common < min(len(mine), len(truth)) and mine[common].point == truth[common].point:
            common += 1
        if common < len(mine):
            del mine[common:]
            told.agreement.take(name, back(mine[-1] if mine else None))
        elif len(mine) < len(truth):
            mine.append(truth[len(mine)])
            told.agreement.take(name, forward(mine[-1]))

    def lose(name: str) -> None:
        told.agreement.lost(name)
        at.pop(name, None)

    for turn in range(400):
        match rng.randrange(12):
            case 0:
                truth.append(block(len(truth), f"-{turn}", b"x" * rng.randrange(3)))
            case 1 if len(truth) > 1:
                del truth[rng.randrange(max(1, len(truth) - 5), len(truth)) :]
            case 2:
                lose(rng.choice(NAMES))
            case _:
                advance(rng.choice(NAMES))
        for name in told.agreement.stranded():
            lose(name)
        told.run(rng.choice((1, 2, 2, 2)))
        assert all(one.height + 1 == two.height for one, two in pairwise(told.blocks))
    truth.append(block(len(truth), "-end"))
    for _ in range(3 * len(truth)):
        for name in NAMES:
            advance(name)
        told.run(2)
        for name in told.agreement.stranded():
            lose(name)
    assert told.blocks == truth
    assert told.agreement.is_sure(truth[-1].point)
