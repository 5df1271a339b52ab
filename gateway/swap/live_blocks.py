"""R4. The Bitcoin blocks that this node saw come: their header times give the stress factors s and f."""

from __future__ import annotations

from fractions import Fraction

from gateway.btc.ports import NodeInfo
from gateway.profile import NetworkProfile
from gateway.store.store import Store
from gateway.swap.timelock import LEAST_STRESS, STRESS_WINDOWS, stress
from gateway.units import PosixMs


class LiveBlocks:
    """Kept in the store, so that a restart forgets nothing. `stress` is at least 5/4 until 144 of them are known."""

    def __init__(self, store: Store, profile: NetworkProfile) -> None:
        self._store, self._law = store, profile.bitcoin
        # where blocks come when somebody asks for one, their gaps say nothing about a law
        self._on_demand = profile.bitcoin_silence is None
        self._times: dict[int, PosixMs] = {}
        self.stress = LEAST_STRESS

    async def start(self) -> None:
        async with self._store.read() as tx:
            self._times = {height: PosixMs(time) for height, time in await tx.headers.all()}
        self._measure()

    async def seen(self, info: NodeInfo) -> Fraction:
        """The stress with LND's newest block; a block of the same height after a reorganisation replaces the old."""
        height, time = info.height.value, info.best_header_ms
        if self._times.get(height) != time and height > 0:
            async with self._store.transaction("bitcoin.header") as tx:
                await tx.headers.put(height, time.value)
            self._times[height] = time
            oldest = height - 2 * max(STRESS_WINDOWS)
            self._times = {h: t for h, t in self._times.items() if oldest <= h <= height}
            self._measure()
        return self.stress

    def _measure(self) -> None:
        if self._on_demand:
            return
        self.stress = stress(self._law, sorted(self._times.items(), key=lambda one: one[0]))
