"""ChainReader, ChainFollower and ChainSubmitter over Koios's API (v1).

As with Blockfrost, outputs and transactions are taken from bytes whose hash is checked. Koios tells no
era summaries; the time line goes through its tip at the genesis' slot length, which holds for every
slot since Shelley (each block's own time is held against it). Source: Koios's OpenAPI (v1.4.2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from gateway.cl.chain import blockfrost_forms as form
from gateway.cl.chain import fields as f
from gateway.cl.chain import koios_forms as shape
from gateway.cl.chain.errors import INCONSISTENT, WRONG_NETWORK
from gateway.cl.chain.guards import TipGuard, block_time, only_new, unmoved
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.ledger_words import submitted
from gateway.cl.chain.networks import checked_eras, checked_start
from gateway.cl.chain.outputs import Outputs, proven
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
from gateway.units import PosixMs, Slot

T = TypeVar("T")

PAGE = 1_000  # the API's largest
BLOCKS = 100
MOST_PAGES = 100
REFS_A_QUERY = 10  # a body may have 1 kB
KEPT_POINTS = 5_000
POLL_S = 5.0

_ONLY_INDEX = dict.fromkeys(("_inputs", "_metadata", "_assets", "_withdrawals", "_certs", "_scripts"), False)


class Koios:
    """One provider. Every method raises `Refused` with a cl.chain.* code; `submit` never raises."""

    def __init__(self, http: JsonHttp, network_magic: int, *, poll_s: float = POLL_S) -> None:
        self.http = http
        self._magic = network_magic
        self._slot_ms = 0
        self._checked: PosixMs | None = None  # the system start of the network that was checked
        self._tips = TipGuard()
        self._line: tuple[EraSummary, ...] = ()
        self._outputs = Outputs(self._transaction)
        self._points: OrderedDict[tuple[bytes, int], Point] = OrderedDict()
        self._chain = Polled(self, http.name, poll_s)

    async def close(self) -> None:
        await self.http.close()

    # --- ChainReader ---------------------------------------------------------------------------

    async def tip(self) -> Tip:
        row = await self._tip_row()
        return self._tips.checked(Tip(shape.point(row, "tip"), shape.height(row, "tip")))

    async def params(self) -> ChainParams:
        start = await self._start()
        epoch = f.whole(f.get(await self._tip_row(), "tip", "epoch_no"), "tip.epoch_no", 1 << 32)
        rows = f.items(await self._get(f"/epoch_params?_epoch_no={epoch}"), "parameters")
        if len(rows) != 1:
            raise f.malformed("parameters", f"{len(rows)} rows", "one")
        self._line = ()
        return ChainParams(shape.protocol(rows[0]), await self._time_line(), self._magic, start)

    async def utxos_at(self, address: str) -> tuple[Utxo, ...]:
        return await unmoved(self.tip, lambda: self._at(address))

    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        return await unmoved(self.tip, lambda: self._of_policy(policy_id))

    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]:
        """Those of `refs` that are unspent, in their order."""
        found: dict[OutputRef, Utxo] = {}
        wanted = list(dict.fromkeys(refs))
        for start in range(0, len(wanted), REFS_A_QUERY):
            part = [str(ref) for ref in wanted[start : start + REFS_A_QUERY]]
            rows = await self._pages("/utxo_info", {"_utxo_refs": part, "_extended": False}, shape.output_ref)
            for n, (ref, row) in enumerate(rows.items()):
                if ref in wanted and f.get(row, f"utxos[{n}]", "is_spent") is False:
                    found[ref] = await self._utxo(ref, row, f"utxos[{n}]")
        return tuple(found[ref] for ref in wanted if ref in found)

    async def _at(self, address: str) -> tuple[Utxo, ...]:
        body = {"_addresses": [address], "_extended": False}
        found = []
        for n, (ref, row) in enumerate((await self._pages("/address_utxos", body, shape.output_ref)).items()):
            where = f"utxos[{n}]"
            told = f.text(f.get(row, where, "address"), f"{where}.address")
            if told != address:
                raise Refused(INCONSISTENT(field=f"{where}.address", got=told, allowed=address))
            found.append(await self._utxo(ref, row, where))
        return tuple(sorted(found, key=lambda u: (u.ref.tx_id, u.ref.index)))

    async def _of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        def holder(row: object, where: str) -> tuple[str, str]:
            name = f.get(row, where, "asset_name")
            return f.text(f.get(row, where, "payment_address"), f"{where}.payment_address"), str(name)

        path = f"/policy_asset_addresses?_asset_policy={policy_id.hex()}"
        holders = dict.fromkeys(address for address, _ in await self._pages(path, None, holder))
        found = [utxo for address in holders for utxo in await self._at(address)]
        held = [u for u in found if any(key[:28] == policy_id for key, _ in u.assets)]
        return tuple(sorted(held, key=lambda u: (u.ref.tx_id, u.ref.index)))

    async def _utxo(self, ref: OutputRef, row: object, where: str) -> Utxo:
        told: dict[str, object] = {
            "address": f.text(f.get(row, where, "address"), f"{where}.address"),
            "lovelace": form.lovelace(f.get(row, where, "value"), f"{where}.value"),
        }
        height = shape.height(row, where)
        if (ref.tx_id, height) not in self._points:
            await self._look_up(ref.tx_id)
        return await self._outputs.utxo(ref, self._points.get((ref.tx_id, height)), told)

    # --- ChainFollower -------------------------------------------------------------------------

    def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        return self._chain.follow(points)

    async def header(self, point: Point) -> Header | None:
        return await self._block(point.block_hash)

    async def _block(self, block_hash: bytes) -> Header | None:
        rows = f.items(await self._get(f"/blocks?hash=eq.{block_hash.hex()}"), "blocks")
        return await self._header(rows[0], "blocks[0]") if rows else None

    async def headers_after(self, block: Point | None) -> tuple[Header, ...] | None:
        slot = 0 if block is None else block.slot.value
        path = f"/blocks?abs_slot=gte.{slot}&order=abs_slot.asc&limit={BLOCKS}"
        rows = [(f"blocks[{n}]", row) for n, row in enumerate(f.items(await self._get(path), "blocks"))]
        # Byron's boundary blocks have no height: empty, and passed over.
        rows = [(where, row) for where, row in rows if f.get(row, where, "block_height") is not None]
        if block is not None:
            if not rows or shape.point(rows[0][1], rows[0][0]) != block:
                return None
            rows = rows[1:]
        return tuple([await self._header(row, where) for where, row in rows])

    async def block_bytes(self, header: Header) -> tuple[bytes, ...] | None:
        if header.transactions == 0:
            return ()
        body = {"_block_hashes": [header.point.block_hash.hex()]}
        rows = await self._pages("/block_tx_cbor", body, _tx_id)
        if not rows and await self.header(header.point) is None:
            return None
        if len(rows) != header.transactions:
            got = f"{len(rows)} transactions"
            raise Refused(INCONSISTENT(field="block.tx_count", got=got, allowed=header.transactions))
        place = {}
        if len(rows) > 1:  # their order is told elsewhere
            found = await self._pages("/block_tx_info", {**body, **_ONLY_INDEX}, _tx_id)
            place = {
                one: f.whole(f.get(row, "tx", "tx_block_index"), "tx_block_index")
                for one, row in found.items()
            }
            if place.keys() != rows.keys():
                got = f"{len(place)} transactions"
                raise Refused(INCONSISTENT(field="block.order", got=got, allowed=len(rows)))
        raws = []
        for digest in sorted(rows, key=lambda one: place.get(one, 0)):
            raw = f.octets(f.get(rows[digest], "transaction", "cbor"), "transaction.cbor")
            raws.append(proven(digest, raw, "transaction.id"))
        return tuple(raws)

    async def _header(self, value: object, where: str) -> Header:
        told = f.whole(f.get(value, where, "block_time"), f"{where}.block_time")
        moment = block_time(await self._time_line(), shape.point(value, where).slot, told)
        return shape.header(value, where, moment)

    # --- ChainSubmitter ------------------------------------------------------------------------

    async def submit(self, tx_cbor: bytes) -> SubmitResult:
        """Idempotent by the transaction's id. `inputs_spent` is also the answer for a transaction
        that is on chain already: look before building anew."""
        tx_id = transaction_id(tx_cbor)
        try:
            await self._start()
            headers = {"Content-Type": "application/cbor"}
            answer = await self.http.ask("POST", "/submittx", content=tx_cbor, headers=headers)
        except Refused as error:
            return SubmitUnknown(error.rejection)
        return submitted("/submittx", tx_id, answer)

    # --- what the provider says of itself ------------------------------------------------------

    async def _get(self, path: str) -> Any:
        await self._start()
        value = await self.http.get(path)
        return [] if value is None else value

    async def _pages(
        self, path: str, body: dict[str, Any] | None, key: Callable[[object, str], T]
    ) -> dict[T, Any]:
        """All rows of a list by their key; fails with cl.chain.inconsistent when one comes twice."""
        await self._start()
        found: dict[T, Any] = {}
        seen: set[object] = set()
        sign = "&" if "?" in path else "?"
        where = path.split("?")[0]
        for page in range(MOST_PAGES):
            full = f"{path}{sign}offset={page * PAGE}&limit={PAGE}"
            value = await (self._get(full) if body is None else self.http.post(full, body))
            rows = f.items(value, where)
            for n, row in enumerate(rows):
                one = key(row, f"{where}[{n}]")
                only_new(seen, one, f"{where}[{n}]")
                found[one] = row
            if len(rows) < PAGE:
                return found
        raise f.malformed(where, f"more than {MOST_PAGES} pages", "an honest list")

    async def _transaction(self, tx_id: bytes) -> bytes | None:
        return await self._look_up(tx_id)

    async def _look_up(self, tx_id: bytes) -> bytes | None:
        """The transaction's bytes; notes in which block it is."""
        rows = await self._pages("/tx_cbor", {"_tx_hashes": [tx_id.hex()]}, _tx_id)
        row = rows.get(tx_id)
        if row is None:
            return None
        slot = Slot(f.whole(f.get(row, "tx", "absolute_slot"), "tx.absolute_slot"))
        at = Point(slot, f.octets(f.get(row, "tx", "block_hash"), "tx.block_hash", 32))
        self._points[tx_id, shape.height(row, "tx")] = at
        while len(self._points) > KEPT_POINTS:
            self._points.popitem(last=False)
        return f.octets(f.get(row, "tx", "cbor"), "tx.cbor")

    async def _tip_row(self) -> Any:
        rows = f.items(await self._get("/tip"), "tip")
        if len(rows) != 1:
            raise f.malformed("tip", f"{len(rows)} rows", "one")
        return rows[0]

    async def _time_line(self) -> tuple[EraSummary, ...]:
        if not self._line:
            await self._start()
            row = await self._tip_row()
            told = f.whole(f.get(row, "tip", "block_time"), "tip.block_time", 1 << 40)
            zero = told * 1000 - shape.point(row, "tip").slot.value * self._slot_ms
            if zero < 0:
                raise f.malformed("tip.block_time", told, "a time after the slots before it")
            line = (EraSummary(Slot(0), PosixMs(zero), self._slot_ms, None),)
            self._line = checked_eras(self._magic, line)
        return self._line

    async def _start(self) -> PosixMs:
        """Checks the network once: an address does not change its network without a restart of ours."""
        if self._checked is None:
            rows = f.items(await self.http.get("/genesis"), "genesis")
            if len(rows) != 1:
                raise f.malformed("genesis", f"{len(rows)} rows", "one")
            magic = shape.count(f.get(rows[0], "genesis", "networkmagic"), "genesis.networkmagic")
            if magic != self._magic:
                raise Refused(WRONG_NETWORK(field="network_magic", got=magic, allowed=self._magic))
            start = f.whole(f.get(rows[0], "genesis", "systemstart"), "genesis.systemstart", 1 << 40)
            length = shape.count(f.get(rows[0], "genesis", "slotlength"), "genesis.slotlength")
            if not 1 <= length <= 60:
                raise f.malformed("genesis.slotlength", length, "1 to 60 s")
            self._slot_ms = length * 1000
            self._checked = checked_start(self._magic, PosixMs(start * 1000))
        return self._checked


def _tx_id(row: object, where: str) -> bytes:
    return f.octets(f.get(row, where, "tx_hash"), f"{where}.tx_hash", 32)
