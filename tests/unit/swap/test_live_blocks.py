"""Stress factors follow the blocks that this node saw, also after a restart; older swap rows are still read."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from gateway.btc.ports import NodeInfo
from gateway.profile import MAINNET, REGTEST
from gateway.store.codec import Codecs, dump_json, load_json
from gateway.store.store import Store
from gateway.swap import codecs
from gateway.swap import events as e
from gateway.swap import state as s
from gateway.swap.live_blocks import LiveBlocks
from gateway.swap.quote import Direction
from gateway.units import BlockDelta, BlockHeight, Msat, PosixMs
from tests.support.swap_machines import CHANNEL, NOW, quote

INFO = NodeInfo(b"\x03" * 33, "lnd", "0.21.0", "mainnet", BlockHeight(800_000), NOW, True)


async def test_slow_blocks_stretch_every_time_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    store = await Store.open(url, network="mainnet", codecs=Codecs())
    blocks = LiveBlocks(store, MAINNET)
    await blocks.start()
    for n in range(145):
        tip = replace(
            INFO, height=BlockHeight(800_000 + n), best_header_ms=PosixMs(NOW.value + n * 1_200_000)
        )
        assert await blocks.seen(tip) == (Fraction(5, 4) if n < 144 else Fraction(11, 5))
    await store.close()
    store = await Store.open(url, network="mainnet", codecs=Codecs())
    again = LiveBlocks(store, MAINNET)
    await again.start()
    assert again.stress == Fraction(11, 5)
    # a reorganisation: the tip of the same height is another, and what lay above it is not counted
    other = replace(
        INFO, height=BlockHeight(800_143), best_header_ms=PosixMs(NOW.value + 143 * 1_200_000 + 7)
    )
    assert await again.seen(other) == Fraction(5, 4)
    async with store.read() as tx:
        assert dict(await tx.headers.all())[800_143] == other.best_header_ms.value
    async with store.transaction("test") as tx:
        await tx.headers.put(810_000, 1)
        assert await tx.headers.all() == ((810_000, 1),)  # two difficulty periods are kept
    await store.close()


async def test_blocks_that_somebody_asks_for_stretch_nothing(tmp_path: Path) -> None:
    """A regtest left alone over night is no slow chain."""
    store = await Store.open(f"sqlite:///{tmp_path}/a.db", network="regtest", codecs=Codecs())
    blocks = LiveBlocks(store, REGTEST)
    for n in range(150):
        tip = replace(INFO, height=BlockHeight(600 + n), best_header_ms=PosixMs(NOW.value + n * 3_600_000))
        assert await blocks.seen(tip) == Fraction(5, 4)
    await store.close()


def test_a_row_of_version_1_has_no_known_height() -> None:
    known = Codecs()
    codecs.register(known)
    incoming, outgoing = s.ChequeIn(CHANNEL, 3, NOW), s.PaymentOut(Msat(1), BlockDelta(90), BlockHeight(690))
    cheque_out = s.ChequeOut(CHANNEL, NOW)
    q = quote(Direction.CL_TO_BTC)
    for value in (
        s.OutgoingIntended(q, incoming, outgoing),
        s.OutgoingInFlight(q, incoming, outgoing, 0),
        e.OutgoingWasIntended(outgoing),
    ):
        document = load_json(known.encode(value))
        assert document["v"] == (2 if isinstance(value, e.OutgoingWasIntended) else 3)
        assert document["d"]["outgoing"].pop("latest_height") == 690
        for later in ("spread_fee_lovelace", "inventory_fee_lovelace", "option_fee_lovelace", "lock_life_ms"):
            document["d"].get("quote", {}).pop(later, None)
        old = known.decode(dump_json({**document, "v": 1}))
        assert old == replace(value, outgoing=replace(outgoing, latest=BlockHeight(0)))
    document = load_json(known.encode(e.OutgoingWasIntended(cheque_out)))
    assert known.decode(dump_json({**document, "v": 1})) == e.OutgoingWasIntended(cheque_out)
