"""What passes by itself is no dispute between providers, however seldom it is asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gateway.cl.chain.seat import Seat
from gateway.cl.chain.several import Several
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Utxo
from gateway.units import Lovelace

DISPUTE_S = 0.05


class Shows:
    """One output, or none while a block is on its way."""

    def __init__(self, outputs: tuple[Any, ...]) -> None:
        self.outputs = outputs

    async def utxos_at(self, _: str) -> tuple[Any, ...]:
        return self.outputs

    async def tip(self) -> Any:
        return SimpleNamespace(height=5, point=SimpleNamespace(slot=SimpleNamespace(value=5)))


async def test_two_blocks_on_their_way_an_hour_apart_are_no_dispute() -> None:
    output = Utxo(OutputRef(b"t" * 32, 0), "addr", Lovelace(5))
    shows = [Shows((output,)) for _ in range(3)]
    seats = [Seat(f"p{n}", "kind", "url", cast(Any, one)) for n, one in enumerate(shows)]
    several = Several(seats, 2, dispute_s=DISPUTE_S)
    for _ in range(2):
        shows[2].outputs = ()
        assert await several.utxos_at("addr") == (output,)
        shows[2].outputs = (output,)
        await several.look()  # the node's own round; nobody else asks for an hour
        await asyncio.sleep(2 * DISPUTE_S)
    assert seats[2].dispute == ""
    shows[2].outputs = ()
    await several.utxos_at("addr")
    await asyncio.sleep(2 * DISPUTE_S)
    await several.look()
    assert seats[2].dispute != ""
    shows[2].outputs = (output,)
    await several.look()  # and one that ended is over, though nobody asks the question again
    assert seats[2].dispute == ""
