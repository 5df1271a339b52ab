"""R2. The fold over a channel's events, and the table of its legal edges (docs/channel.md is drawn from it)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.cl.channel import errors
from gateway.cl.channel import events as e
from gateway.cl.channel import state as s
from gateway.cl.channel.ledger import held_credit, issued_credit
from gateway.cl.data.types import Opened, Squash
from gateway.errors import Rejection
from gateway.units import Lovelace

_CHEQUES = (
    "ChequeRevealed", "CancelWasSeen", "ChequeDied", "HeldFulfilled", "HeldCancelled", "HeldSettled", "HistoryFolded",
)  # fmt: skip
_SIGNING = ("SnapshotSigned", "SnapshotHeld", "ChequeReceived", "ChequeExtended", "ChequeProlonged")
_OPEN, _AGREED = ("Normal", "Draining", "Ending"), ("EndProposed", "EndSigned", "EndHeld")

EDGES: dict[tuple[str, str], str] = {
    ("", "OpenProposed"): "Proposing",
    ("", "OpenAccepted"): "Funding",
    ("Proposing", "OpenAgreed"): "Funding",
    ("Proposing", "OpenAbandoned"): "Abandoned",
    ("Funding", "ChannelOpened"): "Normal",
    ("Funding", "OpenAbandoned"): "Abandoned",
    ("Normal", "OutputChanged"): "Normal",
    ("Normal", "ChequeIssued"): "Normal",
    ("Normal", "ChannelFrozen"): "Normal",
    ("Normal", "DrainStarted"): "Draining",
    ("Draining", "EndBegun"): "Ending",
    ("Ending", "EndOffered"): "EndProposed",
    ("Ending", "EndAccepted"): "EndSigned",
    ("EndProposed", "EndCountersigned"): "EndHeld",
    **{(state, "CloseDecided"): "Closing" for state in (*_OPEN, *_AGREED)},
    **{(state, "OutputChanged"): state for state in ("Draining", "Ending", *_AGREED, "Closing")},
    **{(state, event): state for state in _OPEN for event in _SIGNING},
    **{(state, event): state for state in (*_OPEN, "Closing", "OnChain", "Ended") for event in _CHEQUES},
    **{(state, "StageSeen"): "OnChain" for state in (*_OPEN, *_AGREED, "Closing", "OnChain", "Ended")},
    **{(state, "ChannelEnded"): "Ended" for state in (*_OPEN, *_AGREED, "Closing", "OnChain")},
}


class IllegalEdge(Exception):
    """A bug of ours: an event was about to be stored that does not fit the state."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection


def evolve(state: s.State | None, event: e.Event) -> s.State:
    """The state after `event`; raises IllegalEdge where EDGES has no such edge."""
    name = "" if state is None else type(state).__name__
    if (name, type(event).__name__) not in EDGES:
        raise IllegalEdge(errors.ILLEGAL_EDGE(field="event", got=type(event).__name__, detail=name or "none"))
    match event:
        case e.OpenProposed(proposal):
            return s.Proposing(proposal)
        case e.OpenAccepted(agreement, at):
            return s.Funding(agreement, at)
        case _:
            pass
    if isinstance(state, (s.Proposing, s.Funding)):
        return _opening(state, event)
    assert isinstance(state, s.WithBooks)
    return _lived(state, event)


def _opening(state: s.Proposing | s.Funding, event: e.Event) -> s.State:
    match state, event:
        case s.Proposing(p), e.OpenAgreed(remote_key):
            agreement = s.Agreement(
                channel=p.channel, seed=p.seed, peer=p.peer, local_is_opener=True, local_key=p.local_key,
                remote_key=remote_key, amount=p.amount, gift=p.gift, respond_period=p.respond_period,
                min_ada=p.min_ada,
            )  # fmt: skip
            return s.Funding(agreement)
        case s.Proposing(p), e.OpenAbandoned(code, detail):
            return s.Abandoned(p.channel, p.peer, code, detail)
        case s.Funding(agreement), e.OpenAbandoned(code, detail):
            return s.Abandoned(agreement.channel, agreement.peer, code, detail)
        case s.Funding(agreement), e.ChannelOpened(output):
            local, remote = deposits(agreement, output)
            return s.Normal(agreement, s.Books(local, remote), output)
        case _:
            raise AssertionError("EDGES lets nothing else through")


def deposits(agreement: s.Agreement, output: s.Output) -> tuple[Lovelace, Lovelace]:
    """(ours, theirs) by an output in the stage Opened."""
    stage = output.datum.stage
    assert isinstance(stage, Opened)
    total = output.lovelace - output.datum.min_ada
    opener, other = total - stage.non_opener_amount, stage.non_opener_amount
    return (opener, other) if agreement.local_is_opener else (other, opener)


