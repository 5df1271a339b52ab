"""Codes of the BOLT room: invoices (bolt11), transport (bolt8), BigSize and TLV (docs/errors.md)."""

from gateway.errors import Action, Fault, define

_R = Action.REFUSE
_COPY = "Copy the invoice again, whole and unchanged; if that does not help, ask the payee for a new one."
_NEW = "Ask the payee for a new invoice from up-to-date software."
_OURS = "Correct the named field and make the invoice again."

TOO_LONG = define("bolt11.too_long", Fault.LOCAL, _R, "the text is longer than an invoice can be", _COPY)
NOT_BECH32 = define(
    "bolt11.bech32", Fault.LOCAL, _R, "the text is no bech32 string: case, characters or separator", _COPY
)
CHECKSUM = define("bolt11.checksum", Fault.LOCAL, _R, "the checksum of the invoice does not fit", _COPY)
TOO_SHORT = define("bolt11.too_short", Fault.LOCAL, _R, "the invoice ends too early", _COPY)
PREFIX = define(
    "bolt11.prefix",
    Fault.LOCAL,
    _R,
    "the text does not start like an invoice of a network that this node knows",
    "Check that this is a Lightning invoice (lnbc, lntb, lntbs, lnbcrt) and of the right network.",
)
AMOUNT = define("bolt11.amount", Fault.REMOTE, _R, "the amount of the invoice is malformed", _NEW)
FIELD_TRUNCATED = define(
    "bolt11.field.truncated", Fault.REMOTE, _R, "a field of the invoice runs past its end", _NEW
)
FIELD_PADDING = define(
    "bolt11.field.padding", Fault.REMOTE, _R, "a field of the invoice is padded wrongly", _NEW
)
FIELD_REPEATED = define(
    "bolt11.field.repeated", Fault.REMOTE, _R, "a field that may stand once stands twice", _NEW
)
FIELD_NOT_MINIMAL = define(
    "bolt11.field.not_minimal", Fault.REMOTE, _R, "a number in the invoice has leading zeros", _NEW
)
FIELD_TOO_LARGE = define(
    "bolt11.field.too_large", Fault.REMOTE, _R, "a number in the invoice is beyond its range", _NEW
)
FIELD_MISSING = define(
    "bolt11.field.missing", Fault.REMOTE, _R, "the invoice lacks a field that it must have", _NEW
)
FIELD_MALFORMED = define(
    "bolt11.field.malformed", Fault.REMOTE, _R, "a field of the invoice has a wrong form", _NEW
)
DESCRIPTION = define(
    "bolt11.description",
    Fault.REMOTE,
    _R,
    "the invoice must have either a description or the hash of one, and has neither or both",
    _NEW,
)
SIGNATURE = define(
    "bolt11.signature", Fault.REMOTE, _R, "the signature of the invoice is not valid for its payee", _COPY
)
FEATURE_UNKNOWN = define(
    "bolt11.feature.unknown",
    Fault.REMOTE,
    _R,
    "the invoice requires a feature that this node does not know",
    "Ask the payee for an invoice without that feature, or upgrade this node.",
)
FEATURE_DEPENDENCY = define(
    "bolt11.feature.dependency",
    Fault.REMOTE,
    _R,
    "the invoice sets a feature without the one that it depends on",
    _NEW,
)
ENCODE_FIELD = define(
    "bolt11.encode.field", Fault.LOCAL, _R, "the invoice to be made has a field out of range", _OURS
)
ENCODE_SIGNATURE = define(
    "bolt11.encode.signature",
    Fault.LOCAL,
    _R,
    "the signer answered with something that is no low-S signature by the expected key",
    "Check that the signer holds this node's key, then make the invoice again.",
    500,
)

_PEER = (
    "Check the peer's node id and address, and that it speaks the Lightning transport; then connect again."
)
ACT_SHORT = define(
    "bolt8.handshake.short", Fault.REMOTE, _R, "the stream ended within a handshake message", _PEER
)
ACT_VERSION = define(
    "bolt8.handshake.version", Fault.REMOTE, _R, "the peer starts with an unknown handshake version", _PEER
)
ACT_KEY = define(
    "bolt8.handshake.key", Fault.REMOTE, _R, "a handshake message holds no valid public key", _PEER
)
ACT_MAC = define(
    "bolt8.handshake.mac",
    Fault.REMOTE,
    _R,
    "a handshake message is not authentic: the other side is not who its node id says",
    _PEER,
)
FRAME_MAC = define(
    "bolt8.frame.mac",
    Fault.REMOTE,
    _R,
    "an encrypted message is not authentic",
    "Connect again; when it repeats, something on the way alters the traffic.",
)
FRAME_TOO_LONG = define(
    "bolt8.frame.too_long",
    Fault.LOCAL,
    _R,
    "a message to be sent is longer than 65,535 bytes",
    "Report this: no message of this node should be that long.",
    500,
)

_BYTES = "Report it to the maker of the sending software; the message was ignored."
BIGSIZE_TRUNCATED = define("bolt.bigsize.truncated", Fault.REMOTE, _R, "a BigSize number ends early", _BYTES)
BIGSIZE_NOT_MINIMAL = define(
    "bolt.bigsize.not_minimal", Fault.REMOTE, _R, "a BigSize number is longer than it needs to be", _BYTES
)
TLV_TRUNCATED = define("bolt.tlv.truncated", Fault.REMOTE, _R, "a TLV record ends early", _BYTES)
TLV_ORDER = define("bolt.tlv.order", Fault.REMOTE, _R, "TLV types do not strictly rise", _BYTES)
TLV_UNKNOWN_EVEN = define("bolt.tlv.unknown_even", Fault.REMOTE, _R, "an unknown TLV type is even", _BYTES)
TLV_VALUE = define("bolt.tlv.value", Fault.REMOTE, _R, "the value of a TLV record has a wrong form", _BYTES)
