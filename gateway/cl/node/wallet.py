"""R4. Transactions of ours on their way: stored before they leave, sent again until they lie deep or cannot any more.

Sent --seen in a block--> Seen --deep--> done
Sent --refused by the ledger, or its validity has passed--> dead
Seen --rollback--> Sent
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from gateway.cl.chain.view import TxSeen, View
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.cl.ports import ChainSubmitter, SubmitRefused, SubmitUnknown
from gateway.errors import Refused, Rejection
from gateway.store.codec import Codecs
from gateway.store.store import Store
from gateway.units import PosixMs

log = structlog.get_logger("gateway.wallet")
KIND = "l1tx"


@dataclass(frozen=True, slots=True)
class OwnTx:
    """`until`: its validity's end, exclusive; from then on it can be in no new block."""

    tx_id: bytes
    purpose: str
    channel: ChannelId | None
    tx_cbor: bytes
    spent: tuple[OutputRef, ...]
    until: PosixMs


@dataclass(frozen=True, slots=True)
class TxMade:
    tx: OwnTx


@dataclass(frozen=True, slots=True)
class TxEnded:
    """`how`: deep, refused, expired or failed (its scripts failed on chain)."""

    how: str


def register(codecs: Codecs) -> None:
    codecs.register(OwnTx, "l1tx.state")
    codecs.register_all("l1tx.event", TxMade, TxEnded)


@dataclass(slots=True)
class _Way:
    tx: OwnTx
    seen: bool = False
    refused: Rejection | None = None


class OwnTransactions:
    """Memory of what is under way, backed by the store."""

    def __init__(self, store: Store, submitter: ChainSubmitter) -> None:
        self._store, self._submitter = store, submitter
        self._ways: dict[bytes, _Way] = {}

    async def load(self, view: View) -> None:
        async with self._store.read() as tx:
            for row in await tx.list(KIND, live_only=True):
                self._ways[row.state.tx_id] = _Way(row.state)
        for tx_id in self._ways:
            view.watch(tx_id)
        for located in view.recent:
            if isinstance(located.observation, TxSeen):
                self.seen(located.observation.tx_id)

    def seen(self, tx_id: bytes) -> None:
        if tx_id in self._ways:
            self._ways[tx_id].seen = True

    def taken_back(self, tx_id: bytes) -> None:
        if tx_id in self._ways:
            self._ways[tx_id].seen = False

    def spent(self) -> frozenset[OutputRef]:
        """Outputs that nothing else may spend while these are under way."""
        return frozenset(ref for way in self._ways.values() for ref in way.tx.spent)

    def is_waiting(self) -> bool:
        """Whether one is in no block yet: its change will come back."""
        return any(not way.seen for way in self._ways.values())

    def on_the_way(self, now: PosixMs, *, spends: OutputRef | None = None, purpose: str = "") -> OwnTx | None:
        """One that can still come into a block, or is in one, that spends this output or serves this purpose."""
        for way in self._ways.values():
            fits = way.tx.purpose == purpose if spends is None else spends in way.tx.spent
            if fits and (way.seen or now < way.tx.until):
                return way.tx
        return None

    async def send(self, tx: OwnTx, view: View) -> None:
        """Stores, then submits. Raises the ledger's refusal; an unknown result is no error, it is sent again."""
        view.watch(tx.tx_id)
        async with self._store.transaction("l1tx.made") as db:
            await db.append(KIND, tx.tx_id.hex(), 0, (TxMade(tx),), tx)
        self._ways[tx.tx_id] = _Way(tx)
        log.info("tx.made", purpose=tx.purpose, tx_id=tx.tx_id.hex(), until=tx.until.value)
        refusal = await self._submit(tx)
        if refusal is not None:
            await self.end(tx.tx_id, "refused")
            raise Refused(refusal)

    async def _submit(self, tx: OwnTx) -> Rejection | None:
        result = await self._submitter.submit(tx.tx_cbor)
        match result:
            case SubmitRefused(rejection, inputs_spent):
                # an input that is gone may have gone to this very transaction: the chain says which
                return None if inputs_spent and self._is_seen(tx.tx_id) else rejection
            case SubmitUnknown(rejection):
                log.warning("tx.unknown", tx_id=tx.tx_id.hex(), code=rejection.code)
        return None

    def _is_seen(self, tx_id: bytes) -> bool:
        way = self._ways.get(tx_id)
        return way is not None and way.seen

    async def end(self, tx_id: bytes, how: str) -> None:
        way = self._ways.pop(tx_id, None)
        if way is None:
            return
        log.info("tx.ended", purpose=way.tx.purpose, tx_id=tx_id.hex(), how=how)
        async with self._store.transaction("l1tx.ended") as db:
            await db.append(KIND, tx_id.hex(), 1, (TxEnded(how),), way.tx, live=False)

    async def drop_expired(self, settled: PosixMs) -> None:
        """Past its validity at safe depth and in no block: it can never come."""
        for way in list(self._ways.values()):
            if not way.seen and way.tx.until <= settled:
                await self.end(way.tx.tx_id, "expired")

    async def rebroadcast(self, now: PosixMs) -> None:
        """Submits again what is in no block and still valid. A refusal proves nothing (mempools differ), but a
        channel's step may be built anew: both spend the channel's output, so only one can ever be. A payment
        of the wallet stays as it is: another one might pay twice."""
        for way in list(self._ways.values()):
            if way.seen or now >= way.tx.until:
                continue
            refusal = await self._submit(way.tx)
            if refusal is None:
                continue
            if way.tx.channel is not None:
                await self.end(way.tx.tx_id, "refused")
            elif refusal != way.refused:
                way.refused = refusal
                log.info("tx.again", tx_id=way.tx.tx_id.hex(), code=refusal.code, why=str(refusal)[:200])