def _lived(state: s.WithBooks, event: e.Event) -> s.State:
    match event:
        case e.ChannelFrozen(reason):
            assert isinstance(state, s.Normal)
            return replace(state, frozen=reason)
        case e.DrainStarted(reason, by_us):
            assert isinstance(state, s.Normal)
            return s.Draining(state.agreement, state.books, state.output, reason, by_us)
        case e.EndBegun() | e.EndOffered() | e.EndAccepted() | e.EndCountersigned():
            return _ended_together(state, event)
        case e.CloseDecided(reason):
            assert isinstance(state, s.Open | s.Agreed)
            return s.Closing(state.agreement, state.books, state.output, reason)
        case e.OutputChanged(output, deep):
            assert isinstance(state, s.Open | s.Agreed | s.Closing)
            local, remote = deposits(state.agreement, output)
            books = state.books
            if not deep:  # funds that may still be rolled back are not counted, lost ones are gone at once
                local, remote = min(local, books.local_deposit), min(remote, books.remote_deposit)
            books = replace(books, local_deposit=local, remote_deposit=remote)
            if deep and isinstance(state, s.Normal) and state.frozen == s.TAKEN_BACK:
                return replace(state, output=output, books=books, frozen="")
            return replace(state, output=output, books=books)
        case e.StageSeen(output, closed_by_us):
            return s.OnChain(state.agreement, state.books, output, closed_by_us)
        case e.ChannelEnded(tx_id):
            return s.Ended(state.agreement, state.books, tx_id)
        case _:
            return replace(state, books=_books(state.books, event))


def _ended_together(
    state: s.WithBooks, event: e.EndBegun | e.EndOffered | e.EndAccepted | e.EndCountersigned
) -> s.State:
    assert not isinstance(state, (s.Normal, s.OnChain, s.Ended))
    common = (state.agreement, state.books, state.output, state.reason)
    match state, event:
        case s.Draining(), e.EndBegun(by_us, until):
            return s.Ending(*common, by_us, until)
        case s.Ending(until=until), e.EndOffered(terms):
            return s.EndProposed(*common, terms, until)
        case s.Ending(), e.EndAccepted(terms):
            return s.EndSigned(*common, terms)
        case s.EndProposed(terms=terms), e.EndCountersigned(signature):
            return s.EndHeld(*common, terms, signature)
        case _:
            raise AssertionError("EDGES lets nothing else through")


def _books(books: s.Books, event: e.Event) -> s.Books:
    match event:
        case e.ChequeIssued(cheque, reference):
            issued = (*books.issued, s.Issued(cheque, reference, s.Live()))
            return replace(books, issued=issued, last_issued=cheque.index)
        case e.ChequeProlonged(index, timeout):
            return _change_issued(
                books, index, lambda one: replace(one, cheque=replace(one.cheque, timeout=timeout))
            )
        case e.ChequeReceived(signed):
            held = (*books.held, s.Held(signed, s.Unanswered()))
            return replace(books, held=held, last_received=signed.cheque.index)
        case e.ChequeExtended(signed):
            return _change_held(books, signed.cheque.index, lambda one: replace(one, signed=signed))
        case e.ChequeRevealed(index, preimage):
            return _change_issued(books, index, lambda one: replace(one, status=s.Revealed(preimage)))
        case e.CancelWasSeen(index, code):
            return _change_issued(books, index, lambda one: replace(one, status=s.CancelSeen(code)))
        case e.ChequeDied(index, proof):
            return _change_issued(books, index, lambda one: replace(one, status=s.Dead(proof)))
        case e.HeldFulfilled(index, preimage, close_by):
            return _change_held(
                books, index, lambda one: replace(one, status=s.Fulfilled(preimage, close_by))
            )
        case e.HeldCancelled(index, code):
            return _change_held(books, index, lambda one: replace(one, status=s.Cancelled(code)))
        case e.HeldSettled(index, proof):
            return _change_held(books, index, lambda one: replace(one, status=s.Settled(proof)))
        case e.SnapshotSigned(snapshot):
            return replace(books, ours=snapshot)
        case e.SnapshotHeld(signed_snapshot):
            return replace(books, theirs=signed_snapshot)
        case e.HistoryFolded(issued_up_to, held_up_to):
            return _fold(books, issued_up_to, held_up_to)
        case _:
            raise AssertionError("EDGES lets nothing else through")


def _change_issued(books: s.Books, index: int, change: Callable[[s.Issued], s.Issued]) -> s.Books:
    return replace(
        books, issued=tuple(change(one) if one.cheque.index == index else one for one in books.issued)
    )


def _change_held(books: s.Books, index: int, change: Callable[[s.Held], s.Held]) -> s.Books:
    return replace(books, held=tuple(change(one) if one.cheque.index == index else one for one in books.held))


def _fold(books: s.Books, issued_up_to: int, held_up_to: int) -> s.Books:
    issued_amount, held_amount = books.issued_base.amount, books.held_base.amount
    for one in books.issued:
        if one.cheque.index <= issued_up_to:
            credit = issued_credit(one)
            assert credit is not None
            issued_amount += credit
    for two in books.held:
        if two.cheque.index <= held_up_to:
            held_amount += held_credit(two)
    return replace(
        books,
        issued=tuple(one for one in books.issued if one.cheque.index > issued_up_to),
        held=tuple(two for two in books.held if two.cheque.index > held_up_to),
        issued_base=Squash(issued_amount, max(issued_up_to, books.issued_base.index)),
        held_base=Squash(held_amount, max(held_up_to, books.held_base.index)),
    )
