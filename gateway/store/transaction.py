"""One database transaction: state rows, their events and effects, and the tables beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Refused
from gateway.store import schema as t
from gateway.store.codec import Codecs
from gateway.store.errors import CONFLICT
from gateway.store.ledger_rows import Audit, SwapInputs
from gateway.store.notes import Notes
from gateway.store.price_rows import PriceRows
from gateway.store.records import (
    Chain,
    Guard,
    Headers,
    Inbox,
    Lookups,
    Payments,
    Peers,
    Quotes,
    Swaps,
)

# Built once: on the hot path SQLAlchemy would spend longer on building them than SQLite on running them.
_KEY = (t.entities.c.kind == bindparam("b_kind"), t.entities.c.entity_id == bindparam("b_id"))
_LOAD = select(t.entities.c.state, t.entities.c.version).where(*_KEY)
_LOCK = select(t.entities.c.version).where(*_KEY).with_for_update()
_CREATE = insert(t.entities)
_REPLACE = (
    update(t.entities)
    .where(*_KEY, t.entities.c.version == bindparam("b_version"))
    .values({name: bindparam(name) for name in ("version", "live", "state", "updated_ms")})
)
_EVENT = insert(t.events)
_EFFECT = insert(t.outbox)
_DONE = (
    update(t.outbox)
    .where(t.outbox.c.id == bindparam("b_item"), t.outbox.c.done_at_ms.is_(None))
    .values(done_at_ms=bindparam("b_now"))
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One state row as it was read."""

    id: str
    state: Any
    version: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    seq: int
    event: Any
    created_ms: int


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """An effect that is committed and not yet done. `id` rises in the order of the commits of its entity."""

    id: int
    kind: str
    entity_id: str
    effect: Any
    attempts: int
    created_ms: int


