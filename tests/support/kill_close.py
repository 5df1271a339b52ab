"""Kills while a channel closes on chain with a cheque of the user's in it whose secret the gateway gets.

Three ways to the end. gone: the user is dead when the secret comes, so that the gateway closes and elapses alone.
respond: the user closes while the gateway is dead, which answers. late: the gateway closes over a locked cheque
and learns the secret after that. The oracle is the wallets on chain, each fee counted, and alice's balance.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any, Literal

from regtest.cardano.views import address_text
from tests.support.kill_matrix import POLLED, WRITES, Point, Record, points, quiet
from tests.support.kill_process import Stuck, until
from tests.support.kill_swaps import PAY_MSAT, ROUTING_BUDGET_MSAT, Out
from tests.support.kill_world import World

Way = Literal["gone", "respond", "late"]
# gone: nobody answers, so the least there is; else time enough for a gateway that dies again and again
RESPOND_MS: dict[Way, int] = {"gone": 20_000, "respond": 240_000, "late": 240_000}
STEPS = ("after_commit:l1tx.made", "after_commit:channel.OutputSeen")
SAMPLE: dict[Way, slice] = {"gone": slice(0, None, 2), "respond": slice(1, None, 2), "late": slice(None)}
BEAT_S, CLOSED_ENDS_S, REST_S = 0.07, 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Wallets:
    """Lovelace at both nodes' addresses with the fees that each paid so far added to it; alice's msat."""

    user: int
    gateway: int
    alice_msat: int
    gateway_msat: int


class Closing:
    """One channel from its opening to its end; the gateway may die in between as often as it is told to."""

    def __init__(self, world: World, way: Way) -> None:
        self.world, self.way = world, way
        self.swap = Out(world, "settled")
        self.user_away = False

    async def prepare(self) -> None:
        """A channel with one cheque locked at the gateway, whose payment alice holds."""
        self.world.beat_s = BEAT_S
        await quiet(self.world)
        views = [await self.world.user.must("look"), await self.world.gateway.must("look")]
        self._addresses = [view["address"] for view in views]
        self._before = await self.wallets()
        await self.world.open(added=0, respond_period_ms=RESPOND_MS[self.way])
        await self.swap.begin()
        await until("alice to hold the payment", self._held)

    async def _held(self) -> bool:
        await self.swap.nudge()
        return await self.swap.ready()

    async def wallets(self) -> Wallets:
        chain = self.world.devnet.chain
        owners = {view: row for row, view in enumerate(self._addresses)}
        lovelace, spent_by = [0, 0], [0, 0]
        made: dict[Any, int] = {}
        for block in chain.blocks:
            for tx in block.txs:
                payers = {made[ref] for ref in tx.spent() if ref in made}
                for payer in payers:
                    spent_by[payer] += tx.fee
                for ref, output in tx.produced().items():
                    if (row := owners.get(address_text(output.address))) is not None:
                        made[ref] = row
        for ref, output in chain.utxo.items():
            if ref in made:
                lovelace[made[ref]] += output.lovelace
        lnd = self.world.lnd
        user, gateway = (lovelace[row] + spent_by[row] for row in (0, 1))
        return Wallets(
            user, gateway, await lnd["alice"].channel_balance(), await lnd["gateway"].channel_balance()
        )

    async def begin(self, **order: Any) -> None:
        """The close is asked for; the gateway's `order` holds from here on."""
        match self.way:
            case "gone":
                await self.world.user.kill()
                self.user_away = True
                await self.swap.act()
                await until("the gateway to have the secret", self._knows)
                await self.world.gateway.must("order", **order)
            case "respond":
                await self.world.gateway.kill()
                await self.world.user.must("close", channel=self.world.channel)
                await until("the user's close", self._user_closed)
                await self.swap.act()
                await self.world.gateway.start(**order)
            case "late":
                await self.world.gateway.must("order", **order)
        await self._ask()

    async def _knows(self) -> bool:
        view = await self.world.look(self.swap.hash)
        return view is not None and view["state"] in ("PreimageKnown", "IncomingClaiming")

    async def _user_closed(self) -> bool:
        view = await self.world.look_user()
        return view is not None and view["stage"] == "Closed"

    async def _ask(self) -> None:
        """The owner asks again when the gateway died before it had stored it."""
        if self.way == "respond":
            return
        view = await self.world.look()
        if view is not None and view["channel"] == "Normal":
            await self.world.gateway.ask("close", channel=self.world.channel)

    async def step(self) -> bool:
        """What others do meanwhile; True once the channel has ended for both and everything rests."""
        await self._ask()
        theirs = await self.world.look(self.swap.hash)
        if theirs is None:
            return False
        if self.way == "late" and not self.swap.acted and theirs["stage"] == "Closed":
            await self.swap.act()
        if self.user_away:
            if theirs["channel"] == "Ended" or theirs["stage"] not in ("", "Opened", "Closed"):
                self.user_away = False
                await self.world.restart()
            return False
        ours = await self.world.look_user(self.swap.hash)
        if ours is None or ours["channel"] != "Ended" or theirs["channel"] != "Ended":
            return False
        return bool(ours["state"] == "Paid" and theirs["state"] == "Done" and not theirs["undone"])

    async def problems(self) -> list[str]:
        """Empty when both wallets and alice have, to the lovelace and msat, what the payment moved."""
        price = Out.price()
        now, was = await self.wallets(), self._before
        moved = (now.user - was.user, now.gateway - was.gateway, now.alice_msat - was.alice_msat)
        found = [] if moved == (-price, price, PAY_MSAT) else [f"moved {moved}, price {price}"]
        paid = was.gateway_msat - now.gateway_msat
        if not PAY_MSAT <= paid <= PAY_MSAT + ROUTING_BUDGET_MSAT:
            found.append(f"the gateway's LND paid {paid} msat")
        view = await self.world.look()
        if view is None or view["alarms"]:
            found.append(f"alarms {view and view['alarms']}")
        return found


