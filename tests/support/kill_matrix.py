"""The kill matrix: every write of a swap, recorded by a dry run, times what the other leg does meanwhile.

The oracle reads only balances: of both Lightning nodes by their own RPC, of the channel by the user's books.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway.hashlock import Hashlock
from gateway.swap import payee, payer
from gateway.swap.runner import Key
from gateway.units import Lovelace
from regtest.bitcoin.client import PayResult
from tests.support.kill_world import Money, Stuck, World, until

Direction = Literal["cl_to_btc", "btc_to_cl"]
Ending = Literal["settled", "failed"]
Meanwhile = Literal["settled", "failed", "open"]  # the other leg while the gateway is down

FILE = Path("build/kill.json")
PAY_MSAT, RECEIVE = 2_000_000, 400_000
ROUTING_BUDGET_MSAT = 1_000 + PAY_MSAT // 200
PATIENCE_S = 15.0
QUIET_S = 0.4
STILL_S = 2.5  # a swap whose other leg waits for us has nothing more to write by then
# written by the clock, in no place of their own: killed at once a swap
POLLED = ("chain.block", "outbox.failed", "channel.Tick", "swap.out.Tick", "swap.in.Tick")


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


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
    writes: int = 0
    kills: int = 0
    unreached: list[str] = field(default_factory=list)
    missed: int = 0  # of these, the ones that every run should pass
    outcomes: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    double_paid: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        numbers = {"lost": len(self.lost), "double_paid": len(self.double_paid), "stuck": len(self.stuck)}
        details = {f"{name}_at": getattr(self, name) for name in numbers if getattr(self, name)}
        return {
            "backend": self.backend, "database": self.database, "direction": self.direction,
            "writes": self.writes, "kills": self.kills, **numbers, "outcomes": self.outcomes,
            "unreached": self.unreached, "seconds": round(self.seconds, 1), **details,
        }  # fmt: skip

    def check(self, least_kills: int) -> None:
        """Fails with everything that went wrong, and when too little of the plan was carried out."""
        problems = self.lost + self.double_paid + self.stuck
        assert not problems, "\n".join(problems)
        assert self.kills >= least_kills, self.row()
        assert self.missed * 20 <= self.kills, self.unreached

    def save(self) -> None:
        """Into the list that several test processes share."""
        FILE.parent.mkdir(exist_ok=True)
        with FILE.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = json.loads(FILE.read_text()) if FILE.exists() else []
            mine = (self.backend, self.database, self.direction)
            rows = [r for r in rows if (r["backend"], r["database"], r["direction"]) != mine]
            FILE.write_text(json.dumps([*rows, self.row()], indent=1) + "\n")


class Swap:
    """One swap with a gateway that may die: the user's side and the other leg, driven to their ends."""

    def __init__(self, world: World, ending: Ending) -> None:
        self.world, self.ending = world, ending
        self.key: Key | None = None
        self.acted = False

    @property
    def hash(self) -> str:
        assert self.key is not None
        return self.key.hashlock.hex()

    async def begin(self) -> None:
        raise AssertionError("each direction has its own")

    async def ready(self) -> bool:
        """The other leg may act."""
        raise AssertionError("each direction has its own")

    async def act(self) -> None:
        raise AssertionError("each direction has its own")

    async def nudge(self) -> None:
        """What the user does by and by."""

    async def over(self) -> bool:
        raise AssertionError("each direction has its own")

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        raise AssertionError("each direction has its own")

    async def settled(self) -> bool:
        """Both ends of the swap and nothing pending between them."""
        if not await self.over():
            return False
        balance = self.world.balance()
        if balance.offered.value or balance.held.value or balance.at_risk.value:
            return False
        view = await self.world.look(self.hash)
        final = view is not None and view["state"] in ("", "Quoted", "Done", "Released", "Refused")
        return final and view is not None and view["balance"] == [balance.remote.value, balance.local.value]


