"""R3. Codes of the signer's room: the keystore, and what the signer refuses to sign."""

from __future__ import annotations

from gateway.errors import Action, Fault, define

MISSING = define(
    "cl.keystore.missing", Fault.LOCAL, Action.STOP,
    "there is no keystore file", "run `gateway init`, or correct the data directory", 404,
)  # fmt: skip
EXISTS = define(
    "cl.keystore.exists", Fault.LOCAL, Action.REFUSE,
    "a keystore file is already there", "choose another data directory; a keystore is never overwritten", 409,
)  # fmt: skip
MODE = define(
    "cl.keystore.mode", Fault.LOCAL, Action.STOP,
    "others may read or write the keystore file", "run `chmod 600` on the file, and ask who had access", 403,
)  # fmt: skip
CORRUPT = define(
    "cl.keystore.corrupt", Fault.ENVIRONMENT, Action.STOP,
    "the keystore file is cut short or damaged", "restore it from a backup, or start anew from the seed words", 500,
)  # fmt: skip
PASSWORD = define(
    "cl.keystore.password", Fault.LOCAL, Action.REFUSE,
    "the password is wrong, or the keystore was altered", "try the password again; else restore a backup", 403,
)  # fmt: skip
NETWORK = define(
    "cl.keystore.network", Fault.LOCAL, Action.STOP,
    "the keystore belongs to another network", "use the data directory of the network that you run", 409,
)  # fmt: skip
WRITE = define(
    "cl.keystore.write", Fault.ENVIRONMENT, Action.STOP,
    "the keystore or the signer's guard cannot be written", "free disk space and check the permissions", 500,
)  # fmt: skip
SEED = define(
    "cl.keystore.seed", Fault.LOCAL, Action.REFUSE,
    "these are not valid seed words (BIP 39)", "check spelling and order of the words; the last is a checksum",
)  # fmt: skip
UNKNOWN_KEY = define(
    "cl.signer.unknown_key", Fault.LOCAL, Action.REFUSE,
    "this signer does not hold the key", "run the node that opened the channel, or restore its keystore", 404,
)  # fmt: skip
EQUIVOCATION = define(
    "cl.signer.equivocation", Fault.LOCAL, Action.REFUSE,
    "a cheque with this index was signed with another amount, lock or a later timeout",
    "nothing is lost; if the database was restored from a backup, close the channel with what it holds", 409,
)  # fmt: skip
REGRESSION = define(
    "cl.signer.regression", Fault.LOCAL, Action.REFUSE,
    "a snapshot that dominates this one was signed before",
    "nothing is lost; synchronise with the partner, and if that fails close the channel", 409,
)  # fmt: skip
COVERED = define(
    "cl.signer.covered", Fault.LOCAL, Action.REFUSE,
    "a signed squash covers this index already", "use the next free index", 409,
)  # fmt: skip
NOT_OURS = define(
    "cl.signer.not_our_channel", Fault.LOCAL, Action.REFUSE,
    "the transaction does not act on a channel of this key", "nothing was signed; report it with the logs", 403,
)  # fmt: skip
END = define(
    "cl.signer.end", Fault.REMOTE, Action.REFUSE,
    "this end of the channel would pay us less than we are owed, or does more than end the channel",
    "nothing was signed; the channel closes without the peer", 409,
)  # fmt: skip
ENDED = define(
    "cl.signer.ended", Fault.LOCAL, Action.REFUSE,
    "an end of this channel was signed: nothing that moves value in it is signed any more",
    "open another channel", 409,
)  # fmt: skip
BAD_INPUT = define(
    "cl.signer.bad_input", Fault.LOCAL, Action.REFUSE,
    "what is to be signed has not the form that the signer knows", "nothing was signed; report it with the logs",
)  # fmt: skip
GUARD = define(
    "cl.signer.guard_corrupt", Fault.ENVIRONMENT, Action.STOP,
    "the signer's memory of what it signed is damaged",
    "do not delete it: close the channels with what they hold, or restore the newest copy of the file", 500,
)  # fmt: skip
