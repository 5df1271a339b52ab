"""What a database driver says, as one of our codes. Unknown words become store.failed."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import ErrorCode, Refused, Rejection
from gateway.store.errors import (
    BUSY,
    CONFLICT,
    CORRUPT,
    EXISTS,
    FAILED,
    FULL,
    IN_USE,
    IO,
    LIVE_HASH,
    READ_ONLY,
    UNREACHABLE,
)

# SQLite's primary result codes (sqlite3.h); extended codes carry them in the low byte.
_SQLITE: dict[int, ErrorCode] = {
    5: BUSY,
    6: BUSY,
    8: READ_ONLY,
    10: IO,
    11: CORRUPT,
    13: FULL,
    14: READ_ONLY,
    26: CORRUPT,
}
# PostgreSQL's SQLSTATE: the first that is a prefix counts.
_SQLSTATE: tuple[tuple[str, ErrorCode], ...] = (
    ("53100", FULL),
    ("25006", READ_ONLY),
    ("42501", READ_ONLY),
    ("XX001", CORRUPT),
    ("XX002", CORRUPT),
    ("40001", CONFLICT),
    ("40P01", CONFLICT),
    ("55P03", BUSY),
    ("55006", IN_USE),
    ("58", IO),
    ("08", UNREACHABLE),
    ("57P", UNREACHABLE),
    ("28", UNREACHABLE),
    ("3D", UNREACHABLE),
    ("53300", UNREACHABLE),
)


def _chain(error: BaseException) -> list[BaseException]:
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        todo += [one.__cause__, one.__context__, getattr(one, "orig", None)]
    return seen


def translate(error: BaseException) -> Rejection | None:
    """None when the error is not the database's: then it is a bug of ours and goes up as it is."""
    chain = _chain(error)
    for one in chain:
        if isinstance(one, Refused):
            return one.rejection
    if isinstance(error, PoolTimeout):
        return BUSY(detail=str(error)[:200])
    if not isinstance(error, DBAPIError | OSError | sqlite3.Error | InterfaceError | TimeoutError):
        return None
    detail = str(chain[-1]).splitlines()[0][:200] if str(chain[-1]) else type(chain[-1]).__name__
    if isinstance(error, IntegrityError):
        return _integrity(str(error.orig), detail)
    for one in chain:
        number = getattr(one, "sqlite_errorcode", None)
        if isinstance(number, int):
            return (_SQLITE.get(number & 0xFF) or FAILED)(detail=detail)
        state = getattr(one, "sqlstate", None)
        if isinstance(state, str):
            for prefix, code in _SQLSTATE:
                if state.startswith(prefix):
                    return code(detail=detail)
    if isinstance(error, OSError | TimeoutError) or getattr(error, "connection_invalidated", False):
        return UNREACHABLE(detail=detail)
    if any(isinstance(one, OSError | ConnectionError) for one in chain):
        return UNREACHABLE(detail=detail)
    return FAILED(detail=detail)


def _integrity(text: str, detail: str) -> Rejection:
    # SQLite names the columns of a broken index, PostgreSQL its name.
    if "uq_swap_attempts_live_hashlock" in text or text.endswith("swap_attempts.hashlock"):
        return LIVE_HASH(field="hashlock", detail=detail)
    if "pk_entities" in text or "entities.kind" in text or ("events" in text and "seq" in text):
        return CONFLICT(field="version", detail=detail)
    if "UNIQUE" in text or "unique" in text:
        return EXISTS(detail=detail)
    return FAILED(detail=detail)


def is_lost_link(error: BaseException) -> bool:
    """Whether the connection is gone, so that a commit under way may or may not have happened."""
    rejection = translate(error)
    return rejection is not None and rejection.spec in (UNREACHABLE, IO)
