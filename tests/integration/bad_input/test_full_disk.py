"""A disk that fills while nodes run: said with a code, nothing lost, and everything goes on once there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event, text

from gateway.errors import Refused
from gateway.store.errors import FULL
from gateway.store.hooks import HookPoint
from gateway.store.store import Store
from tests.support.gateway_world import GatewayWorld, Seat, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayWorld]:
    async with gateway_world(tmp_path_factory.mktemp("full-disk")) as running:
        yield running


class Disk:
    """SQLite's own SQLITE_FULL, on every connection of one store: the file may not grow beyond `pages`."""

    def __init__(self, store: Store) -> None:
        self._store, self._pages = store, 0
        event.listen(store._engine.sync_engine, "checkout", self._limit)

    def _limit(self, connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={self._pages or 1_000_000}")
        cursor.close()

    async def fill(self) -> None:
        """And what was free in the file is used up."""
        async with self._store.read() as tx:
            self._pages = await tx.connection.scalar(text("PRAGMA page_count"))
        for size in (4_000, 100):
            with pytest.raises(Refused, match=FULL.code):
                await self._write(size)

    async def _write(self, size: int) -> None:
        for n in range(5_000):
            async with self._store.transaction("filler") as tx:
                await tx.peers.put(size.to_bytes(4, "big") + n.to_bytes(4, "big"), b"x" * size)

    def make_room(self) -> None:
        self._pages = 0


async def books(world: GatewayWorld) -> tuple[int, int, int, int]:
    """The channel as both ends see it, once they see the same."""

    async def agreed() -> Any:
        user, gateway = [await s.get(f"/channels/{world.channel}") for s in (world.user, world.gateway)]
        ours = (user["local_lovelace"], user["remote_lovelace"])
        same = ours == (gateway["remote_lovelace"], gateway["local_lovelace"])
        return ours if same else None

    ours = await until("both ends to agree", agreed)
    return (*ours, sum(ours), await world.alice.channel_balance())


async def settled_pay(world: GatewayWorld, payment_hash: str, before: tuple[int, ...]) -> dict[str, Any]:
    """The payment's end: paid on both networks, or on none."""
    ended = await world.ended(payment_hash)
    cost = ended["lovelace"] if ended["status"] == "paid" else 0
    got = 2_000_000 if ended["status"] == "paid" else 0

    async def exact() -> bool:
        local, remote, total, alice = await books(world)
        return (local, remote, total, alice) == (
            before[0] - cost, before[1] + cost, before[2], before[3] + got,
        )  # fmt: skip

    await until(f"the balances after {ended}", exact)
    return ended


@pytest.mark.parametrize("name", ["user", "gateway"])
async def test_a_database_that_cannot_grow(world: GatewayWorld, name: str) -> None:
    before = await books(world)
    seat: Seat = getattr(world, name)
    disk = Disk(seat.running.store)
    await disk.fill()
    invoice = await world.alice.add_invoice(2_000_000)
    if name == "user":
        problem = await world.user.refused("/payments", invoice=invoice)
        assert problem["code"] == "store.disk_full"
        assert "disk" in problem["remedy"]
    started = None if name == "user" else (await world.user.post("/payments", invoice=invoice))
    await asyncio.sleep(1.0)
    assert (await seat.get("/status"))["state"] == "running"
    disk.make_room()
    if started is None:
        started = await world.user.post("/payments", invoice=invoice)
    await settled_pay(world, started["payment_hash"], before)
    await until("the peers to be connected", world.connected)
    before = await books(world)
    paid = await world.pay()
    assert paid["status"] == "paid", paid
    await settled_pay(world, paid["payment_hash"], before)


@pytest.mark.parametrize("writes", [1, 3, 5, 8])
@pytest.mark.parametrize("name", ["user", "gateway"])
async def test_a_disk_that_fills_in_the_middle_of_a_payment(
    world: GatewayWorld, name: str, writes: int
) -> None:
    """From the n-th write of a channel or swap on, all fail, for a while."""
    await until("the peers to be connected", world.connected)
    before = await books(world)
    seat: Seat = getattr(world, name)
    left, failed = writes, 0

    def full(point: HookPoint) -> None:
        nonlocal left, failed
        if point.stage != "before_commit" or point.name.startswith("chain."):
            return
        left -= 1
        if left < 0:
            failed += 1
            raise Refused(FULL(detail="no room"))

    invoice = await world.alice.add_invoice(2_000_000)
    started = await world.user.post("/payments", invoice=invoice)
    remove = seat.running.store.hooks.add(full)
    with suppress(AssertionError):
        await until("a failed write", lambda: asyncio.sleep(0, failed), within_s=3)
    await asyncio.sleep(0.7)
    assert (await seat.get("/status"))["state"] == "running"
    remove()
    await settled_pay(world, started["payment_hash"], before)
    for other in (world.user, world.gateway):
        assert (await other.get(f"/channels/{world.channel}"))["state"] == "opened"
