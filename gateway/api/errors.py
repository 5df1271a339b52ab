"""Codes of the API and its token."""

from gateway.errors import Action, Fault, define

UNAUTHORISED = define(
    "api.unauthorised",
    Fault.LOCAL,
    Action.REFUSE,
    "the request carries no valid token",
    "Send the content of the node's api.token file as 'Authorization: Bearer …'.",
    401,
)
BAD_REQUEST = define(
    "api.bad_request",
    Fault.LOCAL,
    Action.REFUSE,
    "a field of the request is missing, unknown or out of range",
    "Correct the named field.",
    422,
)
NOT_FOUND = define(
    "api.not_found",
    Fault.LOCAL,
    Action.REFUSE,
    "there is no such path",
    "See /openapi.json for the paths of this API.",
    404,
)
TOO_LARGE = define(
    "api.too_large",
    Fault.LOCAL,
    Action.REFUSE,
    "the request body is too large",
    "Send at most the allowed number of bytes.",
    413,
)
FOREIGN_HOST = define(
    "api.foreign_host",
    Fault.LOCAL,
    Action.REFUSE,
    "the request names a host or origin that this API does not serve",
    "Call the API by its loopback address, not from a page of another origin.",
    403,
)
LOCKED = define(
    "node.locked",
    Fault.LOCAL,
    Action.REFUSE,
    "the node's keys are locked",
    "Run gateway unlock, or start with --password-file.",
    423,
)
DRAINING = define(
    "node.draining",
    Fault.LOCAL,
    Action.RETRY,
    "the node is shutting down",
    "Start it again with gateway run.",
    503,
)
INTERNAL = define(
    "api.internal",
    Fault.LOCAL,
    Action.WARN,
    "a bug of ours: the request failed unexpectedly",
    "See gateway logs and report it.",
    500,
)
TOKEN_MODE = define(
    "api.token.mode",
    Fault.LOCAL,
    Action.STOP,
    "the token file can be read by others",
    "chmod 600 the token file, or remove it to get a new one.",
    500,
)
