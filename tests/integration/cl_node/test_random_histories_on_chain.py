"""Random histories of real channels, closed in the middle by either side and settled on the judged devnet.

GATEWAY_DEVNET_HISTORIES says how many (four channels at a time, opened, used, closed and ended together).
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.cl.channel import state as s
from gateway.cl.data.types import ChannelId
from tests.support.cl_node import ADA, Side, World, books, secret, two_sides, until

pytestmark = [pytest.mark.devnet, pytest.mark.node, pytest.mark.timeout(1500)]

HISTORIES = int(os.environ.get("GATEWAY_DEVNET_HISTORIES", "8"))
AT_ONCE = 4
LIFE_MS = 1_000_000  # nothing expires before it has been claimed
AMOUNT, GIFT = 100 * ADA, 40 * ADA


@dataclass
class History:
    """One channel: what the test did, and therefore what each side must get. `open` are held, unanswered cheques
    as (index, n of the secret, issuer, amount)."""

    channel: ChannelId
    to_bob: int = GIFT
    open: list[tuple[int, int, Side, int]] = field(default_factory=list)

    def paid(self, world: World, issuer: Side, amount: int) -> None:
        self.to_bob += amount if issuer is world.alice else -amount


class Run:
    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random, self.secrets = world, random.Random(seed), 0

    async def use(self, one: History) -> None:
        """Offers, opens and gives back, in a random order."""
        for _ in range(self.random.randint(2, 9)):
            act = self.random.choice(["offer", "offer", "fulfil", "cancel"])
            if act == "offer" or not one.open:
                await self._offer(one)
            else:
                await self._answer(one, self.random.randrange(len(one.open)), fulfil=act == "fulfil")

    async def _offer(self, one: History) -> None:
        self.secrets += 1
        issuer = self.random.choice(self.world.sides)
        amount = self.random.randint(1, 3 * ADA)
        index = await self.world.cheque(one.channel, issuer, self.secrets, amount, LIFE_MS)
        one.open.append((index, self.secrets, issuer, amount))

    async def _answer(self, one: History, place: int, *, fulfil: bool) -> None:
        index, n, issuer, amount = one.open.pop(place)
        holder = self.world.other(issuer)
        if fulfil:
            one.paid(self.world, issuer, amount)
            await holder.channels.fulfil(one.channel, index, secret(n))
        else:
            await holder.channels.cancel(one.channel, index, "swap.payment.no_route")
            # given back off chain: its issuer must know before a close, or it waits for the timeout
            await until("the cancel", lambda: _gone(issuer, one.channel, index))

    async def close(self, one: History) -> None:
        """By either side; some of what is open is opened afterwards, the rest expires."""
        closer = self.random.choice(self.world.sides)
        await closer.channels.close(one.channel, now=True, reason="cl.channel.close_asked")
        for index, n, issuer, amount in one.open:
            if self.random.random() < 0.5:
                one.paid(self.world, issuer, amount)
                await self.world.other(issuer).channels.fulfil(one.channel, index, secret(n))


def _gone(issuer: Side, channel: ChannelId, index: int) -> bool:
    live = [c for c in books(issuer, channel).issued if c.cheque.index == index]
    return not any(isinstance(c.status, (s.Live, s.CancelSeen)) for c in live)


@pytest.mark.threat("P9")
@pytest.mark.kind("SM")
async def test_each_side_gets_on_chain_what_its_history_says(tmp_path: Path) -> None:
    seed = int(os.environ.get("GATEWAY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"GATEWAY_SEED={seed}")
    done = 0
    async with two_sides(tmp_path) as world:
        run = Run(world, seed)
        world.devnet.faucet([(side.address, 60 * ADA) for side in world.sides for _ in range(12)])
        world.devnet.faucet([(world.alice.address, 150 * ADA) for _ in range(AT_ONCE)])
        await world.mine(2)
        while done < HISTORIES:
            # what the last four moved to Bob
            world.devnet.faucet([(world.alice.address, 2 * GIFT) for _ in range(AT_ONCE)])
            await world.mine(2)
            start = {side.name: side.funds() + await side.fees() for side in world.sides}
            batch = [History(await world.open(AMOUNT, GIFT)) for _ in range(AT_ONCE)]
            for one in batch:
                await run.use(one)
            for one in batch:
                await run.close(one)
            await world.mine_until(
                "claimed",
                lambda batch=batch: _settled(world, batch),  # type: ignore[misc]
                most=40,
                ms=5_000,
            )
            await world.mine_until(
                "ended on both sides",
                lambda batch=batch: all(  # type: ignore[misc]
                    isinstance(side.state(one.channel), s.Ended) for side in world.sides for one in batch
                ),
                most=90,
                ms=20_000,
            )
            await world.mine(5)
            bobs = sum(one.to_bob for one in batch)
            expected = {"alice": -bobs, "bob": bobs}
            for side in world.sides:
                change = side.funds() + await side.fees() - start[side.name]
                assert change == expected[side.name], f"{side.name}: {change}, GATEWAY_SEED={seed}"
                assert side.alarms == []
            done += len(batch)


def _settled(world: World, batch: list[History]) -> bool:
    """Every cheque that was opened is its holder's for good."""
    held = [h for one in batch for side in world.sides for h in books(side, one.channel).held]
    return not any(isinstance(h.status, s.Fulfilled) for h in held)
