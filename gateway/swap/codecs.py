"""R3. Which swap records the store holds, by tag. A changed class needs a new version and an upgrade."""

from __future__ import annotations

from typing import Any

from gateway.store.codec import Codecs
from gateway.swap import effects as f
from gateway.swap import events as e
from gateway.swap import payee, payer, witness
from gateway.swap import state as s
from gateway.swap.quote import LONGEST_LIFE, Quote


def register(codecs: Codecs) -> None:
    codecs.register(Quote, "swap.quote", 2, {1: _with_all_fees})
    for cls in (
        s.Quoted, s.Withdrawing, s.IncomingLocked, s.PreimageKnown, s.IncomingClaiming,
        s.Done, s.OutgoingProvenDead, s.IncomingReleasing, s.Released, s.Refused,
    ):  # fmt: skip
        codecs.register(cls, f"swap.state.{cls.__name__}", 2, {1: _quote_with_all_fees})
    codecs.register(e.QuoteGiven, "swap.event.QuoteGiven", 2, {1: _quote_with_all_fees})
    codecs.register_all(
        "swap.event", e.InvoiceMade, e.QuoteWithdrawn, e.IncomingWasLocked, e.IncomingWasExtended,
        e.OutgoingWasSent, e.ClaimStarted, e.IncomingClaimed, e.OutgoingProvedDead,
        e.ReleaseStarted, e.IncomingReleased, e.SwapRefused,
    )  # fmt: skip
    for state in (s.OutgoingIntended, s.OutgoingInFlight):
        upgrades = {1: _without_latest, 2: _quote_with_all_fees}
        codecs.register(state, f"swap.state.{state.__name__}", 3, upgrades)
    codecs.register(e.OutgoingWasIntended, "swap.event.OutgoingWasIntended", 2, {1: _without_latest})
    codecs.register(
        e.PreimageLearned, "swap.event.PreimageLearned", 2, {1: lambda d: {**d, "fee_msat": None}}
    )
    codecs.register(witness.Seen, "swap.seen")
    codecs.register_all(
        "swap.effect", f.MakeInvoice, f.PayInvoice, f.LookUpPayment, f.LookUpInvoice, f.OfferCheque,
        f.FulfilCheque, f.CancelCheque, f.AskExtension, f.AskResolution,
        f.ExtendCheque, f.ClaimOnChain, f.SettleInvoice, f.CancelInvoice, f.Alarm,
    )  # fmt: skip
    codecs.register_all(
        "payer.state", payer.AwaitingQuote, payer.ChequeIntended, payer.ChequeLive, payer.Paid,
        payer.Failed, payer.Refused,
    )  # fmt: skip
    codecs.register_all(
        "payer.event", payer.Ordered, payer.Intended, payer.WentLive, payer.WasPaid, payer.HasFailed,
        payer.WasRefused,
    )  # fmt: skip
    codecs.register_all(
        "payee.state", payee.AwaitingInvoice, payee.InvoiceReady, payee.Fulfilling, payee.Received,
        payee.Refused,
    )  # fmt: skip
    codecs.register_all(
        "payee.event", payee.Requested, payee.GotInvoice, payee.StartedFulfilling, payee.WasReceived,
        payee.WasRefused,
    )  # fmt: skip


def _without_latest(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 did not say up to which height a payment may live."""
    outgoing = data["outgoing"]
    return {**data, "outgoing": {**outgoing, "latest_height": 0}} if outgoing["$"] == "PaymentOut" else data


def _with_all_fees(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 of a quote knew no spread, inventory or option, and capped no cheque's life."""
    new = {"spread_fee_lovelace": 0, "inventory_fee_lovelace": 0, "option_fee_lovelace": 0}
    return {**data, **new, "lock_life_ms": LONGEST_LIFE.value}


def _quote_with_all_fees(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "quote": _with_all_fees(data["quote"])}
