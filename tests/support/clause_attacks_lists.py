"""Clauses of squashes, entries, cheques and Open, each with the transaction that it alone decides."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr, Data, serialise
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    LB,
    PERIOD,
    THIRD,
    UB,
    Channel,
    Move,
    channel,
    entry,
    healthy,
    keypair,
    locked,
    opened,
    public,
    secret,
    signed_snapshot,
    unlocked,
)
from tests.support.clause_table import (
    FOREIGN,
    ZERO,
    M,
    closed,
    commitment_of,
    edit,
    forced,
    open_one,
    pack,
    paid,
    refused,
    resolved,
    respond_with,
    squash,
    stage_of,
)

# --- squashes ------------------------------------------------------------------------------------


def adopt(script: bytes, old: t.Squash, new: t.Squash) -> phase2.Tx:
    c = channel(opened())
    c = replace(c, datum=stage_of(c, opened(snapshot=c.snapshot(old, ZERO))))
    shown = c.snapshot(new, ZERO)
    move = Move(c, t.Add(True, signed_snapshot(c.key1, c.cid, shown)), [c.key0], add=5)
    return healthy([forced(move, stage_of(c, opened(snapshot=shown)))], script)


refused("Squash.1")(lambda s: adopt(s, squash(5, 3), squash(4, 3)))
refused("Squash.2")(lambda s: adopt(s, squash(5, 3), squash(5, 2)))
refused("Squash.3")(lambda s: adopt(s, ZERO, squash(5, 3, 2, 2)))
refused("Squash.4")(lambda s: adopt(s, ZERO, squash(5, 30, *range(1, 22))))
refused("Squash.5")(lambda s: adopt(s, squash(5, 3), squash(6, 5, 2)))


# --- entries -------------------------------------------------------------------------------------


@refused("Entries.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    cheques = tuple(locked(c.key1, c.cid, i, M) for i in range(1, 22))
    packed = codec.pack_entries([entry(i, M) for i in range(1, 21)]) + codec.pack_entries([entry(21, M)])
    stage = replace(closed(70 * M), elapse_after=UB + PERIOD, entries=commitment_of(packed, 21 * M, 0))
    return healthy(
        [forced(Move(c, t.Close(True, t.Receipt(None, cheques)), [c.key0]), stage_of(c, stage))], script
    )


def opens(
    script: bytes, committed: bytes, shown: bytes, unlocks_data: Data, after: bytes, amount: int, pending: int
) -> phase2.Tx:
    """Free in closed over raw packed lists."""
    stage = replace(closed(), entries=commitment_of(committed, pending, 0))
    c = channel(stage)
    done = replace(stage, entries=commitment_of(after, pending - amount, amount))
    move = Move(c, t.FreeInClosed((), ()), [c.key0])
    move.step_data = Constr(4, ((shown,), unlocks_data))
    return healthy([forced(move, stage_of(c, done))], script)


@refused("Entries.2")
def _(script: bytes) -> phase2.Tx:
    fake = pack(entry(1, 50 * M))
    return opens(script, pack(entry(1, M)), fake, ((0, secret(1).raw),), paid(fake), 50 * M, M)


@refused("Unlock.1")
def _(script: bytes) -> phase2.Tx:
    raw = pack(entry(1, M))
    twice = ((0, secret(1).raw), (0, secret(1).raw))
    return opens(script, raw, raw, twice, raw[:24] + b"\x01\x01" + raw[25:], 2 * M, M)


@refused("Unlock.2")
def _(script: bytes) -> phase2.Tx:
    raw = pack(entry(1, M, paid=True))
    return opens(script, raw, raw, ((0, secret(1).raw),), raw, M, 0)


@refused("Unlock.3")
def _(script: bytes) -> phase2.Tx:
    short = t.Entry(1, Lovelace(M), UB, Hashlock(hashlib.sha256(b"short").digest()), False)
    return opens(script, pack(short), pack(short), ((0, b"short"),), paid(pack(short)), M, M)


@refused("Unlock.4")
def _(script: bytes) -> phase2.Tx:
    raw = pack(entry(1, M))
    return opens(script, raw, raw, ((0, secret(2).raw),), paid(raw), M, M)


@refused("Unlock.5")
def _(script: bytes) -> phase2.Tx:
    raw = pack(entry(1, M, PosixMs(UB.value - 1)))
    return opens(script, raw, raw, ((0, secret(1).raw),), paid(raw), M, M)


@refused("Sift.1")
def _(script: bytes) -> phase2.Tx:
    """A cancelled cheque stays in the closer's list."""
    listed = (entry(1, M),)
    c = channel(closed(entries=listed))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(0, 1), ZERO))
    step = t.Respond(t.Receipt(shown), use_closer_squash=True, entries=listed)
    after = respond_with(c, resolved(60 * M, (), listed))
    return healthy([forced(Move(c, step, [c.key1]), after, 61 * M)], script)


