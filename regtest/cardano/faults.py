"""Faults on demand, and the chain as each service is told to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from regtest.cardano.chain import Block, Chain


@dataclass(slots=True)
class Faults:
    """All off by default. Counters go down by one each time they strike."""

    ogmios_down: bool = False  # connections are cut and refused
    kupo_down: bool = False
    ogmios_lag_blocks: int = 0  # the newest blocks are hidden
    kupo_lag_blocks: int = 0
    kupo_lie: bool = False  # the checkpoint moves, the matches stay as they were when this was set
    blockfrost_down: bool = False
    blockfrost_lag_blocks: int = 0
    blockfrost_lie: bool = False  # blocks move, the unspent outputs stay as they were when this was set
    koios_down: bool = False
    koios_lag_blocks: int = 0
    koios_lie: bool = False
    utxorpc_down: bool = False
    utxorpc_lag_blocks: int = 0
    utxorpc_lie: bool = False
    rate_limits: int = 0  # the next answers of Blockfrost are 429
    delay_ms: int = 0  # before every answer
    refuse_submits: int = 0  # the next submissions are refused (mempool full)
    drop_submits: int = 0  # … are accepted, then forgotten
    lose_answers: int = 0  # … are accepted, and the connection is cut before the answer
    hold_blocks: int = 0  # accepted transactions wait so many blocks

    def update(self, changes: dict[str, Any]) -> None:
        """Fails with ValueError on an unknown fault or a value of another type."""
        kinds = {item.name: type(getattr(self, item.name)) for item in fields(self)}
        for name, value in changes.items():
            if name not in kinds or type(value) is not kinds[name] or (kinds[name] is int and value < 0):
                raise ValueError(f"fault {name}={value!r}; known: {', '.join(kinds)}")
        for name, value in changes.items():
            setattr(self, name, value)

    def clear(self) -> None:
        for name, value in _off().items():
            setattr(self, name, value)

    def strike(self, name: str) -> bool:
        left: int = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return left > 0

    def as_dict(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


def _off() -> dict[str, Any]:
    return Faults().as_dict()


class View:
    """One service's view: `service` is the first word of its faults (ogmios, kupo, blockfrost, koios, utxorpc)."""

    def __init__(self, chain: Chain, faults: Faults, service: str, now_slot: Callable[[], int]) -> None:
        self.chain = chain
        self.now_slot = now_slot
        self._faults = faults
        self._service = service
        self._frozen: int | None = None

    @property
    def down(self) -> bool:
        return bool(getattr(self._faults, f"{self._service}_down"))

    @property
    def delay_ms(self) -> int:
        return self._faults.delay_ms

    def strike(self, fault: str) -> bool:
        return self._faults.strike(fault)

    def height(self) -> int:
        lag = int(getattr(self._faults, f"{self._service}_lag_blocks"))
        return max(0, self.chain.tip.height - lag)

    def tip(self) -> Block:
        return self.chain.blocks[self.height()]

    def blocks(self) -> list[Block]:
        return self.chain.blocks[: self.height() + 1]

    def utxo_height(self) -> int:
        """Differs from `height` only while the service is told to lie."""
        if not getattr(self._faults, f"{self._service}_lie", False):
            self._frozen = None
            return self.height()
        if self._frozen is None:
            self._frozen = self.height()
        return min(self._frozen, self.height())

    def freeze(self) -> None:
        """Fixes the height of a lie at the moment it is told, not at the first question."""
        self.utxo_height()
