"""What the store promises, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.store import migrate
from gateway.store.dispatcher import Dispatcher
from gateway.store.hooks import HookPoint
from gateway.store.ledger_rows import Leg
from gateway.store.records import ChainPoint
from gateway.store.store import Store
from gateway.store.transaction import OutboxItem
from gateway.units import Lovelace
from tests.support import counter_child
from tests.support.counter import KIND, Announce, Counter, Raised, codecs, current, fold, raise_by
from tests.support.postgres import Cluster

LOCK = Hashlock(bytes(range(32)))


async def refused(coroutine: Any) -> str:
    with pytest.raises(Refused) as caught:
        await coroutine
    return caught.value.rejection.code


async def reopen(store: Store, url: str, **options: Any) -> Store:
    await store.close()
    return await Store.open(url, **{"network": "regtest", "codecs": codecs(), **options})


async def test_state_events_and_effects_commit_together(store: Store, url: str) -> None:
    for by in (5, 7, 11):
        await raise_by(store, "a", by, effects=2)
    assert await current(store, "a") == await fold(store, "a") == (23, 3)
    store = await reopen(store, url)
    assert await current(store, "a") == await fold(store, "a") == (23, 3)
    effects = [item.effect.number for item in await store.open_effects()]
    assert effects == [0, 1, 10, 11, 20, 21]
    await store.close()


async def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    async def fail() -> None:
        async with store.transaction("counter.raise") as tx:
            await tx.append(KIND, "a", 0, [Raised(Lovelace(1))], Counter(Lovelace(1)), [Announce(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await current(store, "a") == await fold(store, "a") == (0, 0)
    assert await store.open_effects() == ()


async def test_a_stale_version_is_a_conflict(store: Store) -> None:
    async def append(version: int) -> None:
        async with store.transaction("counter.raise") as tx:
            await tx.append(KIND, "a", version, [Raised(Lovelace(1))], Counter(Lovelace(1)))

    await append(0)
    assert await refused(append(0)) == "store.conflict"
    assert await refused(append(5)) == "store.conflict"
    assert await current(store, "a") == await fold(store, "a") == (1, 1)


async def test_effects_without_events_leave_the_version(store: Store) -> None:
    version = await raise_by(store, "a", 4, effects=0)
    async with store.transaction("counter.warn") as tx:
        assert await tx.append(KIND, "a", version, (), None, [Announce(9)]) == version
    assert await current(store, "a") == (4, 1)
    assert [i.effect for i in await store.open_effects()] == [Announce(9)]

    async def late() -> None:
        async with store.transaction("counter.warn") as tx:
            await tx.append(KIND, "a", 0, (), None, [Announce(9)])

    assert await refused(late()) == "store.conflict"


async def test_concurrent_writers_lose_nothing(store: Store) -> None:
    codes: set[str] = set()

    async def one(n: int) -> None:
        while True:
            try:
                await raise_by(store, "a", 1 << n)
                return
            except Refused as error:
                codes.add(error.rejection.code)

    await asyncio.gather(*(one(n) for n in range(12)))
    assert codes <= {"store.conflict"}
    assert await current(store, "a") == await fold(store, "a") == ((1 << 12) - 1, 12)
    numbers = [item.effect.number for item in await store.open_effects()]
    assert numbers == sorted(numbers)  # ids rise in the order of the commits of their entity


async def test_final_states_are_not_loaded_at_start(store: Store) -> None:
    await raise_by(store, "a", 1)
    await raise_by(store, "b", 2)
    async with store.transaction("counter.end") as tx:
        await tx.append(KIND, "a", 1, [Raised(Lovelace(0))], Counter(Lovelace(1)), live=False)
    async with store.read() as tx:
        assert [row.id for row in await tx.list(KIND)] == ["b"]
        assert [row.id for row in await tx.list(KIND, live_only=False)] == ["a", "b"]


async def test_history_cannot_be_changed(store: Store) -> None:
    await raise_by(store, "a", 1)
    for statement in ("UPDATE events SET seq = 2", "DELETE FROM events", "DELETE FROM audit"):

        async def attempt(sql: str = statement) -> None:
            async with store.transaction("attack") as tx:
                await tx.audit.post("e", [Leg("x", "msat", 1), Leg("y", "msat", -1)])
                await tx.connection.execute(text(sql))

        assert await refused(attempt()) in ("store.failed", "store.exists")
    assert await fold(store, "a") == (1, 1)


@pytest.mark.threat("X6")
@pytest.mark.kind("SM")
async def test_a_hash_has_one_live_swap(store: Store) -> None:
    async def begin(swap: str, attempt: int = 1) -> None:
        async with store.transaction("swap.begin") as tx:
            await tx.swaps.begin(swap, attempt, LOCK, "cl_to_btc")

    results = await asyncio.gather(*(begin(f"s{n}") for n in range(100)), return_exceptions=True)
    lost = [r for r in results if isinstance(r, Refused)]
    assert len(lost) == 99
    assert {r.rejection.code for r in lost} == {"store.hash_live"}
    async with store.read() as tx:
        live = await tx.swaps.live(LOCK)
    assert live is not None
    async with store.transaction("swap.end") as tx:
        await tx.swaps.end(live.swap_id, 1)
    await begin(live.swap_id, 2)
    assert await refused(begin("other")) == "store.hash_live"
    async with store.read() as tx:
        assert [a.attempt for a in await tx.swaps.of_hash(LOCK)] == [1, 2]


@pytest.mark.threat("P3")
@pytest.mark.kind("SM")
async def test_a_failed_commit_performs_nothing(store: Store) -> None:
    performed: list[int] = []

    async def perform(item: OutboxItem) -> None:
        performed.append(item.effect.number)

    dispatcher = Dispatcher(store, perform)
    await dispatcher.start()

    def fail(point: HookPoint) -> None:
        if point.stage == "before_commit" and point.name == "counter.raise":
            raise OSError(28, "No space left on device")

    remove = store.hooks.add(fail)
    with pytest.raises(OSError, match="space"):
        await raise_by(store, "a", 1)
    await dispatcher.drain()
    assert performed == []
    assert await current(store, "a") == await fold(store, "a") == (0, 0)
    assert await store.open_effects() == ()
    remove()
    await raise_by(store, "a", 1)
    await dispatcher.drain()
    assert performed == [0]
    assert await store.open_effects() == ()
    await dispatcher.stop()


async def test_effects_come_in_order_and_a_failing_lane_holds_only_itself(store: Store) -> None:
    order: list[tuple[str, int]] = []
    broken = True
    errors: list[BaseException] = []
    enough = asyncio.Event()

    def note(_: OutboxItem | None, error: BaseException | None) -> None:
        errors.extend([] if error is None else [error])
        if len(order) >= 3 and len(errors) >= 2:
            enough.set()

    async def perform(item: OutboxItem) -> None:
        if broken and item.entity_id == "a":
            raise ConnectionError
        order.append((item.entity_id, item.effect.number))
        note(None, None)

    dispatcher = Dispatcher(store, perform, first_pause_s=0.01, on_error=note)
    await dispatcher.start()
    for _ in range(3):
        await raise_by(store, "a", 1)
        await raise_by(store, "b", 1)
    async with asyncio.timeout(10):
        await enough.wait()
    assert order == [("b", 0), ("b", 10), ("b", 20)]
    broken = False
    dispatcher.hurry()
    await dispatcher.drain()
    assert order[3:] == [("a", 0), ("a", 10), ("a", 20)]
    await dispatcher.stop()


async def test_undone_effects_are_delivered_again_at_start(store: Store, url: str) -> None:
    await raise_by(store, "a", 1)
    await raise_by(store, "a", 1)
    first = (await store.open_effects())[0]
    await store.mark_done(first.id)
    store = await reopen(store, url)
    seen: list[int] = []

    async def perform(item: OutboxItem) -> None:
        seen.append(item.effect.number)
        async with store.transaction("result") as tx:  # the result and the mark are one commit
            await tx.mark_done(item.id)

    dispatcher = Dispatcher(store, perform)
    assert await dispatcher.start() == 1
    await dispatcher.drain()
    assert seen == [10]
    assert await store.open_effects() == ()
    await dispatcher.stop()
    await store.close()


async def test_a_cancelled_caller_still_commits_whole(store: Store) -> None:
    """Cancelled while the commit is under way: stored and handed on, or neither."""
    heard: list[OutboxItem] = []
    store.on_effects(heard.extend)
    task: asyncio.Task[int] | None = None

    def cancel(point: HookPoint) -> None:
        if point.stage == "before_commit" and task is not None:
            task.cancel()

    remove = store.hooks.add(cancel)
    task = asyncio.create_task(raise_by(store, "a", 1))
    with pytest.raises(asyncio.CancelledError):
        await task
    remove()
    assert await current(store, "a") == await fold(store, "a") == (1, 1)
    assert len(heard) == 1
    await raise_by(store, "a", 1)


async def test_a_transaction_within_a_transaction_is_a_bug(store: Store) -> None:
    async with store.transaction("outer"):
        with pytest.raises(RuntimeError, match="inside"):
            await raise_by(store, "a", 1)


async def test_a_reader_neither_waits_nor_writes(store: Store) -> None:
    async with store.transaction("slow") as slow:
        await slow.append(KIND, "a", 0, [Raised(Lovelace(1))], Counter(Lovelace(1)))
        assert await current(store, "a") == (0, 0)

    async def write() -> None:
        async with store.read() as tx:
            await tx.peers.put(b"n", b"p")

    assert await refused(write()) == "store.read_only"
    await raise_by(store, "b", 1)


async def test_ledger_rows_headers_and_swap_inputs(store: Store) -> None:
    async with store.transaction("books") as tx:
        for number in (1, 2, 10):
            legs = [Leg("channels", "lovelace", number), Leg("operator", "lovelace", -number)]
            await tx.audit.post(f"swap.out/ab_.{number}/1", [replace(one, memo=f"m{number}") for one in legs])
        await tx.audit.post("l1tx/ab", [Leg("cost.chain", "lovelace", 7), Leg("wallet", "lovelace", -7)])
        assert await tx.audit.count("swap.out/") == 3
        assert await tx.audit.count("swap.out/ab_.1/") == 1  # and not of swap 10
        assert await tx.audit.count("swap.out/abx") == 0  # _ is a character, no pattern
        assert await tx.audit.last_memo("swap.out/") == "m10"
        assert await tx.audit.last_memo("opening/") is None
        rows = await tx.audit.rows(prefix="swap.out/ab_.2/")
        assert [(one.account, one.amount, one.memo) for one in rows] == [
            ("channels", 2, "m2"), ("operator", -2, "m2"),
        ]  # fmt: skip
        everything = await tx.audit.rows()
        assert [one.id for one in everything] == sorted(one.id for one in everything)
        assert await tx.audit.rows(after=everything[2].id, limit=2) == everything[3:5]
        assert await tx.audit.rows(until_ms=everything[0].created_ms) == ()
        assert (await tx.audit.balances())["operator", "lovelace"] == -13
        await tx.swap_inputs.put("swap.out", "ab.1", 4, b"second")
        await tx.swap_inputs.put("swap.out", "ab.1", 1, b"first")
        found = await tx.swap_inputs.of("swap.out", "ab.1")
        assert [(one.version, one.payload) for one in found] == [(1, b"first"), (4, b"second")]
        for height, time in ((5, 50), (6, 60), (6, 61)):  # a reorganisation replaces a height
            await tx.headers.put(height, time)
        assert await tx.headers.all() == ((5, 50), (6, 61))
        await tx.headers.put(10_000, 1)
        assert await tx.headers.all() == ((10_000, 1),)


async def test_small_tables(store: Store) -> None:
    async with store.transaction("tables") as tx:
        await tx.quotes.put(b"q" * 32, b"{}", tx.now_ms + 1000, hashlock=LOCK)
        await tx.quotes.put(b"q" * 32, b"{}", tx.now_ms + 1000)
        assert await tx.quotes.of_hash(LOCK) == (b"{}",)
        assert await tx.quotes.open() == 1
        await tx.payments.put("p1", LOCK, "out", "in_flight", b"1")
        await tx.payments.put("p1", LOCK, "out", "settled", b"2")
        assert [(p.status, p.payload) for p in await tx.payments.newest()] == [("settled", b"2")]
        await tx.peers.put(b"n" * 33, b"x")
        assert await tx.peers.all() == ((b"n" * 33, b"x"),)
        assert await tx.inbox.first_time("peer", b"1", b"answer")
        assert not await tx.inbox.first_time("peer", b"1", b"other")
        assert await tx.inbox.answer("peer", b"1") == b"answer"
        await tx.lookups.claim("output", b"o", KIND, "a")
        await tx.lookups.claim("output", b"o", KIND, "a")
        assert await tx.lookups.get("output", b"o") == (KIND, "a")
        await tx.audit.post("swap:1", [Leg("channel", "lovelace", 5), Leg("fees", "lovelace", -5)])
        with pytest.raises(ValueError, match="balance"):
            await tx.audit.post("swap:2", [Leg("channel", "lovelace", 5)])
    async with store.read() as tx:
        assert await tx.audit.balances() == {("channel", "lovelace"): 5, ("fees", "lovelace"): -5}

    async def other_quote() -> None:
        async with store.transaction("tables") as tx:
            await tx.quotes.put(b"q" * 32, b"[]", 0)

    async def other_entity() -> None:
        async with store.transaction("tables") as tx:
            await tx.lookups.claim("output", b"o", KIND, "b")

    assert await refused(other_quote()) == "store.exists"
    assert await refused(other_entity()) == "store.exists"
    assert await store.prune(2**62) == 2


@pytest.mark.threat("P6")
@pytest.mark.kind("SM")
async def test_the_signer_guard_knows_one_payload_for_an_index(store: Store, url: str) -> None:
    async def sign(index: int, payload: bytes) -> None:
        async with store.transaction("sign") as tx:
            await tx.guard.sign_once(b"k", "cheque", index, payload)

    await sign(1, b"first")
    await sign(1, b"first")
    await sign(2, b"second")
    store = await reopen(store, url)

    async def again() -> None:
        async with store.transaction("sign") as tx:
            await tx.guard.sign_once(b"k", "cheque", 1, b"other")

    assert await refused(again()) == "store.guard_conflict"
    async with store.read() as tx:
        assert await tx.guard.highest(b"k", "cheque") == 2
        assert await tx.guard.signed(b"k", "cheque", 1) == b"first"
    await store.close()


async def test_chain_cursor_keeps_k_blocks_and_goes_back(store: Store) -> None:
    async with store.transaction("chain.block") as tx:
        for n in range(2200):
            seen = [("output", b"%d" % n, b"x")] if n % 100 == 0 else []
            await tx.chain.forward(ChainPoint(n * 20, b"%032d" % n, n, n * 20_000), seen)
    async with store.read() as tx:
        points = await tx.chain.points()
        assert (len(points), points[0].height, points[-1].height) == (2160, 2199, 40)
        assert len(await tx.chain.observations("output")) == 22
    async with store.transaction("chain.rollback") as tx:
        assert await tx.chain.back_to(2100 * 20) == 99
        assert [o.slot for o in await tx.chain.observations()][-1] == 2100 * 20
    async with store.transaction("chain.rollback") as tx:
        await tx.chain.back_to(2099 * 20)
        assert [o.slot for o in await tx.chain.observations()][-1] == 2000 * 20
        await tx.chain.back_to(None)
        assert (await tx.chain.points(), await tx.chain.observations()) == ((), ())


@pytest.mark.threat("P4")
@pytest.mark.kind("CR")
async def test_a_second_process_is_refused(store: Store, url: str, tmp_path: Path) -> None:
    assert await refused(Store.open(url, network="regtest", codecs=codecs())) == "store.in_use"
    code, lines = await asyncio.to_thread(counter_child.run, url, "never", 1, tmp_path / "out")
    assert code == 1
    assert any("store.in_use" in line for line in lines)
    await raise_by(store, "a", 1)


async def test_another_network_is_refused(store: Store, url: str) -> None:
    await store.close()
    opening = Store.open(url, network="mainnet", codecs=codecs())
    assert await refused(opening) == "store.wrong_network"
    again = await Store.open(url, network="regtest", codecs=codecs())
    await again.close()


async def test_a_newer_database_is_refused(store: Store, url: str) -> None:
    async with store.transaction("future") as tx:
        await tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    assert await refused(Store.open(url, network="regtest", codecs=codecs())) == "store.newer_database"


async def test_the_migrations_make_the_schema(store: Store) -> None:
    async with store.read() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrate.config(connection)))


POINTS = [
    (f"{stage}:{name}", times)
    for stage, name in (
        ("before_commit", "counter.raise"),
        ("after_commit", "counter.raise"),
        ("before_effect", "test.Announce"),
        ("after_effect", "test.Announce"),
        ("before_commit", "outbox.done"),
        ("after_commit", "outbox.done"),
    )
    for times in (1, 3)
]


@pytest.mark.threat("P2")
@pytest.mark.kind("CR")
@pytest.mark.parametrize(("point", "times"), POINTS)
async def test_kill_at_a_write_loses_nothing_and_repeats_at_most_the_last(
    url: str, point: str, times: int, tmp_path: Path
) -> None:
    code, lines = await asyncio.to_thread(counter_child.run, url, point, times, tmp_path / "out")
    assert code == -9, lines
    promised = sum(line.startswith("raised") for line in lines)
    performed = [int(line.split()[1]) for line in lines if line.startswith("performed")]
    stored = times - 1 if point == "before_commit:counter.raise" else times
    store = await Store.open(url, network="regtest", codecs=codecs())
    assert await current(store, "a") == await fold(store, "a") == (stored, stored)
    assert promised <= stored
    again: list[int] = []

    async def perform(item: OutboxItem) -> None:
        again.append(item.effect.number)

    dispatcher = Dispatcher(store, perform)
    await dispatcher.start()
    await dispatcher.drain()
    assert sorted({*performed, *again}) == [n * 10 for n in range(stored)]
    assert len(performed) + len(again) - stored in (0, 1)
    await raise_by(store, "a", 1)
    await dispatcher.drain()
    await dispatcher.stop()
    await store.close()


@pytest.mark.daemons
async def test_postgres_gone_and_back(postgres: Cluster) -> None:
    url = postgres.create()
    store = await Store.open(url, network="regtest", codecs=codecs())
    await raise_by(store, "a", 1)
    await asyncio.to_thread(postgres.stop)
    assert await refused(raise_by(store, "a", 1)) == "store.unreachable"
    await asyncio.to_thread(postgres.start)
    assert await raise_by(store, "a", 1) == 2
    # The advisory lock died with the server: another process may come in, and this one is fenced.
    other = await Store.open(url, network="regtest", codecs=codecs())
    assert await refused(raise_by(store, "a", 1)) == "store.fenced"
    assert await refused(raise_by(store, "a", 1)) == "store.fenced"
    assert await raise_by(other, "a", 1) == 3
    await store.close()
    await other.close()


@pytest.mark.daemons
async def test_postgres_killed_under_a_commit_is_unknown(postgres: Cluster) -> None:
    store = await Store.open(postgres.create(), network="regtest", codecs=codecs())
    heard: list[OutboxItem] = []
    store.on_effects(heard.extend)

    def cut(point: HookPoint) -> None:
        if point.stage == "before_commit":
            postgres.stop()

    store.hooks.add(cut)
    assert await refused(raise_by(store, "a", 1)) == "store.commit_unknown"
    await asyncio.to_thread(postgres.start)
    assert await refused(raise_by(store, "a", 1)) == "store.commit_unknown"
    assert heard == []
    await store.close()
