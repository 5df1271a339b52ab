"""A cheque that no honest partner signs closes its channel, by a named code; the node runs on and nobody loses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cl.channel import messages as m
from gateway.cl.data import types as t
from gateway.cl.data.codec import cheque_message
from gateway.cl.wire.codec import Envelope
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.gateway_world import CHANNEL, GatewayWorld, gateway_world, until

pytestmark = [pytest.mark.devnet]
GOOD = t.Cheque(1, PosixMs(0), Hashlock(b"\x0a" * 32), Lovelace(2_000_000))
BROKEN = [
    ("signature", GOOD, "cl.cheque.signature"),
    ("lock", replace(GOOD, lock=Hashlock(b"\x0b" * 32)), "cl.cheque.conflict"),
    ("amount", replace(GOOD, amount=Lovelace(2_000_001)), "cl.cheque.conflict"),
]


async def send(world: GatewayWorld, cheque: t.Cheque, *, signed: bool = True) -> None:
    """From the user's own node with its true key: our signer would refuse the second cheque of an index (decision
    12), a cheat's does not."""
    user: Any = world.user.running
    channel = t.ChannelId(bytes.fromhex(world.channel))
    cheque = replace(cheque, timeout=user.clock.now() + Ms(3_600_000))
    key = user.signer._keys[user.channels.state(channel).agreement.local_key]
    raw = key.sign(cheque_message(channel, cheque)).signature if signed else b"\x01" * 64
    message = m.AddCheque(cheque, t.Signature(raw))
    await user.peers.send(world.gateway.running.node_id, Envelope(message, channel))


@pytest.mark.threat("P6")
@pytest.mark.parametrize(("name", "cheque", "code"), BROKEN, ids=[name for name, _, _ in BROKEN])
async def test_a_cheque_that_breaks_a_rule_closes_its_channel_and_nothing_else(
    tmp_path: Path, name: str, cheque: t.Cheque, code: str
) -> None:
    async with gateway_world(tmp_path) as world:
        if code == "cl.cheque.conflict":
            await send(world, GOOD)
        await send(world, cheque, signed=name != "signature")

        async def state(seat: Any) -> dict[str, Any]:
            found: dict[str, Any] = await seat.get(f"/channels/{world.channel}")
            return found

        async def named() -> bool:
            found = await state(world.gateway)
            return found["state"] in ("closing", "settling") and code in found["detail"]

        async def ended() -> bool:
            world.devnet.advance(6_000, 2)
            await asyncio.sleep(0.4)  # a node that cannot follow builds for a time that is over
            return all([(await state(seat))["state"] == "ended" for seat in (world.user, world.gateway)])

        await until(f"the gateway to say {code}", named)
        await until("the channel's end", ended, 120)
        for seat in (world.user, world.gateway):
            assert (await seat.get("/status"))["state"] == "running"
        # each got its own part of the channel: the half that the user opened it with, and the half that it gave
        await until("the gateway's half", lambda: holds(world, CHANNEL // 2))


async def holds(world: GatewayWorld, half: int) -> bool:
    """The gateway began with the faucet's ada and has paid fees since."""
    have = (await world.gateway.get("/wallet/balance"))["lovelace"]
    return bool(2_000_000_000 + half - 20_000_000 < have <= 2_000_000_000 + half)
