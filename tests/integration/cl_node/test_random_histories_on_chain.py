"""Random histories of real nodes' channels, left wherever they are and settled on the judged devnet by each side.

Messages come late, twice, out of order or not at all; links are cut with what is on its way; nodes are killed and
start again; writes fail; blocks are rolled back. A history ends in the middle of all that. Each is run twice: once
Alice closes it, once Bob. GATEWAY_DEVNET_HISTORIES says how many (two of them, four channels, at a time).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cl.channel import state as s
from gateway.cl.data.types import ChannelId
from gateway.errors import Refused
from gateway.store.errors import FULL
from gateway.store.hooks import HookPoint
from gateway.units import Lovelace, PosixMs
from tests.support.cl_node import ADA, Side, World, books, secret, two_sides
from tests.support.faulty_line import Trouble

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.timeout(3600)]

HISTORIES = int(os.environ.get("GATEWAY_DEVNET_HISTORIES", "4"))
AT_ONCE = 2
LIFE_MS = 1_000_000  # nothing expires before it has been claimed
AMOUNT, GIFT = 100 * ADA, 40 * ADA
ACTS = {
    "offer": 30, "fulfil": 20, "cancel": 10, "wait": 10, "cut": 6, "full_disk": 5, "crash": 2, "rollback": 1,
}  # fmt: skip
LEFT_IN = (
    "a cheque unanswered",
    "a cheque opened and not squashed",
    "two snapshots that differ",
    "a lost link",
)


@dataclass
class History:
    """One channel, and what its holders' nodes accepted: that, and nothing else, must be paid."""

    channel: ChannelId
    closer: Side
    to_bob: int = GIFT


class Run:
    def __init__(self, world: World, seed: int, trouble: Trouble) -> None:
        self.world, self.trouble, self.seed = world, trouble, seed
        self.secrets: dict[bytes, int] = {}  # by lock
        self.left = Counter[str]()

    async def use(self, one: History, rolls: random.Random) -> None:
        """Both histories of a pair take the same acts; what comes of them, the line and the scheduler decide."""
        for _ in range(rolls.randint(6, 18)):
            act = rolls.choices(list(ACTS), list(ACTS.values()))[0]
            await getattr(self, f"_{act}")(one, rolls)

    # -- acts ------------------------------------------------------------------------------------------

    async def _offer(self, one: History, rolls: random.Random) -> None:
        issuer, amount = rolls.choice(self.world.sides), rolls.randint(1, 3 * ADA)
        number = len(self.secrets) + 1
        lock = secret(number).hashlock
        self.secrets[lock.raw] = number
        timeout = PosixMs(self.world.devnet.now_ms() + LIFE_MS)
        with suppress(Refused):  # not heard yet, or a full disk
            await issuer.channels.offer(one.channel, lock.raw, lock, Lovelace(amount), timeout)

    async def _fulfil(self, one: History, rolls: random.Random) -> None:
        await self._answer(one, rolls.choice(self.world.sides), rolls.random(), fulfil=True)

    async def _cancel(self, one: History, rolls: random.Random) -> None:
        await self._answer(one, rolls.choice(self.world.sides), rolls.random(), fulfil=False)

    async def _answer(self, one: History, holder: Side, place: float, *, fulfil: bool) -> None:
        held = [h.cheque for h in books(holder, one.channel).held if isinstance(h.status, s.Unanswered)]
        if not held:
            return
        cheque = held[int(place * len(held))]
        with suppress(Refused):
            if not fulfil:
                await holder.channels.cancel(one.channel, cheque.index, "swap.payment.no_route")
                return
            await holder.channels.fulfil(one.channel, cheque.index, secret(self.secrets[cheque.lock.raw]))
            one.to_bob += cheque.amount.value * (1 if holder is self.world.bob else -1)

    async def _wait(self, one: History, rolls: random.Random) -> None:
        await asyncio.sleep(rolls.choice([0.0, 0.01, 0.1]))

    async def _cut(self, one: History, rolls: random.Random) -> None:
        """What is on its way is lost; the nodes find each other again by themselves."""
        for link in tuple(self.world.network.links):
            link._inbox.clear()
        self.world.network.cut_all()

    async def _crash(self, one: History, rolls: random.Random) -> None:
        side = rolls.choice(self.world.sides)
        await side.kill()
        await side.start()
        await joined(self.world)

    async def _full_disk(self, one: History, rolls: random.Random) -> None:
        """Some of one node's next writes fail."""
        side, left = rolls.choice(self.world.sides), rolls.randint(1, 3)

        def full(point: HookPoint) -> None:
            nonlocal left
            if left and point.stage == "before_commit" and point.name.startswith("channel."):
                left -= 1
                raise Refused(FULL(detail="no room"))

        side.store.hooks.add(full)

    async def _rollback(self, one: History, rolls: random.Random) -> None:
        self.world.devnet.rollback(rolls.randint(1, 2))
        await self.world.mine(3)

    # -- the end ---------------------------------------------------------------------------------------

    async def close(self, one: History, rolls: random.Random) -> None:
        """From where it is. Some of what is held is opened only now; the rest expires."""
        if rolls.random() < 0.5:
            await self._cut(one, rolls)
        self._look(one)
        while True:
            with suppress(Refused):  # a write that fails is asked for again
                await one.closer.channels.close(one.channel, now=True, reason="cl.channel.close_asked")
                break
        for holder in self.world.sides:
            for _ in range(3):
                if rolls.random() < 0.5:
                    await self._answer(one, holder, rolls.random(), fulfil=True)

    def _look(self, one: History) -> None:
        ends = [books(side, one.channel) for side in self.world.sides]
        held = [h.status for end in ends for h in end.held]
        linked = self.world.alice.peers.is_connected(self.world.bob.node_id)
        found = (
            any(isinstance(status, s.Unanswered) for status in held),
            any(isinstance(status, s.Fulfilled) for status in held),
            ends[0].ours != ends[1].ours,
            not linked,
        )
        self.left.update(name for name, true in zip(LEFT_IN, found, strict=True) if true)


