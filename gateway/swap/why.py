"""R1. What a swap waits for, the worst that can come of it, and what its operator can do: words from its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gateway.swap import state as s
from gateway.swap.quote import Direction
from gateway.swap.risk import Level, Risk


@dataclass(frozen=True, slots=True)
class Why:
    waits_for: str
    worst_case: str
    can_do: tuple[str, ...] = ()


_NOTHING_LOCKED = "Nothing: no value is locked."
_ENDED = "Nothing: the swap has ended."
_KEEP_UP = "Keep LND, the Cardano provider and this node running: every step is tried again by itself."


def explain(state: s.State, risk: Risk | None) -> Why:
    """For a swap of this gateway in any state."""
    out = state.quote.direction is Direction.CL_TO_BTC
    match state:
        case s.Quoted(quote):
            waits = "the payer's cheque" if out else "somebody to pay the hold invoice"
            return Why(
                f"{waits}, until {quote.valid_until.value} at the latest",
                _NOTHING_LOCKED,
                ("gateway swap cancel ends the quote.",),
            )
        case s.Withdrawing(_, code, detail):
            return Why(
                f"LND to cancel the invoice of a withdrawn quote ({code}: {detail})",
                _NOTHING_LOCKED,
                (_KEEP_UP,),
            )
        case s.IncomingLocked():
            return Why("the next commit, which decides about the outgoing leg", _NOTHING_LOCKED, (_KEEP_UP,))
        case s.OutgoingIntended() | s.OutgoingInFlight():
            return _paying(state, risk) if out else _offered(state, risk)
        case s.PreimageKnown() | s.IncomingClaiming():
            return _claiming(state, risk) if out else _settling(state, risk)
        case s.OutgoingProvenDead(_, _, proof) | s.IncomingReleasing(_, _, proof):
            leg = "the cancel of the payer's cheque to be signed" if out else "LND to cancel the hold invoice"
            worst = "The payer waits longer for its funds; this gateway has lost nothing."
            return Why(f"{leg}; the outgoing leg is dead ({proof})", worst, (_KEEP_UP,))
        case s.Done(_, _, proof):
            return Why(f"nothing: it is done ({proof})", _ENDED)
        case s.Released(_, proof):
            return Why(f"nothing: both legs are proven dead ({proof})", _ENDED)
        case s.Refused(_, code, detail):
            return Why(f"nothing: it was refused ({code}: {detail})", _ENDED)
    assert_never(state)


def _odds(risk: Risk | None) -> str:
    if risk is None:
        return "its probability cannot be told now"
    return f"its probability by the block laws is {risk.shown()}: {risk.what}"


def _paying(state: s.OutgoingIntended | s.OutgoingInFlight, risk: Risk | None) -> Why:
    assert isinstance(state.incoming, s.ChequeIn)
    assert isinstance(state.outgoing, s.PaymentOut)
    quote = state.quote
    worst = (
        f"The payment of {quote.bitcoin.value} msat succeeds after the cheque of {quote.cardano.value} lovelace "
        f"has expired (at {state.incoming.timeout.value}): the payment is lost. Now {_odds(risk)}."
    )
    waits = (
        "LND's final word about the payment; no part of it expires above height "
        f"{state.outgoing.latest.value or 'unknown'}"
    )
    act = ["Never pay the invoice again, and cancel nothing by hand: the payment may still succeed."]
    if risk is not None and risk.level is Level.ACT:
        act.append(
            "The payer is asked for a later timeout at every block: see that its node is online (gateway peer list)."
        )
    act.append(
        "In LND: lncli trackpayment shows the attempt; a peer that does not answer may be force-closed by you."
    )
    return Why(waits, worst, tuple(act))


def _offered(state: s.OutgoingIntended | s.OutgoingInFlight, risk: Risk | None) -> Why:
    assert isinstance(state.incoming, s.HoldIn)
    assert isinstance(state.outgoing, s.ChequeOut)
    quote = state.quote
    worst = (
        f"LND cancels the held {state.incoming.amount.value} msat (expiry height {state.incoming.expiry.value}) and "
        f"the receiver opens the cheque of {quote.cardano.value} lovelace after that: the cheque is lost. "
        f"Now {_odds(risk)}."
    )
    waits = (
        "the receiver's preimage, its signed cancel, or the cheque's timeout "
        f"({state.outgoing.timeout.value}) at safe depth"
    )
    act = (
        "Never cancel the hold invoice by hand in LND while the cheque is live.",
        "Ask the receiver to start its node: it answers a cheque by itself when it is online.",
    )
    return Why(waits, worst, act)


def _claiming(state: s.PreimageKnown | s.IncomingClaiming, risk: Risk | None) -> Why:
    assert isinstance(state.incoming, s.ChequeIn)
    worst = (
        f"No squash comes and no claim gets on chain before {state.incoming.timeout.value}: "
        f"{state.quote.cardano.value} lovelace are lost. Now {_odds(risk)}."
    )
    act = (
        "The channel closes by itself in time; gateway channel close --force claims now.",
        "See that the wallet holds ada for the fee (gateway wallet balance).",
    )
    return Why("the payer's squash for the preimage, or the claim on chain at depth", worst, act)


def _settling(state: s.PreimageKnown | s.IncomingClaiming, risk: Risk | None) -> Why:
    assert isinstance(state.incoming, s.HoldIn)
    worst = (
        f"LND is away until it cancels the held {state.incoming.amount.value} msat (expiry height "
        f"{state.incoming.expiry.value}): they are lost, the receiver has its cheque. Now {_odds(risk)}."
    )
    act = (
        "Start LND if it is down: it is told the preimage again every few seconds.",
        "By hand, in need: lncli settleinvoice with the preimage that gateway swap incident shows.",
    )
    return Why("LND to report the invoice settled", worst, act)
