"""Single facts that outlive a restart, by name: what an operator has switched."""

from __future__ import annotations

from sqlalchemy import select

from gateway.store import schema as t
from gateway.store.records import _Table

_PREFIX = "note."  # the rest of the table is the store's own


class Notes(_Table):
    async def put(self, name: str, text: str) -> None:
        await self._upsert(t.meta, {"key": _PREFIX + name, "value": text})

    async def get(self, name: str) -> str | None:
        found: str | None = await self._db.scalar(
            select(t.meta.c.value).where(t.meta.c.key == _PREFIX + name)
        )
        return found
