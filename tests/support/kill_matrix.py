"""The kill matrix: every write of a swap, recorded by a dry run, times what the other leg does meanwhile.

Who dies is the gateway, the user's node or both.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.kill_process import NodeProcess, Stuck, until
from tests.support.kill_swaps import MADE, Direction, Ending, Swap
from tests.support.kill_world import Money, World

Meanwhile = Literal["settled", "failed", "open"]  # the other leg while a node is down
Victim = Literal["gateway", "user", "both"]  # both: at the gateway's writes
ENDINGS: tuple[Ending, ...] = ("settled", "failed")

FILE = Path("build/kill.json")
NAMED = ("backend", "database", "direction", "victim")
PATIENCE_S = 15.0
QUIET_S = 0.4
STILL_S = 2.5  # a swap whose other leg waits for us has nothing more to write by then

# written by the clock, in no place of their own: killed at once a swap
POLLED = (
    "chain.block", "outbox.failed", "channel.Tick", "swap.out.Tick", "swap.in.Tick", "payment.Tick", "receipt.Tick",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th time that a write or effect is reached in one swap, counted anew once the other leg `acted`."""

    at: str
    times: int
    acted: bool

    def __str__(self) -> str:
        return f"{self.at}#{self.times}" + (" after the act" if self.acted else "")


def points(record: list[str], stages: tuple[str, ...]) -> list[Point]:
    """The places of a dry run's record, each once, in order."""
    found: list[Point] = []
    seen: Counter[str] = Counter()
    acted = False
    for at in record:
        if at == "mark":
            acted = True
            seen.clear()
            continue
        stage, _, name = at.partition(":")
        seen[at] += 1
        point = Point(at, 1, acted=False) if name in POLLED else Point(at, seen[at], acted)
        if stage in stages and point not in found:
            found.append(point)
    return found


WRITES = ("before_commit", "after_commit", "before_effect", "after_effect")


