"""A database that is older than what was signed with it: the node says so and does not start; its owner's way out."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.errors import Refused
from tests.support.gateway_world import GatewayWorld, Seat, gateway_world, until

pytestmark = [pytest.mark.devnet, pytest.mark.threat("P4")]


async def put_back(seat: Seat) -> None:
    """The backup of now, after what happens next, in the place of the database."""
    await seat.shut()
    for part in ("", "-wal", "-shm"):
        (seat.directory / f"gateway.db{part}").unlink(missing_ok=True)
    shutil.copy(seat.directory / "backup" / "gateway.db", seat.directory / "gateway.db")


@pytest.mark.parametrize("name", ["user", "gateway"])
async def test_a_backup_starts_only_when_its_owner_says_so_and_then_signs_nothing(
    tmp_path: Path, name: str
) -> None:
    async with gateway_world(tmp_path) as world:
        seat: Seat = getattr(world, name)
        await world.pay()
        await seat.running.back_up()
        assert (await world.pay())["status"] == "paid"
        await put_back(seat)
        with pytest.raises(Refused) as caught:
            await seat.open()
        assert caught.value.rejection.code == "store.stale_copy"
        assert "--accept-old-copy" in str(caught.value.rejection)
        signed = (seat.directory / "signatures").read_bytes()
        await seat.open(accept_old_copy=True)
        view = await seat.get(f"/channels/{world.channel}")
        assert view["detail"].startswith("cl.channel.stale")
        assert any("cl.channel.stale" in one for one in (await seat.get("/status"))["alarms"])
        await until("the peers to be connected", world.connected)
        invoice = await world.alice.add_invoice(2_000_000)
        await refused_or_failed(world, invoice)
        assert (seat.directory / "signatures").read_bytes() == signed
        await ended_by_its_owner(world, seat)
        await seat.shut()
        await seat.open()  # accepted once: what the copy could have signed is closed


async def refused_or_failed(world: GatewayWorld, invoice: str) -> None:
    """A frozen channel pays nothing, at whichever end it is frozen."""
    answer = await world.user._http.post("/payments", json={"invoice": invoice})
    if answer.status_code >= 400:
        assert answer.json()["code"]
        return
    await asyncio.sleep(1)
    found = await world.user.get(f"/payments/{answer.json()['payment_hash']}")
    assert found["status"] != "paid"


async def ended_by_its_owner(world: GatewayWorld, seat: Seat) -> None:
    await seat.post(f"/channels/{world.channel}/close", force=True)

    async def ended() -> bool:
        world.devnet.advance(6_000, 2)
        await asyncio.sleep(0.4)
        views = [await one.get(f"/channels/{world.channel}") for one in (world.user, world.gateway)]
        return all(view["state"] == "ended" for view in views)

    await until("the channel's end", ended, 120)
