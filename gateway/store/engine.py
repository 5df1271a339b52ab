"""Engines for the two databases, and the lock that keeps a second process out."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import text

from gateway.errors import Refused
from gateway.store.errors import BAD_URL, IN_USE, READ_ONLY
from gateway.store.failures import translate

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BUSY_TIMEOUT_MS = 5_000
# One key of PostgreSQL's advisory locks, in the database that the URL names: "clgw" and a number.
ADVISORY_LOCK = 0x636C6777_00000001
LOCK_GRACE_S, LOCK_PAUSE_S = 3.0, 0.1
_MARK = struct.Struct(">QQ")  # incarnation, last event position


def parse_url(url: str) -> URL:
    """sqlite:///file or postgresql://…; the asynchronous driver is ours to choose."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Refused(BAD_URL(field="database", detail=str(error))) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise Refused(BAD_URL(field="database", got=":memory:", allowed="a file"))
        path = Path(parsed.database).expanduser().absolute()
        return parsed.set(drivername="sqlite+aiosqlite", database=str(path))
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+asyncpg")
    raise Refused(BAD_URL(field="database", got=backend, allowed="sqlite, postgresql"))


def create(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(engine.sync_engine, "connect", _sqlite_connect)
        event.listen(engine.sync_engine, "begin", _sqlite_begin)
        return engine
    # pool_pre_ping: a server restarted while we slept must not fail the first payment after it.
    return create_async_engine(url, pool_size=10, max_overflow=0, pool_pre_ping=True)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # The driver's own implicit BEGIN would leave DDL outside of the transaction: we begin ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # NORMAL loses the last commits on power loss
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # IMMEDIATE: a deferred writer can lose its upgrade to the write lock half-way.
    read_only = bool(connection.get_execution_options().get("read_only", False))
    if connection.info.get("query_only", False) != read_only:
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        connection.info["query_only"] = read_only
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class FileLock:
    """An OS lock beside a SQLite file; the file also remembers how far this node has written (P4)."""

    def __init__(self, database: Path) -> None:
        self._database = Path(os.path.realpath(database))
        self.path = Path(str(self._database) + ".lock")
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Fails with store.in_use or store.read_only. The OS frees it however the process ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise Refused(READ_ONLY(field="database", got=self.path, detail=str(error))) from None
        handle = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            _lock(handle)
        except OSError:
            handle.close()
            raise Refused(IN_USE(field="database", got=self.path)) from None
        self._file = handle
        with suppress(OSError):  # SQLite says better what is wrong with the file
            os.close(os.open(self._database, os.O_RDWR | os.O_CREAT, 0o600))

    def mark(self) -> tuple[int, int]:
        """(incarnation, position) of the newest write known; zeros when there was none."""
        assert self._file is not None
        self._file.seek(0)
        raw = self._file.read(_MARK.size)
        return _MARK.unpack(raw) if len(raw) == _MARK.size else (0, 0)

    def write_mark(self, incarnation: int, position: int) -> None:
        """Not synced: after a power cut the mark may be behind the database, never ahead of it."""
        assert self._file is not None
        with suppress(OSError):  # a full disk: the mark stays behind, which is safe
            self._file.seek(0)
            self._file.write(_MARK.pack(incarnation, position))

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(handle: BinaryIO) -> None:
    if sys.platform == "win32":
        handle.seek(_MARK.size)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class AdvisoryLock:
    """PostgreSQL's session lock on a connection of its own; freed when that connection ends."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def acquire(self) -> None:
        """Fails with store.in_use or store.unreachable. The server notices a process that was killed a moment later,
        and only then is its lock free."""
        with coded():
            connection = await self._engine.connect()
        try:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            tries = LOCK_GRACE_S / LOCK_PAUSE_S
            while not (taken := await self._try(connection)) and (tries := tries - 1) > 0:
                await asyncio.sleep(LOCK_PAUSE_S)
        except Exception as error:
            await connection.close()
            rejection = translate(error)
            raise (Refused(rejection) if rejection else error) from error
        if not taken:
            await connection.close()
            raise Refused(IN_USE(field="database", got=self._engine.url.database))
        self._connection = connection

    @staticmethod
    async def _try(connection: AsyncConnection) -> bool:
        return bool(await connection.scalar(text("SELECT pg_try_advisory_lock(:k)"), {"k": ADVISORY_LOCK}))

    async def release(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(Exception):
                await connection.invalidate()
            with suppress(Exception):
                await connection.close()


@contextmanager
def coded(*, driver_only: bool = False) -> Iterator[None]:
    """Turns what the driver raises into `Refused`; our own bugs pass as they are.

    `driver_only` leaves an OSError alone: within a caller's block it may not be the database's.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        if driver_only and not isinstance(error, SQLAlchemyError):
            raise
        rejection = translate(error)
        if rejection is None:
            raise
        raise Refused(rejection) from error