class Closer:
    """The matrix of one way."""

    def __init__(self, world: World, way: Way) -> None:
        self.world, self.way = world, way
        self.record = Record("embedded", "sqlite", f"close_{way}", "gateway")

    async def round(self, order: dict[str, Any], label: str) -> list[str]:
        """One channel to its end. `order`: what the gateway dies of first; of `places`, at one after the other.
        Returns what an undisturbed gateway wrote."""
        closing = Closing(self.world, self.way)
        try:
            await closing.prepare()
            await closing.begin(**order)
            await until("the channel to end", lambda: self._driven(closing, order), CLOSED_ENDS_S)
            written = await self.world.gateway.must("recorded")
            await self.world.gateway.must("order")
            await until("wallets to rest", lambda: self._rests(closing), REST_S)
        except Stuck as stuck:
            views = [await self.world.look(closing.swap.hash), await self.world.look_user(closing.swap.hash)]
            what = f"{label}: {stuck}; {await closing.problems()}; gateway and user {views}"
            kind = self.record.lost if "wallets" in str(stuck) else self.record.stuck
            kind.append(what)
            await self.world.restart()
            return []
        if "point" in order or order.get("places"):
            self.record.unreached.append(f"{label}: {order}")
            self.record.missed += "point" in order  # a place of `places` may be passed once, before its turn
        return list(written["points"])

    async def _driven(self, closing: Closing, order: dict[str, Any]) -> bool:
        if await self.world.gateway.dead():
            at = self.world.gateway.killed_at
            self.record.kills += 1
            self.record.outcomes[at] = self.record.outcomes.get(at, 0) + 1
            order.pop("point", None)
            if at in order.get("places", ()):
                order["places"].remove(at)
            await self.world.gateway.start(**order)
            if not closing.user_away:
                await self.world.dial()
        return await closing.step()

    @staticmethod
    async def _rests(closing: Closing) -> bool:
        return not await closing.problems()


def _places(written: list[Point], some: slice) -> list[str]:
    """`some` of them once, but a transaction of ours and its block as often as the closing has them: step by step."""
    found = list(dict.fromkeys(one.at for one in written if not one.at.endswith(POLLED)))
    return [*found[some], *(one.at for one in written if one.at in STEPS and one.times > 1)]


async def run(world: World, way: Way) -> Record:
    """A dry run, then one closing in which the gateway dies at its writes, one after the other.
    GATEWAY_KILLS=all: at every one, and each write also has a closing, and a death, of its own."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    closer = Closer(world, way)
    record = closer.record
    written = points(await closer.round({"record": True}, "undisturbed"), WRITES)
    record.writes = len(written)
    assert not record.stuck + record.lost, record.row()
    whole = os.environ.get("GATEWAY_KILLS") == "all"
    await closer.round({"places": _places(written, slice(None) if whole else SAMPLE[way])}, "at each")
    for point in written if whole else ():
        await closer.round({"point": point.at, "times": point.times}, str(point))
    record.seconds = loop.time() - began
    record.save()
    return record
