"""Provocations of channel data, transactions and keys: real builder, real evaluator, real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.cl.data import books, codec, plutus
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import VALIDATOR_HASH, parse_blueprint
from gateway.cl.l1.build import build
from gateway.cl.l1.intents import Pay, StepChannel
from gateway.cl.l1.parse import parse_output
from gateway.cl.l1.protocol import read_figures
from gateway.cl.l1.timeline import slot_at
from gateway.cl.l1.validity import choose_window
from gateway.cl.signer.guard import FileGuard
from gateway.cl.signer.keys import check_words, new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs
from tests.support import channel_world as w
from tests.support import l1_world as l1
from tests.support.healthy_moves import MOVES
from tests.support.provoke import proved_by, provokes, refused

CID = t.ChannelId(b"\x01" * 20)
KEY = t.VerificationKey(b"\x09" * 32)
KEYSTORE_COST = Cost(1, 8 * 1024 * 1024)


@provokes("cl.data.malformed", "cl.data.shape", "cl.data.range")
def data_that_is_none(_: Path) -> Any:
    entry = bytearray(codec.pack_entries([w.entry(1, 5)]))
    entry[24] = 2  # paid is 0 or 1
    return [
        refused(lambda: plutus.deserialise(b"\x1b\x00")),
        refused(lambda: codec.decode_datum(plutus.serialise(5))),
        refused(lambda: codec.unpack_entries(bytes(entry))),
    ]


@provokes("cl.data.script_hash")
def another_script(_: Path) -> Any:
    text = '{"validators": [{"title": "channel.channel.mint", "compiledCode": "00"}]}'
    return refused(lambda: parse_blueprint(text, VALIDATOR_HASH))


@provokes("cl.data.step_refused")
def a_step_of_another_stage(_: Path) -> Any:
    move = MOVES["close"]("A")
    at = books.Situation(move.channel.cid, move.channel.total, (w.public(move.signers[0]),), w.verify)
    return books.apply_step(move.channel.datum, t.Elapse((), ()), at)


def built(intent: Any, **changes: Any) -> Any:
    view = replace(l1.view(), **changes)
    return build(view, [intent] if intent else [], l1.WINDOW, l1.EVALUATOR, l1.VERIFY)


@provokes("cl.l1.bad_intent", "cl.l1.no_funds")
def payments_that_cannot_be(_: Path) -> Any:
    return [built(Pay("addr1nonsense", Lovelace(5))), built(Pay(l1.WALLET, Lovelace(10**15)))]


def elapse() -> StepChannel:
    move = MOVES["elapse"]("A")
    return StepChannel(l1.on_chain(move.channel), move.step, w.public(move.signers[0]), Lovelace(move.add))


@provokes("cl.l1.params")
def parameters_without_a_figure(_: Path) -> Any:
    protocol = {k: v for k, v in l1.PARAMS.protocol.items() if k != "minFeeCoefficient"}
    return refused(lambda: read_figures(replace(l1.PARAMS, protocol=protocol)))


@provokes("cl.l1.too_big")
def a_ledger_that_takes_only_small_transactions(_: Path) -> Any:
    protocol = {**l1.PARAMS.protocol, "maxTransactionSize": {"bytes": 300}}
    return built(elapse(), params=replace(l1.PARAMS, protocol=protocol))


@provokes("cl.l1.script_failed")
def a_transaction_that_the_validator_refuses(_: Path) -> Any:
    """Built for one channel, run against another state of its output."""
    intent = elapse()
    made = built(intent)
    other = MOVES["close"]("A")
    swapped = replace(intent.channel.utxo, datum_cbor=codec.encode_datum(other.channel.datum))
    known = [*l1.view().wallet, swapped, l1.script_holder()]
    spent = [u for u in known if u.ref in made.spent or u.script_ref_cbor is not None]
    return refused(lambda: l1.EVALUATOR.evaluate(made.tx_cbor, spent, l1.PARAMS))


@provokes("cl.l1.horizon", "cl.l1.too_early", "cl.l1.too_late")
def moments_that_do_not_fit(_: Path) -> Any:
    before_time = PosixMs(l1.ERAS[0].start_ms.value - 1)
    return [
        refused(lambda: slot_at(l1.ERAS, before_time)),
        choose_window(l1.PARAMS, l1.TIP, w.LB, REGTEST, not_before=w.LB + Ms(3_600_000)),
        choose_window(l1.PARAMS, l1.TIP, w.LB, REGTEST, use_before=[w.LB]),
    ]


@provokes("cl.l1.not_a_channel")
def junk_at_the_address(_: Path) -> Any:
    return parse_output(l1.coin(1, 5_000_000), l1.POLICY)


proved_by(
    "tests/unit/errors/test_broken_evaluator.py::test_an_answer_that_cannot_be_read_is_no_verdict",
    "cl.l1.evaluator",
)


@provokes("cl.keystore.seed")
def words_that_are_no_seed(_: Path) -> Any:
    return refused(lambda: check_words("walk walk walk"))


@provokes("cl.keystore.write")
def a_folder_that_is_gone(directory: Path) -> Any:
    place = directory / "gone" / "keys"
    return refused(lambda: Keystore.create(place, "regtest", "x", new_words(), KEYSTORE_COST))


@provokes("cl.signer.covered")
def a_new_cheque_below_what_both_signed_away(directory: Path) -> Any:
    guard = FileGuard(directory / "guard")
    squash = t.Squash(Lovelace(5), 3)
    guard.snapshot(KEY, CID, t.Snapshot(squash, squash))
    cheque = t.Cheque(2, PosixMs(10**12), w.secret(1).hashlock, Lovelace(5))
    try:
        return refused(lambda: guard.cheque(KEY, CID, cheque))
    finally:
        guard.close()
