"""The table of clauses and their transactions, and what its pages share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr, Data
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    LB,
    Channel,
    Move,
    channel,
    opened,
    opening,
    public,
)

Build = Callable[[bytes], phase2.Tx]
REFUSED: dict[str, Build] = {}
HONEST: dict[str, Build] = {}
M = 1_000_000
ZERO = t.Squash()
FOREIGN = b"\xff" * 28


def refused(clause: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        assert clause not in REFUSED
        REFUSED[clause] = build
        return build

    return register


def honest(clause: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        assert clause not in HONEST
        HONEST[clause] = build
        return build

    return register


# --- helpers -------------------------------------------------------------------------------------


def squash(amount: int, index: int, *exclude: int) -> t.Squash:
    return t.Squash(Lovelace(amount), index, tuple(exclude))


def closed(
    deposit: int = 60 * M,
    closer: t.Squash = ZERO,
    responder: t.Squash = ZERO,
    entries: tuple[t.Entry, ...] = (),
    elapse_after: PosixMs = LB,
) -> t.Closed:
    return t.Closed(Lovelace(deposit), closer, responder, elapse_after, codec.commit(entries))


def resolved(other: int = 0, own: tuple[t.Entry, ...] = (), others: tuple[t.Entry, ...] = ()) -> t.Resolved:
    return t.Resolved(Lovelace(other), codec.commit(own), codec.commit(others))


def forced(move: Move, datum: t.Datum, least: int | None = None) -> Move:
    """The move with this output, whatever the rules say."""
    total = move.channel.total + Lovelace(move.add)
    move.after = books.Applied(datum, total if least is None else Lovelace(least))
    return move


def stage_of(c: Channel, stage: t.Stage, **change: object) -> t.Datum:
    return replace(c.datum, stage=stage, **change)  # type: ignore[arg-type]


def expected(move: Move, **situation: object) -> books.Applied:
    """What the rules make of the move once the situation is bent."""
    from tests.support.channel_world import situation as at

    result = books.apply_step(move.channel.datum, move.step, replace(at(move), **situation))
    assert isinstance(result, books.Applied), str(result)
    return result


def all_signers(move: Move) -> books.Applied:
    c = move.channel
    return expected(move, signers=[public(c.key0), public(c.key1)])


def never_checked(move: Move) -> books.Applied:
    return expected(move, verify=lambda *_: True)


def token_of(tx: phase2.Tx, c: Channel) -> tuple[bytes, bytes]:
    return phase2.script_hash(tx.script), codec.thread_token_name(c.cid)


def edit(tx: phase2.Tx, *path: int, value: Data, output: int = 0) -> phase2.Tx:
    """Replaces one place inside an output's datum."""

    def put(data: Data, rest: tuple[int, ...]) -> Data:
        if not rest:
            return value
        if isinstance(data, Constr):
            return Constr(data.tag, _put(data.fields, rest, put))
        assert isinstance(data, tuple)
        return _put(data, rest, put)

    datum = tx.outputs[output].datum
    assert datum is not None
    tx.outputs[output].datum = put(datum, path)
    return tx


def _put(
    items: tuple[Data, ...], path: tuple[int, ...], put: Callable[[Data, tuple[int, ...]], Data]
) -> tuple[Data, ...]:
    return (*items[: path[0]], put(items[path[0]], path[1:]), *items[path[0] + 1 :])


def commitment_of(packed: bytes, pending: int, paid: int) -> t.Commitment:
    return t.Commitment(hashlib.blake2b(packed, digest_size=32).digest(), Lovelace(pending), Lovelace(paid))


def pack(*entries: t.Entry) -> bytes:
    return codec.pack_entries(entries)


def paid(raw: bytes) -> bytes:
    return raw[:24] + b"\x01" + raw[25:]


def respond_with(c: Channel, stage: t.Resolved) -> t.Datum:
    swapped = (c.datum.keys[1], c.datum.keys[0])
    return replace(c.datum, keys=swapped, stage=stage, min_ada_owner=1 - c.datum.min_ada_owner)


def open_one(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return opening([c.datum], [c.lovelace], script)


def by(move: Move, signers: list[object]) -> Move:
    move.after = all_signers(move)
    move.signers = signers  # type: ignore[assignment]
    return move
