"""An incident file decides again to the same events; and every state of a swap says what it waits for."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import replay
from gateway.swap import state as s
from gateway.swap.engine import OUT
from gateway.swap.quote import Direction
from gateway.swap.risk import Risk
from gateway.swap.runner import Key
from gateway.swap.why import explain
from gateway.units import BlockDelta, BlockHeight, Ms, Msat
from tests.support.swap_machines import CHANNEL, NOW, SECRET, quote
from tests.unit.swap.test_engine_sending import CHEQUE, QUOTE, Cheques, SlowLnd, _engine


async def told(path: Path) -> dict[str, Any]:
    """A paid swap as the engine stored it."""
    lnd, cheques = SlowLnd(), Cheques()
    store, engine, dispatcher = await _engine(path, lnd, cheques)
    lnd.gate.set()
    key = await engine.runner.begin(
        lambda n: Key(OUT, QUOTE.hashlock, n), QUOTE.hashlock, e.QuoteGiven(QUOTE)
    )
    await engine.notify(QUOTE.hashlock, CHEQUE)
    await dispatcher.drain()
    await engine.notify(QUOTE.hashlock, i.ChequeExtended(CHANNEL, 3, CHEQUE.timeout + Ms(1)))
    await engine.notify(QUOTE.hashlock, i.IncomingChequeSettled(CHANNEL, 3, "a squash"))
    async with store.read() as tx:
        events = [(one.event, one.created_ms) async for one in tx.history(key.kind, key.entity_id)]
        inputs = [
            (one.version, tx.decode(one.payload)) for one in await tx.swap_inputs.of(key.kind, key.entity_id)
        ]
    assert isinstance(await engine.runner.state_of(key), s.Done)
    await dispatcher.stop()
    await store.close()
    recorded = replay.Recorded(tuple(events), tuple(inputs), ())
    return replay.to_file("regtest", key.kind, key.entity_id, recorded, {"gateway": "test"})


async def test_a_swap_is_decided_again_as_it_was(tmp_path: Path) -> None:
    document = json.loads(json.dumps(await told(tmp_path)))
    assert [row["seen"]["d"]["given"]["$"] for row in document["inputs"]] == [
        "ChequeLocked", "PaymentAnswer", "ChequeExtended", "IncomingChequeSettled",
    ]  # fmt: skip
    assert document["inputs"][0]["seen"]["d"]["now_ms"] == NOW.value
    assert document["inputs"][0]["seen"]["d"]["height"] == 600
    assert replay.replay(document) == []

    other = copy.deepcopy(document)  # another moment: the cheque would have been given back
    other["inputs"][0]["seen"]["d"]["now_ms"] += 10**9
    (difference,) = replay.replay(other)
    assert "OutgoingProvedDead came out" in difference or "OutgoingProvedDead, ReleaseStarted" in difference
    lost = copy.deepcopy(document)
    del lost["inputs"][-1]
    (difference,) = replay.replay(lost)
    assert "IncomingWasExtended came out, IncomingWasExtended, IncomingClaimed was stored" in difference
    del lost["inputs"][0]
    assert replay.replay(lost)[0] == "event 2 has no recorded input"
    for broken in ({}, [], {**document, "network": "moon"}, {**document, "incident": 2}):
        with pytest.raises(ValueError, match="not an incident file"):
            replay.replay(broken)


CHEQUE_IN, HOLD = s.ChequeIn(CHANNEL, 3, NOW), s.HoldIn(Msat(10_000_000), BlockHeight(760))
PAYMENT, CHEQUE_OUT = s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690)), s.ChequeOut(CHANNEL, NOW)
OUTWARD, INWARD = quote(Direction.CL_TO_BTC), quote(Direction.BTC_TO_CL)
STATES: list[tuple[s.State, str]] = [
    (s.Quoted(OUTWARD), "the payer's cheque"), (s.Quoted(INWARD), "pay the hold invoice"),
    (s.Withdrawing(INWARD, "c", "d"), "withdrawn quote"),
    (s.IncomingLocked(OUTWARD, CHEQUE_IN), "next commit"),
    (s.OutgoingIntended(OUTWARD, CHEQUE_IN, PAYMENT), "height 690"),
    (s.OutgoingInFlight(INWARD, HOLD, CHEQUE_OUT, 9), "the receiver's preimage"),
    (s.PreimageKnown(OUTWARD, CHEQUE_IN, SECRET), "squash"),
    (s.IncomingClaiming(INWARD, HOLD, SECRET), "LND to report"),
    (s.OutgoingProvenDead(OUTWARD, CHEQUE_IN, "p"), "cancel of the payer's cheque"),
    (s.IncomingReleasing(INWARD, HOLD, "p"), "LND to cancel"),
    (s.Done(OUTWARD, SECRET, "p"), "it is done"), (s.Released(INWARD, "p"), "proven dead"),
    (s.Refused(OUTWARD, "c", "d"), "it was refused"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "words"), STATES, ids=lambda one: type(one).__name__)
def test_every_state_says_what_it_waits_for(state: s.State, words: str) -> None:
    for risk in (None, Risk(2e-3, "20 blocks")):
        why = explain(state, risk)
        assert words in why.waits_for
        assert why.worst_case
        locked = isinstance(
            state, (s.OutgoingIntended, s.OutgoingInFlight, s.PreimageKnown, s.IncomingClaiming)
        )
        if locked:
            assert why.can_do
            assert ("2.0e-03" in why.worst_case) == (risk is not None)
            assert "lost" in why.worst_case
