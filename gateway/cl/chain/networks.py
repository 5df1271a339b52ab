"""What is known beforehand of the public networks: when each began, and which moment a slot is.

A provider may claim a network's magic and tell another time line: then timeouts of cheques would be judged
by a wrong clock. Sources: the networks' genesis files (Byron's startTime), and the slot at which Shelley
began, from which every slot has lasted one second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cl.chain.errors import WRONG_NETWORK
from gateway.cl.ports import EraSummary
from gateway.errors import Refused
from gateway.units import PosixMs

SLOT_MS = 1_000


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    system_start_ms: int
    shelley_slot: int
    shelley_ms: int


KNOWN = {
    764824073: Network("mainnet", 1_506_203_091_000, 4_492_800, 1_596_059_091_000),
    1: Network("preprod", 1_654_041_600_000, 86_400, 1_655_769_600_000),
    2: Network("preview", 1_666_656_000_000, 0, 1_666_656_000_000),
}

# Byron's slots lasted 20 s, from the start of each network to its Shelley.
for _network in KNOWN.values():
    assert _network.system_start_ms + _network.shelley_slot * 20_000 == _network.shelley_ms


def checked_start(magic: int, start: PosixMs) -> PosixMs:
    """Fails with cl.chain.wrong_network when a known network did not begin then."""
    known = KNOWN.get(magic)
    if known is not None and start.value != known.system_start_ms:
        raise Refused(
            WRONG_NETWORK(
                field="system_start_ms", got=start.value, allowed=known.system_start_ms, detail=known.name
            )
        )
    return start


def checked_eras(magic: int, eras: Sequence[EraSummary]) -> tuple[EraSummary, ...]:
    """Fails with cl.chain.wrong_network when a known network's slots would fall on other moments."""
    known = KNOWN.get(magic)
    if known is None:
        return tuple(eras)
    for era in eras:
        if era.end_slot is not None and era.end_slot.value <= known.shelley_slot:
            continue
        if era.slot_length_ms != SLOT_MS:  # a fork of the future: what comes after it cannot be known here
            break
        allowed = known.shelley_ms + (era.start_slot.value - known.shelley_slot) * SLOT_MS
        if era.start_ms.value != allowed:
            field = f"slot {era.start_slot.value}"
            raise Refused(
                WRONG_NETWORK(field=field, got=era.start_ms.value, allowed=allowed, detail=known.name)
            )
    return tuple(eras)
