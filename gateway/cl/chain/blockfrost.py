"""ChainReader, ChainFollower and ChainSubmitter over Blockfrost's API (v0).

Every output and every transaction is taken from bytes whose hash is checked; what Blockfrost alone
can get wrong is which outputs it shows, and which blocks it calls the chain (a second provider
tells). Source: Blockfrost's OpenAPI description (0.1.88).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from gateway.cl.chain import blockfrost_forms as form
from gateway.cl.chain import fields as f
from gateway.cl.chain.errors import INCONSISTENT, WRONG_NETWORK
from gateway.cl.chain.guards import TipGuard, block_time, only_new, unmoved
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.ledger_words import submitted
from gateway.cl.chain.networks import checked_eras, checked_start
from gateway.cl.chain.outputs import Outputs, proven
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.polled import Header, Polled
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import (
    ChainEvent,
    ChainParams,
    EraSummary,
    Point,
    SubmitResult,
    SubmitUnknown,
    Tip,
    Utxo,
)
from gateway.errors import Refused
from gateway.units import PosixMs

T = TypeVar("T")

PAGE = 100  # the API's largest
MOST_PAGES = 1_000
KEPT_BLOCKS = 5_000
POLL_S = 5.0  # 17,280 questions a day at the tip, a third of the free plan


class Blockfrost:
    """One provider. Every method raises `Refused` with a cl.chain.* code; `submit` never raises."""

    def __init__(self, http: JsonHttp, network_magic: int, *, poll_s: float = POLL_S) -> None:
        self.http = http
        self.name = http.name
        self._magic = network_magic
        self._checked: PosixMs | None = None  # the system start of the network that was checked
        self._tips = TipGuard()
        self._eras: tuple[EraSummary, ...] = ()
        self._outputs = Outputs(self._transaction)
        self._points: OrderedDict[bytes, Point] = OrderedDict()
        self._chain = Polled(self, self.name, poll_s)

    async def close(self) -> None:
        await self.http.close()

    # --- ChainReader ---------------------------------------------------------------------------

    async def tip(self) -> Tip:
        value = await self._get("/blocks/latest")
        if value is None:
            return self._tips.checked(Tip(ORIGIN, 0))
        height = f.whole(f.get(value, "tip", "height"), "tip.height")
        return self._tips.checked(Tip(form.point(value, "tip"), height))

    async def params(self) -> ChainParams:
        start = await self._start()
        value = await self._get("/epochs/latest/parameters")
        self._eras = ()
        return ChainParams(form.protocol(value), await self._time_line(), self._magic, start)

    async def utxos_at(self, address: str) -> tuple[Utxo, ...]:
        return await unmoved(self.tip, lambda: self._at(address))

    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        return await unmoved(self.tip, lambda: self._of_policy(policy_id))

    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]:
        """Those of `refs` that are unspent, in their order."""
        await self._start()
        found: dict[OutputRef, Utxo] = {}
        for tx_id in dict.fromkeys(ref.tx_id for ref in refs):
            for ref in await self._unspent_of(tx_id, {r.index for r in refs if r.tx_id == tx_id}):
                where = f.obj(await self._get(f"/txs/{tx_id.hex()}"), "tx")
                block = f.octets(f.get(where, "tx", "block"), "tx.block", 32)
                found[ref] = await self._outputs.utxo(ref, await self._point(block), {})
        return tuple(found[ref] for ref in dict.fromkeys(refs) if ref in found)

    async def _unspent_of(self, tx_id: bytes, indexes: set[int]) -> list[OutputRef]:
        value = await self._get(f"/txs/{tx_id.hex()}/utxos")
        if value is None:
            return []
        unspent: list[OutputRef] = []
        for n, row in enumerate(f.items(f.get(value, "utxos", "outputs"), "utxos.outputs")):
            where = f"utxos.outputs[{n}]"
            index = f.whole(f.get(row, where, "output_index"), f"{where}.output_index", 1 << 16)
            if index in indexes and f.get(row, where, "consumed_by_tx") is None:
                made = await self._outputs.created(tx_id)
                if made is not None and index in made:  # not the collateral's change of a good transaction
                    unspent.append(OutputRef(tx_id, index))
        return unspent

    async def _at(self, address: str) -> tuple[Utxo, ...]:
        rows = await self._pages(f"/addresses/{address}/utxos", "utxos", form.output_ref)
        found = []
        for n, (ref, row) in enumerate(rows.items()):
            where = f"utxos[{n}]"
            told = form.told(row, where)
            if told["address"] != address:
                raise Refused(INCONSISTENT(field=f"{where}.address", got=told["address"], allowed=address))
            block = f.octets(f.get(row, where, "block"), f"{where}.block", 32)
            found.append(await self._outputs.utxo(ref, await self._point(block), told))
        return tuple(sorted(found, key=lambda u: (u.ref.tx_id, u.ref.index)))

    async def _of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        def asset(row: object, where: str) -> bytes:
            unit = f.octets(f.get(row, where, "asset"), f"{where}.asset")
            if unit[:28] != policy_id:
                raise f.malformed(f"{where}.asset", unit.hex(), f"an asset of {policy_id.hex()}")
            return unit

        def holder(row: object, where: str) -> str:
            return f.text(f.get(row, where, "address"), f"{where}.address")

        assets = await self._pages(f"/assets/policy/{policy_id.hex()}", "assets", asset)
        holders: dict[str, None] = {}
        for unit, row in assets.items():
            if form.quantity(f.get(row, "assets", "quantity"), "assets.quantity"):
                where = await self._pages(f"/assets/{unit.hex()}/addresses", "addresses", holder)
                holders |= dict.fromkeys(where)
        found = [utxo for address in holders for utxo in await self._at(address)]
        held = [u for u in found if any(key[:28] == policy_id for key, _ in u.assets)]
        return tuple(sorted(held, key=lambda u: (u.ref.tx_id, u.ref.index)))

    # --- ChainFollower -------------------------------------------------------------------------

    def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        return self._chain.follow(points)

    async def header(self, point: Point) -> Header | None:
        return await self._block(point.block_hash)

    async def _block(self, block_hash: bytes) -> Header | None:
        value = await self._get(f"/blocks/{block_hash.hex()}")
        return None if value is None else await self._header(value, "block")

    async def headers_after(self, block: Point | None) -> tuple[Header, ...] | None:
        if block is None:
            first = await self._get("/blocks/0") or await self._get("/blocks/1")
            return () if first is None else (await self._header(first, "block"),)
        value = await self._get(f"/blocks/{block.block_hash.hex()}/next?count={PAGE}")
        if value is None:
            return None
        rows = [(f"next[{n}]", row) for n, row in enumerate(f.items(value, "next"))]
        # Byron's boundary blocks have no height: empty, and passed over.
        return tuple([await self._header(r, w) for w, r in rows if f.get(r, w, "height") is not None])

    async def block_bytes(self, header: Header) -> tuple[bytes, ...] | None:
        if header.transactions == 0:
            return ()

        def tx_id(row: object, where: str) -> bytes:
            return f.octets(f.get(row, where, "tx_hash"), f"{where}.tx_hash", 32)

        path = f"/blocks/{header.point.block_hash.hex()}/txs/cbor"
        rows = await self._pages(path, "transactions", tx_id)
        if not rows and await self.header(header.point) is None:
            return None
        if len(rows) != header.transactions:
            got = f"{len(rows)} transactions"
            raise Refused(INCONSISTENT(field="block.tx_count", got=got, allowed=header.transactions))
        raws = []
        for digest, row in rows.items():
            raw = f.octets(f.get(row, "transaction", "cbor"), "transaction.cbor")
            raws.append(proven(digest, raw, "transaction.id"))
        return tuple(raws)

    async def _header(self, value: object, where: str) -> Header:
        slot = form.point(value, where).slot
        told = f.whole(f.get(value, where, "time"), f"{where}.time")
        try:
            moment = block_time(await self._time_line(), slot, told)
        except Refused:  # the time line may have changed since it was read
            self._eras = ()
            moment = block_time(await self._time_line(), slot, told)
        return form.header(value, where, moment)

    # --- ChainSubmitter ------------------------------------------------------------------------

    async def submit(self, tx_cbor: bytes) -> SubmitResult:
        """Idempotent by the transaction's id. `inputs_spent` is also the answer for a transaction
        that is on chain already: look before building anew."""
        tx_id = transaction_id(tx_cbor)
        try:
            await self._start()
            headers = {"Content-Type": "application/cbor"}
            answer = await self.http.ask("POST", "/tx/submit", content=tx_cbor, headers=headers)
        except Refused as error:
            return SubmitUnknown(error.rejection)
        return submitted("/tx/submit", tx_id, answer)

    # --- what the provider says of itself ------------------------------------------------------

    async def _get(self, path: str) -> Any | None:
        await self._start()
        return await self.http.get(path)

    async def _pages(self, path: str, where: str, key: Callable[[object, str], T]) -> dict[T, Any]:
        """All rows of a list by their key; fails with cl.chain.inconsistent when one comes twice."""
        found: dict[T, Any] = {}
        seen: set[object] = set()
        for page in range(1, MOST_PAGES + 1):
            value = await self._get(f"{path}?count={PAGE}&page={page}")
            rows = [] if value is None else f.items(value, where)
            for n, row in enumerate(rows):
                one = key(row, f"{where}[{n}]")
                only_new(seen, one, f"{where}[{n}]")
                found[one] = row
            if len(rows) < PAGE:
                return found
        raise f.malformed(where, f"more than {MOST_PAGES} pages", "an honest list")

    async def _transaction(self, tx_id: bytes) -> bytes | None:
        value = await self._get(f"/txs/{tx_id.hex()}/cbor")
        return None if value is None else f.octets(f.get(value, "tx", "cbor"), "tx.cbor")

    async def _point(self, block_hash: bytes) -> Point | None:
        if block_hash not in self._points:
            header = await self._block(block_hash)
            if header is None:
                return None
            self._points[block_hash] = header.point
            while len(self._points) > KEPT_BLOCKS:
                self._points.popitem(last=False)
        return self._points[block_hash]

    async def _time_line(self) -> tuple[EraSummary, ...]:
        if not self._eras:
            found = form.eras(await self._get("/network/eras"), await self._start())
            self._eras = checked_eras(self._magic, found)
        return self._eras

    async def _start(self) -> PosixMs:
        """Checks the network once: an address does not change its network without a restart of ours."""
        if self._checked is None:
            genesis = await self.http.get("/genesis")
            magic = f.whole(f.get(genesis, "genesis", "network_magic"), "genesis.network_magic")
            if magic != self._magic:
                raise Refused(WRONG_NETWORK(field="network_magic", got=magic, allowed=self._magic))
            start = f.whole(f.get(genesis, "genesis", "system_start"), "genesis.system_start", 1 << 40)
            self._checked = checked_start(self._magic, PosixMs(start * 1000))
        return self._checked
