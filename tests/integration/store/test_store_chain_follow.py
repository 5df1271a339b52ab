"""W10 with a real database: the process ends before or after any block's commit, nothing is missed or repeated."""

from __future__ import annotations

import random

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.view import Forward, View
from gateway.cl.node import chain_rows
from gateway.cl.ports import RollForward
from gateway.store.codec import Codecs
from gateway.store.hooks import HookPoint
from gateway.store.store import Store
from tests.support.chain_blocks import POLICY, WALLET, Rows, SimChain, junk_tx, open_tx, step_tx


class Ended(BaseException):
    """The end of the process at a hook."""


def new_view() -> View:
    return View(POLICY, addresses=[address_text(WALLET)], depths=(1, 3))


def known() -> Codecs:
    codecs = Codecs()
    chain_rows.register(codecs)
    return codecs


def grow(chain: SimChain, rng: random.Random) -> None:
    salt = rng.random()
    txs = [open_tx(rng.randrange(1 << 30), salt), junk_tx(salt)] if rng.random() < 0.5 else []
    live = sorted(chain.unspent().items(), key=str)
    if live and rng.random() < 0.5:
        ref, name = rng.choice(live)
        txs.append(step_tx(int.from_bytes(name, "big"), ref, 5_000_000 + rng.randrange(1000)))
    chain.extend(*txs)


@pytest.mark.threat("W1")
@pytest.mark.threat("W10")
@pytest.mark.kind("CR")
async def test_an_end_at_each_block_write(url: str) -> None:
    rng = random.Random(11)
    chain = SimChain()
    ends_at = [("before_commit", n) for n in (1, 2, 5, 9)] + [("after_commit", n) for n in (1, 3, 7, 8)]
    for stage, count in [*ends_at, ("never", 0)]:
        for _ in range(rng.randrange(8, 14)):
            grow(chain, rng)
        if stage == "after_commit":
            chain.rollback(rng.randrange(1, 30))
            grow(chain, rng)
        store = await Store.open(url, network="regtest", codecs=known())
        view = new_view()
        await chain_rows.restore(store, view)
        left = count

        def end(point: HookPoint, stage: str = stage) -> None:
            nonlocal left
            left -= point.stage == stage and point.name == "chain.block"
            if left == 0 and point.stage == stage:
                raise Ended

        store.hooks.add(end)
        try:
            for event in chain.answer(view.points):
                step = view.apply(event)
                if step is not None:
                    await chain_rows.commit(store, step, lambda _: True)
            assert stage == "never"
        except Ended:
            assert stage != "never"
        await store.close()

    store = await Store.open(url, network="regtest", codecs=known())
    view = new_view()
    await chain_rows.restore(store, view)
    await store.close()
    fresh, rows = new_view(), Rows()
    for block in chain.blocks:
        step = fresh.apply(RollForward(block, chain.tip))
        assert isinstance(step, Forward)
        rows.commit(step)
    assert view.recent == fresh.recent
    assert view.points == fresh.points
    assert {c.utxo.ref: c.channel.raw for c in view.channels} == chain.unspent()
    assert set(view.channels) == set(fresh.channels)
