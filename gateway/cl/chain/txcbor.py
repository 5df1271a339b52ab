"""Reads what the follower needs out of a transaction's CBOR, in place, without recursion.

Every transaction of a block passes here, also those that an attacker wrote: nothing that the ledger
accepts may fail, so only the fields that are used are read, and the rest is skipped by length.
Source: the ledger's Conway CDDL.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gateway.cl.chain.errors import MALFORMED
from gateway.cl.data.types import OutputRef
from gateway.errors import Refused

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_BREAK = 0xFF
SPEND, MINT = 0, 1  # redeemer tags


@dataclass(frozen=True, slots=True)
class TxOutput:
    """`address` in bytes; `datum` is the CBOR of an inline datum, `script` the CBOR [language, script]."""

    address: bytes
    lovelace: int
    assets: tuple[tuple[bytes, int], ...]
    datum: bytes | None
    datum_hash: bytes | None
    script: bytes | None


@dataclass(frozen=True, slots=True)
class TxView:
    """`spent` and `created` as the ledger applies them: collateral when the scripts failed."""

    tx_id: bytes
    valid: bool
    spent: tuple[OutputRef, ...]
    created: tuple[tuple[int, TxOutput], ...]
    policies: tuple[bytes, ...]  # that mint or burn, in the order of their redeemers
    mint_redeemers: tuple[tuple[int, bytes], ...]  # index -> data CBOR
    spend_redeemers: tuple[int, ...] = ()  # the inputs of scripts, by their place in the ledger's order

    def script_place(self, ref: OutputRef) -> tuple[int, int] | None:
        """Its place among the inputs that a script lets go, and how many they are; None: it is none of them."""
        order = sorted(self.spent, key=lambda one: (one.tx_id, one.index))
        places = sorted(set(self.spend_redeemers))
        if ref not in order or order.index(ref) not in places:
            return None
        return places.index(order.index(ref)), len(places)

    def mint_redeemer(self, policy: bytes) -> bytes | None:
        if policy not in self.policies:
            return None
        return dict(self.mint_redeemers).get(self.policies.index(policy))


def transaction_id(raw: bytes) -> bytes:
    """blake2b-256 of the body as it stands. Fails with cl.chain.malformed."""
    try:
        body = array(raw, 0)[0]
        return hashlib.blake2b(raw[body : _skip(raw, body)], digest_size=32).digest()
    except IndexError:
        raise _bad("the bytes end early", len(raw)) from None


def script_cbor(language: int, content: bytes) -> bytes:
    """`[language, script]`: a native script is CBOR already, a Plutus script is a byte string."""
    head = bytes((0x82, language))
    return head + (content if language == 0 else _head(_BYTES, len(content)) + content)


def read(raw: bytes) -> TxView:
    """Fails with cl.chain.malformed."""
    try:
        return _read(raw)
    except IndexError:
        raise _bad("the bytes end early", len(raw)) from None
    except (KeyError, ValueError, OverflowError) as error:
        # a field that is not there, or one whose value no type of ours can hold
        raise _bad(f"a field is missing or out of range: {error}", 0) from None


def _read(raw: bytes) -> TxView:
    parts = array(raw, 0)
    if len(parts) != 4:
        raise _bad(f"{len(parts)} parts", 0)
    body_at, witness_at, valid_at, _ = parts
    body = _fields(raw, body_at)
    valid = raw[valid_at] != 0xF4
    outputs = [_output(raw, at) for at in array(raw, body[1])]
    if valid:
        spent = _refs(raw, body[0]) if 0 in body else ()
        created = tuple(enumerate(outputs))
    else:
        spent = _refs(raw, body[13]) if 13 in body else ()
        created = ((len(outputs), _output(raw, body[16])),) if 16 in body else ()
    policies: tuple[bytes, ...] = ()
    redeemers: tuple[tuple[int, bytes], ...] = ()
    inputs: tuple[int, ...] = ()
    if 9 in body:
        policies = tuple(sorted(octets(raw, key) for key, _ in pairs(raw, body[9])))
        rows = _redeemers(raw, witness_at)
        redeemers = tuple((index, data) for tag, index, data in rows if tag == MINT)
        inputs = tuple(index for tag, index, _ in rows if tag == SPEND)
    digest = hashlib.blake2b(raw[body_at : _skip(raw, body_at)], digest_size=32).digest()
    return TxView(digest, valid, spent, created, policies, redeemers, inputs)


def _redeemers(raw: bytes, witness_at: int) -> list[tuple[int, int, bytes]]:
    """Tag, index and data CBOR of each, in both forms that the ledger takes."""
    at = _fields(raw, witness_at).get(5)
    if at is None:
        return []
    found: list[tuple[int, int, bytes]] = []
    if raw[_untag(raw, at)] >> 5 == _MAP:
        for key, value in pairs(raw, at):
            tag, index = (uint(raw, one) for one in array(raw, key)[:2])
            data = array(raw, value)[0]
            found.append((tag, index, raw[data : _skip(raw, data)]))
    else:
        for row in array(raw, at):
            cells = array(raw, row)
            data = cells[2]
            found.append((uint(raw, cells[0]), uint(raw, cells[1]), raw[data : _skip(raw, data)]))
    return found


def _refs(raw: bytes, at: int) -> tuple[OutputRef, ...]:
    result = []
    for one in array(raw, at):
        tx_id, index = array(raw, one)[:2]
        digest = octets(raw, tx_id)
        if len(digest) != 32:
            raise _bad("an input's transaction id", tx_id)
        result.append(OutputRef(digest, uint(raw, index)))
    return tuple(result)


def _output(raw: bytes, at: int) -> TxOutput:
    datum = datum_hash = script = None
    if raw[at] >> 5 == _ARRAY:  # the form from before Babbage
        parts = array(raw, at)
        address, value = parts[0], parts[1]
        datum_hash = octets(raw, parts[2]) if len(parts) > 2 else None
    else:
        fields = _fields(raw, at)
        if 0 not in fields or 1 not in fields:
            raise _bad("an output without address or value", at)
        address, value = fields[0], fields[1]
        if 2 in fields:
            kind, held = array(raw, fields[2])[:2]
            if uint(raw, kind) == 0:
                datum_hash = octets(raw, held)
            else:
                datum = octets(raw, _untag(raw, held))
        if 3 in fields:
            script = octets(raw, _untag(raw, fields[3]))
    lovelace, assets = _value(raw, value)
    return TxOutput(octets(raw, address), lovelace, assets, datum, datum_hash, script)


def _value(raw: bytes, at: int) -> tuple[int, tuple[tuple[bytes, int], ...]]:
    if raw[at] >> 5 != _ARRAY:
        return uint(raw, at), ()
    coins, bundle = array(raw, at)[:2]
    assets: dict[bytes, int] = {}
    for policy, names in pairs(raw, bundle):
        for name, quantity in pairs(raw, names):
            key = octets(raw, policy) + octets(raw, name)
            assets[key] = assets.get(key, 0) + uint(raw, quantity)
    return uint(raw, coins), tuple(sorted(assets.items()))


# --- CBOR, by offsets --------------------------------------------------------------------------


def _bad(what: str, at: int) -> Refused:
    return Refused(
        MALFORMED(field="transaction", got=what, allowed="a Conway transaction", detail=f"byte {at}")
    )


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes(((major << 5) | argument,))
    for info, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << (8 * size):
            return bytes(((major << 5) | info,)) + argument.to_bytes(size, "big")
    return bytes(((major << 5) | 27,)) + argument.to_bytes(8, "big")


def _argument(raw: bytes, at: int) -> tuple[int, int, int]:
    """(major type, argument or -1 when indefinite, offset behind the head)."""
    first = raw[at]
    major, info = first >> 5, first & 0x1F
    if info < 24:
        return major, info, at + 1
    if info <= 27:
        end = at + 1 + (1 << (info - 24))
        if end > len(raw):
            raise _bad("the bytes end early", at)
        return major, int.from_bytes(raw[at + 1 : end], "big"), end
    if info == 31 and major in (_BYTES, _TEXT, _ARRAY, _MAP):
        return major, -1, at + 1
    raise _bad(f"head {first:#x}", at)


def _skip(raw: bytes, at: int) -> int:
    """The offset behind one item. Work and memory are bounded by its length, whatever its nesting."""
    left: list[int] = [1]  # items still to come at each level; -1: until a break
    while left:
        if left[-1] == -1 and raw[at] == _BREAK:
            at += 1
            left.pop()
            continue
        if left[-1] == 0:
            left.pop()
            continue
        if left[-1] > 0:
            left[-1] -= 1
        major, argument, at = _argument(raw, at)
        if major in (_BYTES, _TEXT):
            if argument < 0:
                left.append(-1)
            else:
                at += argument
        elif major == _ARRAY:
            left.append(argument)
        elif major == _MAP:
            left.append(argument * 2 if argument >= 0 else -1)
        elif major == _TAG:
            left.append(1)
        if at > len(raw):
            raise _bad("the bytes end early", at)
    return at


def _untag(raw: bytes, at: int) -> int:
    while raw[at] >> 5 == _TAG:
        at = _argument(raw, at)[2]
    return at


def item(raw: bytes, at: int) -> bytes:
    """The bytes of the item that begins at `at`."""
    return raw[at : _skip(raw, at)]


def array(raw: bytes, at: int) -> list[int]:
    """Offsets of the items of an array (or of a tagged set)."""
    at = _untag(raw, at)
    major, count, at = _argument(raw, at)
    if major != _ARRAY:
        raise _bad("not an array", at)
    return _offsets(raw, at, count)


def _offsets(raw: bytes, at: int, count: int) -> list[int]:
    found: list[int] = []
    while len(found) != count:
        if count < 0 and raw[at] == _BREAK:
            break
        found.append(at)
        at = _skip(raw, at)
    return found


def pairs(raw: bytes, at: int) -> list[tuple[int, int]]:
    at = _untag(raw, at)
    major, count, at = _argument(raw, at)
    if major != _MAP:
        raise _bad("not a map", at)
    flat = _offsets(raw, at, count * 2 if count >= 0 else -1)
    return list(zip(flat[::2], flat[1::2], strict=True))


def _fields(raw: bytes, at: int) -> dict[int, int]:
    return {uint(raw, key): value for key, value in pairs(raw, at)}


def uint(raw: bytes, at: int) -> int:
    major, value, _ = _argument(raw, at)
    if major != _UINT:
        raise _bad("not an unsigned number", at)
    return value


def octets(raw: bytes, at: int) -> bytes:
    major, length, at = _argument(raw, at)
    if major != _BYTES:
        raise _bad("not bytes", at)
    if length >= 0:
        if at + length > len(raw):
            raise _bad("the bytes end early", at)
        return raw[at : at + length]
    return b"".join(octets(raw, one) for one in _offsets(raw, at, -1))
