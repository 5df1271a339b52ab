"""R4. The ledger against both networks, each minute: a difference that stays stops new swaps, never open ones.

A swap that is just being settled is for a moment further in one network than in the ledger. So a difference counts
when the next check finds the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from gateway.btc.ports import Holdings
from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.store.ledger_rows import Leg
from gateway.store.store import Store
from gateway.store.transaction import Transaction
from gateway.swap import errors
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT
from gateway.swap.ledger import LOVELACE, MSAT, OPERATOR, Difference, Row, Rows, accepted, difference
from gateway.swap.runner import Key
from gateway.units import Lovelace, Msat

log = structlog.get_logger("gateway.ledger")
_OPENING, _NODE, _ACCEPTED = "opening/", "lightning/", "accepted/"


class LedgerWatch:
    """`why`: the reason why no new swap may begin; empty when the ledger agrees."""

    def __init__(
        self,
        store: Store,
        in_channels: Callable[[], Lovelace],
        holdings: Callable[[], Awaitable[Holdings]] | None,
        on_alarm: Callable[[str, str, str], None],
    ) -> None:
        self._store, self._in_channels, self._holdings, self._on_alarm = (
            store,
            in_channels,
            holdings,
            on_alarm,
        )
        self._last: Difference | None = None
        self.why = ""

    async def start(self) -> None:
        """Before any swap moves: what the channels held when the ledger began is the operator's own."""
        async with self._store.read() as tx:
            begun = await tx.audit.last_memo(_OPENING) is not None
            sums = await tx.audit.balances()
        if not begun:
            found = difference(sums, self._in_channels(), None)
            await self._post(_OPENING, accepted(found) or _nothing(), "what the channels held at the start")

    async def check(self) -> Difference:
        """Compares once. Raises store.* alone: a Lightning node that is away is not compared."""
        found = await self.compare()
        settled = found.is_same(self._last) and bool(found)
        self._last = found
        if settled and not self.why:
            rejection = errors.LEDGER(field="ledger", detail=found.words())
            log.error("ledger.differs", lovelace=found.lovelace.value, msat=found.msat and found.msat.value)
            self._on_alarm("ledger", rejection.code, rejection.detail)
        if settled:
            self.why = f"{errors.LEDGER.code}: {found.words()}"
        elif not found and (found.msat is not None or self._holdings is None):
            self.why = ""  # it agrees on both networks
        return found

    async def compare(self) -> Difference:
        """What differs at this moment; judges nothing."""
        held = await self._held()
        # the books first: what settles between the two readings is seen by the next check
        in_channels = self._in_channels()
        async with self._store.read() as tx:
            sums = await tx.audit.balances()
            held = held and await _as_booked(tx, held)
        if held is None:
            return difference(sums, in_channels, None)
        return difference(sums, in_channels, held.owned, held.slack)

    async def _held(self) -> Holdings | None:
        """What Lightning holds; another set of channels than last time begins a new account with the operator."""
        if self._holdings is None:
            return None
        try:
            held = await self._holdings()
        except Refused as refused:
            log.info("ledger.not_compared", code=refused.rejection.code)
            return None
        mark = hashlib.sha256("\n".join(held.channels).encode()).hexdigest()[:16]
        async with self._store.read() as tx:
            known = await tx.audit.last_memo(_NODE)
            sums = await tx.audit.balances()
            booked = await _as_booked(tx, held)
        if known != mark:
            found = difference(sums, Lovelace(0), booked.owned)
            rows = accepted(Difference(Lovelace(0), found.msat)) or _nothing(MSAT)
            await self._post(_NODE, rows, mark)
        return held

    async def accept(self, reason: str) -> Difference:
        """The operator explains the difference: it becomes an entry of its own, and swaps may begin again."""
        found = await self.compare()
        rows = accepted(found)
        if rows:
            await self._post(_ACCEPTED, rows, reason)
        self.why, self._last = "", None
        return found

    async def _post(self, prefix: str, rows: Rows, memo: str) -> None:
        async with self._store.transaction("ledger.post") as tx:
            name = f"{prefix}{await tx.audit.count(prefix) + 1}"
            await tx.audit.post(name, [Leg(row.account, row.unit, row.amount, memo) for row in rows])


async def _as_booked(tx: Transaction, held: Holdings) -> Holdings:
    """An HTLC whose end LND's record has told, and the books too, lies in the commitment until LND's peer signs it
    away: a peer that stays silent must not stop the swaps. It counts as what the books say that it became."""
    owned, slack = held.owned, held.slack
    for htlc in held.pending:
        attempts = await tx.swaps.of_hash(Hashlock(htlc.hashlock))
        if not attempts:
            continue  # forwarded for others, or the operator's own
        newest = max(attempts, key=lambda one: one.attempt)
        key = Key(newest.direction, newest.hashlock, newest.attempt)
        state, _ = await tx.load(key.kind, key.entity_id)
        if htlc.incoming and key.kind == IN and isinstance(state, s.Done):
            owned += htlc.amount
        elif (
            not htlc.incoming
            and key.kind == OUT
            and isinstance(state, (s.PreimageKnown, s.IncomingClaiming, s.Done))
        ):
            owned -= htlc.amount
        else:
            continue
        slack += Msat(1_000)
    return replace(held, owned=owned, slack=slack)


def _nothing(unit: str = LOVELACE) -> Rows:
    """An entry that moves nothing and says that it was made."""
    return (Row(OPERATOR, unit, 0),)
