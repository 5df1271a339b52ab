"""Codes of the swap engine (docs/errors.md is generated from them)."""

from gateway.errors import Action, Fault, Rejection, define

_R = Action.REFUSE

INVOICE_MALFORMED = define(
    "swap.invoice.malformed",
    Fault.REMOTE,
    _R,
    "the invoice cannot be read",
    "Ask the payee for a new invoice and check that it was copied whole.",
)
INVOICE_NETWORK = define(
    "swap.invoice.wrong_network",
    Fault.REMOTE,
    _R,
    "the invoice belongs to another network",
    "Ask for an invoice of the network that this gateway serves.",
)
INVOICE_EXPIRED = define(
    "swap.invoice.expired",
    Fault.REMOTE,
    _R,
    "the invoice has expired or expires before a quote for it would",
    "Ask the payee for a new invoice.",
)
INVOICE_AMOUNTLESS = define(
    "swap.invoice.amountless",
    Fault.REMOTE,
    _R,
    "the invoice names no amount",
    "Ask the payee for an invoice with an amount.",
)
INVOICE_FEATURE = define(
    "swap.invoice.unknown_feature",
    Fault.REMOTE,
    _R,
    "the invoice requires a feature that this gateway does not know",
    "Ask the payee for an invoice without that feature, or upgrade the gateway.",
)
INVOICE_OWN_NODE = define(
    "swap.invoice.own_node",
    Fault.REMOTE,
    _R,
    "the invoice was made by the gateway's own Lightning node",
    "Pay the receiver over Cardano Lightning instead; a swap to oneself would move nothing.",
    409,
)
HASH_IN_USE = define(
    "swap.hash.in_use",
    Fault.REMOTE,
    _R,
    "this payment hash belongs to another swap, ended or not",
    "Ask for an invoice with a new hash; a payment may be tried again once its swap has ended (gateway swap show).",
    409,
)
AMOUNT_TOO_SMALL = define(
    "swap.amount.too_small",
    Fault.REMOTE,
    _R,
    "the amount is below the least that a swap may carry",
    "Use at least the allowed amount.",
)
AMOUNT_TOO_LARGE = define(
    "swap.amount.too_large",
    Fault.REMOTE,
    _R,
    "the amount is above the most that a swap may carry",
    "Use at most the allowed amount, or split it.",
)
NO_BITCOIN_LIQUIDITY = define(
    "swap.liquidity.bitcoin",
    Fault.LOCAL,
    _R,
    "the gateway's Lightning channels cannot carry this amount now",
    "Try a smaller amount or later; the operator can add Lightning liquidity.",
    409,
)
NO_CARDANO_LIQUIDITY = define(
    "swap.liquidity.cardano",
    Fault.LOCAL,
    _R,
    "the gateway's side of the channel does not hold enough to pay this out",
    "Ask for at most the allowed amount, or ask the gateway to add funds (gateway channel add).",
    409,
)
NO_SLOT = define(
    "swap.liquidity.slots",
    Fault.LOCAL,
    _R,
    "the channel has no free place for another cheque",
    "Wait until a pending payment ends.",
    409,
)
TIMELOCK_TOO_LONG = define(
    "swap.timelock.too_long",
    Fault.REMOTE,
    _R,
    "the payee asks for a longer time lock than a cheque may live",
    "Ask for an invoice with a smaller min_final_cltv_expiry_delta.",
)
TIMELOCK_TOO_SHORT = define(
    "swap.timelock.too_short",
    Fault.REMOTE,
    _R,
    "the cheque expires too early for the payment behind it",
    "Offer the cheque with the quoted timeout.",
)
CHEQUE_AMOUNT = define(
    "swap.cheque.amount",
    Fault.REMOTE,
    _R,
    "the cheque does not carry the quoted amount",
    "Offer the cheque with the quoted amount.",
)
CHEQUE_UNEXPECTED = define(
    "swap.cheque.unexpected",
    Fault.REMOTE,
    _R,
    "no open quote fits this cheque's lock",
    "Ask for a quote first, then offer the cheque.",
)
QUOTE_EXPIRED = define(
    "swap.quote.expired", Fault.REMOTE, _R, "the quote is no longer valid", "Ask for a new quote.", 410
)
QUOTE_OTHER_PEER = define(
    "swap.quote.other_peer",
    Fault.REMOTE,
    _R,
    "the quote was given to another peer",
    "Ask for your own quote.",
    403,
)
HOLD_TOO_LATE = define(
    "swap.hold.too_late",
    Fault.REMOTE,
    _R,
    "the held payment leaves too little time for a cheque",
    "Pay the invoice again with its full time lock.",
)
HOLD_AMOUNT = define(
    "swap.hold.amount",
    Fault.REMOTE,
    _R,
    "the held payment does not carry the invoiced amount",
    "Pay the invoiced amount.",
)
PAUSED = define(
    "swap.paused",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "new swaps are paused",
    "Try again later; gateway status names the reason.",
    503,
)
NO_GATEWAY = define(
    "swap.no_gateway",
    Fault.LOCAL,
    Action.REFUSE,
    "this node drives no LND: it gives no quotes",
    "Ask the gateway; from here gateway pay --most bounds what a payment may cost in all.",
    409,
)
ASKED_TOO_MUCH = define(
    "swap.asked_too_much",
    Fault.REMOTE,
    Action.RETRY,
    "the peer has more questions under way than this node answers at once",
    "Wait for the answers, then ask again.",
    429,
)
PEER_REFUSED = define(
    "swap.peer.refused",
    Fault.REMOTE,
    _R,
    "this gateway makes no swaps with this peer",
    "Use another gateway, or ask the operator (swap.allow_peers, swap.deny_peers).",
    403,
)
_LATER = "Use at most the allowed amount, or wait until open swaps have ended."
LIMIT_PEER_OPEN = define(
    "swap.limit.peer_open", Fault.REMOTE, _R, "this peer's open swaps would be worth too much", _LATER, 409
)
LIMIT_OPEN = define(
    "swap.limit.open", Fault.LOCAL, _R, "all open swaps together would be worth too much", _LATER, 409
)
LIMIT_PEER_DAY = define(
    "swap.limit.peer_day", Fault.REMOTE, _R, "this peer's swaps of a day would be worth too much", _LATER, 409
)
LIMIT_DAY = define(
    "swap.limit.day", Fault.LOCAL, _R, "all swaps of a day together would be worth too much", _LATER, 409
)
TOO_MANY_QUOTES = define(
    "swap.quotes.too_many",
    Fault.REMOTE,
    Action.RETRY,
    "this peer asks for more quotes than it may",
    "Ask again after the stated time.",
    429,
)
SWAP_UNKNOWN = define(
    "swap.unknown", Fault.REMOTE, _R, "no swap has this id", "List swaps with gateway swap list.", 404
)
NOT_CANCELLABLE = define(
    "swap.not_cancellable",
    Fault.LOCAL,
    _R,
    "the swap has gone too far to be cancelled safely",
    "Wait: it ends by itself, or is released once the other leg is proven dead.",
    409,
)
ILLEGAL_EDGE = define(
    "swap.illegal_edge",
    Fault.LOCAL,
    Action.STOP,
    "an event does not fit the state of the swap",
    "Report this with the swap's log (gateway swap show --json).",
    500,
)
PREIMAGE_WRONG = define(
    "swap.preimage.wrong",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the preimage does not open the lock",
    "Send the 32 bytes whose sha-256 is the payment hash.",
)

