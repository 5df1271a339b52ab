"""Threats V1-V6, V13, V14, V18 on whole transactions: a healthy one, then one thing wrong."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import VALIDATOR_HASH, load_blueprint, parse_blueprint
from gateway.cl.data.plutus import Data
from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import (
    THIRD,
    Move,
    channel,
    healthy,
    locked,
    opened,
    opening,
    public,
    signed_snapshot,
)
from tests.support.clause_attacks import REFUSED
from tests.support.clause_table import FOREIGN, M, closed, edit, squash
from tests.support.healthy_moves import CONTINUING, ENDING, MOVES

pytestmark = pytest.mark.kind("MUT")
OWN = VALIDATOR_HASH


def refuses(tx: phase2.Tx) -> bool:
    """A script said no; any other complaint would be a fault of the test's transaction."""
    ran = phase2.run(tx)
    assert ran.ok or "RedeemerError" in ran.message, ran.message
    return not ran.ok


# --- V4: every step is paid by an ordinary wallet --------------------------------------------------


@pytest.mark.threat("V4")
@pytest.mark.parametrize("name", list(MOVES))
def test_key_address_pays_for_step_f1(name: str) -> None:
    tx = healthy([MOVES[name]("A")])
    assert any(s.output.address[0] == 0x60 for s in tx.inputs)
    ran = phase2.run(tx)
    assert ran.ok, ran.message


@pytest.mark.threat("V4")
def test_key_address_pays_for_open_f1() -> None:
    c = channel(opened())
    ran = phase2.run(opening([c.datum] * 3, [c.lovelace] * 3))
    assert ran.ok, ran.message


# --- V1: double satisfaction -----------------------------------------------------------------------


def batch(n: int) -> phase2.Tx:
    return healthy([MOVES["elapse"](f"channel {i}") for i in range(n)])


