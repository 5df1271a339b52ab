"""Every step as a real transaction: exact units, exact value, fee as pycardano and the ledger count it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.cl.l1.body import utxo_bytes
from gateway.cl.l1.build import build, channel_ids
from gateway.cl.l1.intents import (
    AgreedTerms,
    BuiltTx,
    EndTogether,
    OpenChannel,
    Pay,
    PublishScript,
    StepChannel,
)
from gateway.cl.l1.parse import ChannelOutput, parse_output
from gateway.cl.l1.sizing import channel_min_ada
from gateway.cl.ports import Utxo
from gateway.errors import Rejection
from gateway.units import Lovelace
from regtest.cardano.cbor import parse
from regtest.cardano.ledger import Context, check, min_fee
from regtest.cardano.params import Params
from regtest.cardano.transaction import Ref, decode_output, decode_tx
from tests.support import channel_world as w
from tests.support import l1_world as l
from tests.support.healthy_moves import MOVES

SIGNATURES = {"MissingVKeyWitnessesUTXOW"}


def ledger_failures(built: BuiltTx, known: Sequence[Utxo]) -> list[str]:
    """Phase 1 of the devnet; our transactions lack only the key witnesses."""
    tx = decode_tx(built.tx_cbor)
    utxo = {Ref(u.ref.tx_id, u.ref.index): decode_output(parse(utxo_bytes(u))) for u in known}
    at = Context(Params(), w.LB_SLOT, w.LB_SLOT, utxo)
    assert tx.fee >= min_fee(tx, Params(), utxo)
    return [f.predicate for f in check(tx, at) if f.predicate not in SIGNATURES]


def step_of(name: str, label: str = "A") -> StepChannel | EndTogether:
    move = MOVES[name](label)
    signer = w.public(move.signers[0])
    if name.startswith("mutual_end"):
        partner = w.public(move.signers[1])
        return EndTogether(l.on_chain(move.channel), signer, partner, l.WALLET, Lovelace(70_000_000))
    return StepChannel(l.on_chain(move.channel), move.step, signer, Lovelace(move.add))


@pytest.mark.parametrize("by_reference", [True, False])
@pytest.mark.parametrize("name", MOVES)
def test_each_step_builds_and_runs(name: str, by_reference: bool) -> None:
    intent = step_of(name)
    view = l.view(by_reference=by_reference)
    built = build(view, [intent], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    known = [*view.wallet, intent.channel.utxo, l.script_holder()]
    assert ledger_failures(built, known) == []
    resolved = [u for u in known if by_reference or u.script_ref_cbor is None]
    spent = [u for u in resolved if u.ref in built.spent or u.script_ref_cbor is not None]
    units = l.EVALUATOR.evaluate(built.tx_cbor, spent, l.PARAMS)
    assert sum(u.mem for u in units.values()) == built.mem
    assert sum(u.steps for u in units.values()) == built.steps
    value_in = sum(u.lovelace.value for u in known if u.ref in built.spent)
    assert value_in == built.fee.value + sum(u.lovelace.value for u in built.produced)
    assert built.required_keys == (intent.signer,)


def test_all_steps_in_one_transaction_with_a_payment() -> None:
    intents = [step_of(name, name) for name in ("add", "close", "respond", "end", "elapse")]
    view = l.view()
    pay = Pay(l.WALLET, Lovelace(2_000_000))
    built = build(view, [*intents, pay], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    known = [*view.wallet, *(i.channel.utxo for i in intents), l.script_holder()]
    assert ledger_failures(built, known) == []
    assert [c.ref is None for c in built.channels].count(True) == 1


def test_open_two_and_the_partner_reads_what_was_agreed() -> None:
    view = l.view([l.coin(1, 400_000_000)])
    seed = view.wallet[0].ref
    keys = w.public(w.keypair("zero")), w.public(w.keypair("one"))
    terms = [
        AgreedTerms(cid, *keys, Lovelace(100_000_000), Lovelace(0), channel_min_ada(l.PARAMS), 0, w.PERIOD)
        for cid in channel_ids(seed, 2)
    ]
    built = build(view, [OpenChannel(t, seed) for t in terms], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    assert ledger_failures(built, [*view.wallet, l.script_holder()]) == []
    for place, t in enumerate(terms):
        found = parse_output(built.produced[place], l.POLICY)
        assert isinstance(found, ChannelOutput)
        assert (found.cid, found.datum, found.stake) == (t.cid, t.datum(l.POLICY), None)
        assert found.utxo.lovelace == t.lovelace


def test_publishing_then_using_the_script() -> None:
    view = l.view(by_reference=False)
    built = build(view, [PublishScript()], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    assert ledger_failures(built, view.wallet) == []
    assert built.script_utxo is not None
    assert built.script_utxo.script_ref_cbor == l.script_holder().script_ref_cbor


def test_reserved_outputs_are_never_taken() -> None:
    view = l.view()
    first = build(view, [Pay(l.WALLET, Lovelace(3_000_000))], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(first, BuiltTx)
    second = build(
        view.reserve(first.spent), [Pay(l.WALLET, Lovelace(3_000_000))], l.WINDOW, l.EVALUATOR, l.VERIFY
    )
    assert isinstance(second, BuiltTx)
    assert not set(first.spent) & set(second.spent)
    third = build(
        view.reserve([*first.spent, *second.spent]),
        [Pay(l.WALLET, Lovelace(3_000_000))],
        l.WINDOW,
        l.EVALUATOR,
        l.VERIFY,
    )
    assert isinstance(third, Rejection)
    assert third.code == "cl.l1.no_funds"


def test_the_id_is_of_the_bytes_and_pycardano_agrees_on_the_fields() -> None:
    from pycardano import Transaction

    built = build(l.view(), [step_of("close")], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx)
    assert decode_tx(built.tx_cbor).id == built.tx_id
    body = Transaction.from_cbor(built.tx_cbor).transaction_body  # it does not keep the bytes of data
    assert (body.fee, body.ttl, body.validity_start) == (built.fee.value, w.UB_SLOT, w.LB_SLOT)
    assert len(body.required_signers) == 1
