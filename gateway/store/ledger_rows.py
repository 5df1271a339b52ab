"""The double-entry ledger, and the inputs that changed a swap: what the books and an incident file are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from gateway.errors import Refused
from gateway.store import schema as t
from gateway.store.errors import EXISTS
from gateway.store.records import _Table


@dataclass(frozen=True, slots=True)
class SwapInput:
    """`version`: of the swap when the input was decided on; its events are the next ones."""

    version: int
    payload: bytes
    created_ms: int


class SwapInputs(_Table):
    """What changed a swap, with the moment of the decision."""

    async def put(self, kind: str, entity_id: str, version: int, payload: bytes) -> None:
        await self._db.execute(
            insert(t.swap_inputs).values(
                kind=kind, entity_id=entity_id, version=version, payload=payload, created_ms=self._now_ms
            )
        )

    async def of(self, kind: str, entity_id: str) -> tuple[SwapInput, ...]:
        """Oldest first."""
        c = t.swap_inputs.c
        query = select(t.swap_inputs).where(c.kind == kind, c.entity_id == entity_id).order_by(c.version)
        return tuple(SwapInput(r.version, r.payload, r.created_ms) for r in await self._db.execute(query))


@dataclass(frozen=True, slots=True)
class Leg:
    """One row of a double entry; `unit` is "lovelace" or "msat"."""

    account: str
    unit: str
    amount: int
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """A leg as it was stored."""

    id: int
    entry: str
    account: str
    unit: str
    amount: int
    memo: str
    created_ms: int


class Audit(_Table):
    """A double-entry ledger, append-only: the legs of one entry sum to zero in each unit."""

    async def post(self, entry: str, legs: Sequence[Leg]) -> None:
        """Fails with store.exists when `entry` was posted before; unbalanced legs are a bug of ours."""
        sums: dict[str, int] = {}
        for leg in legs:
            sums[leg.unit] = sums.get(leg.unit, 0) + leg.amount
        if any(sums.values()) or not legs:
            raise ValueError(f"the legs of {entry} do not balance: {sums}")
        known = await self._db.scalar(select(func.count()).where(t.audit.c.entry == entry))
        if known:
            raise Refused(EXISTS(field="entry", got=entry))
        rows = [
            {
                "entry": entry,
                "account": leg.account,
                "unit": leg.unit,
                "amount": leg.amount,
                "memo": leg.memo,
                "created_ms": self._now_ms,
            }
            for leg in legs
        ]
        await self._db.execute(insert(t.audit), rows)

    async def balances(self) -> dict[tuple[str, str], int]:
        """(account, unit) -> sum."""
        c = t.audit.c
        query = select(c.account, c.unit, func.sum(c.amount)).group_by(c.account, c.unit)
        return {(r[0], r[1]): int(r[2]) for r in await self._db.execute(query)}

    async def rows(
        self, *, after: int = 0, since_ms: int = 0, until_ms: int = 2**62, prefix: str = "", limit: int = 1000
    ) -> tuple[Posted, ...]:
        """Oldest first, from the row after id `after`; `prefix`: of the entry's name."""
        c = t.audit.c
        query = (
            select(t.audit)
            .where(c.id > after, c.created_ms >= since_ms, c.created_ms < until_ms)
            .order_by(c.id)
            .limit(limit)
        )
        if prefix:
            query = query.where(c.entry.startswith(prefix, autoescape=True))
        return tuple(
            Posted(r.id, r.entry, r.account, r.unit, r.amount, r.memo, r.created_ms)
            for r in await self._db.execute(query)
        )

    async def count(self, prefix: str) -> int:
        """How many entries have a name that begins so."""
        names = select(t.audit.c.entry).where(t.audit.c.entry.startswith(prefix, autoescape=True)).distinct()
        return int(await self._db.scalar(select(func.count()).select_from(names.subquery())) or 0)

    async def last_memo(self, prefix: str) -> str | None:
        """Of the newest entry whose name begins so."""
        c = t.audit.c
        query = select(c.memo).where(c.entry.startswith(prefix, autoescape=True))
        found: str | None = await self._db.scalar(query.order_by(c.id.desc()).limit(1))
        return found

    async def entry(self, entry: str) -> tuple[Leg, ...]:
        query = select(t.audit).where(t.audit.c.entry == entry).order_by(t.audit.c.id)
        return tuple(Leg(r.account, r.unit, r.amount, r.memo) for r in await self._db.execute(query))
