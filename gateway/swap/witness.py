"""R1. What a decision of a swap was made from: the input and the moment, stored beside the events that followed.

With them a swap can be replayed outside the node: the same state, input and moment give the same events.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gateway.btc.ports import TimeConstants
from gateway.swap import inputs as i
from gateway.units import BlockHeight, PosixMs

# every input that can change a swap; the others (a tick that only asks, a risk) leave no event
Recorded = (
    i.InvoiceCreated
    | i.ChequeLocked
    | i.ChequeExtended
    | i.PaymentAnswer
    | i.InvoiceAnswer
    | i.ChequeOffered
    | i.ChequeNotOffered
    | i.PreimageSeen
    | i.OutgoingChequeDead
    | i.IncomingChequeSettled
    | i.IncomingChequeReleased
    | i.Tick
    | i.CancelAsked
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One input and both clocks at its decision. `slot`: the newest block of Cardano that the node knew."""

    given: Recorded
    now: PosixMs
    height: BlockHeight
    stress: Fraction
    slot: int
    paused: str
    attempt: int
    constants: TimeConstants | None


def seen(given: Any, context: Any, slot: int) -> Seen:
    """From either direction's context."""
    return Seen(
        given,
        context.clocks.now,
        context.clocks.height,
        context.clocks.stress,
        slot,
        context.paused,
        getattr(context, "attempt", 1),
        getattr(context, "constants", None),
    )
