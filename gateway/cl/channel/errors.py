"""Codes of a channel's rules."""

from gateway.errors import Action, Fault, define

CHEQUE_INDEX = define(
    "cl.cheque.index",
    Fault.REMOTE,
    Action.REFUSE,
    "the cheque's index is not the next one",
    "The peer should send what it issued before, in order.",
)
CHEQUE_CONFLICT = define(
    "cl.cheque.conflict",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "one index was signed twice with another lock or amount",
    "The channel closes with what was signed first.",
)
CHEQUE_SIGNATURE = define(
    "cl.cheque.signature",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "the cheque's signature is wrong",
    "The channel closes; the peer's software is broken or hostile.",
)
CHEQUE_AMOUNT = define(
    "cl.cheque.amount",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the cheque's amount is not allowed",
    "Offer at least the smallest cheque and at most the issuer's balance.",
    409,
)
CHEQUE_NOTHING = define(
    "cl.cheque.nothing",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "the cheque is worth nothing or less",
    "The channel closes; the peer's software is broken or hostile.",
)
CHEQUE_SLOTS = define(
    "cl.cheque.slots",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "too many cheques are pending",
    "Wait until one is fulfilled, cancelled or expired.",
    409,
)
CHEQUE_TIMEOUT_SOON = define(
    "cl.cheque.timeout_too_soon",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the cheque expires too soon to be claimed",
    "Offer it with a later timeout.",
)
CHEQUE_TIMEOUT_FAR = define(
    "cl.cheque.timeout_too_far",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the cheque would lock funds for too long",
    "Offer it with an earlier timeout.",
)
CHEQUE_UNKNOWN = define(
    "cl.cheque.unknown",
    Fault.REMOTE,
    Action.REFUSE,
    "no pending cheque has this index",
    "Nothing: it was settled before, or never existed.",
    404,
)
CHEQUE_PREIMAGE = define(
    "cl.cheque.preimage",
    Fault.REMOTE,
    Action.REFUSE,
    "the preimage does not open the cheque's lock",
    "Send the 32 bytes whose sha-256 is the lock.",
)
CHEQUE_ANSWERED = define(
    "cl.cheque.answered",
    Fault.LOCAL,
    Action.REFUSE,
    "the cheque was fulfilled or cancelled already",
    "Nothing: the first answer stands.",
    409,
)
SNAPSHOT_SIGNATURE = define(
    "cl.snapshot.signature",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "the snapshot's signature is wrong",
    "The channel closes; the peer's software is broken or hostile.",
)
SNAPSHOT_FORM = define(
    "cl.snapshot.form",
    Fault.REMOTE,
    Action.REFUSE,
    "a squash is not canonical or covers an index that was never issued",
    "The peer should sign a correct one.",
)
SNAPSHOT_AMOUNT = define(
    "cl.snapshot.amount",
    Fault.REMOTE,
    Action.REFUSE,
    "a squash's amount is not what its cheques give",
    "The peer should sign the exact amount.",
)
SNAPSHOT_DROPS = define(
    "cl.snapshot.drops",
    Fault.REMOTE,
    Action.REFUSE,
    "a squash covers a cheque that is still owed to us at nothing",
    "The peer must wait until it expires.",
)
SNAPSHOT_OLDER = define(
    "cl.snapshot.older",
    Fault.REMOTE,
    Action.REFUSE,
    "the snapshot does not dominate the one before",
    "The peer should sign the union of both.",
)
CHANNEL_UNKNOWN = define(
    "cl.channel.unknown",
    Fault.LOCAL,
    Action.REFUSE,
    "no channel, or more than one, has this id",
    "List them with gateway channel list; a beginning of the id is enough when it fits only one.",
    404,
)
CHANNEL_STATE = define(
    "cl.channel.state",
    Fault.LOCAL,
    Action.REFUSE,
    "the channel's state does not allow this",
    "See gateway channel show.",
    409,
)
CHANNEL_FROZEN = define(
    "cl.channel.frozen",
    Fault.LOCAL,
    Action.REFUSE,
    "the channel takes no new cheques",
    "See gateway channel show for the reason; close it if the reason stays.",
    409,
)
DEADLINE_NEAR = define(
    "cl.channel.deadline_near",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "half of the margin before a deadline on chain is gone, and the channel's step is in no block",
    "The node tries in every block with a higher fee: check the chain provider, the wallet's free ada and the clock.",
    409,
)
CHANNEL_STALE = define(
    "cl.channel.stale",
    Fault.LOCAL,
    Action.STOP,
    "this database does not know all that was signed with it: it is an old copy",
    "The channel is frozen and signs nothing. Put the newest database back; if it is lost, gateway channel "
    "force-close settles the channel with what this copy holds.",
    409,
)
CHANNEL_UNHEARD = define(
    "cl.channel.unheard",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "since this node's start the peer has not said what it holds, so nothing new is signed",
    "Wait until the peer is connected; it is tried again by itself.",
    409,
)
OPEN_MISMATCH = define(
    "cl.open.mismatch",
    Fault.REMOTE,
    Action.IGNORE,
    "the output on chain is not the agreed channel",
    "Nothing: an output that differs is never used.",
)
OPEN_TERMS = define(
    "cl.open.terms",
    Fault.REMOTE,
    Action.REFUSE,
    "the proposed channel is outside the terms of this node",
    "Ask for the terms and propose within them.",
    409,
)
ILLEGAL_EDGE = define(
    "cl.channel.illegal_edge",
    Fault.LOCAL,
    Action.STOP,
    "an event does not fit the channel's state",
    "Report this with the channel's log.",
    500,
)
PEER_MESSAGE = define(
    "cl.channel.message",
    Fault.REMOTE,
    Action.REFUSE,
    "the message does not fit the channel's state",
    "Nothing: it is dropped.",
)