@refused("Sift.2")
def _(script: bytes) -> phase2.Tx:
    """The responder drops a cheque of the closer's that is not expired."""
    listed = (entry(1, M, PosixMs(LB.value + 1)),)
    c = channel(closed(entries=listed))
    step = t.Respond(drop_expired=True, entries=listed)
    return healthy([forced(Move(c, step, [c.key1]), respond_with(c, resolved(60 * M)), 60 * M)], script)


# --- cheques -------------------------------------------------------------------------------------


def close_with(
    script: bytes, c: Channel, cheques: tuple[t.PresentedCheque, ...], packed: bytes, sums: tuple[int, int]
) -> phase2.Tx:
    stage = c.datum.stage
    assert isinstance(stage, t.Opened)
    after = t.Closed(
        c.total - stage.non_opener_amount,
        stage.snapshot.received_by(c.datum.keys[0], c.datum.keys[1]),
        stage.snapshot.received_by(c.datum.keys[1], c.datum.keys[0]),
        UB + PERIOD,
        commitment_of(packed, *sums),
    )
    move = Move(c, t.Close(True, t.Receipt(None, cheques)), [c.key0])
    return healthy([forced(move, stage_of(c, after))], script)


@refused("Cheque.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    one = locked(c.key1, c.cid, 1, M)
    return close_with(script, c, (one, one), pack(entry(1, M), entry(1, M)), (2 * M, 0))


@refused("Cheque.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    c = replace(c, datum=stage_of(c, opened(snapshot=c.snapshot(squash(M, 2), ZERO))))
    return close_with(script, c, (unlocked(c.key1, c.cid, 2, M),), paid(pack(entry(2, M))), (0, M))


@refused("Cheque.3")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return close_with(script, c, (locked(c.key1, c.cid, 1, 0),), pack(entry(1, 0)), (0, 0))


@refused("Cheque.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    lock = b"\x07" * 31
    message = serialise((c.cid.raw, (1, UB.value, lock, M)))
    data: Data = (1, UB.value, lock, M, c.key1.sign(message).signature, 0)
    tx = close_with(
        script, c, (), pack(t.Entry(1, Lovelace(M), UB, Hashlock(b"\0" * 32), False))[:25] + lock, (M, 0)
    )
    own = phase2.script_hash(script)
    tx.mint_redeemers[own] = ((), (Constr(1, (1, (), (data,))),))
    return tx


@refused("Cheque.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    late = PosixMs(UB.value - 1)
    return close_with(
        script, c, (unlocked(c.key1, c.cid, 1, M, late),), paid(pack(entry(1, M, late))), (0, M)
    )


@refused("Cheque.6")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return close_with(script, c, (locked(THIRD, c.cid, 1, M),), pack(entry(1, M)), (M, 0))


# --- open ----------------------------------------------------------------------------------------


@refused("Open.1")
def _(script: bytes) -> phase2.Tx:
    tx = open_one(script)
    tx.outputs[0].tokens[FOREIGN] = {b"junk": 1}
    tx.inputs[0].output.tokens[FOREIGN] = {b"junk": 1}
    return tx


@refused("Open.2")
def _(script: bytes) -> phase2.Tx:
    tx = open_one(script)
    names = tx.outputs[0].tokens.pop(phase2.script_hash(script))
    tx.outputs[0].tokens[FOREIGN] = dict(names)
    tx.inputs[0].output.tokens[FOREIGN] = dict(names)
    tx.outputs[1].tokens[phase2.script_hash(script)] = dict(names)
    return tx


@refused("Open.3")
def _(script: bytes) -> phase2.Tx:
    tx = open_one(script)
    forged = {codec.BOLT_TOKEN + b"\x01" * 20: 1}
    tx.outputs[0].tokens[phase2.script_hash(script)] = dict(forged)
    tx.mint[phase2.script_hash(script)] = dict(forged)
    return tx


@refused("Open.4")
def _(script: bytes) -> phase2.Tx:
    tx = open_one(script)
    tx.outputs[0].script = script
    return tx


refused("Open.5")(lambda s: edit(open_one(s), 0, value=b"\x01" * 28))
refused("Open.6")(lambda s: edit(open_one(s), 1, value=b"short"))
refused("Open.7")(lambda s: edit(open_one(s), 2, value=b"\x01" * 33))
refused("Open.8")(lambda s: edit(open_one(s), 2, value=public(keypair("zero")).raw))
refused("Open.9")(lambda s: edit(open_one(s), 3, 0, value=-1))
refused("Open.10")(lambda s: edit(open_one(s), 3, 0, value=100 * M + 1))
refused("Open.11")(lambda s: edit(open_one(s), 3, 1, value=Constr(0, (M, 1, ()))))
refused("Open.12")(lambda s: edit(open_one(s), 3, 2, value=Constr(0, (0, 1, ()))))
refused("Open.13")(lambda s: edit(open_one(s), 3, 3, value=0))
refused("Open.14")(lambda s: edit(open_one(s), 4, value=-1))
refused("Open.15")(lambda s: edit(open_one(s), 5, value=7))
