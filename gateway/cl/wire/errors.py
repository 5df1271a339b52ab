"""Codes of the peer messages and their session (docs/errors.md)."""

from gateway.errors import Action, Fault, define

_MAKER = "The message was ignored and the peer told; ask the peer's operator to update its software."
_CUT = "The connection is closed and made again; ask the peer's operator when it repeats."

TOO_LONG = define(
    "cl.wire.too_long", Fault.REMOTE, Action.WARN, "a message or a part of it is longer than allowed", _MAKER
)
TRUNCATED = define("cl.wire.truncated", Fault.REMOTE, Action.WARN, "a message ends early", _MAKER)
MALFORMED = define(
    "cl.wire.malformed", Fault.REMOTE, Action.WARN, "a message cannot be read as an envelope", _MAKER
)
UNKNOWN_TYPE = define(
    "cl.wire.unknown_type",
    Fault.REMOTE,
    Action.WARN,
    "a message has a type that this node does not know",
    _MAKER,
)
AMBIGUOUS = define(
    "cl.wire.ambiguous", Fault.REMOTE, Action.WARN, "an envelope holds more than one message", _MAKER
)
MISSING_FIELD = define(
    "cl.wire.missing_field", Fault.REMOTE, Action.WARN, "a message lacks a field that it must have", _MAKER
)
WRONG_LENGTH = define(
    "cl.wire.wrong_length", Fault.REMOTE, Action.WARN, "a field of a message has a wrong length", _MAKER
)
OUT_OF_RANGE = define(
    "cl.wire.out_of_range", Fault.REMOTE, Action.WARN, "a field of a message is out of its range", _MAKER
)
UNEXPECTED_FIELD = define(
    "cl.wire.unexpected_field",
    Fault.REMOTE,
    Action.WARN,
    "an envelope names a channel or conversation that its message does not have",
    _MAKER,
)

VERSION = define(
    "cl.session.version",
    Fault.REMOTE,
    Action.REFUSE,
    "the peer speaks another version of the protocol",
    "Update the older of the two nodes.",
)
NETWORK = define(
    "cl.session.network",
    Fault.REMOTE,
    Action.REFUSE,
    "the peer is on another network",
    "Connect to a node of the same Cardano and Bitcoin networks.",
)
VALIDATOR = define(
    "cl.session.validator",
    Fault.REMOTE,
    Action.REFUSE,
    "the peer uses no channel script that this node knows",
    "Update the older of the two nodes.",
)
FEATURE = define(
    "cl.session.feature",
    Fault.REMOTE,
    Action.REFUSE,
    "the peer requires a feature that this node does not have",
    "Update this node, or ask the peer's operator to make the feature optional.",
)
INIT_EXPECTED = define(
    "cl.session.init_expected",
    Fault.REMOTE,
    Action.REFUSE,
    "the first message must be init, and was not",
    _CUT,
)
INIT_REPEATED = define(
    "cl.session.init_repeated", Fault.REMOTE, Action.REFUSE, "the peer sent init twice", _CUT
)
PONG_UNASKED = define(
    "cl.session.pong_unasked", Fault.REMOTE, Action.REFUSE, "a pong answers no ping of ours", _CUT
)
PONG_LATE = define(
    "cl.session.pong_late",
    Fault.REMOTE,
    Action.RETRY,
    "the peer did not answer a ping in time",
    "The node connects again by itself; check the peer when it lasts.",
)
PING_FLOOD = define("cl.session.ping_flood", Fault.REMOTE, Action.REFUSE, "the peer pings too often", _CUT)
PARITY = define(
    "cl.session.conversation_parity",
    Fault.REMOTE,
    Action.WARN,
    "a conversation was started with a number that belongs to the other side",
    _MAKER,
)
NOT_READY = define(
    "cl.session.not_ready",
    Fault.LOCAL,
    Action.RETRY,
    "the peer has not introduced itself yet",
    "Wait until the peer is shown as connected, then try again.",
    503,
)
TOO_MANY_BREACHES = define(
    "cl.session.breaches", Fault.REMOTE, Action.REFUSE, "the peer sent too many bad messages", _CUT
)
