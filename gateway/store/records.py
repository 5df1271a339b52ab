"""The tables beside the event log, one small class each; all work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.store import schema as t
from gateway.store.errors import EXISTS, GUARD

KEPT_HEADERS = 4032  # two difficulty periods
KEPT_POINTS = 2160  # k of Cardano's ledger: nothing older can be rolled back


class _Table:
    def __init__(self, connection: AsyncConnection, now_ms: int = 0) -> None:
        self._db = connection
        self._now_ms = now_ms

    async def _upsert(self, table: Table, values: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
        """Inserts, or replaces every column that is neither key nor in `keep`."""
        dialect = postgresql if self._db.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table).values(**values)
        keys = [c.name for c in table.primary_key.columns]
        changed = {n: statement.excluded[n] for n in values if n not in keys and n not in keep}
        await self._db.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))

    async def _insert_once(self, table: Table, values: Mapping[str, Any]) -> bool:
        dialect = postgresql if self._db.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
        return bool((await self._db.execute(statement)).rowcount == 1)


@dataclass(frozen=True, slots=True)
class SwapAttempt:
    swap_id: str
    attempt: int
    hashlock: Hashlock
    direction: str
    live: bool


class Swaps(_Table):
    """Which swap holds a payment hash: at most one live attempt for each (X6)."""

    async def begin(self, swap_id: str, attempt: int, hashlock: Hashlock, direction: str) -> None:
        """Fails with store.hash_live while any attempt with this hash is live."""
        await self._db.execute(
            insert(t.swap_attempts).values(
                swap_id=swap_id,
                attempt=attempt,
                hashlock=hashlock.raw,
                direction=direction,
                live=True,
                created_ms=self._now_ms,
            )
        )

    async def end(self, swap_id: str, attempt: int) -> None:
        """The attempt is Done, Refused or Released. Idempotent."""
        await self._db.execute(
            update(t.swap_attempts)
            .where(t.swap_attempts.c.swap_id == swap_id, t.swap_attempts.c.attempt == attempt)
            .where(t.swap_attempts.c.live)
            .values(live=False, ended_ms=self._now_ms)
        )

    async def live(self, hashlock: Hashlock) -> SwapAttempt | None:
        query = select(t.swap_attempts).where(
            t.swap_attempts.c.hashlock == hashlock.raw, t.swap_attempts.c.live
        )
        row = (await self._db.execute(query)).first()
        return None if row is None else _attempt(row)

    async def of_hash(self, hashlock: Hashlock) -> tuple[SwapAttempt, ...]:
        query = (
            select(t.swap_attempts)
            .where(t.swap_attempts.c.hashlock == hashlock.raw)
            .order_by(t.swap_attempts.c.swap_id, t.swap_attempts.c.attempt)
        )
        return tuple(_attempt(row) for row in await self._db.execute(query))

    async def ended_since(self, direction: str, at_ms: int) -> tuple[tuple[int, str], ...]:
        """(when, entity id) of each attempt of a direction that ended at `at_ms` or later."""
        table = t.swap_attempts
        query = select(table).where(table.c.direction == direction, table.c.ended_ms >= at_ms)
        rows = await self._db.execute(query)
        return tuple((int(row.ended_ms), f"{row.swap_id}.{row.attempt}") for row in rows)


def _attempt(row: Any) -> SwapAttempt:
    return SwapAttempt(row.swap_id, row.attempt, Hashlock(row.hashlock), row.direction, row.live)


class Quotes(_Table):
    """Quotes given, by id: the same id gets the same answer."""

    async def put(
        self,
        quote_id: bytes,
        payload: bytes,
        expires_ms: int,
        *,
        hashlock: Hashlock | None = None,
        peer: bytes | None = None,
    ) -> None:
        """Fails with store.exists when the id was given another payload."""
        values = {
            "quote_id": quote_id,
            "payload": payload,
            "expires_ms": expires_ms,
            "hashlock": None if hashlock is None else hashlock.raw,
            "peer": peer,
            "created_ms": self._now_ms,
        }
        if not await self._insert_once(t.quotes, values) and await self.get(quote_id) != payload:
            raise Refused(EXISTS(field="quote_id", got=quote_id.hex()))

    async def get(self, quote_id: bytes) -> bytes | None:
        query = select(t.quotes.c.payload).where(t.quotes.c.quote_id == quote_id)
        found: bytes | None = await self._db.scalar(query)
        return found

    async def of_hash(self, hashlock: Hashlock) -> tuple[bytes, ...]:
        query = select(t.quotes.c.payload).where(t.quotes.c.hashlock == hashlock.raw)
        return tuple((await self._db.scalars(query.order_by(t.quotes.c.created_ms))).all())

    async def open(self) -> int:
        """How many have not expired."""
        query = select(func.count()).where(t.quotes.c.expires_ms > self._now_ms)
        return int(await self._db.scalar(query) or 0)

    async def prune(self, before_ms: int) -> int:
        statement = delete(t.quotes).where(t.quotes.c.expires_ms < before_ms)
        return int((await self._db.execute(statement)).rowcount)


@dataclass(frozen=True, slots=True)
class PaymentRow:
    payment_id: str
    hashlock: Hashlock
    direction: str
    status: str
    payload: bytes
    created_ms: int
    updated_ms: int


class Payments(_Table):
    """What the user sees: payments out and in, newest first."""

    async def put(
        self, payment_id: str, hashlock: Hashlock, direction: str, status: str, payload: bytes
    ) -> None:
        values = {
            "payment_id": payment_id,
            "hashlock": hashlock.raw,
            "direction": direction,
            "status": status,
            "payload": payload,
            "created_ms": self._now_ms,
            "updated_ms": self._now_ms,
        }
        await self._upsert(t.payments, values, keep=("created_ms",))

    async def get(self, payment_id: str) -> PaymentRow | None:
        query = select(t.payments).where(t.payments.c.payment_id == payment_id)
        row = (await self._db.execute(query)).first()
        return None if row is None else _payment(row)

    async def of_hash(self, hashlock: Hashlock) -> tuple[PaymentRow, ...]:
        query = select(t.payments).where(t.payments.c.hashlock == hashlock.raw)
        rows = await self._db.execute(query.order_by(t.payments.c.created_ms))
        return tuple(_payment(row) for row in rows)

    async def newest(self, limit: int = 100, offset: int = 0) -> tuple[PaymentRow, ...]:
        query = select(t.payments).order_by(t.payments.c.created_ms.desc(), t.payments.c.payment_id)
        return tuple(_payment(r) for r in await self._db.execute(query.limit(limit).offset(offset)))


def _payment(row: Any) -> PaymentRow:
    return PaymentRow(
        row.payment_id,
        Hashlock(row.hashlock),
        row.direction,
        row.status,
        row.payload,
        row.created_ms,
        row.updated_ms,
    )


@dataclass(frozen=True, slots=True)
class ChainPoint:
    slot: int
    block_hash: bytes
    height: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class ObservationRow:
    slot: int
    topic: str
    key: bytes
    payload: bytes


class Chain(_Table):
    """The follower's cursor (the last k blocks) and what each block showed; a rollback takes both back."""

    async def forward(self, point: ChainPoint, observations: Sequence[tuple[str, bytes, bytes]] = ()) -> None:
        """Adds a block with its (topic, key, payload) rows. Points older than k go, what they showed stays."""
        await self._db.execute(
            insert(t.chain_points).values(
                slot=point.slot, block_hash=point.block_hash, height=point.height, time_ms=point.time_ms
            )
        )
        for topic, key, payload in observations:
            await self._db.execute(
                insert(t.observations).values(slot=point.slot, topic=topic, key=key, payload=payload)
            )
        await self._db.execute(
            delete(t.chain_points).where(t.chain_points.c.height <= point.height - KEPT_POINTS)
        )

    async def back_to(self, slot: int | None) -> int:
        """Takes back every block after `slot` (None: all) with what it showed; returns how many blocks."""
        last = -1 if slot is None else slot
        await self._db.execute(delete(t.observations).where(t.observations.c.slot > last))
        statement = delete(t.chain_points).where(t.chain_points.c.slot > last)
        return int((await self._db.execute(statement)).rowcount)

    async def points(self, limit: int = KEPT_POINTS) -> tuple[ChainPoint, ...]:
        """Newest first."""
        query = select(t.chain_points).order_by(t.chain_points.c.slot.desc()).limit(limit)
        rows = await self._db.execute(query)
        return tuple(ChainPoint(r.slot, r.block_hash, r.height, r.time_ms) for r in rows)

    async def observations(
        self, topic: str | None = None, key: bytes | None = None
    ) -> tuple[ObservationRow, ...]:
        """In chain order."""
        query = select(t.observations).order_by(t.observations.c.id)
        if topic is not None:
            query = query.where(t.observations.c.topic == topic)
        if key is not None:
            query = query.where(t.observations.c.key == key)
        return tuple(ObservationRow(r.slot, r.topic, r.key, r.payload) for r in await self._db.execute(query))


