"""R4. The node's states as the API shows them."""

from __future__ import annotations

from typing import Literal

from gateway.api import models as m
from gateway.cl.channel import settle
from gateway.cl.channel import state as c
from gateway.cl.channel.inputs import Context
from gateway.cl.channel.ledger import balance
from gateway.cl.data.types import ChannelId, Cheque
from gateway.errors import REGISTRY
from gateway.swap import payee, payer
from gateway.swap import state as s
from gateway.swap.risk import Risk
from gateway.swap.runner import Key

_NAMES = {
    c.Proposing: "proposing",
    c.Funding: "funding",
    c.Normal: "opened",
    c.Draining: "draining",
    c.Ending: "ending",
    c.EndProposed: "ending",
    c.EndSigned: "ending",
    c.EndHeld: "ending",
    c.Closing: "closing",
    c.OnChain: "settling",
    c.Ended: "ended",
    c.Abandoned: "failed",
}


def channel_view(channel: ChannelId, state: c.State, context: Context, transactions: list[str]) -> m.Channel:
    """One channel: balances, what is pending, the next deadline."""
    name = _NAMES[type(state)]
    match state:
        case c.Proposing(p):
            return m.Channel(
                id=channel.hex(), peer=p.peer.hex(), state=name, opener="local",
                total_lovelace=p.amount.value, min_ada_lovelace=p.min_ada.value,
                respond_period_ms=p.respond_period.value, detail="waiting for the peer's answer",
                transactions=transactions,
            )  # fmt: skip
        case c.Abandoned(_, peer, code, detail):
            return m.Channel(
                id=channel.hex(), peer=peer.hex(), state=name, opener="local", detail=f"{code}: {detail}",
                transactions=transactions,
            )  # fmt: skip
        case _:
            return _agreed(channel, state, context, name, transactions)


def _agreed(
    channel: ChannelId, state: c.Funding | c.WithBooks, context: Context, name: str, transactions: list[str]
) -> m.Channel:
    agreement = state.agreement
    view = m.Channel(
        id=channel.hex(),
        peer=agreement.peer.hex(),
        state=name,
        opener="local" if agreement.local_is_opener else "remote",
        total_lovelace=agreement.amount.value,
        min_ada_lovelace=agreement.min_ada.value,
        respond_period_ms=agreement.respond_period.value,
        transactions=transactions,
    )
    if isinstance(state, c.Funding):
        view.detail = "waiting for the channel's output to lie deep enough"
        return view
    now = balance(agreement, state.books)
    view.local_lovelace, view.remote_lovelace = now.local.value, now.remote.value
    view.local_at_risk_lovelace = now.at_risk.value
    view.pending = _pending(state.books)
    if isinstance(state, c.WithOutput):
        view.utxo = str(state.output.ref)
        view.stage = type(state.output.datum.stage).__name__
        view.total_lovelace = (state.output.lovelace - state.output.datum.min_ada).value
    if isinstance(state, c.Normal):
        view.detail = state.frozen
    elif not isinstance(state, (c.OnChain, c.Ended)):
        view.detail = state.reason
    deadline = settle.next_deadline(state, context)
    if deadline is not None:
        view.next_action, view.next_deadline_ms = deadline[0], deadline[1].value
    return view


def _pending(books: c.Books) -> list[m.PendingCheque]:
    rows = []
    for one in books.issued:
        if isinstance(one.status, (c.Live, c.CancelSeen)):
            rows.append(_cheque(one.cheque, True, type(one.status).__name__))
    for two in books.held:
        if isinstance(two.status, (c.Unanswered, c.Fulfilled)):
            rows.append(_cheque(two.cheque, False, type(two.status).__name__))
    return rows


def _cheque(cheque: Cheque, sent: bool, status: str) -> m.PendingCheque:
    return m.PendingCheque(
        index=cheque.index,
        sent=sent,
        lovelace=cheque.amount.value,
        timeout_ms=cheque.timeout.value,
        payment_hash=cheque.lock.hex(),
        status=status.lower(),
    )