class Out(Swap):
    """cl_to_btc: the other leg is alice's hold invoice."""

    async def begin(self) -> None:
        self._preimage = secrets.token_bytes(32)
        alice = self.world.lnd["alice"]
        digest = hashlib.sha256(self._preimage).digest()
        invoice = await alice.add_hold_invoice(digest, PAY_MSAT, "kill")
        self.key = await self.world.user.client.pay(invoice, None, self.world.channel)

    async def _invoice(self) -> str:
        return await self.world.lnd["alice"].lookup_invoice(bytes.fromhex(self.hash))

    async def ready(self) -> bool:
        return await self._invoice() == "ACCEPTED"

    async def act(self) -> None:
        self.acted = True
        if self.ending == "settled":
            await self.world.lnd["alice"].settle(self._preimage)
        else:
            await self.world.lnd["alice"].cancel(bytes.fromhex(self.hash))

    async def over(self) -> bool:
        assert self.key is not None
        state = await self.world.user.client.runner.state_of(self.key)
        return isinstance(state, (payer.Paid, payer.Failed, payer.Refused)) and not await self.ready()

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        settled = self.acted and self.ending == "settled"
        if moved.alice_msat > PAY_MSAT:
            yield "double_paid", f"alice got {moved.alice_msat} msat"
        if moved.alice_msat != (PAY_MSAT if settled else 0):
            yield "lost", f"alice moved by {moved.alice_msat} msat"
        if not settled and moved != Money(0, 0, 0, 0):
            yield "lost", f"nothing was paid, yet {moved}"
        if settled:
            price = Money(moved.gateway_msat, PAY_MSAT, -self._price(), self._price())
            if not -PAY_MSAT - ROUTING_BUDGET_MSAT <= moved.gateway_msat <= -PAY_MSAT:
                yield "double_paid", f"the gateway's LND paid {-moved.gateway_msat} msat"
            if moved != price:
                yield "lost", f"paid, yet {moved}"

    @staticmethod
    def _price() -> int:
        """By the published terms: amount and budget at 13 lovelace for 100 msat, 1000 lovelace and 0.5%."""
        converted = _up((PAY_MSAT + ROUTING_BUDGET_MSAT) * 13, 100)
        return converted + 1_000 + _up(converted * 5_000, 1_000_000)


class In(Swap):
    """btc_to_cl: the other leg is the user's answer to the gateway's cheque, which a gate holds back."""

    async def begin(self) -> None:
        self._paying: asyncio.Task[PayResult] | None = None
        self._invoice = ""
        self.world.legs.close()
        self.key = await self.world.user.client.receive(Lovelace(RECEIVE), self.world.channel)

    async def _state(self) -> Any:
        assert self.key is not None
        return await self.world.user.client.runner.state_of(self.key)

    async def nudge(self) -> None:
        """Alice pays as soon as there is an invoice; a user who fails it has cancelled the receipt by then."""
        state = await self._state()
        if self._paying is not None or not isinstance(state, payee.InvoiceReady):
            return
        self._invoice = state.invoice
        if self.ending == "failed":
            await self.world.user.client.cancel(Hashlock(bytes.fromhex(self.hash)))
        alice = self.world.lnd["alice"]
        self._paying = asyncio.create_task(alice.pay(self._invoice, 1_000_000, timeout_s=30))

    async def ready(self) -> bool:
        return self.world.legs.waiting.is_set()

    async def act(self) -> None:
        self.acted = True
        self.world.legs.open.set()

    async def over(self) -> bool:
        state = await self._state()
        ended = isinstance(state, (payee.Received, payee.Refused))
        return ended and (self._paying is None or self._paying.done())

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        result = self._paying.result() if self._paying is not None else PayResult("NONE")
        settled = self.acted and self.ending == "settled"
        if result.settled != settled:
            yield "lost", f"alice's payment is {result.status} {result.reason}, the user's part: {settled}"
        if moved.user > RECEIVE:
            yield "double_paid", f"the user got {moved.user} lovelace"
        want = Money(self._price(), -self._price() - result.fee_msat, RECEIVE, -RECEIVE)
        if settled and moved != want:
            yield "lost", f"received, yet {moved} and not {want}"
        if not settled and moved != Money(0, 0, 0, 0):
            yield "lost", f"nothing was received, yet {moved}"

    @staticmethod
    def _price() -> int:
        """The same terms backwards, in whole satoshis."""
        with_fees = RECEIVE + 1_000 + _up(RECEIVE * 5_000, 1_000_000)
        return _up(_up(with_fees * 100, 13), 1_000) * 1_000


