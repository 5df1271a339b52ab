"""A block's own bytes, checked from its header down: the header hashes to the block's id, and names its parent,
height, slot and the hash of its body; the body gives back whole transactions.

Source: the ledger's Conway CDDL (block, header_body), and the Alonzo rule of the body's hash: the hash of the
hashes of its four parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from gateway.cl.chain import txcbor as c
from gateway.cl.chain.errors import INCONSISTENT, MALFORMED
from gateway.cl.ports import Point
from gateway.errors import Refused
from gateway.units import Slot


@dataclass(frozen=True, slots=True)
class ReadBlock:
    point: Point
    height: int
    parent: bytes | None
    transactions: tuple[bytes, ...]


def read_block(raw: bytes) -> ReadBlock:
    """Of a block, bare or behind its era's number. Fails with cl.chain.malformed, .inconsistent."""
    try:
        return _read(raw)
    except Refused as refused:
        if refused.rejection.spec is not MALFORMED:
            raise
        raise Refused(replace(refused.rejection, field="block", allowed="a Conway block")) from None
    except (IndexError, KeyError, ValueError, OverflowError) as error:
        raise Refused(MALFORMED(field="block", got=type(error).__name__, allowed="a Conway block")) from None


def _read(raw: bytes) -> ReadBlock:
    parts = c.array(raw, 0)
    if len(parts) == 2:  # [era, block]
        parts = c.array(raw, parts[1])
    header, *body = parts
    bodies, witnesses, auxiliary, invalid = body
    fields = c.array(raw, c.array(raw, header)[0])
    body_hash = c.octets(raw, fields[7])
    whole = b"".join(_digest(raw, at) for at in body)
    found = hashlib.blake2b(whole, digest_size=32).digest()
    if found != body_hash:
        raise Refused(INCONSISTENT(field="block.body_hash", got=body_hash.hex(), allowed=found.hex()))
    parent = None if raw[fields[2]] == 0xF6 else c.octets(raw, fields[2])
    aux = {c.uint(raw, key): value for key, value in c.pairs(raw, auxiliary)}
    failed = {c.uint(raw, one) for one in c.array(raw, invalid)}
    places = list(zip(c.array(raw, bodies), c.array(raw, witnesses), strict=True))
    transactions = tuple(
        b"\x84"
        + c.item(raw, body_at)
        + c.item(raw, witness_at)
        + (b"\xf4" if n in failed else b"\xf5")
        + (c.item(raw, aux[n]) if n in aux else b"\xf6")
        for n, (body_at, witness_at) in enumerate(places)
    )
    point = Point(Slot(c.uint(raw, fields[1])), _digest(raw, header))
    return ReadBlock(point, c.uint(raw, fields[0]), parent, transactions)


def _digest(raw: bytes, at: int) -> bytes:
    return hashlib.blake2b(c.item(raw, at), digest_size=32).digest()