def payment_view(key: Key, state: payer.State) -> m.Payment:
    """Paid only with the preimage, failed only with a proof; everything else is pending."""
    order = state.order
    status: Literal["pending", "paid", "failed"] = "pending"
    preimage = refusal = detail = ""
    lovelace = 0
    match state:
        case payer.Paid(_, offer, secret):
            status, preimage, lovelace = "paid", secret.hex(), offer.cardano.value
        case payer.Failed(_, proof):
            status, detail = "failed", proof
        case payer.Refused(_, code, words):
            status, refusal, detail = "failed", code, words
        case payer.ChequeIntended(_, offer, _) | payer.ChequeLive(_, offer, _):
            lovelace, detail = offer.cardano.value, "the gateway is paying"
        case payer.AwaitingQuote():
            detail = "waiting for the gateway's quote"
    return m.Payment(
        payment_hash=key.hashlock.hex(),
        state=type(state).__name__,
        status=status,
        amount_msat=order.bitcoin.value,
        lovelace=lovelace,
        preimage=preimage,
        code=refusal,
        detail=detail,
        remedy=_remedy(refusal),
        channel=order.channel.hex(),
        created_ms=order.asked_at.value,
    )


def _remedy(code: str) -> str:
    """What a person does about it; empty for a code that this version does not know (a peer's)."""
    known = REGISTRY.get(code)
    return known.remedy if known else ""


def receipt_view(key: Key, state: payee.State) -> m.Receipt:
    request = state.request
    view = m.Receipt(
        payment_hash=key.hashlock.hex(),
        state=type(state).__name__,
        status="waiting",
        lovelace=request.receive.value,
        channel=request.channel.hex(),
    )
    match state:
        case payee.InvoiceReady(_, invoice, bitcoin, valid_until):
            view.invoice, view.amount_msat, view.valid_until_ms = invoice, bitcoin.value, valid_until.value
        case payee.Fulfilling(_, invoice, bitcoin, _):
            view.invoice, view.amount_msat = invoice, bitcoin.value
            view.detail = "the preimage is out, the gateway owes its squash"
        case payee.Received(_, invoice, bitcoin, proof):
            view.status, view.invoice, view.amount_msat, view.detail = (
                "received",
                invoice,
                bitcoin.value,
                proof,
            )
        case payee.Refused(_, code, words):
            view.status, view.code, view.detail = "cancelled", code, words
            view.remedy = _remedy(code)
        case payee.AwaitingInvoice():
            view.detail = "waiting for the gateway's invoice"
    return view


def swap_view(key: Key, state: s.State, created_ms: int = 0) -> m.Swap:
    quote = state.quote
    view = m.Swap(
        id=key.hashlock.hex(),
        attempt=key.attempt,
        direction=quote.direction.value,
        state=type(state).__name__,
        payment_hash=quote.hashlock.hex(),
        amount_msat=quote.bitcoin.value,
        lovelace=quote.cardano.value,
        peer=quote.peer.hex(),
        channel=quote.channel.hex(),
        invoice=quote.invoice,
        created_ms=created_ms,
    )
    match state:
        case s.Done(_, _, proof) | s.Released(_, proof):
            view.proof = proof
        case s.OutgoingProvenDead(_, _, proof) | s.IncomingReleasing(_, _, proof):
            view.proof = proof
        case s.Refused(_, code, detail) | s.Withdrawing(_, code, detail):
            view.detail = f"{code}: {detail}"
        case _:
            pass
    return view


def show_risk(view: m.Swap, risk: Risk | None, blocks: int | None) -> m.Swap:
    """What the swap risks now, in its view."""
    if risk is not None:
        view.risk, view.risk_level, view.risk_detail = risk.shown(), risk.level.name.lower(), risk.what
    view.blocks_to_cancel = blocks
    return view
