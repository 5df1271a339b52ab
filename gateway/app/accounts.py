"""R4. The ledger and the story of one swap, as the API shows them: the part of the node that only reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from gateway import __version__
from gateway.api import models as m
from gateway.app.running import Running
from gateway.store.ledger_rows import Posted
from gateway.store.transaction import Transaction
from gateway.swap import ledger as books
from gateway.swap import replay
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT
from gateway.swap.runner import Key
from gateway.swap.why import explain

_PAGE = 5000


class Accounts:
    """Mixed into the node, which gives `_node` and `_swap_key`."""

    def _node(self) -> Running:
        raise NotImplementedError

    async def _swap_key(self, text: str, kinds: tuple[str, ...]) -> Key:
        raise NotImplementedError

    # -- the ledger -----------------------------------------------------------------------------

    async def ledger(self) -> m.Ledger:
        running = self._node()
        return await self._shown(await running.ledger.compare())

    async def ledger_accept(self, request: m.AcceptDifference) -> m.Ledger:
        """The operator takes the difference over; new swaps may begin again."""
        running = self._node()
        await running.ledger.accept(request.reason)
        return await self._shown(await running.ledger.compare())

    async def _shown(self, found: books.Difference) -> m.Ledger:
        running = self._node()
        async with running.store.read() as tx:
            sums = await tx.audit.balances()
        return m.Ledger(
            accounts=[
                m.LedgerAccount(account=account, unit=unit, amount=amount)
                for (account, unit), amount in sorted(sums.items())
            ],
            difference_lovelace=found.lovelace.value,
            difference_msat=None if found.msat is None else found.msat.value,
            detail=found.words(),
            stopped=running.ledger.why,
        )

    async def ledger_rows(self, after: int, since_ms: int, until_ms: int, limit: int) -> list[m.LedgerRow]:
        async with self._node().store.read() as tx:
            rows = await tx.audit.rows(after=after, since_ms=since_ms, until_ms=until_ms, limit=limit)
        return [_row(one) for one in rows]

    async def ledger_profit(self, by_swap: bool) -> list[m.Profit]:
        async with self._node().store.read() as tx:
            lines = [
                books.Line(one.entry, books.Row(one.account, one.unit, one.amount), one.created_ms)
                async for one in _all_rows(tx)
            ]
        found = books.profit(lines, by_swap=by_swap)
        return [
            m.Profit(key=key, lovelace=sums[books.LOVELACE], msat=sums[books.MSAT])
            for key, sums in sorted(found.items())
        ]

    # -- one swap -------------------------------------------------------------------------------

    async def swap_why(self, swap_id: str) -> m.Why:
        key = await self._swap_key(swap_id, (OUT, IN))
        running = self._node()
        async with running.store.read() as tx:
            state, _ = await tx.load(key.kind, key.entity_id)
            times = [one.created_ms async for one in tx.history(key.kind, key.entity_id)]
        assert isinstance(state, s.State)
        risk = None if running.engine is None else running.engine.risks.risks.get(key)
        why = explain(state, risk)
        return m.Why(
            id=swap_id,
            state=type(state).__name__,
            waits_for=why.waits_for,
            since_ms=times[-1],
            risk="" if risk is None else risk.shown(),
            risk_level="" if risk is None else risk.level.name.lower(),
            worst_case=why.worst_case,
            can_do=list(why.can_do),
        )

    async def swap_incident(self, swap_id: str) -> dict[str, Any]:
        """All that is stored of the newest attempt, in one document that `gateway swap replay` decides again."""
        key = await self._swap_key(swap_id, (OUT, IN))
        running = self._node()
        async with running.store.read() as tx:
            events = [(one.event, one.created_ms) async for one in tx.history(key.kind, key.entity_id)]
            inputs = [
                (one.version, tx.decode(one.payload))
                for one in await tx.swap_inputs.of(key.kind, key.entity_id)
            ]
            rows = await tx.audit.rows(prefix=f"{key.kind}/{key.entity_id}/")
        recorded = replay.Recorded(
            tuple(events), tuple(inputs), tuple(_row(one).model_dump() for one in rows)
        )
        why = await self.swap_why(swap_id)
        facts = {"gateway": __version__, "why": why.model_dump(), "made_ms": running.clock.now().value}
        return replay.to_file(running.profile.name, key.kind, key.entity_id, recorded, facts)


def _row(one: Posted) -> m.LedgerRow:
    return m.LedgerRow(
        id=one.id, entry=one.entry, account=one.account, unit=one.unit, amount=one.amount, memo=one.memo,
        at_ms=one.created_ms,
    )  # fmt: skip


async def _all_rows(tx: Transaction) -> AsyncIterator[Posted]:
    after = 0
    while page := await tx.audit.rows(after=after, limit=_PAGE):
        for one in page:
            yield one
        after = page[-1].id
