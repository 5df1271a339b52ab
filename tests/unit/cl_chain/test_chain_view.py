"""W1 and W10 without a chain: whatever is rolled back, the fold of the steps is the final chain's."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.chain.address import address_text
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.chain.view import Back, ChannelCreated, ChannelSpent, Deep, Forward, TxSeen, View
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Block, Point, RollBackward, RollForward, Tip
from gateway.errors import Refused
from gateway.units import Slot
from tests.support.chain_blocks import (
    POLICY,
    WALLET,
    Rows,
    SimChain,
    end_tx,
    junk_tx,
    open_tx,
    plain_tx,
    step_tx,
)

DEPTHS = (1, 3, 30)


def new_view(**options: object) -> View:
    return View(POLICY, addresses=[address_text(WALLET)], depths=DEPTHS, **options)  # type: ignore[arg-type]


def forward(view: View, event: RollForward) -> Forward:
    step = view.apply(event)
    assert isinstance(step, Forward)
    return step


def test_a_channels_life_is_told_with_redeemers() -> None:
    chain, view = SimChain(), new_view()
    raw = open_tx(1, "a")
    opened = forward(view, chain.extend(plain_tx(1), raw, junk_tx(1)))
    created, seen = (one.observation for one in opened.seen)
    assert isinstance(created, ChannelCreated)
    assert created.channel.raw == (1).to_bytes(20, "big")
    assert created.utxo.lovelace.value == 5_000_000
    assert created.utxo.created_at == chain.tip.point
    assert created.utxo.address == address_text(bytes([0x70]) + POLICY)
    assert seen == TxSeen(transaction_id(raw), True)

    moved_raw = step_tx(1, created.utxo.ref, 6_000_000)
    moved = forward(view, chain.extend(moved_raw))
    spent, again, _ = (one.observation for one in moved.seen)
    assert spent == ChannelSpent(
        created.channel, created.utxo.ref, transaction_id(moved_raw), moved_raw, b"\x43\x01\x02\x03"
    )
    assert isinstance(again, ChannelCreated)
    assert set(view.channels) == {again}

    ended = forward(view, chain.extend(end_tx(again.utxo.ref)))
    last = ended.seen[0].observation
    assert isinstance(last, ChannelSpent)
    assert last.redeemer == b"\x05"
    assert not view.channels

    back = view.apply(chain.rollback(2))
    assert isinstance(back, Back)
    assert [type(one.observation) for one in back.taken] == [
        TxSeen, ChannelSpent, TxSeen, ChannelCreated, ChannelSpent,
    ]  # fmt: skip
    assert set(view.channels) == {created}


def test_two_steps_in_one_block() -> None:
    chain, view = SimChain(), new_view()
    first = open_tx(1, "a")
    ref = OutputRef(transaction_id(first), 0)
    second = step_tx(1, ref, 6_000_000)
    third = end_tx(OutputRef(transaction_id(second), 1))
    step = forward(view, chain.extend(first, second, third))
    kinds = [type(one.observation) for one in step.seen]
    assert kinds == [ChannelCreated, TxSeen, ChannelSpent, ChannelCreated, TxSeen, ChannelSpent, TxSeen]
    assert not view.channels
    view.apply(chain.rollback(1))
    assert not view.channels


@pytest.mark.threat("V15")
@pytest.mark.kind("SM")
def test_a_thousand_spoofed_outputs_change_nothing() -> None:
    chain, view = SimChain(), new_view()
    for n in range(10):
        step = forward(view, chain.extend(*(junk_tx((n, m)) for m in range(100))))
        assert step.seen == ()
    assert not view.channels


def test_watched_transactions_are_told_once_and_by_depth() -> None:
    chain, view = SimChain(), new_view()
    raw = plain_tx("mine")
    view.watch(transaction_id(raw))
    told: list[Deep] = []
    step = forward(view, chain.extend(raw))
    assert [one.observation for one in step.seen] == [TxSeen(transaction_id(raw), True)]
    located = step.seen[0]
    told += step.deep
    for _ in range(29):
        told += forward(view, chain.extend()).deep
    assert told == [Deep(located, 1), Deep(located, 3), Deep(located, 30)]
    assert view.depth(located) == 30
    view.apply(chain.rollback(10))
    assert view.depth(located) == 20
    view.apply(chain.rollback(20))
    assert view.depth(located) == 0


@pytest.mark.threat("W1")
@pytest.mark.threat("W10")
@pytest.mark.kind("SM")
@pytest.mark.kind("CR")
@pytest.mark.long
@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(0, 2**32))
def test_any_rollbacks_and_crashes_fold_to_the_final_chain(data: st.DataObject, seed: int) -> None:
    """Depths 1 to 50; the process dies at any block, before or after its commit, and catches up from its rows."""
    rng = random.Random(seed)
    chain, view, rows = SimChain(), new_view(), Rows()
    deep: set[tuple[bytes, int]] = set()
    numbers = iter(range(1, 100_000))
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(("grow", "grow", "roll", "crash")))
        if action == "grow":
            for _ in range(rng.randrange(1, 20)):
                step = view.apply(chain.extend(*random_block(chain, rng, numbers)))
                rows.commit(step)
                assert isinstance(step, Forward)
                deep |= {(d.located.point.block_hash, d.depth) for d in step.deep}
        elif action == "roll":
            rows.commit(view.apply(chain.rollback(data.draw(st.integers(1, 50)))))
        else:
            if data.draw(st.booleans()):  # died between the block and its commit
                view.apply(chain.extend(*random_block(chain, rng, numbers)))
            for _ in range(rng.randrange(3)):  # the chain went on while we were down
                chain.extend(*random_block(chain, rng, numbers))
            if rng.random() < 0.5:
                chain.rollback(rng.randrange(1, 51))
            view = rows.restored(new_view())
            for event in chain.answer(view.points):
                rows.commit(view.apply(event))
        assert {c.utxo.ref: c.channel.raw for c in view.channels} == chain.unspent()
    fresh, whole = new_view(), Rows()
    for block in chain.blocks:
        whole.commit(fresh.apply(RollForward(block, chain.tip)))
    assert rows.seen == whole.seen
    assert rows.points == whole.points
    assert view.recent == fresh.recent
    assert set(view.channels) == set(fresh.channels)


def random_block(chain: SimChain, rng: random.Random, numbers: object) -> list[bytes]:
    """Opens, steps and ends of channels that this chain has, within one block and over several."""
    txs: list[bytes] = []
    live = chain.unspent()
    for _ in range(rng.randrange(3)):
        salt = next(numbers)  # type: ignore[call-overload]
        kind = rng.randrange(5)
        if kind in (0, 1):
            txs.append(open_tx(salt, salt))
        elif kind == 2 and live:
            ref = rng.choice(sorted(live, key=str))
            txs.append(step_tx(int.from_bytes(live.pop(ref), "big"), ref, 5_000_000 + salt))
        elif kind == 3 and live:
            ref = rng.choice(sorted(live, key=str))
            live.pop(ref)
            txs.append(end_tx(ref))
        else:
            txs += [junk_tx(salt), plain_tx(salt)]
    return txs


def refused(view: View, event: RollForward | RollBackward) -> str:
    before = (view.points, view.recent, view.channels)
    with pytest.raises(Refused) as caught:
        view.apply(event)
    assert (view.points, view.recent, view.channels) == before
    return caught.value.rejection.code


def test_a_provider_that_contradicts_itself_is_named_and_changes_nothing() -> None:
    chain, view = SimChain(), new_view()
    for _ in range(3):
        view.apply(chain.extend())
    good = chain.extend().block
    for height, slot in ((3, 80), (5, 80), (4, 60), (4, 59)):
        bad = Block(Point(Slot(slot), good.point.block_hash), height, good.time_ms, ())
        assert refused(view, RollForward(bad, chain.tip)) == "cl.chain.inconsistent"
    bad = Block(good.point, good.height, good.time_ms, (b"\x84\xa0", POLICY))
    assert refused(view, RollForward(bad, chain.tip)) == "cl.chain.malformed"
    elsewhere = Point(Slot(1), bytes(32))
    assert refused(view, RollBackward(elsewhere, chain.tip)) == "cl.chain.rollback_too_deep"
    assert view.apply(RollForward(good, chain.tip)) is not None


def test_only_k_blocks_are_kept_and_deeper_rollbacks_are_refused() -> None:
    chain, view = SimChain(), new_view()
    for n in range(2200):
        view.apply(chain.extend(*([open_tx(n, n)] if n in (5, 100) else [])))
    assert len(view.points) == 2160
    assert len(view.channels) == 2
    assert {one.height for one in view.recent} == {101}
    assert refused(view, RollBackward(chain.blocks[30].point, chain.tip)) == "cl.chain.rollback_too_deep"
    assert refused(view, RollBackward(None, chain.tip)) == "cl.chain.rollback_too_deep"
    step = view.apply(RollBackward(chain.blocks[40].point, chain.tip))
    assert isinstance(step, Back)
    assert [c.channel.raw[-1] for c in view.channels] == [5]


def test_a_view_may_begin_after_a_block_of_the_past() -> None:
    start = Point(Slot(1000), b"s" * 32)
    view = new_view(start=start)
    assert list(view.points) == [start]
    tip = Tip(start, 500)
    assert view.apply(RollBackward(start, tip)) is None
    block = Block(Point(Slot(1020), b"a" * 32), 501, SimChain().extend().block.time_ms, ())
    assert isinstance(view.apply(RollForward(block, tip)), Forward)
    assert list(view.points) == [block.point, start]
    assert isinstance(view.apply(RollBackward(start, tip)), Back)
    assert list(new_view().points) == [ORIGIN]
