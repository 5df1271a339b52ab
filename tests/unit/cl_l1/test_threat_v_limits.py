"""V9, V11, V12, V13: the largest steps fit a transaction with room, dust never jams a step, an opening is exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.cl.chain.view import ChannelCreated, Located
from gateway.cl.channel.events import ChannelOpened
from gateway.cl.channel.inputs import Context, OutputSeen
from gateway.cl.channel.on_chain import funding
from gateway.cl.channel.state import Agreement, Funding
from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.l1.address import StakePart, script_address
from gateway.cl.l1.body import Out, output_bytes
from gateway.cl.l1.build import build
from gateway.cl.l1.intents import BuiltTx, StepChannel
from gateway.cl.l1.parse import parse_output
from gateway.cl.l1.protocol import read_figures
from gateway.cl.l1.sizing import channel_min_ada, worst_bytes
from gateway.cl.node.track import fold
from gateway.cl.ports import Point, Utxo
from gateway.errors import Rejection
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs, Slot
from tests.support import channel_world as w
from tests.support import l1_world as l1

FULL = 20  # cheques and excludes a side, decision 3
FAR = 1 << 40  # indices as a long life leaves them
SPARE = 0.8  # of every limit of the ledger


def wide(amount: int) -> t.Squash:
    """A squash with every exclude place taken."""
    return t.Squash(Lovelace(amount), FAR, tuple(FAR - 2 * (FULL - n) for n in range(FULL)))


def pending(amount: int) -> tuple[t.Entry, ...]:
    return tuple(w.entry(FAR + 1 + n, amount) for n in range(FULL))


def cheques(key: Any, cid: t.ChannelId, amount: int, *, open_them: bool) -> tuple[t.PresentedCheque, ...]:
    make = w.unlocked if open_them else w.locked
    return tuple(make(key, cid, FAR + 1 + n, amount) for n in range(FULL))


def opened() -> w.Channel:
    return w.channel(w.opened(snapshot=t.Snapshot()), 400_000_000)


def close(amount: int, open_them: bool) -> w.Move:
    c = opened()
    shown = w.signed_snapshot(c.key1, c.cid, c.snapshot(wide(40_000_000), wide(7_000_000)))
    return w.Move(
        c, t.Close(True, t.Receipt(shown, cheques(c.key1, c.cid, amount, open_them=open_them))), [c.key0]
    )


def stage_closed(entries: tuple[t.Entry, ...]) -> t.Closed:
    return t.Closed(
        Lovelace(300_000_000), wide(40_000_000), wide(7_000_000), w.EARLIER, codec.commit(entries)
    )


def respond(amount: int) -> w.Move:
    entries = pending(amount)
    c = w.channel(stage_closed(entries), 400_000_000)
    more = t.Squash(Lovelace(50_000_000), FAR + 2, wide(1).exclude)
    shown = w.signed_snapshot(c.key0, c.cid, c.snapshot(wide(40_000_000), more))
    receipt = t.Receipt(shown, tuple(w.unlocked(c.key0, c.cid, FAR + 3 + n, amount) for n in range(FULL)))
    return w.Move(c, t.Respond(receipt, True, True, True, entries), [c.key1])


def elapse(amount: int) -> w.Move:
    entries = pending(amount)
    c = w.channel(stage_closed(entries), 400_000_000)
    return w.Move(c, t.Elapse(entries, w.unlocks(entries, *range(FULL))), [c.key0])


def end(amount: int) -> w.Move:
    mine, theirs = pending(amount), tuple(replace(one, timeout=w.EARLIER) for one in pending(amount))
    stage = t.Resolved(Lovelace(0), codec.commit(mine), codec.commit(theirs))
    c = w.channel(stage, 400_000_000)
    return w.Move(c, t.EndResolved(mine, w.unlocks(mine, *range(FULL)), theirs), [c.key0])


WORST = {
    "close, all locked": lambda: close(1_000_000, False),
    "close, all open": lambda: close(1_000_000, True),
    "respond": lambda: respond(1_000_000),
    "elapse": lambda: elapse(1_000_000),
    "end": lambda: end(1_000_000),
}


def built(move: w.Move, min_ada: Lovelace | None = None) -> BuiltTx:
    c = move.channel
    if min_ada is not None:
        lovelace = c.lovelace - c.datum.min_ada.value + min_ada.value
        c = replace(c, datum=replace(c.datum, min_ada=min_ada), lovelace=lovelace)
    intent = StepChannel(l1.on_chain(c), move.step, w.public(move.signers[0]), Lovelace(move.add))
    made = build(l1.view(), [intent], l1.WINDOW, l1.EVALUATOR, l1.VERIFY)
    assert isinstance(made, BuiltTx), str(made)
    return made


@pytest.mark.threat("V9")
@pytest.mark.parametrize("name", WORST)
def test_the_largest_step_leaves_a_fifth_of_every_limit(name: str) -> None:
    """Run by the evaluator with its exact units; the size is with the witnesses that are still to come."""
    made = built(WORST[name]())
    figures = read_figures(l1.PARAMS)
    signed = len(made.tx_cbor) + 2 * (32 + 64 + 8)
    assert signed <= SPARE * figures.max_tx_size
    assert made.mem <= SPARE * figures.max_mem
    assert made.steps <= SPARE * figures.max_steps


@pytest.mark.threat("V9")
def test_one_cheque_or_exclude_beyond_the_cap_is_refused() -> None:
    assert t.Squash(Lovelace(1), FAR, tuple(range(1, FULL + 1))).is_canonical()
    assert not t.Squash(Lovelace(1), FAR, tuple(range(1, FULL + 2))).is_canonical()
    over = (*pending(1), w.entry(FAR + FULL + 1, 1))
    with pytest.raises(Exception, match=r"cl\.data\.range"):
        codec.commit(over)


@pytest.mark.threat("V11")
@pytest.mark.parametrize("name", ["close", "respond", "elapse"])
def test_a_step_with_every_place_taken_by_dust_still_builds(name: str) -> None:
    """Twenty cheques of one lovelace, and the agreed min_ada pays for the output: nothing is topped up."""
    move = {"close": lambda: close(1, False), "respond": lambda: respond(1), "elapse": lambda: elapse(1)}[
        name
    ]()
    agreed = channel_min_ada(l1.PARAMS)
    made = built(move, agreed)
    (after,) = made.channels
    assert after.datum is not None
    assert after.datum.min_ada == agreed
    output = next(u for u in made.produced if u.ref == after.ref)
    figures = read_figures(l1.PARAMS)
    out = Out(output.address, output.lovelace.value, output.assets, output.datum_cbor)
    assert agreed.value >= figures.min_utxo(len(output_bytes(out)))


@pytest.mark.threat("V11")
@pytest.mark.parametrize("name", WORST)
def test_no_output_of_a_step_is_larger_than_the_worst_that_min_ada_was_made_for(name: str) -> None:
    made = built(WORST[name](), channel_min_ada(l1.PARAMS))
    for utxo in made.produced:
        if utxo.datum_cbor is not None:
            out = Out(utxo.address, utxo.lovelace.value, utxo.assets, utxo.datum_cbor)
            assert len(output_bytes(out)) <= worst_bytes(l1.MAGIC)


# -- an opening ---------------------------------------------------------------------------------------

SOUND = w.channel(w.opened(30_000_000), 100_000_000)
AGREED = Funding(
    Agreement(
        SOUND.cid, t.OutputRef(bytes(32), 0), b"\x02" * 33, False, w.public(SOUND.key1), w.public(SOUND.key0),
        SOUND.total, Lovelace(30_000_000), w.PERIOD, w.MIN_ADA,
    ),
    since=PosixMs(0),
)  # fmt: skip


def output(datum: t.Datum = SOUND.datum, **changes: Any) -> Utxo:
    return replace(l1.on_chain(SOUND).utxo, datum_cbor=codec.encode_datum(datum), **changes)


def stage(**changes: Any) -> Utxo:
    return output(replace(SOUND.datum, stage=replace(w.opened(30_000_000), **changes)))


def moved(stake: StakePart | None, magic: int = l1.MAGIC) -> Utxo:
    return output(address=str(script_address(l1.POLICY, magic, stake)))


TOKEN = l1.POLICY + codec.thread_token_name(SOUND.cid)
HOSTILE = {
    "two tokens": output(assets=((TOKEN, 2),)),
    "a token beside it": output(assets=((TOKEN, 1), (b"\x01" * 28 + b"x", 1))),
    "the name without its prefix": output(assets=((l1.POLICY + SOUND.cid.raw, 1),)),
    "no token": output(assets=()),
    "keys exchanged": output(replace(SOUND.datum, keys=(SOUND.datum.keys[1], SOUND.datum.keys[0]))),
    "the partner's own key twice": output(
        replace(SOUND.datum, keys=(SOUND.datum.keys[0], SOUND.datum.keys[0]))
    ),
    "own_hash forged": output(replace(SOUND.datum, own_hash=b"\x09" * 28)),
    "min_ada lower": output(replace(SOUND.datum, min_ada=w.MIN_ADA - Lovelace(1))),
    "min_ada negative": output(replace(SOUND.datum, min_ada=Lovelace(-(10**9)))),
    "min_ada beyond the output": output(replace(SOUND.datum, min_ada=Lovelace(10**12))),
    "min_ada ours to lose": output(replace(SOUND.datum, min_ada_owner=1)),
    "gift smaller": stage(non_opener_amount=Lovelace(29_999_999)),
    "gift larger": stage(non_opener_amount=Lovelace(10**12)),
    "gift negative": stage(non_opener_amount=Lovelace(-1)),
    "period shorter": stage(respond_period=w.PERIOD - Ms(1)),
    "period of nothing": stage(respond_period=Ms(0)),
    "a squash from the start": stage(snapshot=t.Snapshot(t.Squash(Lovelace(5), 1), t.Squash())),
    "one lovelace less": output(lovelace=Lovelace(SOUND.lovelace - 1)),
    "a datum hash": replace(output(), datum_cbor=None, datum_hash=b"\x01" * 32),
    "no datum": replace(output(), datum_cbor=None),
    "a datum that is none": replace(output(), datum_cbor=b"\x00"),
    "a reference script": output(script_ref_cbor=b"\x82\x03\x41\x00"),
    "a key's address": output(address=l1.WALLET),
}


def judged(utxo: Utxo, depth: int = REGTEST.staged_depth) -> Outcome[Any, Any]:
    """As a node does: the chain's record folded to an output, which the channel is then asked about."""
    seen = Located(ChannelCreated(SOUND.cid, utxo), Point(Slot(20), bytes(32)), 1)
    found = fold((seen,), w.public(SOUND.key1), l1.POLICY).output
    if found is None:
        refusal = parse_output(utxo, l1.POLICY)
        assert isinstance(refusal, Rejection)
        return Reject(refusal)
    return funding(AGREED, OutputSeen(found, depth), Context(w.LB, w.LB, REGTEST, w.verify))