MADE: dict[Direction, type[Swap]] = {"cl_to_btc": Out, "btc_to_cl": In}


async def quiet(world: World) -> None:
    """Nothing of an earlier swap is under way any more, and both nodes have seen the last blocks."""

    async def calm() -> bool:
        view = await world.look()
        if view is None:
            await world.restart()
            return False
        if view["undone"] or not await world.connected():
            return False
        return min(view["now_ms"], world.user.clock.now().value) > world.devnet.now_ms() - 5_000

    await until("the gateway to be quiet", calm)


async def dry_run(world: World, direction: Direction, ending: Ending) -> list[str]:
    """Every point that the gateway passes in one undisturbed swap."""
    await quiet(world)
    await world.child.ask("order", record=True)
    swap = MADE[direction](world, ending)
    before = await world.money()
    await swap.begin()

    async def ready() -> bool:
        await swap.nudge()
        return await swap.ready()

    await until("the other leg to be live", ready)
    await asyncio.sleep(QUIET_S)
    await world.child.ask("mark")
    await swap.act()
    await until("the swap to end", swap.settled)
    await asyncio.sleep(QUIET_S)
    problems = list(swap.judge((await world.money()).since(before)))
    if problems:
        raise AssertionError(f"an undisturbed {direction} swap: {problems}")
    answer = await world.child.ask("recorded")
    assert answer is not None
    return list(answer["points"])


async def kill_once(
    world: World,
    direction: Direction,
    point: Point,
    meanwhile: Meanwhile,
    ending: Ending,
    record: Record,
    again: dict[str, Any] | None = None,
) -> None:
    """One swap, one SIGKILL at `point`, one restart; what went wrong is added to `record`.

    `again`: the order that holds for the restarted gateway, a second kill or a recording."""
    order = again or {}
    label = f"{point} {meanwhile}/{ending} {order.get('point', '')}".rstrip()
    swap = MADE[direction](world, ending)
    try:
        await quiet(world)
        before = await world.money()
        await world.child.ask("order", point=point.at, times=point.times, after_mark=point.acted)
        await swap.begin()
        killed = await _until_killed(world, swap, point)
        if killed:
            record.kills += 1
            await _meanwhile(world, swap, meanwhile)
            known = meanwhile if swap.acted else "open"
            record.outcomes[known] = record.outcomes.get(known, 0) + 1
            await world.restart(**order)
        else:
            record.unreached.append(label)
            record.missed += point.times == 1  # how often a thing is repeated depends on the machine
            await world.child.ask("order")
        await until("the swap to end", lambda: _driven(world, swap, record), PATIENCE_S)
        await until("balances to rest", lambda: _rest(world, swap, before), 5.0)
        if "point" in order:
            await world.child.ask("order")
    except Stuck as stuck:
        view = await world.look(swap.hash if swap.key else "")
        if view is None:
            await world.restart()
        ours = None if swap.key is None else await world.user.client.runner.state_of(swap.key)
        record.stuck.append(f"{label}: {stuck}; gateway {view}; user {type(ours).__name__}")
        return
    finally:
        world.legs.open.set()
    moved = (await world.money()).since(before)
    for kind, what in swap.judge(moved):
        getattr(record, kind).append(f"{label}: {what}")


async def _rest(world: World, swap: Swap, before: Money) -> bool:
    """LND takes settled HTLCs out of its balances a moment later; a wrong balance is wrong after that too."""
    return not list(swap.judge((await world.money()).since(before))) or await _waited()


async def _waited() -> bool:
    await asyncio.sleep(2.0)
    return True


