"""Our shortcut past pycardano's `Transaction` changes no byte, and the size of the witnesses is a formula."""

from __future__ import annotations

import pytest
from pycardano import PlutusV3Script, Transaction, TransactionWitnessSet
from pycardano.key import VerificationKey
from pycardano.serialization import NonEmptyOrderedSet
from pycardano.witness import VerificationKeyWitness

from gateway.cl.l1 import body
from gateway.cl.l1.build import build
from gateway.cl.l1.intents import BuiltTx, Intent, Pay, PublishScript, StepChannel
from gateway.cl.l1.protocol import read_figures
from gateway.units import Lovelace
from tests.support import channel_world as w
from tests.support import l1_world as l
from tests.support.healthy_moves import MOVES

MODEL = read_figures(l.PARAMS).cost_model_v3


def step(name: str, label: str) -> StepChannel:
    move = MOVES[name](label)
    return StepChannel(l.on_chain(move.channel), move.step, w.public(move.signers[0]), Lovelace(move.add))


CASES: dict[str, list[Intent]] = {
    "pay": [Pay(l.WALLET, Lovelace(2_000_000))],
    "publish": [PublishScript()],
    **{name: [step(name, "A")] for name in ("add", "close", "respond", "elapse", "free_in_resolved", "end")},
    "batch": [step("close", f"channel {n}") for n in range(12)],
    "mixed": [step(name, name) for name in ("add", "close", "respond", "end", "elapse")],
}


def by_pycardano(draft: body.Draft, keys: int) -> Transaction:
    witnesses = TransactionWitnessSet()
    if keys:
        witnesses.vkey_witnesses = NonEmptyOrderedSet(
            [VerificationKeyWitness(VerificationKey(i.to_bytes(32, "big")), bytes(64)) for i in range(keys)]
        )
    if draft.redeemers:
        witnesses.redeemer = body._redeemers(draft)
    if draft.script is not None:
        witnesses.plutus_v3_script = [PlutusV3Script(draft.script)]
    return Transaction(body._body(draft, MODEL), witnesses)


@pytest.mark.parametrize("by_reference", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_bytes_are_pycardanos(name: str, by_reference: bool) -> None:
    built = build(l.view(by_reference=by_reference), CASES[name], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    whole = by_pycardano(built.draft, 0)
    assert body.encode(built.draft, MODEL) == (bytes(whole.to_cbor()), bytes(whole.transaction_body.hash()))
    for keys in (1, 2, 23, 24, 40):
        signed = len(by_pycardano(built.draft, keys).to_cbor())
        assert signed == len(built.tx_cbor) + body.key_witness_bytes(keys)
