"""Both chains under one clock: whatever moves time moves both, or neither."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.profile import REGTEST
from regtest.process import Network

BLOCK_MS = REGTEST.bitcoin.block_ms


class Chains:
    """Both at once: they note what they are told, in order."""

    def __init__(self, most_blocks: int | None = None) -> None:
        self.most_blocks, self.now_ms, self.told = most_blocks, 1_000_000, list[tuple[str, int]]()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}

    def tip(self) -> dict[str, int]:
        return {"time_ms": self.now_ms}

    async def advance(self, span_ms: int) -> None:
        self.now_ms += span_ms
        self.told.append(("ledger", span_ms))

    async def rollback(self, depth: int) -> None: ...

    async def faucet(self, address: str, lovelace: int) -> str:
        return ""

    async def height(self) -> int:
        return 0

    def follow(self, now_ms: int) -> None:
        self.told.append(("clock", now_ms))

    async def mine(self, blocks: int, span_ms: int) -> None:
        self.told.append(("blocks", blocks))
        assert span_ms == blocks * BLOCK_MS


@pytest.mark.parametrize("blocks", [1, 15, 1800])
async def test_time_moves_the_ledger_and_mines_what_the_profile_expects(blocks: int) -> None:
    chains = Chains()
    span = blocks * BLOCK_MS + BLOCK_MS // 2
    await Network(chains, chains, "embedded").move(span)
    assert chains.told == [("ledger", span), ("clock", 1_000_000 + span), ("blocks", blocks)]


async def test_no_bitcoin_block_is_lost_in_small_steps() -> None:
    chains = Chains()
    network = Network(chains, chains, "embedded")
    for _ in range(10):
        await network.move(BLOCK_MS * 3 // 4)
    assert sum(n for what, n in chains.told if what == "ledger") == BLOCK_MS * 30 // 4
    assert sum(n for what, n in chains.told if what == "blocks") == 7


async def test_blocks_by_hand_take_the_time_that_they_take() -> None:
    chains = Chains()
    await Network(chains, chains, "embedded").mine(6)
    assert chains.told == [("ledger", 6 * BLOCK_MS), ("clock", 1_000_000 + 6 * BLOCK_MS), ("blocks", 6)]


async def test_moves_never_overlap() -> None:
    chains = Chains()
    network = Network(chains, chains, "embedded")
    await asyncio.gather(*(network.move(2 * BLOCK_MS) for _ in range(3)))
    assert [what for what, _ in chains.told] == ["ledger", "clock", "blocks"] * 3


@pytest.mark.parametrize(("blocks", "refused"), [(10, False), (11, True)])
def test_a_span_that_one_side_cannot_follow_is_refused_for_both(blocks: int, refused: bool) -> None:
    chains = Chains(most_blocks=10)
    found = Network(chains, chains, "lnd").refusal(blocks * BLOCK_MS)
    assert (found is not None) == refused
    assert chains.told == []