async def _until_killed(world: World, swap: Swap, point: Point) -> bool:
    """False when the swap ended, or stands still, without reaching the point."""
    loop = asyncio.get_running_loop()
    still = loop.time() + PATIENCE_S
    waits = False
    while loop.time() < still:
        await swap.nudge()
        if not waits and await swap.ready():
            waits, still = True, loop.time() + STILL_S
            if point.acted:
                await world.child.ask("mark")
                await swap.act()
        if await world.child.dead():
            return True
        if point.acted and swap.acted and await swap.settled():
            await asyncio.sleep(QUIET_S)
            return await world.child.dead()
        await asyncio.sleep(0.02)
    return await world.child.dead()


async def _meanwhile(world: World, swap: Swap, meanwhile: Meanwhile) -> None:
    """While the gateway is down: the other leg ends where it is live, or stays as it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3  # what LND was told before the kill goes on by itself
    while meanwhile != "open" and not swap.acted and loop.time() < end:
        await swap.nudge()
        if await swap.ready():
            await swap.act()
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)


async def _driven(world: World, swap: Swap, record: Record) -> bool:
    if await world.child.dead():  # its recovery was killed as well
        record.kills += 1
        await world.restart()
    await world.connected()
    await swap.nudge()
    if not swap.acted and await swap.ready():
        await swap.act()
    return await swap.settled()


async def run(
    world: World, direction: Direction, backend: str, database: str, stages: tuple[str, ...], every: int = 1
) -> Record:
    """The matrix of one direction; `every` takes each n-th point. GATEWAY_KILLS=all: each point, each outcome."""
    began = asyncio.get_running_loop().time()
    record = Record(backend, database, direction)
    paths = {e: points(await dry_run(world, direction, e), stages) for e in ("settled", "failed")}
    whole = os.environ.get("GATEWAY_KILLS") == "all"
    plan: list[tuple[Point, Meanwhile, Ending]] = []
    for number, point in enumerate(p for p in paths["settled"] if not p.acted):
        rows: list[tuple[Meanwhile, Ending]]
        rows = [("settled", "settled"), ("failed", "failed"), ("open", "settled"), ("open", "failed")]
        plan += [(point, *row) for row in (rows if whole else [rows[number % 4]])]
    plan += [(point, "settled", "settled") for point in paths["settled"] if point.acted]
    plan += [(point, "failed", "failed") for point in paths["failed"] if point.acted]
    record.writes = len({(str(point), ending if point.acted else "") for point, _, ending in plan})
    for point, meanwhile, ending in plan if whole else plan[::every]:
        await kill_once(world, direction, point, meanwhile, ending, record)
    await _recoveries(world, direction, stages, 1 if whole else 6 * every, record)
    await _expire(world, record)
    record.seconds = asyncio.get_running_loop().time() - began
    record.save()
    return record


# where a recovery has most to find out: was it sent, or not
DOUBTFUL: dict[Direction, tuple[str, ...]] = {
    "cl_to_btc": ("before_effect:swap.effect.PayInvoice",),
    "btc_to_cl": ("before_commit:channel.OfferCheque", "after_commit:channel.OfferCheque"),
}


async def _recoveries(
    world: World, direction: Direction, stages: tuple[str, ...], every: int, record: Record
) -> None:
    """A second SIGKILL while the gateway recovers from the first, at each n-th write of the recovery."""
    if "before_commit" not in stages:
        return
    for at in DOUBTFUL[direction]:
        first = Point(at, 1, acted=False)
        await kill_once(world, direction, first, "open", "settled", record, {"record": True})
        answer = await world.child.ask("recorded")
        assert answer is not None
        for number, second in enumerate(points(answer["points"], stages)[::every]):
            ending: Ending = "failed" if number % 2 else "settled"
            order = {"point": second.at, "times": second.times}
            await kill_once(world, direction, first, "open", ending, record, order)


async def _expire(world: World, record: Record) -> None:
    """Quotes that nobody took up end by themselves once their time is over."""
    world.devnet.advance(200_000, 20)

    async def none_live() -> bool:
        view = await world.look()
        return view is not None and view["live"] == 0 and not world.user.client.runner.live

    try:
        await until("every swap and payment to end", none_live, 20.0)
    except Stuck as stuck:
        live = {k.entity_id: type(v).__name__ for k, v in world.user.client.runner.live.items()}
        record.stuck.append(f"at the end: {stuck}; {await world.look()}; user {live}")
