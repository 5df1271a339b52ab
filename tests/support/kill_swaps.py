"""The swaps of the kill matrix, one class a direction: what people do in them, and what must come of it.

The oracle reads only balances: of both Lightning nodes by their own RPC, of the channel by both nodes' books.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from typing import Literal

from regtest.bitcoin.client import PayResult
from tests.support.kill_world import Money, World

Direction = Literal["cl_to_btc", "btc_to_cl"]
Ending = Literal["settled", "failed"]

PAY_MSAT, RECEIVE = 2_000_000, 400_000
ROUTING_BUDGET_MSAT = 1_000 + PAY_MSAT // 200


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


class Swap:
    """One swap between nodes that may die: the user's side and the other leg, driven to their ends."""

    def __init__(self, world: World, ending: Ending) -> None:
        self.world, self.ending = world, ending
        self.hash = ""
        self.begun = False  # the user has said so; a user who died first may have stored it or not
        self.acted = False

    async def begin(self) -> None:
        """What happens before the user is asked for the first time."""
        raise AssertionError("each direction has its own")

    async def ask(self) -> None:
        """The user's owner asks for it; again, when the user died before it answered."""
        raise AssertionError("each direction has its own")

    async def nudge(self) -> None:
        """What people do meanwhile: they ask, pay, cancel."""
        if not self.begun and await self.world.connected():
            await self.ask()

    async def ready(self) -> bool:
        raise AssertionError("each direction has its own")

    async def act(self) -> None:
        raise AssertionError("each direction has its own")

    async def over(self, state: str) -> bool:
        """`state` is the user's."""
        raise AssertionError("each direction has its own")

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        raise AssertionError("each direction has its own")

    async def state(self) -> tuple[str, str]:
        """The user's state and its invoice; empty when it is dead or knows of nothing."""
        view = await self.world.look_user(self.hash) if self.hash else None
        return ("", "") if view is None else (view["state"], view["invoice"])

    async def settled(self) -> bool:
        """Both ends of the swap and nothing pending between them."""
        if not self.begun or not await self.over((await self.state())[0]):
            return False
        ours, theirs = await self.world.look_user(self.hash), await self.world.look(self.hash)
        if ours is None or theirs is None or ours["pending"]:
            return False
        final = theirs["state"] in ("", "Quoted", "Done", "Released", "Refused")
        return final and bool(theirs["balance"] == ours["balance"][::-1])


class Out(Swap):
    """cl_to_btc: the other leg is alice's hold invoice."""

    async def begin(self) -> None:
        self._preimage = secrets.token_bytes(32)
        alice = self.world.lnd["alice"]
        self.hash = hashlib.sha256(self._preimage).hexdigest()
        self._request = await alice.add_hold_invoice(bytes.fromhex(self.hash), PAY_MSAT, "kill")
        await self.ask()

    async def ask(self) -> None:
        answer = await self.world.user.ask("pay", invoice=self._request, channel=self.world.channel)
        self.begun = answer is not None and "refused" not in answer

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

    async def over(self, state: str) -> bool:
        return state in ("Paid", "Failed", "Refused") and not await self.ready()

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        settled = self.acted and self.ending == "settled"
        if moved.alice_msat > PAY_MSAT:
            yield "double_paid", f"alice got {moved.alice_msat} msat"
        if moved.alice_msat != (PAY_MSAT if settled else 0):
            yield "lost", f"alice moved by {moved.alice_msat} msat"
        if not settled and moved != Money(0, 0, 0, 0):
            yield "lost", f"nothing was paid, yet {moved}"
        if settled:
            price = Money(moved.gateway_msat, PAY_MSAT, -self.price(), self.price())
            if not -PAY_MSAT - ROUTING_BUDGET_MSAT <= moved.gateway_msat <= -PAY_MSAT:
                yield "double_paid", f"the gateway's LND paid {-moved.gateway_msat} msat"
            if moved != price:
                yield "lost", f"paid, yet {moved}"

    @staticmethod
    def price() -> int:
        """By the published terms: amount and budget at 13 lovelace for 100 msat, 1000 lovelace and 0.5%."""
        converted = _up((PAY_MSAT + ROUTING_BUDGET_MSAT) * 13, 100)
        return converted + 1_000 + _up(converted * 5_000, 1_000_000)


class In(Swap):
    """btc_to_cl: the other leg is the user's answer to the gateway's cheque, which a gate holds back."""

    async def begin(self) -> None:
        self._paying: asyncio.Task[PayResult] | None = None
        await self.world.gate(is_open=False)
        view = await self.world.look_user()
        assert view is not None
        self._earlier = set(view["live"])
        await self.ask()

    async def ask(self) -> None:
        view = await self.world.look_user()
        stored = [] if view is None else [one for one in view["live"] if one not in self._earlier]
        if stored:  # the user died with it in its books and before it could say so
            self.hash, self.begun = stored[0], True
            return
        answer = await self.world.user.ask("receive", lovelace=RECEIVE, channel=self.world.channel)
        if answer is not None and "refused" not in answer:
            self.hash, self.begun = answer["hash"], True

    async def nudge(self) -> None:
        """Alice pays as soon as there is an invoice; a user who fails it has cancelled the receipt by then."""
        await super().nudge()
        if self._paying is not None or not self.hash:
            return
        state, invoice = await self.state()
        given_up = self.ending == "failed" and state == "Refused" and bool(invoice)
        if state == "InvoiceReady" and self.ending == "failed":
            given_up = await self.world.user.ask("cancel", hash=self.hash) is not None
        if given_up or (state == "InvoiceReady" and self.ending == "settled"):
            alice = self.world.lnd["alice"]
            self._paying = asyncio.create_task(alice.pay(invoice, 1_000_000, timeout_s=30))

    async def ready(self) -> bool:
        view = await self.world.look_user()
        return view is not None and bool(view["waiting"])

    async def act(self) -> None:
        self.acted = True
        await self.world.gate(is_open=True)

    async def over(self, state: str) -> bool:
        return state in ("Received", "Refused") and (self._paying is None or self._paying.done())

    def judge(self, moved: Money) -> Iterable[tuple[str, str]]:
        result = self._paying.result() if self._paying is not None else PayResult("NONE")
        settled = self.acted and self.ending == "settled"
        if result.settled != settled:
            yield "lost", f"alice's payment is {result.status} {result.reason}, the user's part: {settled}"
        if moved.user > RECEIVE:
            yield "double_paid", f"the user got {moved.user} lovelace"
        want = Money(self.price(), -self.price() - result.fee_msat, RECEIVE, -RECEIVE)
        if settled and moved != want:
            yield "lost", f"received, yet {moved} and not {want}"
        if not settled and moved != Money(0, 0, 0, 0):
            yield "lost", f"nothing was received, yet {moved}"

    @staticmethod
    def price() -> int:
        """The same terms backwards, in whole satoshis."""
        with_fees = RECEIVE + 1_000 + _up(RECEIVE * 5_000, 1_000_000)
        return _up(_up(with_fees * 100, 13), 1_000) * 1_000


MADE: dict[Direction, type[Swap]] = {"cl_to_btc": Out, "btc_to_cl": In}
