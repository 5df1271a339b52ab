"""R4. Runs the pure machines: load, decide, commit events with their effects, then perform.

One lock a swap; one database transaction an input. Effects of a decision that stored something go
through the outbox; effects without events (look-ups, repeats) are performed at once and never stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import structlog

from gateway.hashlock import Hashlock
from gateway.outcome import Continue, Reject
from gateway.store.ledger_rows import Leg
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem, Transaction
from gateway.swap.ledger import Rows, whole

log = structlog.get_logger("gateway.swap")


@dataclass(frozen=True, slots=True)
class Key:
    """One attempt of one hash in one role. `kind` is the store's entity kind."""

    kind: str
    hashlock: Hashlock
    attempt: int

    @property
    def entity_id(self) -> str:
        return f"{self.hashlock.hex()}.{self.attempt}"

    @staticmethod
    def parse(kind: str, entity_id: str) -> Key:
        raw, _, attempt = entity_id.partition(".")
        return Key(kind, Hashlock(bytes.fromhex(raw)), int(attempt))


@dataclass(frozen=True, slots=True)
class Machine:
    """One role: its pure functions, the moment they decide in, and which states are ends."""

    kind: str
    decide: Callable[[Any, Any, Any], Any]
    evolve: Callable[[Any, Any], Any]
    context: Callable[[Key], Awaitable[Any]]
    finals: tuple[type, ...]
    rows: Callable[[Any, Any], Rows]  # of the ledger: what an event moves, from the state before it
    seen: Callable[[Any, Any], Any] | None = None  # what is kept of an input and its context, to replay it


Change = Callable[[Key, Any, Any], None]


class Runner:
    """`perform(key, effect)` does one effect, perhaps again; `on_change` hears of each committed event."""

    def __init__(
        self,
        store: Store,
        machines: tuple[Machine, ...],
        perform: Callable[[Key, Any], Awaitable[None]],
        on_change: Change,
    ) -> None:
        self._store = store
        self._machines = {machine.kind: machine for machine in machines}
        self._perform = perform
        self._on_change = on_change
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._asking: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self.live: dict[Key, Any] = {}

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(self._machines)

    async def start(self) -> None:
        """Loads what is live. Call it before the dispatcher starts."""
        async with self._store.read() as tx:
            for kind in self._machines:
                for row in await tx.list(kind, live_only=True):
                    self.live[Key.parse(kind, row.id)] = row.state

    async def begin(self, key_of: Callable[[int], Key], hashlock: Hashlock, first: Any) -> Key:
        """Starts a new attempt with its first event; fails with store.hash_live while one is live."""
        async with self._store.transaction("swap.begin") as tx:
            earlier = await tx.swaps.of_hash(hashlock)
            key = key_of(1 + max((a.attempt for a in earlier), default=0))
            await tx.swaps.begin(hashlock.hex(), key.attempt, hashlock, key.kind)
            state = self._machines[key.kind].evolve(None, first)
            await tx.append(key.kind, key.entity_id, 0, (first,), state)
        self._committed(key, state, (first,))
        return key

    async def feed(self, key: Key, given: Any) -> Any:
        """One input to one machine; returns the state after it. Raises only store and adapter refusals."""
        machine = self._machines[key.kind]
        context = await machine.context(key)
        async with self._locks.setdefault(key, asyncio.Lock()):
            outcome: Any = None
            async with self._store.transaction(f"{key.kind}.{type(given).__name__}") as tx:
                state, version = await tx.load(key.kind, key.entity_id)
                if state is None:
                    return None
                outcome = machine.decide(state, given, context)
                if isinstance(outcome, Continue) and outcome.events:
                    if machine.seen is not None:
                        await tx.swap_inputs.put(
                            key.kind, key.entity_id, version, tx.encode(machine.seen(given, context))
                        )
                    state = await self._commit(tx, machine, key, state, version, outcome)
            if isinstance(outcome, Continue) and outcome.events:
                self._committed(key, state, outcome.events)
                return state
        if isinstance(outcome, Reject):
            log.warning("swap.refused_input", swap=key.entity_id, code=outcome.rejection.code)
        if isinstance(outcome, (Continue, Reject)):
            for effect in outcome.effects:
                await self._perform(key, effect)
        return state

    async def ask(self, key: Key, waiting: type, question: Callable[[], Awaitable[Any]]) -> None:
        """Asks and feeds the answer, one at a time, and only while the swap is `waiting` for it. An answer may prove
        "nothing was signed": no other delivery of the same effect may then sign after all."""
        async with self._asking.setdefault(key, asyncio.Lock()):
            if isinstance(self.live.get(key), waiting):
                await self.feed(key, await question())

    async def _commit(
        self, tx: Transaction, machine: Machine, key: Key, state: Any, version: int, outcome: Any
    ) -> Any:
        entries = []
        for seq, event in enumerate(outcome.events, version + 1):
            entries.append((f"{key.kind}/{key.entity_id}/{seq}", event, whole(machine.rows(state, event))))
            state = machine.evolve(state, event)
        final = isinstance(state, machine.finals)
        await tx.append(
            key.kind, key.entity_id, version, outcome.events, state, outcome.effects, live=not final
        )
        for name, event, rows in entries:
            if rows:
                memo = type(event).__name__
                await tx.audit.post(name, [Leg(row.account, row.unit, row.amount, memo) for row in rows])
        if final:
            await tx.swaps.end(key.hashlock.hex(), key.attempt)
        return state

    def _committed(self, key: Key, state: Any, events: tuple[Any, ...]) -> None:
        if isinstance(state, self._machines[key.kind].finals):
            self.live.pop(key, None)
        else:
            self.live[key] = state
        for event in events:
            log.info("swap.event", swap=key.entity_id, kind=key.kind, state_event=type(event).__name__)
            self._on_change(key, state, event)

    async def deliver(self, item: OutboxItem) -> None:
        """One committed effect, from the dispatcher; at least once."""
        key = Key.parse(item.kind, item.entity_id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            pass  # the commit that filed it tells memory before it lets go: perform on nothing older
        await self._perform(key, item.effect)

    async def state_of(self, key: Key) -> Any:
        async with self._store.read() as tx:
            state, _ = await tx.load(key.kind, key.entity_id)
            return state

    async def latest(self, hashlock: Hashlock) -> Key | None:
        """The newest attempt of a hash in this database."""
        async with self._store.read() as tx:
            attempts = await tx.swaps.of_hash(hashlock)
        if not attempts:
            return None
        newest = max(attempts, key=lambda a: a.attempt)
        return Key(newest.direction, hashlock, newest.attempt)
