"""All named mutations: what the clause pages register, and one family of thefts over every healthy move.

A new step needs its healthy move in healthy_moves.py and a line in SIGNED_BY (and in VALUE when its channel goes
on); its clauses get their own transactions on a page of clause_attacks.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from nacl.signing import SigningKey

from gateway.cl.data import books, codec
from gateway.cl.data.plutus import Data, serialise
from gateway.errors import Rejection
from tests.support import phase2
from tests.support.channel_world import (
    PAYER,
    THIRD,
    WALLET,
    Move,
    address_of,
    healthy,
    keypair,
    public,
    situation,
)
from tests.support.clause_attacks import HONEST, REFUSED
from tests.support.clause_table import FOREIGN, Build, M, edit
from tests.support.healthy_moves import CONTINUING, ENDING, MOVES

KEYS = (keypair("zero"), keypair("one"), THIRD, PAYER)  # all that a test's transaction may ask to sign
FORGED = codec.BOLT_TOKEN + b"\x01" * 20
DATUM_AT = {"own_hash": 0, "key": 1, "min_ada": 4, "owner": 5}
SIGNED_BY = {
    "add": "Add.1",
    "close": "Close.2",
    "close_by_non_opener": "Close.2",
    "respond": "Respond.1",
    "elapse": "Elapse.1",
    "free_in_closed": "FreeInClosed.1",
    "free_in_resolved": "FreeInResolved.1",
    "free_by_other": "FreeInResolved.4",
    "end": "End.3",
    "end_by_other": "End.5",
    "elapse_end": "Elapse.1",
    "respond_end": "Respond.1",
    "mutual_end": "MutualEnd.1",
    "mutual_end_in_closed": "MutualEnd.1",
    "mutual_end_in_resolved": "MutualEnd.1",
}
VALUE = {
    "add": "Add.2",
    "close": "Close.4",
    "close_by_non_opener": "Close.4",
    "respond": "Out.5",
    "elapse": "Out.5",
    "free_in_closed": "FreeInClosed.3",
    "free_in_resolved": "FreeInResolved.3",
    "free_by_other": "FreeInResolved.6",
}
STEPS = (
    "add",
    "close",
    "respond",
    "elapse",
    "free_closed",
    "free_resolved",
    "end",
    "elapse_end",
    "respond_end",
    "mutual_end",
)


@dataclass(frozen=True)
class Mutation:
    """`clause` is the one that must stop it; other clauses may stop it too."""

    id: str
    clause: str
    build: Build


def step_of(tx: phase2.Tx) -> str:
    """The step that the transaction's first own redeemer names."""
    redeemer = tx.mint_redeemers[phase2.script_hash(tx.script)]
    assert isinstance(redeemer, tuple)
    seed, steps = redeemer
    if seed != ():
        return "new"
    assert isinstance(steps, tuple)
    tag = getattr(steps[0], "tag")  # noqa: B009 - Data is a union
    return STEPS[tag] if tag < len(STEPS) else f"step {tag}"


Edit = Callable[[phase2.Tx, Move, bytes], None]
ON_OUTPUT: dict[str, tuple[str, Edit]] = {}
ON_ANY: dict[str, tuple[str, Edit]] = {}
ON_END: dict[str, tuple[str, Edit]] = {}


def _edit(table: dict[str, tuple[str, Edit]], name: str, clause: str) -> Callable[[Edit], Edit]:
    def register(edit: Edit) -> Edit:
        table[name] = (clause, edit)
        return edit

    return register


def _thread(move: Move) -> bytes:
    return codec.thread_token_name(move.channel.cid)


# --- the continuing output -----------------------------------------------------------------------


@_edit(ON_OUTPUT, "a staking part comes on", "Out.8")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].address = address_of(own, b"\x09" * 28)


@_edit(ON_OUTPUT, "the channel moves to the wallet", "Out.8")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].address = WALLET


@_edit(ON_OUTPUT, "another script gets the channel", "Out.8")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].address = address_of(b"\x0a" * 28)


@_edit(ON_OUTPUT, "a foreign token comes in", "Out.1")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].tokens[FOREIGN] = {b"junk": 1}


@_edit(ON_OUTPUT, "another policy's token of the same name", "Out.2")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    names = tx.outputs[0].tokens.pop(own)
    tx.outputs[0].tokens[FOREIGN] = dict(names)


@_edit(ON_OUTPUT, "a bolt in the thread token's place", "Out.3")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].tokens[own] = {codec.BOLT_TOKEN: 1}


@_edit(ON_OUTPUT, "another channel's thread token", "Out.3")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].tokens[own] = {FORGED: 1}


@_edit(ON_OUTPUT, "a reference script in the output", "Out.4")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].script = tx.script
    tx.outputs[0].lovelace += 40 * M  # phase 1 wants ada for its bytes; more is always allowed


@_edit(ON_OUTPUT, "min-ada raised", "Out.7")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    edit(tx, DATUM_AT["min_ada"], value=50 * M)


@_edit(ON_OUTPUT, "min-ada lowered", "Out.7")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    edit(tx, DATUM_AT["min_ada"], value=1)


