"""Slots and time, by the era summaries of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cl.ports import EraSummary
from gateway.units import PosixMs, Slot


def time_of(eras: Sequence[EraSummary], slot: Slot) -> PosixMs:
    """When `slot` begins. A slot before the first era counts as that era's."""
    era = _era(eras, slot)
    return PosixMs(era.start_ms.value + (slot.value - era.start_slot.value) * era.slot_length_ms)


def slot_at(eras: Sequence[EraSummary], moment: PosixMs) -> Slot:
    """The slot that holds `moment`."""
    chosen = eras[0]
    for era in eras:
        if era.start_ms <= moment and (era.end_slot is None or era.end_slot > era.start_slot):
            chosen = era
    return Slot(chosen.start_slot.value + (moment.value - chosen.start_ms.value) // chosen.slot_length_ms)


def _era(eras: Sequence[EraSummary], slot: Slot) -> EraSummary:
    chosen = eras[0]
    for era in eras:
        empty = era.end_slot is not None and era.end_slot <= era.start_slot
        if era.start_slot <= slot and not empty:
            chosen = era
    return chosen
