"""Outputs taken out of the bytes of the transaction that made them.

An index may be wrong about an output's value, datum or address; the bytes whose hash is the
transaction's id cannot. What is left to trust is only whether the output is unspent, and whether
others are kept from us (threat W2): a second provider tells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from gateway.cl.chain.address import address_text
from gateway.cl.chain.errors import INCONSISTENT
from gateway.cl.chain.txcbor import TxOutput, read, transaction_id
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, Utxo
from gateway.errors import Refused
from gateway.units import Lovelace

KEPT = 2_000  # transactions whose outputs are kept: some megabytes at most


def utxo_of(ref: OutputRef, output: TxOutput, created_at: Point | None) -> Utxo:
    return Utxo(
        ref=ref,
        address=address_text(output.address),
        lovelace=Lovelace(output.lovelace),
        assets=output.assets,
        datum_cbor=output.datum,
        datum_hash=output.datum_hash,
        script_ref_cbor=output.script,
        created_at=created_at,
    )


def proven(tx_id: bytes, raw: bytes, where: str) -> bytes:
    """`raw`, when its body hashes to `tx_id`; fails with cl.chain.inconsistent, .malformed."""
    found = transaction_id(raw)
    if found != tx_id:
        raise Refused(INCONSISTENT(field=where, got=tx_id.hex(), allowed=found.hex()))
    return raw


class Outputs:
    """Outputs by reference; each transaction's bytes are asked for once, as they never change."""

    def __init__(self, fetch: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """`fetch`: a transaction's CBOR by its id, None when the provider does not know it."""
        self._fetch = fetch
        self._kept: OrderedDict[bytes, dict[int, TxOutput]] = OrderedDict()

    async def created(self, tx_id: bytes) -> dict[int, TxOutput] | None:
        """What the transaction made, by index; None when it is unknown."""
        if tx_id not in self._kept:
            raw = await self._fetch(tx_id)
            if raw is None:
                return None
            self.learn(tx_id, raw)
        self._kept.move_to_end(tx_id)
        return self._kept[tx_id]

    def learn(self, tx_id: bytes, raw: bytes) -> None:
        self._kept[tx_id] = dict(read(proven(tx_id, raw, "transaction.id")).created)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def utxo(self, ref: OutputRef, created_at: Point | None, told: dict[str, object]) -> Utxo:
        """`told`: what the index says of the output, by the names of `Utxo`; all of it must be so.
        Fails with cl.chain.inconsistent."""
        made = await self.created(ref.tx_id)
        if made is None or ref.index not in made:
            raise Refused(INCONSISTENT(field=f"utxo {ref}", got="shown as unspent", allowed="no such output"))
        utxo = utxo_of(ref, made[ref.index], created_at)
        for name, index in told.items():
            true = getattr(utxo, name)
            if index != true:
                field = f"utxo {ref}.{name}"
                detail = "the index and the transaction's bytes differ"
                raise Refused(
                    INCONSISTENT(field=field, got=str(index)[:80], allowed=str(true)[:80], detail=detail)
                )
        return utxo
