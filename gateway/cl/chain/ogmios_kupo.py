"""ChainReader, ChainFollower and ChainSubmitter over Ogmios v6 and Kupo.

Kupo finds outputs, Ogmios has the last word on each: an output that the node does not hold is
dropped, one that differs is cl.chain.inconsistent. Transaction ids are recomputed from the bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from gateway.cl.chain import fields as f
from gateway.cl.chain.eras import time_of
from gateway.cl.chain.errors import (
    BACKWARDS,
    INCONSISTENT,
    INPUTS_SPENT,
    LAGGING,
    MEMPOOL,
    NO_CBOR,
    REFUSED,
    SUBMIT_REFUSED,
    WRONG_NETWORK,
)
from gateway.cl.chain.kupo import Kupo, Matches
from gateway.cl.chain.networks import checked_eras, checked_start
from gateway.cl.chain.ogmios import Ogmios, RpcError
from gateway.cl.chain.points import ORIGIN, SECURITY_BLOCKS
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import (
    Block,
    ChainEvent,
    ChainParams,
    EraSummary,
    Point,
    RollBackward,
    RollForward,
    SubmitRefused,
    SubmitResult,
    Submitted,
    SubmitUnknown,
    Tip,
    Utxo,
)
from gateway.errors import Refused
from gateway.units import PosixMs, Slot

REFS_A_QUERY = 200
MOST_PENDING = 5_000  # a mempool holds two blocks' worth of bytes; more is no honest answer's end
KUPO_GRACE_S = 10.0  # how long the index may take for a block that the node has

# Ogmios, "submitTransaction": 3117 unknown (spent) output references, 3997 unexpected mempool error.
_UNKNOWN_OUTPUTS = 3117
_MEMPOOL = 3997
_LEDGER_RULES = range(3000, 4000)
_NOT_DECODED = -32602


class OgmiosKupo:
    """One provider. Every method raises `Refused` with a cl.chain.* code; `submit` never raises."""

    def __init__(self, ogmios: Ogmios, kupo: Kupo, network_magic: int) -> None:
        self.ogmios = ogmios
        self.kupo = kupo
        self._magic = network_magic
        self._checked = False
        self._mempool = asyncio.Lock()
        self._highest = 0
        self._lag_since: tuple[Slot, float] | None = None

    async def close(self) -> None:
        await self.ogmios.close()
        await self.kupo.close()

    # --- ChainReader ---------------------------------------------------------------------------

    async def tip(self) -> Tip:
        for _ in range(5):  # a block between the two questions: ask again
            before = await self._ask("queryNetwork/blockHeight")
            point = await self._ask("queryNetwork/tip")
            if before == await self._ask("queryNetwork/blockHeight"):
                break
        if before == "origin" or point == "origin":
            return Tip(ORIGIN, 0)
        height = f.whole(before, "blockHeight")
        if height + SECURITY_BLOCKS < self._highest:
            allowed = f"{self._highest - SECURITY_BLOCKS} or more"
            raise Refused(BACKWARDS(field="tip.height", got=height, allowed=allowed))
        self._highest = max(self._highest, height)
        return Tip(_point(point, "tip"), height)

    async def params(self) -> ChainParams:
        protocol = f.obj(await self._ask("queryLedgerState/protocolParameters"), "protocolParameters")
        start = await self._system_start()
        eras, _ = await self._eras(start)
        return ChainParams(protocol, eras, self._magic, start)

    async def utxos_at(self, address: str) -> tuple[Utxo, ...]:
        return await self._confirmed(await self._found(lambda: self.kupo.unspent_at(address)))

    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        return await self._confirmed(await self._found(lambda: self.kupo.unspent_of_policy(policy_id)))

    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]:
        """Those of `refs` that are unspent, in their order."""
        found: dict[OutputRef, Utxo] = {}
        for ref in dict.fromkeys(refs):
            matches = await self._found(lambda ref=ref: self.kupo.unspent_by_ref(ref))  # type: ignore[misc]
            found |= {utxo.ref: utxo for utxo in matches}
        kept = {u.ref: u for u in await self._confirmed(tuple(found[r] for r in found))}
        return tuple(kept[ref] for ref in dict.fromkeys(refs) if ref in kept)

    async def _found(self, look: Callable[[], Awaitable[Matches]]) -> tuple[Utxo, ...]:
        """Asks the index, unless it has been behind the node for longer than the grace."""
        tip = (await self.tip()).point.slot
        matches = await look()
        now = asyncio.get_running_loop().time()
        if matches.checkpoint >= tip:
            self._lag_since = None
        elif self._lag_since is None or self._lag_since[0] <= matches.checkpoint:
            self._lag_since = (tip, now)  # it has caught up with what it lacked: a new wait begins
        elif now - self._lag_since[1] > KUPO_GRACE_S:
            raise Refused(
                LAGGING(
                    field="kupo.checkpoint", got=matches.checkpoint.value, allowed=f"{tip.value} or later"
                )
            )
        return matches.utxos

    async def _confirmed(self, utxos: tuple[Utxo, ...]) -> tuple[Utxo, ...]:
        """What the node itself holds of `utxos` (W2: an index that shows old or edited outputs)."""
        held: dict[OutputRef, Any] = {}
        for start in range(0, len(utxos), REFS_A_QUERY):
            part = utxos[start : start + REFS_A_QUERY]
            refs = [{"transaction": {"id": u.ref.tx_id.hex()}, "index": u.ref.index} for u in part]
            answer = await self._ask("queryLedgerState/utxo", {"outputReferences": refs})
            for n, row in enumerate(f.items(answer, "utxo")):
                tx_id = f.octets(
                    f.get(row, f"utxo[{n}]", "transaction", "id"), f"utxo[{n}].transaction.id", 32
                )
                index = f.whole(f.get(row, f"utxo[{n}]", "index"), f"utxo[{n}].index", 1 << 16)
                held[OutputRef(tx_id, index)] = row
        kept = tuple(utxo for utxo in utxos if utxo.ref in held)
        for utxo in kept:
            _same(utxo, held[utxo.ref])
        return kept

    # --- ChainFollower -------------------------------------------------------------------------

    async def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        """`ORIGIN` among `points` (or no points) stands for the origin of the chain."""
        await self._check_network()
        times = _Times(self)
        previous: bytes | None = None
        known = False  # whether `previous` is the hash of the block before the next one
        async with aclosing(self._raw(list(points) or [ORIGIN])) as answers:
            async for answer in answers:
                tip = _tip(f.get(answer, "nextBlock", "tip"))
                if f.get(answer, "nextBlock", "direction") == "backward":
                    shown = f.get(answer, "nextBlock", "point")
                    to = None if shown == "origin" else _point(shown, "nextBlock.point")
                    previous, known = (None if to is None else to.block_hash), True
                    yield RollBackward(to, tip)
                    continue
                block = f.obj(f.get(answer, "nextBlock", "block"), "block")
                digest = f.octets(f.get(block, "block", "id"), "block.id", 32)
                ancestor = f.get(block, "block", "ancestor")
                if known and previous is not None and ancestor != previous.hex():
                    raise Refused(INCONSISTENT(field="block.ancestor", got=ancestor, allowed=previous.hex()))
                previous, known = digest, True
                if (
                    block.get("type") == "ebb"
                ):  # Byron's boundary blocks: empty, with their neighbour's height
                    continue
                point = Point(Slot(f.whole(f.get(block, "block", "slot"), "block.slot")), digest)
                yield RollForward(
                    Block(
                        point,
                        f.whole(f.get(block, "block", "height"), "block.height"),
                        await times.of(point.slot),
                        _transactions(block),
                    ),
                    tip,
                )

    async def _raw(self, points: list[Point]) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async with aclosing(self.ogmios.sync(points)) as answers:
                async for answer in answers:
                    yield answer
        except RpcError as error:
            raise _refusal("nextBlock", error) from None

    # --- ChainSubmitter ------------------------------------------------------------------------

    async def submit(self, tx_cbor: bytes) -> SubmitResult:
        """Idempotent by the transaction's id. `inputs_spent` is also the answer for a transaction
        that is on chain already: look before building anew."""
        tx_id = transaction_id(tx_cbor)
        try:
            await self._check_network()
            answer = await self.ogmios.call("submitTransaction", {"transaction": {"cbor": tx_cbor.hex()}})
            told = f.get(answer, "submitTransaction", "transaction", "id")
        except Refused as error:
            return SubmitUnknown(error.rejection)
        except RpcError as error:
            return _not_submitted(error)
        if told != tx_id.hex():
            return SubmitUnknown(
                INCONSISTENT(field="transaction.id", got=str(told)[:80], allowed=tx_id.hex())
            )
        return Submitted(tx_id)

    # --- ChainMempool --------------------------------------------------------------------------

    async def pending(self) -> tuple[bytes, ...]:
        """The node's mempool in its own order. Fails with cl.chain.no_transaction_cbor, .malformed, .inconsistent."""
        async with self._mempool:  # one snapshot a connection
            await self._ask("acquireMempool")
            try:
                found: list[bytes] = []
                while len(found) < MOST_PENDING:
                    answer = await self._call("nextTransaction", {"fields": "all"})
                    row = f.get(answer, "nextTransaction", "transaction")
                    if row is None:
                        break
                    found += _transactions({"transactions": [row]})
            finally:
                await self._call("releaseMempool")
        return tuple(found)

    async def evaluate_remote(self, tx_cbor: bytes) -> dict[str, tuple[int, int]]:
        """Ogmios's own phase 2, for cross-checks: "spend:0" -> (mem, steps)."""
        params = {"transaction": {"cbor": tx_cbor.hex()}}
        units: dict[str, tuple[int, int]] = {}
        for n, row in enumerate(f.items(await self._ask("evaluateTransaction", params), "evaluation")):
            where = f"evaluation[{n}]"
            purpose = f.text(f.get(row, where, "validator", "purpose"), f"{where}.validator.purpose")
            index = f.whole(f.get(row, where, "validator", "index"), f"{where}.validator.index")
            mem = f.whole(f.get(row, where, "budget", "memory"), f"{where}.budget.memory")
            cpu = f.whole(f.get(row, where, "budget", "cpu"), f"{where}.budget.cpu")
            units[f"{purpose}:{index}"] = (mem, cpu)
        return units

    # --- what the provider says of itself ------------------------------------------------------

    async def _ask(self, method: str, params: dict[str, Any] | None = None) -> Any:
        await self._check_network()
        return await self._call(method, params)

    async def _call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        try:
            return await self.ogmios.call(method, params)
        except RpcError as error:
            raise _refusal(method, error) from None

    async def _check_network(self) -> None:
        """Once: a provider behind the same address does not change its network without a restart of ours."""
        if self._checked:
            return
        genesis = await self._call("queryNetwork/genesisConfiguration", {"era": "shelley"})
        magic = f.whole(f.get(genesis, "genesis", "networkMagic"), "genesis.networkMagic")
        if magic != self._magic:
            raise Refused(WRONG_NETWORK(field="network_magic", got=magic, allowed=self._magic))
        self._checked = True

    async def _system_start(self) -> PosixMs:
        shown = f.text(await self._ask("queryNetwork/startTime"), "startTime")
        try:
            moment = datetime.fromisoformat(shown.replace("Z", "+00:00"))
        except ValueError:
            raise f.malformed("startTime", shown, "an ISO 8601 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return checked_start(self._magic, PosixMs((moment - _EPOCH) // _MILLISECOND))

    async def _eras(self, start: PosixMs) -> tuple[tuple[EraSummary, ...], Slot | None]:
        """The eras (the last one open) and the slot up to which the ledger vouches for them."""
        rows = f.items(await self._ask("queryLedgerState/eraSummaries"), "eraSummaries")
        if not rows:
            raise f.malformed("eraSummaries", "empty", "at least one era")
        eras: list[EraSummary] = []
        horizon: Slot | None = None
        for n, row in enumerate(rows):
            where = f"eraSummaries[{n}]"
            length = f.get(row, where, "parameters", "slotLength", "milliseconds")
            length_ms = _milliseconds(length, f"{where}.parameters.slotLength.milliseconds", 1)
            if length_ms < 1:
                raise f.malformed(f"{where}.parameters.slotLength.milliseconds", length, "1 or more")
            began = f.get(row, where, "start", "time", "seconds")
            begin = PosixMs(start.value + _milliseconds(began, f"{where}.start.time.seconds", 1000))
            first = Slot(f.whole(f.get(row, where, "start", "slot"), f"{where}.start.slot"))
            end = f.obj(row, where).get("end")
            last = (
                None
                if end is None
                else Slot(f.whole(f.get(end, f"{where}.end", "slot"), f"{where}.end.slot"))
            )
            if n + 1 == len(rows):
                horizon, last = last, None
            eras.append(EraSummary(first, begin, length_ms, last))
        return checked_eras(self._magic, eras), horizon


class _Times:
    """Slot times for one run of the follower; asks again when a slot lies past the known horizon."""

    def __init__(self, provider: OgmiosKupo) -> None:
        self._provider = provider
        self._eras: tuple[EraSummary, ...] = ()
        self._horizon: Slot | None = None

    async def of(self, slot: Slot) -> PosixMs:
        if not self._eras or (self._horizon is not None and slot >= self._horizon):
            start = await self._provider._system_start()
            self._eras, self._horizon = await self._provider._eras(start)
        return time_of(self._eras, slot)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = datetime.resolution * 1000


def _milliseconds(value: object, where: str, factor: int) -> int:
    """A number times `factor`, exact: JSON's decimals are read as what was written."""
    if type(value) not in (int, float) or not -(1 << 53) < float(str(value)) < 1 << 53:
        raise f.malformed(where, value, "a number")
    exact = Fraction(json.dumps(value)) * factor
    if exact.denominator != 1 or exact < 0:
        raise f.malformed(where, value, "whole milliseconds")
    return exact.numerator


def _point(value: object, where: str) -> Point:
    slot = f.whole(f.get(value, where, "slot"), f"{where}.slot")
    return Point(Slot(slot), f.octets(f.get(value, where, "id"), f"{where}.id", 32))


def _tip(value: object) -> Tip:
    if value == "origin":
        return Tip(ORIGIN, 0)
    return Tip(_point(value, "tip"), f.whole(f.get(value, "tip", "height"), "tip.height"))


def _transactions(block: dict[str, Any]) -> tuple[bytes, ...]:
    result: list[bytes] = []
    for n, row in enumerate(f.items(block.get("transactions", []), "block.transactions")):
        where = f"block.transactions[{n}]"
        if "cbor" not in f.obj(row, where):
            raise Refused(NO_CBOR(field=f"{where}.cbor"))
        raw = f.octets(row["cbor"], f"{where}.cbor")
        told = f.octets(f.get(row, where, "id"), f"{where}.id", 32)
        if transaction_id(raw) != told:
            raise Refused(
                INCONSISTENT(field=f"{where}.id", got=told.hex(), allowed=transaction_id(raw).hex())
            )
        result.append(raw)
    return tuple(result)


def _same(utxo: Utxo, row: object) -> None:
    """Fails with cl.chain.inconsistent unless index and node show the same output."""
    where = f"utxo {utxo.ref}"
    value = f.obj(f.get(row, where, "value"), f"{where}.value")
    assets: dict[bytes, int] = {}
    for policy, names in value.items():
        if policy != "ada":
            for name, quantity in f.obj(names, f"{where}.value").items():
                key = f.octets(policy, f"{where}.value", 28) + f.octets(name, f"{where}.value")
                assets[key] = f.whole(quantity, f"{where}.value")
    datum = f.obj(row, where).get("datum")
    pairs = (
        ("lovelace", utxo.lovelace.value, f.whole(f.get(value, f"{where}.value", "ada", "lovelace"), where)),
        ("address", utxo.address, f.text(f.get(row, where, "address"), where)),
        ("assets", dict(utxo.assets), assets),
        ("datum", utxo.datum_cbor, None if datum is None else f.octets(datum, f"{where}.datum")),
    )
    for name, index, node in pairs:
        if index != node:
            detail = "Kupo and Ogmios differ"
            raise Refused(
                INCONSISTENT(
                    field=f"{where}.{name}", got=str(index)[:80], allowed=str(node)[:80], detail=detail
                )
            )


def _refusal(method: str, error: RpcError) -> Refused:
    return Refused(REFUSED(field=method, got=error.code, detail=error.message))


def _not_submitted(error: RpcError) -> SubmitRefused | SubmitUnknown:
    detail = f"{error.message} {json.dumps(error.data)[:400]}".strip()
    if error.code == _UNKNOWN_OUTPUTS or (error.code == _MEMPOOL and "inputs are spent" in detail):
        return SubmitRefused(INPUTS_SPENT(field="inputs", got=error.code, detail=detail), inputs_spent=True)
    if error.code == _MEMPOOL:
        return SubmitUnknown(MEMPOOL(field="mempool", got=error.code, detail=detail))
    if error.code in _LEDGER_RULES or error.code == _NOT_DECODED:
        return SubmitRefused(SUBMIT_REFUSED(field="transaction", got=error.code, detail=detail))
    return SubmitUnknown(REFUSED(field="submitTransaction", got=error.code, detail=detail))