@pytest.mark.threat("V1")
@pytest.mark.parametrize("n", range(2, 9))
def test_batch_outputs_serve_one_channel_each(n: int) -> None:
    assert phase2.run(batch(n)).ok
    for i in {0, n - 1} if n < 5 else {n // 2}:
        dropped = batch(n)
        del dropped.outputs[i]
        assert refuses(dropped)
        merged = batch(n)
        gone = merged.outputs.pop(i)
        merged.outputs[0].lovelace += gone.lovelace
        merged.outputs[0].tokens[OWN] |= gone.tokens[OWN]
        assert refuses(merged)
        j = (i + 1) % n
        swapped = batch(n)
        swapped.outputs[i], swapped.outputs[j] = swapped.outputs[j], swapped.outputs[i]
        assert refuses(swapped)
        doubled = batch(n)
        doubled.outputs[j] = copy.deepcopy(doubled.outputs[i])
        assert refuses(doubled)


@pytest.mark.threat("V1")
def test_every_kind_of_step_in_one_batch() -> None:
    moves = [MOVES[name](name) for name in MOVES]
    ran = phase2.run(healthy(moves))
    assert ran.ok, ran.message
    for gone in (0, 5, len(moves) - 1):
        tx = healthy(moves)
        seed, steps = tx.mint_redeemers[OWN]  # type: ignore[misc]
        assert isinstance(steps, tuple)
        tx.mint_redeemers[OWN] = (seed, (*steps[:gone], *steps[gone + 1 :]))
        assert refuses(tx)


# --- V2: tokens --------------------------------------------------------------------------------------

FORGED = [b"\x00", b"\xe2\x9a\xa1" + b"\x01" * 20, b"\xff" * 23]


@pytest.mark.threat("V2")
@pytest.mark.parametrize("name", [*CONTINUING, *ENDING])
def test_no_other_own_token_moves(name: str) -> None:
    for forged in FORGED:
        for quantity in (2, -1):
            tx = healthy([MOVES[name]("A")])
            tx.mint[OWN] = {**tx.mint[OWN], forged: quantity}
            if quantity > 0:
                tx.outputs[-1].tokens = {OWN: {forged: quantity}}
            else:
                tx.inputs[0].output.tokens = {OWN: {forged: 1}}
            assert refuses(tx), (forged, quantity)


@pytest.mark.threat("V2")
@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("quantity", [1, 2, -1])
def test_no_other_own_token_moves_beside_open(forged: bytes, quantity: int) -> None:
    c = channel(opened())
    tx = opening([c.datum] * 2, [c.lovelace] * 2)
    tx.mint[OWN][forged] = quantity
    assert refuses(tx)


@pytest.mark.threat("V2")
@pytest.mark.parametrize("quantity", [2, 3, -1])
def test_open_mints_exactly_one_of_each(quantity: int) -> None:
    c = channel(opened())
    tx = opening([c.datum], [c.lovelace])
    (name,) = tx.mint[OWN]
    tx.mint[OWN] = {name: quantity}
    assert refuses(tx)
    tx.outputs[0].tokens[OWN] = {name: abs(quantity)}
    assert refuses(tx)


@pytest.mark.threat("V2")
@pytest.mark.parametrize("name", ENDING)
def test_an_ended_channel_burns_its_token(name: str) -> None:
    tx = healthy([MOVES[name]("A")])
    token = dict(tx.inputs[1].output.tokens[OWN])
    tx.mint[OWN] = {codec.BOLT_TOKEN: 1}
    tx.outputs[-1].tokens = {OWN: token}
    assert refuses(tx)


@pytest.mark.threat("V2")
@pytest.mark.parametrize("quantity", [1, -1, 7, -7])
def test_the_bolt_moves_in_any_quantity_when_alone(quantity: int) -> None:
    tx = healthy([MOVES["add"]("A")])
    tx.mint[OWN] = {codec.BOLT_TOKEN: quantity}
    assert phase2.run(tx).ok


# --- V3: min-ada -------------------------------------------------------------------------------------


@pytest.mark.threat("V3")
@pytest.mark.parametrize("name", CONTINUING)
def test_min_ada_never_changes_in_a_datum_f2(name: str) -> None:
    for value in (4 * M, 2 * M, 90 * M, 0, -1):
        assert refuses(edit(healthy([MOVES[name]("A")]), 4, value=value))


# --- V5: signers -------------------------------------------------------------------------------------


@pytest.mark.threat("V5")
@pytest.mark.parametrize("name", [name for name in MOVES if not name.startswith("mutual_end")])
def test_only_the_actor_signs_for_the_step(name: str) -> None:
    move = MOVES[name]("A")
    (actor,) = move.signers
    partner = move.channel.key1 if actor is move.channel.key0 else move.channel.key0
    for signers in ([], [THIRD], [partner], [THIRD, partner]):
        tx = healthy([move])
        tx.signers = [codec.key_hash(public(k)) for k in signers]
        assert refuses(tx), len(signers)
    both = healthy([move])
    both.signers += [codec.key_hash(public(k)) for k in (partner, THIRD)]
    assert phase2.run(both).ok


@pytest.mark.threat("V5")
@pytest.mark.parametrize("name", [name for name in MOVES if name.startswith("mutual_end")])
def test_a_mutual_end_needs_both_keys_and_no_third(name: str) -> None:
    c = MOVES[name]("A").channel
    for signers in ([], [c.key0], [c.key1], [c.key0, THIRD], [THIRD, c.key1], [THIRD]):
        tx = healthy([MOVES[name]("A")])
        tx.signers = [codec.key_hash(public(k)) for k in signers]
        assert refuses(tx), len(signers)
    more = healthy([MOVES[name]("A")])
    more.signers.append(codec.key_hash(public(THIRD)))
    assert phase2.run(more).ok


# --- V6: replay ----------------------------------------------------------------------------------------


@pytest.mark.threat("V6")
def test_a_cheque_of_another_channel_of_the_same_keys_is_refused() -> None:
    here, there = channel(opened(), name="A"), channel(opened(), name="B")
    for cid, good in ((here.cid, True), (there.cid, False)):
        step = t.Close(True, t.Receipt(None, (locked(here.key1, cid, 1, M),)))
        move = Move(here, step, [here.key0])
        move.after = books.apply_step(  # type: ignore[assignment]
            here.datum, step, replace(_at(move), verify=lambda *_: True)
        )
        assert phase2.run(healthy([move])).ok == good


@pytest.mark.threat("V6")
def test_a_snapshot_of_another_channel_of_the_same_keys_is_refused() -> None:
    here, there = channel(opened(), name="A"), channel(opened(), name="B")
    for cid, good in ((here.cid, True), (there.cid, False)):
        shown = signed_snapshot(here.key1, cid, here.snapshot(squash(9 * M, 3), squash(0, 0)))
        step = t.Close(True, t.Receipt(shown))
        move = Move(here, step, [here.key0])
        move.after = books.apply_step(  # type: ignore[assignment]
            here.datum, step, replace(_at(move), verify=lambda *_: True)
        )
        assert phase2.run(healthy([move])).ok == good


def _at(move: Move) -> books.Situation:
    from tests.support.channel_world import situation

    return situation(move)


u64 = st.integers(0, 2**64 - 1)
cids = st.binary(min_size=20, max_size=20).map(t.ChannelId)
squashes = st.builds(
    lambda amount, gaps, above: t.Squash(Lovelace(amount), max(gaps, default=0) + above, tuple(sorted(gaps))),
    st.integers(-(2**65), 2**65),
    st.sets(st.integers(1, 2**64), max_size=20),
    st.integers(1, 50),
)
cheques = st.builds(
    t.Cheque,
    u64,
    u64.map(PosixMs),
    st.binary(min_size=32, max_size=32).map(Hashlock),
    u64.map(Lovelace),
)


@pytest.mark.threat("V6")
@settings(max_examples=100, deadline=None)
@given(cids, cheques, st.builds(t.Snapshot, squashes, squashes))
def test_kinds_of_signed_objects_never_meet(cid: t.ChannelId, cheque: t.Cheque, snapshot: t.Snapshot) -> None:
    from gateway.cl.data.plutus import deserialise

    a, b = codec.cheque_message(cid, cheque), codec.snapshot_message(cid, snapshot)
    assert a != b
    assert len(a) > 32 < len(b)  # neither is a transaction id, which the same key signs
    for message, items in ((a, 4), (b, 2)):
        whole = deserialise(message)
        assert isinstance(whole, tuple)
        assert whole[0] == cid.raw
        assert isinstance(whole[1], tuple)
        assert len(whole[1]) == items


# --- V13, V14: the form of the output -------------------------------------------------------------------


@pytest.mark.threat("V13")
@pytest.mark.parametrize("name", CONTINUING)
def test_the_staking_part_stays(name: str) -> None:
    def staked(stake: bytes) -> phase2.Tx:
        move = MOVES[name]("A")
        return healthy([replace(move, channel=replace(move.channel, stake=stake))])

    ours, theirs = b"\x0a" * 28, b"\x0b" * 28
    assert phase2.run(staked(ours)).ok
    for before, after in ((b"", theirs), (ours, b""), (ours, theirs)):
        tx = staked(before)
        tx.outputs[0].address = staked(after).outputs[0].address
        assert refuses(tx)


@pytest.mark.threat("V14")
@pytest.mark.parametrize("name", [*CONTINUING, "open"])
def test_the_output_holds_ada_and_its_token_and_an_inline_datum(name: str) -> None:
    def fresh() -> phase2.Tx:
        c = channel(opened())
        return opening([c.datum], [c.lovelace]) if name == "open" else healthy([MOVES[name]("A")])

    assert phase2.run(fresh()).ok
    for policy in (FOREIGN, b"\x00" * 28):
        other_asset = fresh()
        other_asset.outputs[0].tokens[policy] = {b"junk": 1}
        assert refuses(other_asset)
    second_own = fresh()
    second_own.outputs[0].tokens[OWN][codec.BOLT_TOKEN] = 1
    assert refuses(second_own)
    no_token = fresh()
    no_token.outputs[0].tokens = {}
    assert refuses(no_token)
    reference_script = fresh()
    reference_script.outputs[0].script = load_blueprint().script
    assert refuses(reference_script)
    hashed = fresh()
    hashed.outputs[0].datum_hash = b"\x01" * 32
    assert refuses(hashed)
    bare = fresh()
    bare.outputs[0].datum = None
    assert refuses(bare)


@pytest.mark.threat("V14")
@pytest.mark.parametrize("name", CONTINUING)
def test_every_field_of_the_datum_is_determined(name: str) -> None:
    """Whatever a step writes into any place of the datum but the right thing is refused."""

    def places(data: Data, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
        from gateway.cl.data.plutus import Constr

        items = data.fields if isinstance(data, Constr) else data
        if isinstance(items, tuple):
            return [p for i, item in enumerate(items) for p in places(item, (*path, i))] or [path]
        return [path]

    datum = healthy([MOVES[name]("A")]).outputs[0].datum
    assert datum is not None
    for path in places(datum):
        value: Data = datum
        for i in path:
            value = value[i] if isinstance(value, tuple) else value.fields[i]  # type: ignore[union-attr]
        if isinstance(value, int):
            wrong: list[Data] = [value - 1, -1000]
        elif isinstance(value, bytes):
            wrong = [value[:-1], bytes((value[0] ^ 1,)) + value[1:]]
        else:
            wrong = [(1,)]
        for bad in wrong:
            assert refuses(edit(healthy([MOVES[name]("A")]), *path, value=bad)), path


# --- V7, F4, decision 5: which squash counts --------------------------------------------------------------


@pytest.mark.threat("V7")
def test_respond_with_equal_index_and_fewer_excludes_f4() -> None:
    c = channel(closed(responder=squash(5 * M, 4, 1, 2)))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(0, 0), squash(9 * M, 4, 2)))
    tx = healthy([Move(c, t.Respond(t.Receipt(shown), use_responder_squash=True), [c.key1])])
    assert phase2.run(tx).ok
    assert tx.outputs[0].lovelace == c.datum.min_ada.value + 51 * M


