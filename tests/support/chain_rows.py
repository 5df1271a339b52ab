"""The chain view kept in the store: one transaction a step, restored from its rows at start."""

from __future__ import annotations

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


def register(codecs: Codecs) -> Codecs:
    codecs.register_all("chain", ChannelCreated, ChannelSpent, TxSeen)
    return codecs


def key_of(located: Located) -> bytes:
    match located.observation:
        case ChannelCreated(channel) | ChannelSpent(channel):
            return channel.raw
        case TxSeen(tx_id):
            return tx_id


async def commit(store: Store, step: Step) -> None:
    async with store.transaction("chain.block") as tx:
        match step:
            case Forward(at, _, seen, _):
                point = ChainPoint(at.point.slot.value, at.point.block_hash, at.height, at.time_ms.value)
                rows = [
                    (type(one.observation).__name__, key_of(one), store.codecs.encode(one.observation))
                    for one in seen
                ]
                await tx.chain.forward(point, rows)
            case Back(to):
                await tx.chain.back_to(None if to is None else to.slot.value)


async def restore(store: Store, view: View) -> View:
    async with store.read() as tx:
        points = [
            KeptPoint(Point(Slot(p.slot), p.block_hash), p.height, PosixMs(p.time_ms))
            for p in reversed(await tx.chain.points(SECURITY_BLOCKS))
        ]
        rows = await tx.chain.observations()
    by_slot = {kept.point.slot.value: kept for kept in points}
    old = KeptPoint(Point(Slot(0), b""), -1, PosixMs(0))  # older than k: never taken back, never deep
    located = []
    for row in rows:
        kept = by_slot.get(row.slot, old)
        located.append(Located(store.codecs.decode(row.payload), kept.point, kept.height))
    view.restore(points, located)
    return view
