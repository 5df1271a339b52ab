"""R2. All legal edges of a swap and the fold over its events. The diagram in docs/swaps.md is made from EDGES."""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import Rejection
from gateway.swap import errors
from gateway.swap import events as e
from gateway.swap import state as s

EDGES: dict[tuple[str, str], str] = {
    ("Quoted", "InvoiceMade"): "Quoted",
    ("Quoted", "IncomingWasLocked"): "IncomingLocked",
    ("Quoted", "QuoteWithdrawn"): "Withdrawing",
    ("Quoted", "SwapRefused"): "Refused",
    ("Withdrawing", "SwapRefused"): "Refused",
    ("IncomingLocked", "OutgoingWasIntended"): "OutgoingIntended",
    ("IncomingLocked", "OutgoingProvedDead"): "OutgoingProvenDead",
    ("OutgoingIntended", "OutgoingWasSent"): "OutgoingInFlight",
    ("OutgoingIntended", "PreimageLearned"): "PreimageKnown",
    ("OutgoingIntended", "OutgoingProvedDead"): "OutgoingProvenDead",
    ("OutgoingInFlight", "PreimageLearned"): "PreimageKnown",
    ("OutgoingInFlight", "OutgoingProvedDead"): "OutgoingProvenDead",
    ("OutgoingIntended", "IncomingWasExtended"): "OutgoingIntended",
    ("OutgoingInFlight", "IncomingWasExtended"): "OutgoingInFlight",
    ("IncomingClaiming", "IncomingWasExtended"): "IncomingClaiming",
    ("PreimageKnown", "ClaimStarted"): "IncomingClaiming",
    ("IncomingClaiming", "IncomingClaimed"): "Done",
    ("OutgoingProvenDead", "ReleaseStarted"): "IncomingReleasing",
    ("IncomingReleasing", "IncomingReleased"): "Released",
}


class IllegalEdge(Exception):
    """A bug of ours: an event was about to be stored that does not fit the state."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection


def evolve(state: s.State | None, event: e.Event) -> s.State:
    """The state after `event`; raises IllegalEdge where EDGES has no such edge."""
    match state, event:
        case None, e.QuoteGiven(quote):
            return s.Quoted(quote)
        case s.Quoted(quote), e.InvoiceMade(invoice):
            return s.Quoted(replace(quote, invoice=invoice))
        case s.Quoted(quote), e.IncomingWasLocked(incoming):
            return s.IncomingLocked(quote, incoming)
        case s.Quoted(quote), e.QuoteWithdrawn(code, detail):
            return s.Withdrawing(quote, code, detail)
        case ((s.Quoted() | s.Withdrawing()), e.SwapRefused(code, detail)):
            return s.Refused(state.quote, code, detail)
        case s.IncomingLocked(quote, incoming), e.OutgoingWasIntended(outgoing):
            return s.OutgoingIntended(quote, incoming, outgoing)
        case (
            (
                s.OutgoingIntended(incoming=s.ChequeIn() as cheque)
                | s.OutgoingInFlight(incoming=s.ChequeIn() as cheque)
                | s.IncomingClaiming(incoming=s.ChequeIn() as cheque)
            ),
            e.IncomingWasExtended(timeout),
        ):
            return replace(state, incoming=replace(cheque, timeout=timeout))
        case s.OutgoingIntended(quote, incoming, outgoing), e.OutgoingWasSent(index):
            return s.OutgoingInFlight(quote, incoming, outgoing, index)
        case (
            s.IncomingLocked() | s.OutgoingIntended() | s.OutgoingInFlight(),
            e.OutgoingProvedDead(proof),
        ):
            return s.OutgoingProvenDead(state.quote, state.incoming, proof)
        case s.OutgoingIntended() | s.OutgoingInFlight(), e.PreimageLearned(preimage, _):
            return s.PreimageKnown(state.quote, state.incoming, preimage)
        case s.PreimageKnown(quote, incoming, preimage), e.ClaimStarted():
            return s.IncomingClaiming(quote, incoming, preimage)
        case s.IncomingClaiming(quote, _, preimage), e.IncomingClaimed(proof):
            return s.Done(quote, preimage, proof)
        case s.OutgoingProvenDead(quote, incoming, proof), e.ReleaseStarted():
            return s.IncomingReleasing(quote, incoming, proof)
        case s.IncomingReleasing(quote, _, proof), e.IncomingReleased(released):
            return s.Released(quote, f"{proof}; {released}")
        case _:
            raise IllegalEdge(
                errors.ILLEGAL_EDGE(field="event", got=type(event).__name__, detail=type(state).__name__)
            )