class Headers(_Table):
    """Header times of the last Bitcoin blocks that were the tip when the node looked."""

    async def put(self, height: int, time_ms: int) -> None:
        """Also after a reorganisation; headers older than two difficulty periods go."""
        await self._upsert(t.bitcoin_headers, {"height": height, "time_ms": time_ms})
        old = t.bitcoin_headers.c.height < height - KEPT_HEADERS
        await self._db.execute(delete(t.bitcoin_headers).where(old))

    async def all(self) -> tuple[tuple[int, int], ...]:
        """(height, time_ms), oldest first."""
        rows = await self._db.execute(select(t.bitcoin_headers).order_by(t.bitcoin_headers.c.height))
        return tuple((row.height, row.time_ms) for row in rows)


class Guard(_Table):
    """What the signer has signed, so that it never signs another thing under the same index (P6)."""

    async def sign_once(self, key: bytes, topic: str, index: int, payload: bytes) -> None:
        """Passes for the first payload and for the same again; fails with store.guard_conflict for another."""
        values = {"key": key, "topic": topic, "index": index, "payload": payload, "signed_ms": self._now_ms}
        if (
            not await self._insert_once(t.signer_guard, values)
            and await self.signed(key, topic, index) != payload
        ):
            raise Refused(GUARD(field=f"{topic}.index", got=index, detail=key.hex()))

    async def replace(self, key: bytes, topic: str, index: int, payload: bytes) -> None:
        """For what the caller has proved to be an extension of what was signed (a later timeout alone)."""
        values = {"key": key, "topic": topic, "index": index, "payload": payload, "signed_ms": self._now_ms}
        await self._upsert(t.signer_guard, values)

    async def signed(self, key: bytes, topic: str, index: int) -> bytes | None:
        c = t.signer_guard.c
        query = select(c.payload).where(c.key == key, c.topic == topic, c.index == index)
        found: bytes | None = await self._db.scalar(query)
        return found

    async def highest(self, key: bytes, topic: str) -> int:
        """The highest index signed; 0 when none."""
        c = t.signer_guard.c
        return int(
            await self._db.scalar(select(func.max(c.index)).where(c.key == key, c.topic == topic)) or 0
        )


