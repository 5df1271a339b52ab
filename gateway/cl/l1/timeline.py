"""R2. Slots and time, exactly, by the eras of the chain; past the last era's end nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cl.l1.errors import HORIZON
from gateway.cl.ports import EraSummary
from gateway.errors import Refused
from gateway.units import PosixMs, Slot


def _known(eras: Sequence[EraSummary]) -> list[EraSummary]:
    """The eras that hold a slot: on a young chain the early ones are empty."""
    return [e for e in eras if e.end_slot is None or e.end_slot > e.start_slot]


def _end_ms(era: EraSummary) -> int | None:
    if era.end_slot is None:
        return None
    return era.start_ms.value + (era.end_slot.value - era.start_slot.value) * era.slot_length_ms


def _outside(what: object) -> Refused:
    return Refused(HORIZON(field="time", got=what, allowed="a moment inside the eras of the chain"))


def start_of(eras: Sequence[EraSummary], slot: Slot) -> PosixMs:
    """When `slot` begins; the end of the last known era is still known. Raises `Refused` (cl.l1.horizon)."""
    known = _known(eras)
    for era in reversed(known):
        if era.start_slot <= slot and (era.end_slot is None or slot <= era.end_slot):
            return PosixMs(era.start_ms.value + (slot.value - era.start_slot.value) * era.slot_length_ms)
    raise _outside(slot)


def slot_at(eras: Sequence[EraSummary], moment: PosixMs) -> Slot:
    """The slot that holds `moment`. Raises `Refused` (cl.l1.horizon)."""
    for era in reversed(_known(eras)):
        end = _end_ms(era)
        if era.start_ms <= moment and (end is None or moment.value <= end):
            passed = (moment.value - era.start_ms.value) // era.slot_length_ms
            return Slot(era.start_slot.value + passed)
    raise _outside(moment)


def first_slot_from(eras: Sequence[EraSummary], moment: PosixMs) -> Slot:
    """The first slot that begins at `moment` or later. Raises `Refused` (cl.l1.horizon)."""
    slot = slot_at(eras, moment)
    return slot if start_of(eras, slot) == moment else Slot(slot.value + 1)
