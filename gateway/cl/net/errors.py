"""Codes of the peer network (docs/errors.md). Handshake refusals keep their bolt8.* codes."""

from gateway.errors import Action, Fault, define

_AGAIN = "The node connects again by itself; check the peer's address and network when it lasts."

CLOSED = define("cl.net.closed", Fault.REMOTE, Action.RETRY, "the connection to the peer has ended", _AGAIN)
TRUNCATED = define(
    "cl.net.truncated", Fault.REMOTE, Action.RETRY, "the connection ended within a message", _AGAIN
)
UNREACHABLE = define(
    "cl.net.unreachable",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the peer's address cannot be reached",
    "Check host and port, and that the peer is running; then connect again.",
    503,
)
HANDSHAKE_TIMEOUT = define(
    "cl.net.handshake_timeout",
    Fault.REMOTE,
    Action.RETRY,
    "the peer did not finish the handshake in time",
    "Check that the address belongs to a Lightning-style node; then connect again.",
    504,
)
IDLE = define("cl.net.idle", Fault.REMOTE, Action.RETRY, "the peer has sent nothing for too long", _AGAIN)
SLOW = define(
    "cl.net.slow", Fault.REMOTE, Action.RETRY, "the peer sends one message or reads ours too slowly", _AGAIN
)
TOO_LONG = define(
    "cl.net.too_long",
    Fault.LOCAL,
    Action.REFUSE,
    "a message is longer than a frame can carry",
    "Report this: no message of this node should be that long.",
    500,
)
TOO_MANY = define(
    "cl.net.too_many",
    Fault.LOCAL,
    Action.REFUSE,
    "this node has as many peer connections as it may have",
    "Disconnect a peer that is not needed, or raise the limit of connections.",
    503,
)
LISTEN = define(
    "cl.net.listen",
    Fault.ENVIRONMENT,
    Action.STOP,
    "this node cannot listen on the address given",
    "Choose a free port and an address of this machine in the configuration.",
    503,
)
