"""R4. The chain's view in the store: a block a transaction, restored from its rows at start."""

from __future__ import annotations

from collections.abc import Callable

from gateway.cl.chain.points import SECURITY_BLOCKS
from gateway.cl.chain.view import (
    Back,
    ChannelCreated,
    ChannelSpent,
    Forward,
    KeptPoint,
    Located,
    Step,
    TxSeen,
    View,
)
from gateway.cl.ports import Point
from gateway.store.codec import Codecs
from gateway.store.records import ChainPoint
from gateway.store.store import Store
from gateway.units import PosixMs, Slot

# What lies deeper than the points that are kept: never taken back.
_OLD = KeptPoint(Point(Slot(0), b""), -1, PosixMs(0))


def register(codecs: Codecs) -> None:
    codecs.register_all("chain", ChannelCreated, ChannelSpent, TxSeen)


async def commit(store: Store, step: Step, is_kept: Callable[[Located], bool]) -> None:
    """One step of the follower in one transaction; of what a block shows only what `is_kept`."""
    async with store.transaction("chain.block") as tx:
        match step:
            case Forward(at, _, seen, _):
                rows = [
                    (type(one.observation).__name__, _key(one), store.codecs.encode(one.observation))
                    for one in seen
                    if is_kept(one)
                ]
                await tx.chain.forward(_row(at), rows)
            case Back(to):
                await tx.chain.back_to(None if to is None else to.slot.value)


async def begin_at(store: Store, point: KeptPoint) -> None:
    async with store.transaction("chain.begin") as tx:
        await tx.chain.forward(_row(point))


async def restore(store: Store, view: View) -> tuple[Located, ...]:
    """Fills an empty view; returns everything that the store holds, in chain order."""
    async with store.read() as tx:
        points = [
            KeptPoint(Point(Slot(p.slot), p.block_hash), p.height, PosixMs(p.time_ms))
            for p in reversed(await tx.chain.points(SECURITY_BLOCKS))
        ]
        rows = await tx.chain.observations()
    by_slot = {kept.point.slot.value: kept for kept in points}
    located = []
    for row in rows:
        kept = by_slot.get(row.slot, _OLD)
        located.append(Located(store.codecs.decode(row.payload), kept.point, kept.height))
    view.restore(points, located)
    return tuple(located)


def _row(kept: KeptPoint) -> ChainPoint:
    return ChainPoint(kept.point.slot.value, kept.point.block_hash, kept.height, kept.time_ms.value)


def _key(located: Located) -> bytes:
    match located.observation:
        case ChannelCreated(channel) | ChannelSpent(channel):
            return channel.raw
        case TxSeen(tx_id):
            return tx_id