class Transaction:
    """Lives inside `async with store.transaction(name)`; everything in it commits together or not at all."""

    def __init__(self, connection: AsyncConnection, codecs: Codecs, now_ms: int, writable: bool) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.swaps = Swaps(connection, now_ms)
        self.swap_inputs = SwapInputs(connection, now_ms)
        self.quotes = Quotes(connection, now_ms)
        self.payments = Payments(connection, now_ms)
        self.chain = Chain(connection)
        self.headers = Headers(connection)
        self.guard = Guard(connection, now_ms)
        self.peers = Peers(connection, now_ms)
        self.audit = Audit(connection, now_ms)
        self.prices = PriceRows(connection, now_ms)
        self.notes = Notes(connection, now_ms)
        self.inbox = Inbox(connection, now_ms)
        self.lookups = Lookups(connection)
        self._codecs = codecs
        self._writable = writable
        self.created: list[OutboxItem] = []
        self.finished: list[int] = []
        self.position = 0

    def encode(self, value: object) -> bytes:
        return self._codecs.encode(value)

    def decode(self, payload: bytes) -> Any:
        return self._codecs.decode(payload)

    async def load(self, kind: str, entity_id: str) -> tuple[Any | None, int]:
        """The newest state and its version; (None, 0) when there is none."""
        row = (await self.connection.execute(_LOAD, {"b_kind": kind, "b_id": entity_id})).first()
        return (None, 0) if row is None else (self._codecs.decode(row.state), row.version)

    async def list(self, kind: str, *, live_only: bool = True) -> tuple[Loaded, ...]:
        """Every state of a kind, by id; at start the live ones suffice."""
        query = select(t.entities).where(t.entities.c.kind == kind).order_by(t.entities.c.entity_id)
        if live_only:
            query = query.where(t.entities.c.live)
        rows = await self.connection.execute(query)
        return tuple(Loaded(r.entity_id, self._codecs.decode(r.state), r.version) for r in rows)

    async def append(
        self,
        kind: str,
        entity_id: str,
        expected_version: int,
        events: Sequence[Any],
        state: Any,
        effects: Sequence[Any] = (),
        *,
        live: bool = True,
    ) -> int:
        """Appends `events`, replaces the state row and files `effects`; returns the new version.

        With no events only the effects are filed and the version stays. Fails with store.conflict when
        somebody else has written since `expected_version`.
        """
        if not self._writable:
            raise RuntimeError("a read-only transaction cannot append")
        version = expected_version + len(events)
        await self._write_state(kind, entity_id, expected_version, version, state, live)
        if events:
            await self._write_events(kind, entity_id, expected_version, events)
        for effect in effects:
            await self._write_effect(kind, entity_id, effect)
        return version

    async def _write_state(
        self, kind: str, entity_id: str, expected: int, version: int, state: Any, live: bool
    ) -> None:
        # First, since it takes the row's lock: ids of one entity's effects then rise in commit order.
        key = {"b_kind": kind, "b_id": entity_id}
        if version == expected:
            if (await self.connection.scalar(_LOCK, key) or 0) != expected:
                raise Refused(_conflict(kind, entity_id, expected))
            return
        values = {
            "version": version,
            "live": live,
            "state": self._codecs.encode(state),
            "updated_ms": self.now_ms,
        }
        if expected == 0:
            if await self.connection.scalar(_LOCK, key) is not None:
                raise Refused(_conflict(kind, entity_id, expected))
            await self.connection.execute(_CREATE, {"kind": kind, "entity_id": entity_id, **values})
            return
        if (await self.connection.execute(_REPLACE, {**key, "b_version": expected, **values})).rowcount != 1:
            raise Refused(_conflict(kind, entity_id, expected))

    async def _write_events(self, kind: str, entity_id: str, expected: int, events: Sequence[Any]) -> None:
        for seq, event in enumerate(events, expected + 1):
            row = await self.connection.execute(
                _EVENT,
                {
                    "kind": kind,
                    "entity_id": entity_id,
                    "seq": seq,
                    "tag": self._codecs.tag_of(event),
                    "codec_version": self._codecs.version_of(event),
                    "payload": self._codecs.encode(event),
                    "created_ms": self.now_ms,
                },
            )
            self.position = _new_id(row)

    async def _write_effect(self, kind: str, entity_id: str, effect: Any) -> None:
        row = await self.connection.execute(
            _EFFECT,
            {
                "kind": kind,
                "entity_id": entity_id,
                "tag": self._codecs.tag_of(effect),
                "payload": self._codecs.encode(effect),
                "created_ms": self.now_ms,
                "attempts": 0,
                "last_error": "",
            },
        )
        self.created.append(OutboxItem(_new_id(row), kind, entity_id, effect, 0, self.now_ms))

    async def history(self, kind: str, entity_id: str, after: int = 0) -> AsyncIterator[StoredEvent]:
        """The log of one entity from the event after `after`, oldest first."""
        query = (
            select(t.events)
            .where(t.events.c.kind == kind, t.events.c.entity_id == entity_id, t.events.c.seq > after)
            .order_by(t.events.c.seq)
        )
        for row in await self.connection.execute(query):
            yield StoredEvent(row.seq, self._codecs.decode(row.payload), row.created_ms)

    async def mark_done(self, item_id: int) -> None:
        """The effect needs no delivery any more. Idempotent."""
        await self.connection.execute(_DONE, {"b_item": item_id, "b_now": self.now_ms})
        self.finished.append(item_id)

    async def mark_failed(self, item_id: int, error: str) -> None:
        """Counts an attempt; the effect stays open."""
        await self.connection.execute(
            update(t.outbox)
            .where(t.outbox.c.id == item_id)
            .values(attempts=t.outbox.c.attempts + 1, last_error=error[:500])
        )

    async def open_effects(self) -> tuple[OutboxItem, ...]:
        """All undone effects, oldest first."""
        query = select(t.outbox).where(t.outbox.c.done_at_ms.is_(None)).order_by(t.outbox.c.id)
        return tuple(self._item(row) for row in await self.connection.execute(query))

    def _item(self, row: Row[Any]) -> OutboxItem:
        effect = self._codecs.decode(row.payload)
        return OutboxItem(row.id, row.kind, row.entity_id, effect, row.attempts, row.created_ms)


def _new_id(result: Any) -> int:
    return int(result.inserted_primary_key[0])


def _conflict(kind: str, entity_id: str, expected: int) -> Any:
    return CONFLICT(field=f"{kind}.version", got=expected, detail=entity_id)