@pytest.mark.threat("V12")
def test_the_agreed_opening_is_accepted_and_only_at_depth() -> None:
    opened = judged(output())
    assert isinstance(opened, Continue)
    assert [type(one) for one in opened.events] == [ChannelOpened]
    assert isinstance(judged(output(), depth=REGTEST.staged_depth - 1), Wait)


@pytest.mark.threat("V12")
def test_funds_beyond_the_agreed_ones_are_no_reason_to_leave_them_there() -> None:
    """Anyone's ada in it, or an add of the opener's before the depth, belongs to the opener."""
    assert isinstance(judged(output(lovelace=Lovelace(SOUND.lovelace + 1))), Continue)


@pytest.mark.threat("V12")
@pytest.mark.parametrize("name", HOSTILE)
def test_an_opening_that_differs_in_one_thing_is_refused_with_its_field(name: str) -> None:
    refused = judged(HOSTILE[name])
    assert isinstance(refused, Reject)
    assert refused.rejection.code.startswith(("cl.l1.", "cl.data.", "cl.open."))
    assert refused.rejection.field


@pytest.mark.threat("V13")
@pytest.mark.parametrize("stake", [StakePart(b"\x01" * 28), StakePart(b"\x01" * 28, True)])
def test_an_opening_with_a_staking_part_is_refused(stake: StakePart) -> None:
    refused = judged(moved(stake))
    assert isinstance(refused, Reject)
    assert (refused.rejection.code, refused.rejection.field) == ("cl.open.mismatch", "stake")
    assert isinstance(judged(moved(None)), Continue)
