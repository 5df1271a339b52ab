"""The price history: one whole number a sample and asset, bounded by its keeper."""

from __future__ import annotations

from sqlalchemy import delete, select

from gateway.store import schema as t
from gateway.store.records import _Table


class PriceRows(_Table):
    async def put(self, asset: str, at_ms: int, units_per_bitcoin: int) -> None:
        """One sample; the same moment again replaces it."""
        values = {"asset": asset, "at_ms": at_ms, "units_per_bitcoin": units_per_bitcoin}
        await self._upsert(t.price_history, values)

    async def since(self, asset: str, at_ms: int) -> tuple[tuple[int, int], ...]:
        """(time, units for one bitcoin), oldest first."""
        table = t.price_history
        query = select(table.c.at_ms, table.c.units_per_bitcoin).where(
            table.c.asset == asset, table.c.at_ms >= at_ms
        )
        rows = await self._db.execute(query.order_by(table.c.at_ms))
        return tuple((int(row.at_ms), int(row.units_per_bitcoin)) for row in rows)

    async def forget(self, asset: str, before_ms: int, after_ms: int) -> int:
        """Deletes what is older than `before_ms`, and what a clock that was wrong has dated after `after_ms`."""
        table = t.price_history
        old = (table.c.at_ms < before_ms) | (table.c.at_ms > after_ms)
        return int((await self._db.execute(delete(table).where(table.c.asset == asset, old))).rowcount)
