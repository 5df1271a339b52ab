"""A small entity for tests of the store: a counter whose every step is one event and one effect."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.units import Lovelace

KIND = "counter"


@dataclass(frozen=True, slots=True)
class Counter:
    total: Lovelace


@dataclass(frozen=True, slots=True)
class Raised:
    by: Lovelace


@dataclass(frozen=True, slots=True)
class Announce:
    number: int


def codecs() -> Codecs:
    result = Codecs()
    result.register_all("test", Counter, Raised, Announce)
    return result


async def raise_by(store: Store, counter_id: str, by: int, effects: int = 1) -> int:
    """One input: load, append, effects; returns the new version."""
    async with store.transaction("counter.raise") as tx:
        state, version = await tx.load(KIND, counter_id)
        total = Lovelace(by) if state is None else state.total + Lovelace(by)
        sent = [Announce(version * 10 + n) for n in range(effects)]
        return await tx.append(KIND, counter_id, version, [Raised(Lovelace(by))], Counter(total), sent)


async def fold(store: Store, counter_id: str) -> tuple[int, int]:
    """(total, version) by the events alone."""
    total = version = 0
    async with store.read() as tx:
        async for stored in tx.history(KIND, counter_id):
            assert stored.seq == version + 1
            total, version = total + stored.event.by.value, stored.seq
    return total, version


async def current(store: Store, counter_id: str) -> tuple[int, int]:
    """(total, version) by the state row."""
    async with store.read() as tx:
        state, version = await tx.load(KIND, counter_id)
    return (0 if state is None else state.total.value), version