# Reasons that go to the partner, and alarms.
CHEQUE_CANCELLED = define(
    "cl.cheque.cancelled",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the receiver gave the cheque back with its snapshot",
    "Nothing: the funds are the issuer's again.",
)
CHEQUE_EXPIRED = define(
    "cl.cheque.expired",
    Fault.REMOTE,
    Action.FAIL_CHEQUE,
    "the cheque expired before it was opened",
    "Pay again; the funds are the issuer's again.",
)
CHEQUE_LATE_PREIMAGE = define(
    "cl.cheque.late_preimage",
    Fault.REMOTE,
    Action.WARN,
    "the preimage of a cheque came after the cheque was proven dead",
    "Nothing is owed for it; ask the peer why its node was late.",
)
CHANNEL_CLOSE_BY = define(
    "cl.channel.close_by",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "a fulfilled cheque was not squashed in time, so the channel closes to claim it",
    "Nothing: the claim runs by itself; see gateway channel show.",
)
CHANNEL_CLOSING = define(
    "cl.channel.closing",
    Fault.REMOTE,
    Action.REFUSE,
    "the channel is closing on chain",
    "Open another channel; this one settles by itself.",
    409,
)
OPEN_CANCELLED = define(
    "cl.open.cancelled",
    Fault.LOCAL,
    Action.REFUSE,
    "the owner gave the opening up before there was a channel",
    "Nothing was signed; open again when wanted.",
)
NEVER_FUNDED = define(
    "cl.open.never_funded",
    Fault.REMOTE,
    Action.IGNORE,
    "the opener never funded the channel that we accepted",
    "Nothing of ours was in it. Its opener may ask again.",
)
END_TERMS = define(
    "cl.channel.end_terms",
    Fault.REMOTE,
    Action.REFUSE,
    "we sign no such end of the channel",
    "Nothing was signed; the channel closes without the peer.",
)
END_SIGNATURE = define(
    "cl.channel.end_signature",
    Fault.REMOTE,
    Action.FAIL_CHANNEL,
    "the peer's signature is not one of the end that was agreed",
    "Nothing: the channel closes without the peer.",
)
