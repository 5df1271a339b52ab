"""Codes of the Bitcoin Lightning side."""

from gateway.errors import Action, Fault, define

UNAVAILABLE = define(
    "btc.unavailable",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the Lightning node does not answer",
    "Start LND, or correct host and port in the configuration.",
    503,
)
TIMEOUT = define(
    "btc.timeout",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the Lightning node did not answer in time",
    "Look at LND's load and log; the call is made again.",
    504,
)
MACAROON = define(
    "btc.macaroon",
    Fault.LOCAL,
    Action.STOP,
    "LND refuses the macaroon",
    "Name a macaroon that may read info, pay, and add, settle and cancel invoices.",
    502,
)
CERTIFICATE = define(
    "btc.certificate",
    Fault.LOCAL,
    Action.STOP,
    "LND's certificate does not fit the configured one",
    "Copy LND's present tls.cert and restart.",
    502,
)
LOCKED = define(
    "btc.locked",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "LND's wallet is locked",
    "Unlock it (lncli unlock, or LND's wallet-unlock-password-file).",
    503,
)
STARTING = define(
    "btc.starting",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "LND is starting",
    "Wait; the call is made again.",
    503,
)
FILE = define(
    "btc.file",
    Fault.LOCAL,
    Action.STOP,
    "the certificate or macaroon file cannot be read",
    "Correct its path or its rights.",
    500,
)
INVOICE_EXISTS = define(
    "btc.invoice.exists",
    Fault.REMOTE,
    Action.REFUSE,
    "LND has another invoice with this hash",
    "Use a new payment hash.",
    409,
)
INVOICE_REFUSED = define(
    "btc.invoice.refused",
    Fault.LOCAL,
    Action.REFUSE,
    "LND refuses to make, settle or cancel the invoice",
    "See the detail; look at the invoice with lncli.",
    502,
)
MALFORMED = define(
    "btc.malformed",
    Fault.ENVIRONMENT,
    Action.WARN,
    "LND's answer cannot be read",
    "Use a supported version of LND; report the field that is named.",
    502,
)
NETWORK = define(
    "btc.network",
    Fault.LOCAL,
    Action.STOP,
    "the Lightning node is on another network",
    "Connect an LND of the configured network.",
    502,
)
STREAM_ENDED = define(
    "btc.stream_ended",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "a stream of LND's has ended",
    "Nothing: it is opened again and LND's records are looked up.",
    503,
)

# Why LND could not pay: the reason that goes back with the cheque (btc.payment.<reason> of PaymentFailed).
for _reason, _meaning, _remedy in (
    ("timeout", "no route was found before the payment's time was over", "Try again later."),
    ("no_route", "no route leads to the payee", "Try a smaller amount, or another invoice of the payee."),
    (
        "error",
        "LND failed the payment for a reason that it does not name",
        "Look at LND's log, and try again.",
    ),
    (
        "incorrect_details",
        "the payee does not know this invoice or amount",
        "Ask the payee for a new invoice.",
    ),
    (
        "insufficient_balance",
        "the gateway's Lightning channels hold too little",
        "Try a smaller amount or later; the operator can add Lightning liquidity.",
    ),
    ("never_sent", "the payment was not sent", "Try again with a new quote; the cheque was given back."),
    ("failed", "the payment failed", "Try again; the cheque was given back."),
):
    define(f"btc.payment.{_reason}", Fault.REMOTE, Action.FAIL_CHEQUE, _meaning, _remedy)