class Peers(_Table):
    async def put(self, node_id: bytes, payload: bytes) -> None:
        await self._upsert(t.peers, {"node_id": node_id, "payload": payload, "updated_ms": self._now_ms})

    async def get(self, node_id: bytes) -> bytes | None:
        found: bytes | None = await self._db.scalar(
            select(t.peers.c.payload).where(t.peers.c.node_id == node_id)
        )
        return found

    async def all(self) -> tuple[tuple[bytes, bytes], ...]:
        rows = await self._db.execute(select(t.peers).order_by(t.peers.c.node_id))
        return tuple((r.node_id, r.payload) for r in rows)

    async def forget(self, node_id: bytes) -> None:
        await self._db.execute(delete(t.peers).where(t.peers.c.node_id == node_id))


class Inbox(_Table):
    """Which messages were taken already, and what was answered (P1)."""

    async def first_time(self, source: str, message_id: bytes, answer: bytes | None = None) -> bool:
        """True once for each (source, message id)."""
        values = {
            "source": source,
            "message_id": message_id,
            "received_ms": self._now_ms,
            "answer": answer,
        }
        return await self._insert_once(t.inbox, values)

    async def answer(self, source: str, message_id: bytes) -> bytes | None:
        c = t.inbox.c
        query = select(c.answer).where(c.source == source, c.message_id == message_id)
        found: bytes | None = await self._db.scalar(query)
        return found

    async def prune(self, before_ms: int) -> int:
        statement = delete(t.inbox).where(t.inbox.c.received_ms < before_ms)
        return int((await self._db.execute(statement)).rowcount)


class Lookups(_Table):
    """Other keys of an entity (an invoice's hash, a channel's output): one entity for each (name, key)."""

    async def put(self, name: str, key: bytes, kind: str, entity_id: str) -> None:
        await self._upsert(t.lookups, {"name": name, "key": key, "kind": kind, "entity_id": entity_id})

    async def claim(self, name: str, key: bytes, kind: str, entity_id: str) -> None:
        """Like put, but fails with store.exists when the key points at another entity."""
        values = {"name": name, "key": key, "kind": kind, "entity_id": entity_id}
        if not await self._insert_once(t.lookups, values) and await self.get(name, key) != (kind, entity_id):
            raise Refused(EXISTS(field=name, got=key.hex()))

    async def get(self, name: str, key: bytes) -> tuple[str, str] | None:
        query = select(t.lookups).where(t.lookups.c.name == name, t.lookups.c.key == key)
        row = (await self._db.execute(query)).first()
        return None if row is None else (row.kind, row.entity_id)

    async def forget(self, name: str, key: bytes) -> None:
        await self._db.execute(delete(t.lookups).where(t.lookups.c.name == name, t.lookups.c.key == key))