@pytest.mark.threat("V7")
@pytest.mark.parametrize(
    "older", [squash(4 * M, 9), squash(9 * M, 3), squash(9 * M, 9, 2)], ids=["amount", "index", "uncovers"]
)
def test_respond_with_a_squash_that_does_not_dominate_changes_nothing(older: t.Squash) -> None:
    used = squash(5 * M, 4, 1)
    c = channel(closed(responder=used))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(0, 0), older))
    step = t.Respond(t.Receipt(shown), use_responder_squash=True)
    assert phase2.run(healthy([Move(c, step, [c.key1])])).ok
    move = Move(c, step, [c.key1])
    move.after = books.apply_step(  # type: ignore[assignment]
        replace(c.datum, stage=closed(responder=older)), t.Respond(), _at(move)
    )
    assert refuses(healthy([move]))


SIDES = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.threat("V7")
@pytest.mark.parametrize(("closer", "responder"), SIDES)
def test_respond_applies_the_sides_it_names_decision_5(closer: bool, responder: bool) -> None:
    """A cancelled cheque of the closer's falls out iff the responder says so; its own side by itself."""
    from tests.support.channel_world import datum_of, entry

    listed = (entry(1, 10 * M), entry(2, 3 * M, paid=True))
    c = channel(closed(closer=squash(M, 0), entries=listed))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(M, 1), squash(7 * M, 3)))
    step = t.Respond(t.Receipt(shown), closer, responder, entries=listed if closer else None)
    tx = healthy([Move(c, step, [c.key1])])
    assert phase2.run(tx).ok
    stage = datum_of(tx.outputs[0]).stage
    assert isinstance(stage, t.Resolved)
    assert stage.other_amount == Lovelace(60 * M + M + 3 * M - (7 * M if responder else 0))
    assert stage.other_entries.pending == Lovelace(0 if closer else 10 * M)