# Why a swap, payment or receipt ended, as its record and the peer say it; and alarms.
CANCELLED = define(
    "swap.cancelled",
    Fault.LOCAL,
    _R,
    "its owner cancelled it before anything was locked",
    "Nothing: no value moved.",
)
INVOICE_CANCELLED = define(
    "swap.invoice.cancelled",
    Fault.REMOTE,
    _R,
    "nobody paid the hold invoice in time",
    "Ask for a new invoice and pay it within its expiry.",
)
QUOTE_MISMATCH = define(
    "swap.quote.mismatch",
    Fault.REMOTE,
    _R,
    "the gateway's answer is for something else than was asked",
    "Try again; choose another gateway if it stays.",
)
QUOTE_SIGNATURE = define(
    "swap.quote.signature",
    Fault.REMOTE,
    _R,
    "the quote is not signed by the gateway's node key",
    "Try again; choose another gateway if it stays.",
)
QUOTE_NO_ANSWER = define(
    "swap.quote.no_answer",
    Fault.REMOTE,
    _R,
    "the gateway did not answer in time",
    "Look at gateway peer list, and try again when the peer is connected.",
)
QUOTE_TOO_DEAR = define(
    "swap.quote.too_dear",
    Fault.REMOTE,
    _R,
    "the quote asks for more than may be paid",
    "Allow more with --most, or add funds to the channel.",
)
PAY_UNBOUNDED = define(
    "swap.pay.unbounded",
    Fault.LOCAL,
    _R,
    "nothing bounds what this payment may cost: this node knows no price of its own",
    "Bound it with --most, or look at the price first: gateway pay shows it and asks; --yes takes it unseen.",
    409,
)
QUOTE_DENIED = define(
    "swap.quote.denied",
    Fault.REMOTE,
    _R,
    "the gateway gives no quote for this invoice",
    "The detail is the gateway's own reason; try again later, or choose another gateway.",
    409,
)
QUOTE_TOO_LONG = define(
    "swap.quote.too_long",
    Fault.REMOTE,
    _R,
    "the quote would lock the cheque for too long",
    "Ask the payee for an invoice with a smaller min_final_cltv_expiry_delta.",
)
EXTENSION_TOO_LONG = define(
    "swap.extension.too_long",
    Fault.REMOTE,
    Action.IGNORE,
    "the gateway asks to lock the cheque for longer than was agreed",
    "Nothing: the cheque keeps its timeout; the payment ends by it.",
)
LEDGER = define(
    "swap.ledger.differs",
    Fault.ENVIRONMENT,
    Action.WARN,
    "the ledger and a network do not agree on what this gateway owns",
    "gateway ledger check shows by how much; explain it with --accept, or stop and look for who moved the money.",
    503,
)
PEER_AT_RISK = define(
    "swap.peer_at_risk",
    Fault.REMOTE,
    _R,
    "an open swap of this peer is at risk: no new one until it is resolved",
    "Resolve the open swap (gateway swap why), or wait until it is resolved.",
    503,
)
AT_RISK = define(
    "swap.at_risk",
    Fault.REMOTE,
    Action.WARN,
    "one leg comes near its end while the other is unresolved",
    "Follow the alarm's own words: the swap is never given up on a timer.",
)
INCOMING_LOST = define(
    "swap.incoming_lost",
    Fault.ENVIRONMENT,
    Action.WARN,
    "LND gave the held payment up while its cheque is live",
    "Keep LND running and synced; look at its log for this payment hash.",
)
INCOMING_SETTLED = define(
    "swap.incoming_settled",
    Fault.ENVIRONMENT,
    Action.WARN,
    "LND settled an invoice for which no cheque was signed",
    "Only the gateway may settle its invoices: see who else uses this LND, and give the payer the money back.",
)
FOREIGN_INVOICE = define(
    "swap.foreign_invoice",
    Fault.REMOTE,
    _R,
    "LND has an invoice with this hash that this swap did not make",
    "Use a new payment hash.",
    409,
)
CHEQUE_GONE = define(
    "swap.cheque.gone",
    Fault.REMOTE,
    _R,
    "the cheque behind a payment was given back, or its channel closed, before the payment was sent",
    "Ask for a new quote on an open channel.",
    409,
)
CHEQUE_LOST = define(
    "swap.cheque_lost",
    Fault.REMOTE,
    Action.WARN,
    "a payment succeeded after the cheque for it had ended",
    "Look at both with gateway swap show: the payment was in flight for longer than its cheque lived.",
)
PAYMENT_LOST = define(
    "swap.payment_lost",
    Fault.ENVIRONMENT,
    Action.WARN,
    "LND has no record any more of a payment that it was making: that proves nothing, and the cheque is kept",
    "Bring LND's own database back; without it the payment's channels on chain show what became of it.",
)
OTHER_NODE = define(
    "swap.other_node",
    Fault.LOCAL,
    Action.RETRY,
    "another Lightning node answers than the one that this gateway began with",
    "Connect the old LND until every swap has ended; then name the new one in bitcoin.node_id and restart.",
    503,
)
PROOF_CONTRADICTED = define(
    "swap.proof_contradicted",
    Fault.ENVIRONMENT,
    Action.WARN,
    "a leg that was proven dead shows life",
    "Keep LND's log and database, and report it with gateway swap show --json.",
)


def malformed(why: Rejection) -> Rejection:
    """An invoice that BOLT 11 refuses: its code, field and reason, once."""
    named = f"{why.field} {why.got}".strip()
    parts = (why.spec.meaning, named, why.detail)
    return INVOICE_MALFORMED(
        field="invoice", detail=f"{why.code}: " + "; ".join(one for one in parts if one)[:300]
    )
