"""The random histories find what they are for: each fault, planted in the real code, loses money in one of them."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.cl.channel import cheques, on_chain, settle, snapshots
from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import state as s
from gateway.cl.channel.evolve import IllegalEdge
from gateway.cl.data import types as t
from gateway.outcome import Continue, Wait
from tests.property.cl_channel.test_channel_machine import SETTINGS, ChannelMachine, HostileMachine
from tests.support.channel_model import ModelEnd

pytestmark = [pytest.mark.kind("SM"), pytest.mark.timeout(600), pytest.mark.long]

SEARCH = settings(
    SETTINGS,
    max_examples=600,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
)


def forgetful(lost: type[e.Event]) -> type[ModelEnd]:
    class Forgetful(ModelEnd):
        """Acts, and then stores all but one kind of event."""

        def stored(self, events: tuple[e.Event, ...]) -> tuple[e.Event, ...]:
            return tuple(one for one in events if not isinstance(one, lost))

    return Forgetful


def found(machine: type[ChannelMachine], end: type[ModelEnd] = ModelEnd, quiet: bool = False) -> str:
    """What the oracle says of the fault; fails when no history shows it."""
    planted = type("Planted", (machine,), {"end": end, "quiet_end": quiet})
    with pytest.raises((AssertionError, IllegalEdge)) as caught:
        run_state_machine_as_test(planted, settings=SEARCH)
    return str(caught.value)


@pytest.mark.threat("P2")
@pytest.mark.threat("P3")
@pytest.mark.parametrize("lost", [e.HeldFulfilled, e.ChequeReceived, e.SnapshotHeld, e.ChequeIssued])
def test_a_skipped_write_is_found(lost: type[e.Event]) -> None:
    assert found(ChannelMachine, forgetful(lost))


@pytest.mark.threat("P6")
def test_an_equal_index_that_replaces_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def replacing(_: cheques.Open, signed: t.SignedCheque, __: i.Context) -> cheques.Result:
        return Continue((e.ChequeExtended(signed),))

    monkeypatch.setattr(cheques, "_again", replacing)
    assert found(HostileMachine)


def test_a_dropped_rollback_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = on_chain._stage

    def deaf(state: s.WithBooks, output: s.Output, depth: int, context: i.Context) -> on_chain.Result:
        if isinstance(output.datum.stage, t.Opened):
            return Wait("a rollback that nobody heard")
        return original(state, output, depth, context)

    monkeypatch.setattr(on_chain, "_stage", deaf)
    assert found(ChannelMachine)


@pytest.mark.threat("V7")
def test_a_settlement_without_the_newest_snapshot_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = settle.receipt

    def bare(books: s.Books, received: t.Squash, context: i.Context) -> t.Receipt:
        return t.Receipt(None, original(books, received, context).cheques)

    monkeypatch.setattr(settle, "receipt", bare)
    assert found(ChannelMachine)


@pytest.mark.threat("P14")
def test_a_missed_close_by_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: cheques.Open, __: i.Context) -> tuple[int, ...]:
        return ()

    monkeypatch.setattr(cheques, "overdue", never)
    assert "has" in found(ChannelMachine, quiet=True)


def test_a_cancel_that_counts_before_it_dominates_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decision 5.1: the cancel is acted on as soon as it is seen."""
    original = snapshots.consequences

    def eager(agreement: s.Agreement, books: s.Books) -> tuple[tuple[e.Event, f.Effect], ...]:
        seen = tuple(
            (e.ChequeDied(one.cheque.index, "seen"), f.NoticeDead(one.cheque.index, one.cheque.lock, "seen"))
            for one in books.issued
            if isinstance(one.status, s.CancelSeen)
        )
        early = {event.index for event, _ in seen}
        rest = original(agreement, books)
        return seen + tuple(
            (event, effect)
            for event, effect in rest
            if not (isinstance(event, e.ChequeDied) and event.index in early)
        )

    monkeypatch.setattr(snapshots, "consequences", eager)
    assert found(HostileMachine)