@pytest.mark.threat("V7")
def test_respond_reduces_a_paid_cheque_that_the_new_squash_covers_decision_5() -> None:
    from tests.support.channel_world import datum_of, entry

    listed = (entry(1, 10 * M, paid=True),)
    c = channel(closed(entries=listed))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(0, 1), squash(0, 0)))
    step = t.Respond(t.Receipt(shown), use_closer_squash=True, entries=listed)
    tx = healthy([Move(c, step, [c.key1])])
    assert phase2.run(tx).ok
    stage = datum_of(tx.outputs[0]).stage
    assert isinstance(stage, t.Resolved)
    assert stage.other_amount == Lovelace(60 * M)  # the cancelled ten are not the closer's


@pytest.mark.threat("V7")
def test_the_responders_cheques_count_against_the_squash_that_was_kept_decision_5() -> None:
    """Cheque 2 is covered by the newer squash: presented beside it, it would be paid twice."""
    c = channel(closed())
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(0, 0), squash(7 * M, 2)))
    receipt = t.Receipt(shown, (locked(c.key0, c.cid, 2, M),))
    both = t.Respond(receipt, use_responder_squash=True)
    either = t.Respond(receipt, use_responder_squash=False)
    assert phase2.run(healthy([Move(c, either, [c.key1])])).ok
    move = Move(c, both, [c.key1])
    assert not isinstance(books.apply_step(c.datum, both, _at(move)), books.Applied)
    done = t.Resolved(Lovelace(52 * M), codec.commit(()), codec.commit(()))
    swapped = (c.datum.keys[1], c.datum.keys[0])
    move.after = books.Applied(replace(c.datum, keys=swapped, stage=done, min_ada_owner=1), Lovelace(52 * M))
    assert refuses(healthy([move]))


