"""R1. Codes of the channel data room: bytes from a partner or a chain that do not say what they should."""

from __future__ import annotations

from gateway.errors import Action, Fault, define

MALFORMED = define(
    "cl.data.malformed",
    Fault.REMOTE,
    Action.REFUSE,
    "these bytes are not Plutus data",
    "nothing to do for your funds: the bytes were refused; if they came from your own provider, check it",
)
SHAPE = define(
    "cl.data.shape",
    Fault.REMOTE,
    Action.REFUSE,
    "this Plutus data has not the shape of channel data",
    "nothing to do for your funds: it is not a channel of this gateway's version",
)
RANGE = define(
    "cl.data.range",
    Fault.REMOTE,
    Action.REFUSE,
    "a value of the channel data lies outside what the validator accepts",
    "ask the partner for a value inside the allowed range",
)
SCRIPT_HASH = define(
    "cl.data.script_hash",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the installed validator is not the one this version was released with",
    "reinstall the gateway from a trusted source; do not run it with this file",
    500,
)
STEP_REFUSED = define(
    "cl.data.step_refused",
    Fault.LOCAL,
    Action.REFUSE,
    "the validator would refuse this step",
    "see the clause in docs/validator.md; wait for the time it names, or leave the offending cheque out",
    409,
)
