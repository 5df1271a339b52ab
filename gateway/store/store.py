"""The store: opens and guards one database, runs transactions, hands committed effects on.

Theory: a shell loads a state, decides, and appends events, state and effects in one transaction.
Listeners hear of effects only after the commit. When a commit fails, nothing was performed and
nothing in memory is true any more: the caller loads again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import text

from gateway.errors import Refused
from gateway.store import migrate
from gateway.store import schema as t
from gateway.store.codec import Codecs
from gateway.store.engine import AdvisoryLock, FileLock, coded, create, parse_url
from gateway.store.errors import COMMIT_UNKNOWN, CORRUPT, FENCED, STALE_COPY, WRONG_NETWORK
from gateway.store.failures import is_lost_link, translate
from gateway.store.hooks import Hooks
from gateway.store.transaction import OutboxItem, Transaction

# Larger files are checked by the operator's own backup run: the check reads every page.
CHECKED_AT_START_BYTES = 256 * 1024 * 1024

EffectListener = Callable[[tuple[OutboxItem, ...]], None]
DoneListener = Callable[[tuple[int, ...]], None]

_READ_SQLITE: dict[str, Any] = {"read_only": True}
_READ_POSTGRESQL: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def system_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """Made by `Store.open`. One writer at a time on SQLite; on PostgreSQL row locks and versions decide."""

    def __init__(
        self,
        engine: AsyncEngine,
        lock: FileLock | AdvisoryLock,
        codecs: Codecs,
        now_ms: Callable[[], int],
    ) -> None:
        self.codecs = codecs
        self.hooks = Hooks()
        self.incarnation = 0
        self.restored = False
        self._engine = engine
        self._lock = lock
        self._now_ms = now_ms
        self._sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock()
        self._writing: set[asyncio.Task[Any] | None] = set()
        self._dead: Refused | None = None
        self._on_effects: list[EffectListener] = []
        self._on_done: list[DoneListener] = []

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        network: str,
        codecs: Codecs,
        now_ms: Callable[[], int] = system_ms,
        accept_restored: bool = False,
    ) -> Self:
        """Locks, checks, migrates and binds the database to `network`.

        Fails with store.in_use, store.newer_database, store.foreign_database, store.wrong_network,
        store.stale_copy, store.corrupt, store.read_only, store.disk_full, store.unreachable, store.bad_url.
        `accept_restored` starts on an older copy and sets `restored`: nothing may be signed with what it holds.
        """
        parsed = parse_url(url)
        engine = create(parsed)
        lock: FileLock | AdvisoryLock
        if parsed.get_backend_name() == "sqlite":
            lock = FileLock(Path(str(parsed.database)))
        else:
            lock = AdvisoryLock(engine)
        store = cls(engine, lock, codecs, now_ms)
        try:
            if isinstance(lock, FileLock):
                lock.acquire()
            else:
                await lock.acquire()
            with coded():
                await store._prepare(network, accept_restored)
        except BaseException:
            await store.close()
            raise
        return store

    async def _prepare(self, network: str, accept_restored: bool) -> None:
        if isinstance(self._lock, FileLock):
            await self._check_file(Path(str(self._engine.url.database)))
        async with self._engine.begin() as connection:
            await connection.run_sync(migrate.upgrade)
            found = await _meta(connection, "network")
            if found is None:
                await _set_meta(connection, "network", network)
            elif found != network:
                raise Refused(WRONG_NETWORK(field="network", got=found, allowed=network))
            incarnation = int(await _meta(connection, "incarnation") or 0)
            position = int(await connection.scalar(select(func.max(t.events.c.position))) or 0)
            if isinstance(self._lock, FileLock):
                incarnation = self._check_age(self._lock, incarnation, position, accept_restored)
            if await _meta(connection, "backup") is not None:
                self._check_backup(accept_restored)
                await connection.execute(delete(t.meta).where(t.meta.c.key == "backup"))
            if self.restored:
                await _set_meta(connection, "restored", "yes")
            self.restored = await _meta(connection, "restored") == "yes"
            self.incarnation = incarnation + 1
            await _set_meta(connection, "incarnation", str(self.incarnation))
        if isinstance(self._lock, FileLock):
            self._lock.write_mark(self.incarnation, position)

    def _check_age(self, lock: FileLock, incarnation: int, position: int, accept: bool) -> int:
        """P4: an older copy must not sign again what this node has signed already."""
        newest_incarnation, newest_position = lock.mark()
        if incarnation >= newest_incarnation and position >= newest_position:
            return incarnation
        if not accept:
            raise Refused(
                STALE_COPY(
                    field="position",
                    got=f"{incarnation}/{position}",
                    allowed=f"{newest_incarnation}/{newest_position} or newer",
                )
            )
        self.restored = True
        return max(incarnation, newest_incarnation)

    def _check_backup(self, accept: bool) -> None:
        """P4: a backup put elsewhere has no mark beside it, but carries one."""
        if not accept:
            raise Refused(
                STALE_COPY(field="database", got="a backup", allowed="the database that was in use")
            )
        self.restored = True

    async def _check_file(self, path: Path) -> None:
        if _size(path) > CHECKED_AT_START_BYTES:
            return
        async with self._engine.connect() as connection:
            connection = await connection.execution_options(read_only=True)
            answer = await connection.scalar(text("PRAGMA quick_check(1)"))
        if answer != "ok":
            raise Refused(CORRUPT(field="database", got=path, detail=str(answer)[:200]))

    async def close(self) -> None:
        """Idempotent; waits for the transaction under way."""
        async with self._writer:
            await self._close()

    async def _close(self) -> None:
        if isinstance(self._lock, FileLock):
            await self._engine.dispose()
            self._lock.release()
        else:
            await self._lock.release()
            await self._engine.dispose()

    async def merged(self) -> None:
        """Whatever could have been signed with the copy is frozen: it is an ordinary database again."""
        async with self.transaction("store.merged") as tx:
            await tx.connection.execute(delete(t.meta).where(t.meta.c.key == "restored"))
        self.restored = False

    async def remember(self, name: str, value: str, *, instead_of: str | None = None) -> str:
        """The value that was stored first under `name`, now or ever; `instead_of` replaces exactly that one."""
        async with self.read() as tx:
            found = await _meta(tx.connection, name)
        if found is None or (instead_of is not None and found == instead_of):
            async with self.transaction("store.remember") as tx:
                found = await _meta(tx.connection, name)
                if found is None or (instead_of is not None and found == instead_of):
                    await _set_meta(tx.connection, name, value)
                    found = value
        return found

    def on_effects(self, listener: EffectListener) -> None:
        """`listener` gets the new effects of each commit, in order, right after it. It must not wait."""
        self._on_effects.append(listener)

    def on_done(self, listener: DoneListener) -> None:
        """`listener` gets the ids of effects that a commit has marked done."""
        self._on_done.append(listener)

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Transaction]:
        """Reads and writes that commit together when the block ends, and not at all when it raises.

        `name` says which write it is (hooks and the kill matrix see it). Fails with store.* codes.
        """
        task = asyncio.current_task()
        if task in self._writing:
            raise RuntimeError("a transaction inside a transaction would wait for itself")
        self._writing.add(task)
        try:
            if self._sqlite:
                async with self._writer, self._transaction(name) as tx:
                    yield tx
            else:
                async with self._transaction(name) as tx:
                    yield tx
        finally:
            self._writing.discard(task)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One consistent snapshot; never waits for the writer. Writing in it fails."""
        with coded():
            connection = await self._engine.connect()
        try:
            with coded():
                await connection.execution_options(**(_READ_SQLITE if self._sqlite else _READ_POSTGRESQL))
                await connection.begin()
            with coded(driver_only=True):
                yield Transaction(connection, self.codecs, self._now_ms(), writable=False)
        finally:
            await connection.close()

    @asynccontextmanager
    async def _transaction(self, name: str) -> AsyncIterator[Transaction]:
        if self._dead is not None:
            raise Refused(self._dead.rejection)
        with coded():
            connection = await self._engine.connect()
        try:
            with coded():
                await connection.begin()
                if not self._sqlite:
                    await self._fence(connection)
            tx = Transaction(connection, self.codecs, self._now_ms(), writable=True)
            with coded(driver_only=True):
                yield tx
            await _whole(self._finish(connection, tx, name))
        finally:
            with suppress(DBAPIError, OSError):  # what was not committed is rolled back here
                await connection.close()

    async def _finish(self, connection: AsyncConnection, tx: Transaction, name: str) -> None:
        self.hooks.reach("before_commit", name)
        try:
            await connection.commit()
        except Exception as error:
            rejection = translate(error)
            if rejection is None:
                raise
            if is_lost_link(error):
                # Whether it is stored is unknown: nothing more may be decided on what memory holds.
                self._dead = Refused(COMMIT_UNKNOWN(field=name, detail=rejection.detail))
                raise Refused(self._dead.rejection) from error
            raise Refused(rejection) from error
        if isinstance(self._lock, FileLock) and tx.position:
            self._lock.write_mark(self.incarnation, tx.position)
        self.hooks.reach("after_commit", name)
        if tx.finished:
            for on_done in self._on_done:
                on_done(tuple(tx.finished))
        if tx.created:
            for on_effects in self._on_effects:
                on_effects(tuple(tx.created))

    async def _fence(self, connection: AsyncConnection) -> None:
        """A process whose advisory lock was lost to another must not write any more."""
        query = select(t.meta.c.value).where(t.meta.c.key == "incarnation").with_for_update(read=True)
        found = await connection.scalar(query)
        if found != str(self.incarnation):
            self._dead = Refused(FENCED(field="incarnation", got=found, allowed=self.incarnation))
            raise self._dead

    async def mark_done(self, item_id: int) -> None:
        """Its own transaction; inside another use `tx.mark_done`."""
        async with self.transaction("outbox.done") as tx:
            await tx.mark_done(item_id)

    async def open_effects(self) -> tuple[OutboxItem, ...]:
        async with self.read() as tx:
            return await tx.open_effects()

    async def prune(self, before_ms: int) -> int:
        """Deletes done effects, taken messages and expired quotes older than `before_ms`; events stay."""
        async with self.transaction("store.prune") as tx:
            done = delete(t.outbox).where(t.outbox.c.done_at_ms < before_ms)
            count = int((await tx.connection.execute(done)).rowcount)
            return count + await tx.inbox.prune(before_ms) + await tx.quotes.prune(before_ms)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Runs to its end even when the caller is cancelled: a commit is never half known."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break
    task.result()
    if cancelled is not None:
        raise cancelled


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _meta(connection: AsyncConnection, key: str) -> str | None:
    found: str | None = await connection.scalar(select(t.meta.c.value).where(t.meta.c.key == key))
    return found


async def _set_meta(connection: AsyncConnection, key: str, value: str) -> None:
    changed = await connection.execute(update(t.meta).where(t.meta.c.key == key).values(value=value))
    if changed.rowcount == 0:
        await connection.execute(insert(t.meta).values(key=key, value=value))