# --- V10, F7 ------------------------------------------------------------------------------------------------


@pytest.mark.threat("V10")
@pytest.mark.parametrize("amount", [0, -1, -5 * M, -(2**70)])
def test_a_cheque_of_nothing_or_less_is_refused_f5(amount: int) -> None:
    c = channel(opened())
    tx = healthy([Move(c, t.Close(True), [c.key0])])
    cheque = locked(c.key1, c.cid, 1, amount)
    step = codec.step_data(t.Close(True, t.Receipt(None, (cheque,))))
    tx.mint_redeemers[OWN] = ((), (step,))
    assert refuses(tx)
    assert refuses(edit(tx, 3, 4, 1, value=amount))


@pytest.mark.threat("V10")
@pytest.mark.parametrize("deposit", [-20 * M, 0, 60 * M, 100 * M, 250 * M])
@pytest.mark.parametrize("pending", [0, 30 * M, 300 * M])
def test_over_issued_books_never_block_a_step_f7(deposit: int, pending: int) -> None:
    from tests.support.channel_world import entry

    listed = (entry(1, pending),) if pending else ()
    c = channel(closed(deposit, entries=listed))
    for step, signer in ((t.Elapse(), c.key0), (t.Respond(), c.key1)):
        tx = healthy([Move(c, step, [signer])])
        ran = phase2.run(tx)
        assert ran.ok, ran.message
        assert tx.outputs[0].lovelace <= c.lovelace


# --- V18: the artifact ----------------------------------------------------------------------------------------


@pytest.mark.threat("V18", "S4")
def test_the_shipped_bytes_refuse_a_bad_signature() -> None:
    for clause in ("Cheque.6", "Close.5", "Add.5", "Respond.2"):
        assert refuses(REFUSED[clause](load_blueprint().script))


@pytest.mark.threat("V18", "S4")
def test_another_script_is_refused_at_load() -> None:
    path = Path(__file__).parents[2] / "validators" / "plutus.json"
    assert parse_blueprint(path.read_text(), VALIDATOR_HASH).hash == VALIDATOR_HASH
    swapped = json.loads(path.read_text())
    for entry in swapped["validators"]:
        entry["compiledCode"] = entry["compiledCode"][:-2] + "00"
    for text in (json.dumps(swapped), "{}", "[]", "", '{"validators": []}', '{"validators": [{}]}'):
        with pytest.raises(Refused, match=r"cl\.data\.script_hash"):
            parse_blueprint(text, VALIDATOR_HASH)


def test_blueprint_names_one_script_for_all_purposes() -> None:
    path = Path(__file__).parents[2] / "validators" / "plutus.json"
    found = {(v["compiledCode"], v["hash"]) for v in json.loads(path.read_text())["validators"]}
    assert found == {(load_blueprint().script.hex(), VALIDATOR_HASH.hex())}
