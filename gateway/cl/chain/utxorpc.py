"""ChainReader, ChainFollower and ChainSubmitter over UTxO RPC (v1beta, gRPC).

Blocks come as the chain's own bytes and are checked down from the header's hash (blockcbor.py); outputs
are taken from the bytes of their transactions. Source: the protocol's v1beta schema (May 2026).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.cl.chain import blockfrost_forms as form
from gateway.cl.chain import fields as f
from gateway.cl.chain.address import address_bytes
from gateway.cl.chain.blockcbor import ReadBlock, read_block
from gateway.cl.chain.errors import INCONSISTENT, REFUSED, WRONG_NETWORK
from gateway.cl.chain.guards import TipGuard, block_time, only_new, unmoved
from gateway.cl.chain.ledger_words import refused
from gateway.cl.chain.networks import checked_eras, checked_start
from gateway.cl.chain.outputs import Outputs
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.polled import Header, Polled
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.chain.u5c_link import U5cLink, Words
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import (
    ChainEvent,
    ChainParams,
    EraSummary,
    Point,
    SubmitResult,
    Submitted,
    SubmitUnknown,
    Tip,
    Utxo,
)
from gateway.errors import Refused
from gateway.units import PosixMs, Slot

PAGE, BLOCKS = 100, 50
MOST_PAGES = 1_000
KEPT_POINTS = 5_000
POLL_S = 2.0

_LANGUAGES = {"plutus_v1": "PlutusV1", "plutus_v2": "PlutusV2", "plutus_v3": "PlutusV3"}


class UtxoRpc:
    """One provider. Every method raises `Refused` with a cl.chain.* code; `submit` never raises."""

    def __init__(self, link: U5cLink, network_magic: int, *, poll_s: float = POLL_S) -> None:
        self.link = link
        self._magic = network_magic
        self._slot_ms = 0
        self._checked: PosixMs | None = None
        self._tips = TipGuard()
        self._line: tuple[EraSummary, ...] = ()
        self._outputs = Outputs(self._transaction)
        self._points: OrderedDict[bytes, Point] = OrderedDict()  # transaction -> its block
        self._page: dict[bytes, ReadBlock] = {}  # the blocks of the newest page
        self._chain = Polled(self, link.name, poll_s)

    async def close(self) -> None:
        await self.link.close()

    # --- ChainReader ---------------------------------------------------------------------------

    async def tip(self) -> Tip:
        ref = await self._tip_ref()
        if not ref.hash:
            return self._tips.checked(Tip(ORIGIN, 0))
        return self._tips.checked(Tip(_point(ref, "tip"), ref.height))

    async def params(self) -> ChainParams:
        start = await self._start()
        answer = await self._ask("ReadParams")
        if answer is None or not answer.values.HasField("cardano"):
            raise f.malformed("ReadParams.values", "missing", "Cardano's parameters")
        self._line = ()
        return ChainParams(_protocol(answer.values.cardano), await self._time_line(), self._magic, start)

    async def utxos_at(self, address: str) -> tuple[Utxo, ...]:
        pattern = {"address": {"exact_address": address_bytes(address)}}
        found = await unmoved(self.tip, lambda: self._search(pattern))
        for utxo in found:
            if utxo.address != address:
                raise Refused(
                    INCONSISTENT(field=f"utxo {utxo.ref}.address", got=utxo.address, allowed=address)
                )
        return found

    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        found = await unmoved(self.tip, lambda: self._search({"asset": {"policy_id": policy_id}}))
        return tuple(u for u in found if any(key[:28] == policy_id for key, _ in u.assets))

    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]:
        """Those of `refs` that are unspent, in their order."""
        wanted = list(dict.fromkeys(refs))
        if not wanted:
            return ()
        found: dict[OutputRef, Utxo] = {}
        for start in range(0, len(wanted), PAGE):
            part = wanted[start : start + PAGE]
            answer = await self._ask("ReadUtxos", keys=[{"hash": r.tx_id, "index": r.index} for r in part])
            shown = [] if answer is None else [_ref(item, "ReadUtxos") for item in answer.items]
            for ref in shown:
                if ref in part:
                    found[ref] = await self._utxo(ref)
        return tuple(found[ref] for ref in wanted if ref in found)

    async def _search(self, pattern: dict[str, Any]) -> tuple[Utxo, ...]:
        found: list[Utxo] = []
        seen: set[object] = set()
        fields: dict[str, Any] = {"predicate": {"match": {"cardano": pattern}}, "max_items": PAGE}
        for _ in range(MOST_PAGES):
            answer = await self._ask("SearchUtxos", **fields)
            if answer is None:
                break
            for item in answer.items:
                ref = _ref(item, "SearchUtxos")
                only_new(seen, ref, f"utxo {ref}")
                found.append(await self._utxo(ref))
            if not answer.next_token:
                break
            fields["start_token"] = answer.next_token
        else:
            raise f.malformed("SearchUtxos", f"more than {MOST_PAGES} pages", "an honest list")
        return tuple(sorted(found, key=lambda u: (u.ref.tx_id, u.ref.index)))

    async def _utxo(self, ref: OutputRef) -> Utxo:
        if ref.tx_id not in self._points:
            await self._transaction(ref.tx_id)
        return await self._outputs.utxo(ref, self._points.get(ref.tx_id), {})

    async def _transaction(self, tx_id: bytes) -> bytes | None:
        """The transaction's bytes; notes in which block it is."""
        answer = await self._ask("ReadTx", hash=tx_id)
        if answer is None:
            return None
        if len(answer.tx.block_ref.hash) == 32:
            self._points[tx_id] = _point(answer.tx.block_ref, "ReadTx.block_ref")
            while len(self._points) > KEPT_POINTS:
                self._points.popitem(last=False)
        return bytes(answer.tx.native_bytes)

    # --- ChainFollower -------------------------------------------------------------------------

    def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        return self._chain.follow(points)

    async def header(self, point: Point) -> Header | None:
        answer = await self._ask("FetchBlock", ref=[{"slot": point.slot.value, "hash": point.block_hash}])
        if answer is None or not answer.block:
            return None
        return await self._header(answer.block[0])

    async def headers_after(self, block: Point | None) -> tuple[Header, ...] | None:
        fields: dict[str, Any] = {"max_items": BLOCKS}
        if block is not None:
            fields["start_token"] = {"slot": block.slot.value, "hash": block.block_hash}
        answer = await self._ask("DumpHistory", **fields)
        if answer is None:
            return None
        self._page = {}
        headers = [await self._header(one) for one in answer.block[: BLOCKS + 1]]
        if block is None:
            return tuple(headers)
        return tuple(headers[1:]) if headers and headers[0].point == block else None

    async def block_bytes(self, header: Header) -> tuple[bytes, ...] | None:
        if header.point.block_hash not in self._page and await self.header(header.point) is None:
            return None
        found = self._page.get(header.point.block_hash)
        return None if found is None else found.transactions

    async def _header(self, block: Any) -> Header:
        read = read_block(bytes(block.native_bytes))
        eras = await self._time_line()
        told_ms = block.cardano.timestamp
        moment = block_time(eras, read.point.slot, told_ms // 1_000 if told_ms else None)
        self._page[read.point.block_hash] = read
        return Header(read.point, read.height, read.parent, moment, len(read.transactions))

    # --- ChainSubmitter ------------------------------------------------------------------------

    async def submit(self, tx_cbor: bytes) -> SubmitResult:
        """Idempotent by the transaction's id. `inputs_spent` is also the answer for a transaction
        that is on chain already: look before building anew."""
        tx_id = transaction_id(tx_cbor)
        try:
            await self._start()
            answer = await self.link.ask("SubmitTx", tx={"raw": tx_cbor})
        except Words as words:
            return refused("SubmitTx", 400, str(words))
        except Refused as error:
            return SubmitUnknown(error.rejection)
        if answer is None:
            return SubmitUnknown(REFUSED(field="SubmitTx", got="NOT_FOUND"))
        if bytes(answer.ref) != tx_id:
            got = bytes(answer.ref).hex()[:80]
            return SubmitUnknown(INCONSISTENT(field="transaction.id", got=got, allowed=tx_id.hex()))
        return Submitted(tx_id)

    # --- what the provider says of itself ------------------------------------------------------

    async def _ask(self, method: str, **fields: Any) -> Any | None:
        await self._start()
        return await self._call(method, **fields)

    async def _call(self, method: str, **fields: Any) -> Any | None:
        try:
            return await self.link.ask(method, **fields)
        except Words as words:
            raise Refused(REFUSED(field=method, got=self.link.url, detail=str(words)[:200])) from None

    async def _tip_ref(self) -> Any:
        answer = await self._ask("ReadTip")
        if answer is None:
            raise f.malformed("ReadTip", "missing", "a tip")
        return answer.tip

    async def _time_line(self) -> tuple[EraSummary, ...]:
        if not self._line:
            await self._start()
            ref = await self._tip_ref()
            zero = ref.timestamp - ref.slot * self._slot_ms
            if ref.timestamp == 0 or not 0 <= zero < 1 << 50:
                raise f.malformed("tip.timestamp", ref.timestamp, "a time after the slots before it")
            line = (EraSummary(Slot(0), PosixMs(zero), self._slot_ms, None),)
            self._line = checked_eras(self._magic, line)
        return self._line

    async def _start(self) -> PosixMs:
        """Checks the network once: an address does not change its network without a restart of ours."""
        if self._checked is None:
            answer = await self._call("ReadGenesis")
            if answer is None or not answer.HasField("cardano"):
                raise f.malformed("ReadGenesis", "missing", "Cardano's genesis")
            genesis = answer.cardano
            if genesis.network_magic != self._magic:
                got = genesis.network_magic
                raise Refused(WRONG_NETWORK(field="network_magic", got=got, allowed=self._magic))
            if not 1 <= genesis.slot_length <= 60:
                raise f.malformed("genesis.slot_length", genesis.slot_length, "1 to 60 s")
            self._slot_ms = genesis.slot_length * 1_000
            self._checked = checked_start(self._magic, _moment(genesis.system_start))
        return self._checked


def _moment(shown: str) -> PosixMs:
    try:
        moment = datetime.fromisoformat(shown.replace("Z", "+00:00"))
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return PosixMs(int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000)
    except (ValueError, OverflowError):
        raise f.malformed("genesis.system_start", shown, "an ISO 8601 time") from None


def _point(ref: Any, where: str) -> Point:
    if len(ref.hash) != 32:
        raise f.malformed(f"{where}.hash", f"{len(ref.hash)} bytes", "32 bytes")
    return Point(Slot(ref.slot), bytes(ref.hash))


def _ref(item: Any, where: str) -> OutputRef:
    if len(item.txo_ref.hash) != 32 or item.txo_ref.index >= 1 << 16:
        raise f.malformed(f"{where}.txo_ref", f"{len(item.txo_ref.hash)} bytes", "an output reference")
    return OutputRef(bytes(item.txo_ref.hash), item.txo_ref.index)


def _protocol(p: Any) -> dict[str, Any]:
    """PParams as queryLedgerState/protocolParameters of Ogmios v6. What is absurd at 0 is refused at 0."""

    def number(name: str) -> int:
        held = getattr(p, name)
        value = int.from_bytes(held.big_u_int, "big") if held.big_u_int else held.int
        return f.whole(value, f"parameters.{name}")

    def positive(name: str, value: int) -> int:
        if value <= 0:
            raise f.malformed(f"parameters.{name}", value, "1 or more")
        return value

    def ratio(name: str, held: Any) -> str:
        if held.denominator < 1 or held.numerator < 0:
            shown = f"{held.numerator}/{held.denominator}"
            raise f.malformed(f"parameters.{name}", shown, "a ratio that is not negative")
        return f"{held.numerator}/{held.denominator}"

    tx, block = p.max_execution_units_per_transaction, p.max_execution_units_per_block
    return form.shaped(
        models={
            theirs: list(getattr(p.cost_models, ours).values)
            for ours, theirs in _LANGUAGES.items()
            if p.cost_models.HasField(ours)
        },
        min_fee=(number("min_fee_coefficient"), number("min_fee_constant")),
        ref_script_byte=ratio("min_fee_script_ref_cost_per_byte", p.min_fee_script_ref_cost_per_byte),
        utxo_byte=positive("coins_per_utxo_byte", number("coins_per_utxo_byte")),
        sizes=(positive("max_tx_size", p.max_tx_size), positive("max_value_size", p.max_value_size)),
        collateral=(p.collateral_percentage, p.max_collateral_inputs),
        prices=(ratio("prices.memory", p.prices.memory), ratio("prices.steps", p.prices.steps)),
        tx_units=(positive("max_tx_memory", tx.memory), positive("max_tx_steps", tx.steps)),
        block_units=(block.memory, block.steps),
        version=(p.protocol_version.major, p.protocol_version.minor),
    )
