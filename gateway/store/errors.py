"""Codes of the store (docs/errors.md is generated from them)."""

from gateway.errors import Action, Fault, define

CONFLICT = define(
    "store.conflict",
    Fault.LOCAL,
    Action.RETRY,
    "the record was changed by another writer since it was read",
    "Nothing was written. Read the record again and repeat the request.",
    409,
)
LIVE_HASH = define(
    "store.hash_live",
    Fault.LOCAL,
    Action.REFUSE,
    "a swap with this payment hash is still live",
    "Wait until the earlier swap is done or released; a hash serves one live swap at a time.",
    409,
)
EXISTS = define(
    "store.exists",
    Fault.LOCAL,
    Action.REFUSE,
    "a record with this key exists already",
    "Nothing was written. Use another key, or read the record that exists.",
    409,
)
GUARD = define(
    "store.guard_conflict",
    Fault.LOCAL,
    Action.REFUSE,
    "the signer has already signed something else under this index",
    "Nothing was signed. If this node was restored from a backup, let it re-synchronise with the partner first.",
    409,
)
IN_USE = define(
    "store.in_use",
    Fault.LOCAL,
    Action.STOP,
    "another process uses this database",
    "Stop the other gateway process, or give this one its own data directory.",
    503,
)
FENCED = define(
    "store.fenced",
    Fault.ENVIRONMENT,
    Action.STOP,
    "another process has taken this database over",
    "This process stops by itself. Make sure that only one gateway is started for this database.",
    503,
)
STALE_COPY = define(
    "store.stale_copy",
    Fault.LOCAL,
    Action.STOP,
    "the database is older than what this node has already written",
    "Put the newest database back. If it is lost: gateway run --accept-old-copy freezes every open channel, and "
    "gateway channel force-close settles each with what the copy holds.",
    503,
)
WRONG_NETWORK = define(
    "store.wrong_network",
    Fault.LOCAL,
    Action.STOP,
    "the database belongs to another network",
    "Check the network in the configuration, or use a data directory of its own for each network.",
)
NEWER = define(
    "store.newer_database",
    Fault.LOCAL,
    Action.STOP,
    "the database was written by a newer version of the gateway",
    "Install the newer version again; an older one would misread what it stored.",
)
FOREIGN = define(
    "store.foreign_database",
    Fault.LOCAL,
    Action.STOP,
    "the database holds tables that are not the gateway's",
    "Give the gateway an empty database of its own.",
)
BAD_URL = define(
    "store.bad_url",
    Fault.LOCAL,
    Action.STOP,
    "the database URL cannot be used",
    "Use sqlite:///path/to/file.db or postgresql://user@host/database.",
)
UNREACHABLE = define(
    "store.unreachable",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the database cannot be reached or has ended the connection",
    "Check that the database server runs and that its address, user and password are right.",
    503,
)
COMMIT_UNKNOWN = define(
    "store.commit_unknown",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the connection broke while a commit was under way",
    "Restart the gateway: it reads what was stored and goes on from there; nothing was sent on the strength of it.",
    503,
)
FULL = define(
    "store.disk_full",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the disk is full",
    "Free space on the disk of the database. Nothing was written and nothing was sent.",
    507,
)
READ_ONLY = define(
    "store.read_only",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the database cannot be written",
    "Check the owner and mode of the database file and its directory, and that the disk is mounted writable.",
    503,
)
CORRUPT = define(
    "store.corrupt",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the database is damaged",
    "Stop, keep a copy of the files as they are, check the disk, and restore the newest backup.",
    503,
)
IO = define(
    "store.io",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the disk refused to read or write",
    "Check the disk and the system's log. Nothing was sent on the strength of an unwritten record.",
    503,
)
BUSY = define(
    "store.busy",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the database stayed locked for too long",
    "Close other programs that hold the database open (a database browser, a backup tool).",
    503,
)
FAILED = define(
    "store.failed",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the database refused a statement",
    "Report this with the log; restart the gateway, which goes on from what is stored.",
    500,
)
CODEC_TAG = define(
    "store.codec.unknown_type",
    Fault.LOCAL,
    Action.STOP,
    "a stored record has a type that this version does not know",
    "Install the version of the gateway that wrote it.",
    500,
)
CODEC_VERSION = define(
    "store.codec.newer_version",
    Fault.LOCAL,
    Action.STOP,
    "a stored record has a newer form than this version knows",
    "Install the version of the gateway that wrote it.",
    500,
)
CODEC_MALFORMED = define(
    "store.codec.malformed",
    Fault.ENVIRONMENT,
    Action.STOP,
    "a stored record cannot be read",
    "The database is damaged or was edited by hand: restore the newest backup.",
    500,
)