@dataclass(slots=True)
class Record:
    """One row of build/kill.json."""

    backend: str
    database: str
    direction: str
    victim: str
    writes: int = 0
    kills: int = 0
    unreached: list[str] = field(default_factory=list)
    missed: int = 0  # of these, the ones that every run should pass
    outcomes: dict[str, int] = field(
        default_factory=dict
    )  # kills by what the other leg did; of a close: by place
    lost: list[str] = field(default_factory=list)
    double_paid: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        numbers = {"lost": len(self.lost), "double_paid": len(self.double_paid), "stuck": len(self.stuck)}
        details = {f"{name}_at": getattr(self, name) for name in numbers if getattr(self, name)}
        return {
            "backend": self.backend, "database": self.database, "direction": self.direction,
            "victim": self.victim, "writes": self.writes, "kills": self.kills, **numbers, "outcomes": self.outcomes,
            "unreached": self.unreached, "seconds": round(self.seconds, 1), **details,
        }  # fmt: skip

    def check(self, least_kills: int) -> None:
        """Fails with everything that went wrong, and when too little of the plan was carried out."""
        problems = self.lost + self.double_paid + self.stuck
        assert not problems, "\n".join(problems)
        assert self.kills >= least_kills, self.row()
        assert self.missed <= max(1, self.kills // 20), self.unreached

    def save(self) -> None:
        """Into the list that several test processes share."""
        FILE.parent.mkdir(exist_ok=True)
        with FILE.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = json.loads(FILE.read_text()) if FILE.exists() else []
            mine = self.row()
            rows = [r for r in rows if any(r.get(name) != mine[name] for name in NAMED)]
            FILE.write_text(json.dumps([*rows, mine], indent=1) + "\n")


async def quiet(world: World) -> None:
    """Nothing of an earlier swap is under way any more, and both nodes have seen the last blocks."""

    async def calm() -> bool:
        ours, theirs = await world.look_user(), await world.look()
        if ours is None or theirs is None:
            await world.restart()
            return False
        if theirs["undone"] or ours["undone"] or not await world.connected():
            return False
        return bool(min(theirs["now_ms"], ours["now_ms"]) > world.devnet.now_ms() - 5_000)

    await until("both nodes to be quiet", calm)


async def dry_run(world: World, direction: Direction, ending: Ending, node: NodeProcess) -> list[str]:
    """Every point that `node` passes in one undisturbed swap."""
    await quiet(world)
    await node.ask("order", record=True)
    swap = MADE[direction](world, ending)
    before = await world.money()
    await swap.begin()

    async def ready() -> bool:
        await swap.nudge()
        return await swap.ready()

    await until("the other leg to be live", ready)
    await asyncio.sleep(QUIET_S)
    await node.ask("mark")
    await swap.act()
    await until("the swap to end", swap.settled)
    await asyncio.sleep(QUIET_S)
    problems = list(swap.judge((await world.money()).since(before)))
    if problems:
        raise AssertionError(f"an undisturbed {direction} swap: {problems}")
    answer = await node.ask("recorded")
    assert answer is not None
    return list(answer["points"])


@dataclass(slots=True)
class Killer:
    """One matrix: which direction, whose writes, who dies there, and what came of it."""

    world: World
    direction: Direction
    victim: Victim
    record: Record

    @property
    def trapped(self) -> NodeProcess:
        """Whose writes are the points."""
        return self.world.user if self.victim == "user" else self.world.gateway

    async def once(
        self, point: Point, meanwhile: Meanwhile, ending: Ending, again: dict[str, Any] | None = None
    ) -> None:
        """One swap, one SIGKILL at `point`, one restart; what went wrong is added to the record.

        `again`: the order that holds for the restarted node, a second kill or a recording."""
        world, record, order = self.world, self.record, again or {}
        label = f"{point} {meanwhile}/{ending} {order.get('point', '')}".rstrip()
        swap = MADE[self.direction](world, ending)
        try:
            await quiet(world)
            before = await world.money()
            await self.trapped.ask("order", point=point.at, times=point.times, after_mark=point.acted)
            await swap.begin()
            if await self._until_killed(swap, point):
                record.kills += 1
                if self.victim == "both":
                    await world.user.kill()
                await _meanwhile(swap, meanwhile)
                known = meanwhile if swap.acted else "open"
                record.outcomes[known] = record.outcomes.get(known, 0) + 1
                await world.restart(**order)
            else:
                record.unreached.append(label)
                record.missed += point.times == 1  # how often a thing is repeated depends on the machine
                await self.trapped.ask("order")
            await until("the swap to end", lambda: self._driven(swap), PATIENCE_S)
            await until("balances to rest", lambda: _rest(world, swap, before), 5.0)
            if "point" in order:
                await self.trapped.ask("order")
        except Stuck as stuck:
            await self._stuck(swap, f"{label}: {stuck}")
            return
        finally:
            await world.gate(is_open=True)
        moved = (await world.money()).since(before)
        for kind, what in swap.judge(moved):
            getattr(record, kind).append(f"{label}: {what}")
        await self._books(label)

    async def _books(self, label: str) -> None:
        """Rows and events are one write: whoever died where, both ledgers agree with both networks in the end."""
        for name, node in (("gateway", self.world.gateway), ("user", self.world.user)):
            found: dict[str, Any] = {}

            async def agrees(node: NodeProcess = node, found: dict[str, Any] = found) -> bool:
                answer = await node.ask("ledger")
                found.clear()
                if answer is None:  # its order held for a write that came after the swap's end
                    self.record.kills += node is self.trapped
                    await self.world.restart()
                found.update(answer or {"dead": 1})
                return not any(found.values())

            try:
                await until("the ledger to agree", agrees, 10.0)
            except Stuck:
                self.record.stuck.append(f"{label}: the ledger of the {name} differs by {found}")

    async def _stuck(self, swap: Swap, what: str) -> None:
        theirs, ours = await self.world.look(swap.hash), await self.world.look_user(swap.hash)
        await self.world.restart()
        self.record.stuck.append(f"{what}; gateway {theirs}; user {ours}")

    async def _until_killed(self, swap: Swap, point: Point) -> bool:
        """False when the swap ended, or stands still, without reaching the point."""
        loop = asyncio.get_running_loop()
        still = loop.time() + PATIENCE_S
        waits = False
        while loop.time() < still:
            await swap.nudge()
            if not waits and await swap.ready():
                waits, still = True, loop.time() + STILL_S
                if point.acted:
                    await self.trapped.ask("mark")
                    await swap.act()
            if await self.trapped.dead():
                return True
            if point.acted and swap.acted and await swap.settled():
                await asyncio.sleep(QUIET_S)
                return await self.trapped.dead()
            await asyncio.sleep(0.02)
        return await self.trapped.dead()

    async def _driven(self, swap: Swap) -> bool:
        if await self.trapped.dead():  # its recovery was killed as well
            self.record.kills += 1
            await self.world.restart()
        await self.world.connected()
        await swap.nudge()
        if not swap.acted and await swap.ready():
            await swap.act()
        return await swap.settled()


async def _rest(world: World, swap: Swap, before: Money) -> bool:
    """LND takes settled HTLCs out of its balances a moment later; a wrong balance is wrong after that too."""
    return not list(swap.judge((await world.money()).since(before))) or await _waited()


async def _waited() -> bool:
    await asyncio.sleep(2.0)
    return True


async def _meanwhile(swap: Swap, meanwhile: Meanwhile) -> None:
    """While a node is down: the other leg ends where it is live, or stays as it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3  # what LND was told before the kill goes on by itself
    while meanwhile != "open" and not swap.acted and loop.time() < end:
        if swap.world.user.running:
            await swap.nudge()
        if await swap.ready():
            await swap.act()
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)


Row = tuple[Point, Meanwhile, Ending]


# of the gateway's writes: from here on the other leg can end while the node is down; before, it cannot be there
LIVE_FROM: dict[Direction, str] = {
    "cl_to_btc": "before_effect:swap.effect.PayInvoice",
    "btc_to_cl": "before_commit:channel.OfferCheque",
}
EACH: list[tuple[Meanwhile, Ending]] = [
    ("settled", "settled"), ("failed", "failed"), ("open", "settled"), ("open", "failed"),
]  # fmt: skip
Cover = Literal["whole", "product", "sample"]


def plan(direction: Direction, settled: list[Point], failed: list[Point], cover: Cover) -> list[Row]:
    """Which outcomes of the other leg each point is tried with. `product`: every one that it can have by then.
    `sample`: one, in turn. `whole`: every one, also where it can only be open, and open with both endings."""
    found: list[Row] = []
    live = False
    for number, point in enumerate(p for p in settled if not p.acted):
        live = live or point.at == LIVE_FROM[direction]
        rows = EACH
        if cover == "sample":
            rows = [EACH[number % 4]]
        elif cover == "product":
            rows = [*(EACH[:2] if live else []), EACH[2 + number % 2]]
        found += [(point, *row) for row in rows]
    found += [(point, "settled", "settled") for point in settled if point.acted]
    return found + [(point, "failed", "failed") for point in failed if point.acted]


async def run(
    world: World,
    direction: Direction,
    backend: str,
    database: str,
    stages: tuple[str, ...],
    every: int = 1,
    victim: Victim = "gateway",
) -> Record:
    """The matrix of one direction; `every` takes each n-th point. GATEWAY_KILLS=all: each point, each outcome."""
    began = asyncio.get_running_loop().time()
    record = Record(backend, database, direction, victim)
    killer = Killer(world, direction, victim, record)
    paths = {e: points(await dry_run(world, direction, e, killer.trapped), stages) for e in ENDINGS}
    whole = os.environ.get("GATEWAY_KILLS") == "all"
    every_write = victim == "gateway" and every == 1 and "before_commit" in stages
    cover: Cover = "whole" if whole else "product" if every_write else "sample"
    rows = plan(direction, paths["settled"], paths["failed"], cover)
    record.writes = len({(str(point), ending if point.acted else "") for point, _, ending in rows})
    for point, meanwhile, ending in rows if whole else rows[::every]:
        await killer.once(point, meanwhile, ending)
    if victim == "gateway" and "before_commit" in stages:
        await _recoveries(killer, stages, 1 if whole else 6 * every)
    await _expire(world, record)
    record.seconds = asyncio.get_running_loop().time() - began
    record.save()
    return record


# where a recovery has most to find out: was it sent, or not
DOUBTFUL: dict[Direction, tuple[str, ...]] = {
    "cl_to_btc": ("before_effect:swap.effect.PayInvoice",),
    "btc_to_cl": ("before_commit:channel.OfferCheque", "after_commit:channel.OfferCheque"),
}


async def _recoveries(killer: Killer, stages: tuple[str, ...], every: int) -> None:
    """A second SIGKILL while the gateway recovers from the first, at each n-th write of the recovery."""
    for at in DOUBTFUL[killer.direction]:
        first = Point(at, 1, acted=False)
        await killer.once(first, "open", "settled", {"record": True})
        answer = await killer.trapped.must("recorded")
        for number, second in enumerate(points(answer["points"], stages)[::every]):
            ending: Ending = "failed" if number % 2 else "settled"
            await killer.once(first, "open", ending, {"point": second.at, "times": second.times})


async def _expire(world: World, record: Record) -> None:
    """Quotes that nobody took up end by themselves once their time is over."""
    await quiet(world)  # the last order may have ended its node after its swap did
    world.devnet.advance(200_000, 20)

    async def none_live() -> bool:
        views = [await world.look(), await world.look_user()]
        return all(view is not None and not view["live"] for view in views)

    try:
        await until("every swap and payment to end", none_live, 20.0)
    except Stuck as stuck:
        record.stuck.append(f"at the end: {stuck}; {await world.look()}; {await world.look_user()}")