@_edit(ON_OUTPUT, "the datum as a hash", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    datum = tx.outputs[0].datum
    assert datum is not None
    tx.outputs[0].datum_hash = hashlib.blake2b(serialise(datum), digest_size=32).digest()


@_edit(ON_OUTPUT, "no datum", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.outputs[0].datum = None


@_edit(ON_OUTPUT, "another policy's hash in the datum", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    edit(tx, DATUM_AT["own_hash"], value=FOREIGN)


@_edit(ON_OUTPUT, "a stranger's key in the datum", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    edit(tx, DATUM_AT["key"], value=bytes(THIRD.verify_key))


@_edit(ON_OUTPUT, "the keys change places", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    datum = tx.outputs[0].datum
    assert isinstance(datum, tuple)
    tx.outputs[0].datum = (datum[0], datum[2], datum[1], *datum[3:])


@_edit(ON_OUTPUT, "min-ada changes hands", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    datum = tx.outputs[0].datum
    assert isinstance(datum, tuple)
    assert isinstance(datum[5], int)
    tx.outputs[0].datum = (*datum[:5], 1 - datum[5])


@_edit(ON_OUTPUT, "a field more in the datum", "Out.6")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    datum = tx.outputs[0].datum
    assert isinstance(datum, tuple)
    tx.outputs[0].datum = (*datum, 0)


@_edit(ON_OUTPUT, "a thread token of its own burns beside", "Mint.4")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {FORGED: -1}


# --- mint and redeemer ---------------------------------------------------------------------------


@_edit(ON_ANY, "nothing mints", "Spend.1")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint = {}


@_edit(ON_ANY, "two forged thread tokens", "Mint.3")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {**tx.mint[own], FORGED: 2}
    tx.mint[own].pop(codec.BOLT_TOKEN, None)


@_edit(ON_ANY, "two burnt at once", "Mint.3")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {**tx.mint[own], FORGED: -2}
    tx.mint[own].pop(codec.BOLT_TOKEN, None)


@_edit(ON_ANY, "a bolt beside a thread token", "Mint.2")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {codec.BOLT_TOKEN: -1, FORGED: -1}


@_edit(ON_ANY, "a step too many", "Mint.5")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    seed, steps = tx.mint_redeemers[own]  # type: ignore[misc]
    assert isinstance(steps, tuple)
    doubled: Data = (seed, (*steps, steps[0]))
    tx.mint_redeemers[own] = doubled


@_edit(ON_END, "the thread token walks out", "Mint.4")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {codec.BOLT_TOKEN: 1}
    tx.outputs[-1].tokens = {own: {_thread(move): 1}}


@_edit(ON_END, "a second thread token burns", "Mint.4")
def _(tx: phase2.Tx, move: Move, own: bytes) -> None:
    tx.mint[own] = {**tx.mint[own], FORGED: -1}


def _mutated(name: str, change: Edit) -> Build:
    def build(script: bytes) -> phase2.Tx:
        move = MOVES[name]("A")
        tx = copy.deepcopy(healthy([move], script))
        change(tx, move, phase2.script_hash(script))
        return tx

    return build


def _signed(name: str, pick: Callable[[Move], list[SigningKey]]) -> Build:
    def build(script: bytes) -> phase2.Tx:
        move = MOVES[name]("A")
        c = move.channel
        at = replace(situation(move), signers=[public(c.key0), public(c.key1)])
        result = books.apply_step(c.datum, move.step, at)
        assert not isinstance(result, Rejection), str(result)
        move.after, move.signers = result, pick(move)
        return healthy([move], script)

    return build


def _partner(move: Move) -> list[SigningKey]:
    """The side that does not act; where both must sign, the second alone."""
    others = [k for k in (move.channel.key0, move.channel.key1) if k not in move.signers]
    return others or [move.channel.key1]


def _shorter(name: str) -> Build:
    """An Add may bring nothing, so it takes one more than it brings."""

    def build(script: bytes) -> phase2.Tx:
        move = MOVES[name]("A")
        tx = healthy([move], script)
        tx.outputs[0].lovelace -= 1 + move.add
        return tx

    return build


def _one_for_two(name: str) -> Build:
    """V1: two channels step, one output continues."""

    def build(script: bytes) -> phase2.Tx:
        tx = healthy([MOVES[name]("A"), MOVES[name]("B")], script)
        own = phase2.script_hash(script)
        gone = tx.outputs.pop(1)
        tx.outputs[0].lovelace += gone.lovelace
        tx.outputs[0].tokens[own] |= gone.tokens[own]
        return tx

    return build


def _swapped(name: str) -> Build:
    """V1: each of two channels continues in the other's output."""

    def build(script: bytes) -> phase2.Tx:
        tx = healthy([MOVES[name]("A"), MOVES[name]("B")], script)
        tx.outputs[0], tx.outputs[1] = tx.outputs[1], tx.outputs[0]
        return tx

    return build


def _families() -> Iterator[Mutation]:
    for name in [*CONTINUING, *ENDING]:
        signers: dict[str, Callable[[Move], list[SigningKey]]] = {
            "nobody signs": lambda move: [],
            "a stranger signs": lambda move: [THIRD],
            "the partner signs": _partner,
        }
        for word, pick in signers.items():
            registered = (name, word) == ("mutual_end", "the partner signs")  # as MutualEnd.1 itself
            if name in SIGNED_BY and not registered:
                yield Mutation(f"{name}: {word}", SIGNED_BY[name], _signed(name, pick))
        tables = [ON_ANY, ON_OUTPUT if name in CONTINUING else ON_END]
        for table in tables:
            for word, (clause, change) in table.items():
                yield Mutation(f"{name}: {word}", clause, _mutated(name, change))
        if name in CONTINUING:
            yield Mutation(f"{name}: a lovelace is missing", VALUE.get(name, "Out.5"), _shorter(name))
            yield Mutation(f"{name}: one output for two channels", "Out.3", _one_for_two(name))
            yield Mutation(f"{name}: outputs change places", "Out.3", _swapped(name))


def mutations() -> list[Mutation]:
    named = [Mutation(clause, clause, build) for clause, build in REFUSED.items()]
    return named + list(_families())


def admitted() -> dict[str, Build]:
    """Honest transactions that a clause lets through: the validator without it stops them."""
    return dict(HONEST)
