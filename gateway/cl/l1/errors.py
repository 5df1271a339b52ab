"""R2. Codes of the transaction room: why no transaction can be built, or why an output is no channel."""

from __future__ import annotations

from gateway.errors import Action, Fault, define

SCRIPT_FAILED = define(
    "cl.l1.script_failed",
    Fault.LOCAL,
    Action.REFUSE,
    "the validator refuses this transaction when it is run here",
    "nothing was sent; keep the message and report it, since the builder should never offer such a transaction",
    500,
)
EVALUATOR = define(
    "cl.l1.evaluator",
    Fault.ENVIRONMENT,
    Action.REFUSE,
    "the script evaluator cannot run this transaction",
    "check that biglup-cometa is installed as locked and that the protocol parameters carry plutus:v3 costs",
    500,
)
PARAMS = define(
    "cl.l1.params",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider's protocol parameters lack a figure that the transaction needs",
    "check the provider's version (Ogmios v6); the node asks again by itself",
    503,
)
NOT_CHANNEL = define(
    "cl.l1.not_a_channel",
    Fault.REMOTE,
    Action.IGNORE,
    "this output is not a channel of this gateway's validator",
    "nothing to do: anyone may send anything to the script's address; the output is ignored",
)
HORIZON = define(
    "cl.l1.horizon",
    Fault.LOCAL,
    Action.REFUSE,
    "this moment lies outside the time line that the chain can tell",
    "choose a moment nearer to now, or wait for the provider to know the next era",
)
TOO_EARLY = define(
    "cl.l1.too_early",
    Fault.LOCAL,
    Action.RETRY,
    "the step is not allowed yet",
    "nothing to do: the node builds it again when the named moment is past",
    409,
)
TOO_LATE = define(
    "cl.l1.too_late",
    Fault.LOCAL,
    Action.REFUSE,
    "too little time is left before the cheque's timeout for a transaction to be included",
    "leave this cheque locked or out of the step; its secret can no longer be used on chain",
    409,
)
NO_FUNDS = define(
    "cl.l1.no_funds",
    Fault.LOCAL,
    Action.REFUSE,
    "the wallet holds too little ada that is free at this moment",
    "send ada to the address that `gateway wallet address` shows, or wait until pending transactions confirm",
    409,
)
TOO_BIG = define(
    "cl.l1.too_big",
    Fault.LOCAL,
    Action.REFUSE,
    "the transaction would exceed a limit of the ledger",
    "the steps are split over several transactions; a single step that is too big needs fewer cheques",
    409,
)
BAD_INTENT = define(
    "cl.l1.bad_intent",
    Fault.LOCAL,
    Action.REFUSE,
    "this combination of acts does not make a transaction",
    "correct the named field: an address of this network, amounts over the ledger's least, each channel once",
)
END_BODY = define(
    "cl.l1.end_body",
    Fault.REMOTE,
    Action.REFUSE,
    "the terms of a common end do not give the transaction that was agreed",
    "nothing was signed; the channel closes without the peer",
)