async def joined(world: World) -> None:
    for _ in range(50):
        with suppress(Refused, AssertionError):
            await world.connect()
            return
        await asyncio.sleep(0.1)
    await world.connect()


@contextmanager
def on(trouble: Trouble) -> Iterator[None]:
    trouble.on = True
    try:
        yield
    finally:
        trouble.on = False


@pytest.mark.threat("P1")
@pytest.mark.threat("P9")
@pytest.mark.kind("SM")
async def test_each_side_gets_on_chain_what_its_history_says(tmp_path: Path) -> None:
    seed = int(os.environ.get("GATEWAY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"GATEWAY_SEED={seed}")
    trouble = Trouble(random.Random(seed))
    async with two_sides(tmp_path, trouble.line) as world:
        run = Run(world, seed, trouble)
        world.devnet.faucet([(side.address, 60 * ADA) for side in world.sides for _ in range(12)])
        await world.mine(2)
        for first in range(0, HISTORIES, AT_ONCE):
            await pairs(run, range(first, min(first + AT_ONCE, HISTORIES)))
    print(trouble.count, dict(run.left))
    if HISTORIES >= 100:
        assert set(run.left) == set(LEFT_IN)
        assert min(trouble.count.get(kind, 0) for kind in ("twice", "late", "dropped")) > HISTORIES // 2


async def pairs(run: Run, numbers: range) -> None:
    """Each history of `numbers` twice, closed by each side; all of them settled together."""
    world = run.world
    world.devnet.faucet([(world.alice.address, AMOUNT + 2 * GIFT) for _ in range(2 * len(numbers))])
    await world.mine(2)
    start = {side.name: side.funds() + await side.fees() for side in world.sides}
    batch = [
        (History(await world.open(AMOUNT, GIFT), side), f"{run.seed}/{number}")
        for number in numbers
        for side in world.sides
    ]
    histories = [one for one, _ in batch]
    await world.mine(3)  # no rollback of what follows takes an opening away
    with on(run.trouble):
        for one, name in batch:
            await run.use(one, random.Random(name))
        for one, name in batch:
            await run.close(one, random.Random(name + "/end"))
    if run.trouble.random.random() < 0.5:
        await run._crash(histories[0], run.trouble.random)
    await joined(world)
    await world.mine_until("claimed", lambda: _settled(world, histories), most=40, ms=5_000)
    await world.mine_until(
        "ended on both sides",
        lambda: all(
            isinstance(side.state(one.channel), s.Ended) for side in world.sides for one in histories
        ),
        most=90,
        ms=20_000,
    )
    await world.mine(5)
    bobs = sum(one.to_bob for one in histories)
    expected = {"alice": -bobs, "bob": bobs}
    for side in world.sides:
        change = side.funds() + await side.fees() - start[side.name]
        assert change == expected[side.name], f"{side.name}: {change}, GATEWAY_SEED={run.seed} {numbers}"
        assert side.alarms == []


def _settled(world: World, histories: list[History]) -> bool:
    """Every cheque that was opened is its holder's for good."""
    held = [h for one in histories for side in world.sides for h in books(side, one.channel).held]
    return not any(isinstance(h.status, s.Fulfilled) for h in held)
