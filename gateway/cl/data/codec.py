"""R1. Channel data to and from bytes: what partners sign, the datum, the redeemers (docs/validator.md).

Reading takes every legal CBOR of the right data and nothing else: `Refused` with a cl.data.* code.
`decode(encode(x)) == x`; the golden bytes are in tests/golden/cl_data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar, assert_never

from gateway.cl.data import types as t
from gateway.cl.data.errors import RANGE, SHAPE
from gateway.cl.data.plutus import MAX_BYTES, Constr, Data, Map, deserialise, serialise
from gateway.errors import Refused
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, PosixMs

BOLT_TOKEN = bytes.fromhex("e29aa1")
SPEND_REDEEMER = serialise(0)  # spend looks at nothing of it
ENTRY_SIZE = 57
EMPTY_COMMITMENT = t.Commitment(hashlib.blake2b(b"", digest_size=32).digest(), Lovelace(0), Lovelace(0))
_U64 = 1 << 64

T = TypeVar("T")


def _shape(field: str, got: object, allowed: str) -> Refused:
    return Refused(SHAPE(field=field, got=str(got)[:80], allowed=allowed))


def _range(field: str, got: object, allowed: str) -> Refused:
    return Refused(RANGE(field=field, got=str(got)[:80], allowed=allowed))


# --- what is signed, and names -------------------------------------------------------------------


def cheque_message(cid: t.ChannelId, cheque: t.Cheque) -> bytes:
    """serialise((cid, (index, timeout, lock, amount))): the reference's bytes."""
    body = (cheque.index, cheque.timeout.value, cheque.lock.raw, cheque.amount.value)
    return serialise((cid.raw, body))


def snapshot_message(cid: t.ChannelId, snapshot: t.Snapshot) -> bytes:
    """serialise((cid, (first, second))): the reference's bytes."""
    return serialise((cid.raw, (_squash_data(snapshot.first), _squash_data(snapshot.second))))


def channel_id(seed: t.OutputRef, n: int) -> t.ChannelId:
    """Of the n-th channel (1..255) opened by the transaction that spends `seed`."""
    if not 1 <= n <= 255:
        raise _range("n", n, "1..255")
    raw = bytes((n,)) + serialise(_ref_data(seed))
    return t.ChannelId(hashlib.blake2b(raw, digest_size=32).digest()[:20])


def thread_token_name(cid: t.ChannelId) -> bytes:
    return BOLT_TOKEN + cid.raw


def cid_of_token(name: bytes) -> t.ChannelId:
    """Fails unless the full name is bolt ‖ 20 bytes (F3)."""
    if len(name) != 23 or not name.startswith(BOLT_TOKEN):
        raise _shape("thread token", name.hex(), "bolt and 20 bytes")
    return t.ChannelId(name[3:])


def key_hash(key: t.VerificationKey) -> bytes:
    """blake2b-224: what a transaction names as required signer."""
    return hashlib.blake2b(key.raw, digest_size=28).digest()


# --- packed entries and commitments --------------------------------------------------------------


def pack_entries(entries: Sequence[t.Entry]) -> bytes:
    """57 bytes each; `Refused` when a value does not fit 64 bits or there are more than 20."""
    if len(entries) > t.MAX_PENDING:
        raise _range("entries", len(entries), f"at most {t.MAX_PENDING}")
    parts = []
    for e in entries:
        numbers = (e.index, e.amount.value, e.timeout.value)
        for name, value in zip(("index", "amount", "timeout"), numbers, strict=True):
            if not 0 <= value < _U64:
                raise _range(f"entry.{name}", value, "0..2^64-1")
        parts.append(b"".join(v.to_bytes(8, "big") for v in numbers) + bytes((e.paid,)) + e.lock.raw)
    return b"".join(parts)


def unpack_entries(raw: bytes) -> tuple[t.Entry, ...]:
    """Fails on a broken length, over 20 entries or a paid byte that is neither 0 nor 1."""
    if len(raw) % ENTRY_SIZE or len(raw) > ENTRY_SIZE * t.MAX_PENDING:
        raise _shape("entries", f"{len(raw)} bytes", f"{ENTRY_SIZE} bytes each, at most {t.MAX_PENDING}")
    return tuple(_unpack(raw[i : i + ENTRY_SIZE]) for i in range(0, len(raw), ENTRY_SIZE))


def _unpack(raw: bytes) -> t.Entry:
    index, amount, timeout = (int.from_bytes(raw[i : i + 8], "big") for i in (0, 8, 16))
    if raw[24] > 1:
        raise _range("entry.paid", raw[24], "0 or 1")
    return t.Entry(index, Lovelace(amount), PosixMs(timeout), Hashlock(raw[25:]), raw[24] == 1)


def commit(entries: Sequence[t.Entry]) -> t.Commitment:
    """What the datum keeps of `entries` (decision 11)."""
    pending = sum(e.amount.value for e in entries if not e.paid)
    paid = sum(e.amount.value for e in entries if e.paid)
    digest = hashlib.blake2b(pack_entries(entries), digest_size=32).digest()
    return t.Commitment(digest, Lovelace(pending), Lovelace(paid))


# --- to data -------------------------------------------------------------------------------------


def _ref_data(ref: t.OutputRef) -> Data:
    return Constr(0, (ref.tx_id, ref.index))


def _squash_data(squash: t.Squash) -> Data:
    return Constr(0, (squash.amount.value, squash.index, tuple(squash.exclude)))


def _commitment_data(c: t.Commitment) -> Data:
    return (c.hash, c.pending.value, c.paid.value)


def stage_data(stage: t.Stage) -> Data:
    match stage:
        case t.Opened():
            sides = (_squash_data(stage.snapshot.first), _squash_data(stage.snapshot.second))
            return Constr(0, (stage.non_opener_amount.value, *sides, stage.respond_period.value))
        case t.Closed():
            return Constr(
                1,
                (
                    stage.closer_deposit.value,
                    _squash_data(stage.closer_squash),
                    _squash_data(stage.responder_squash),
                    stage.elapse_after.value,
                    _commitment_data(stage.entries),
                ),
            )
        case t.Resolved():
            own, other = _commitment_data(stage.resolver_entries), _commitment_data(stage.other_entries)
            return Constr(2, (stage.other_amount.value, own, other))
        case _:
            assert_never(stage)


def datum_data(datum: t.Datum) -> Data:
    keys = (datum.keys[0].raw, datum.keys[1].raw)
    return (datum.own_hash, *keys, stage_data(datum.stage), datum.min_ada.value, datum.min_ada_owner)


def _snapshot_data(signed: t.SignedSnapshot | None) -> Data:
    if signed is None:
        return ()
    sides = (_squash_data(signed.snapshot.first), _squash_data(signed.snapshot.second))
    return (sides, signed.signature.raw)


def _cheque_data(presented: t.PresentedCheque) -> Data:
    c = presented.signed.cheque
    lock_or_secret = c.lock.raw if presented.secret is None else presented.secret.raw
    signature = presented.signed.signature.raw
    unlocked = int(presented.secret is not None)
    return (c.index, c.timeout.value, lock_or_secret, c.amount.value, signature, unlocked)


def _receipt_data(receipt: t.Receipt) -> tuple[Data, Data]:
    return _snapshot_data(receipt.snapshot), tuple(_cheque_data(c) for c in receipt.cheques)


def _entries_data(entries: tuple[t.Entry, ...] | None) -> Data:
    return () if entries is None else (pack_entries(entries),)


def _unlocks_data(unlocks: tuple[t.Unlock, ...]) -> Data:
    return tuple((u.position, u.secret.raw) for u in unlocks)


def step_data(step: t.Step) -> Data:
    """The constructor numbers of docs/validator.md, Redeemer."""
    match step:
        case t.Add():
            return Constr(0, (int(step.by_opener), _snapshot_data(step.snapshot)))
        case t.Close():
            return Constr(1, (int(step.by_opener), *_receipt_data(step.receipt)))
        case t.Respond():
            snapshot, cheques = _receipt_data(step.receipt)
            flags = (int(step.use_closer_squash), int(step.use_responder_squash))
            rest = (cheques, int(step.drop_expired), _entries_data(step.entries))
            return Constr(2, (snapshot, *flags, *rest))
        case t.Elapse():
            return Constr(3, (_entries_data(step.entries), _unlocks_data(step.unlocks)))
        case t.FreeInClosed():
            return Constr(4, ((pack_entries(step.entries),), _unlocks_data(step.unlocks)))
        case t.FreeInResolved():
            lists = (_entries_data(step.own), _unlocks_data(step.unlocks), _entries_data(step.other))
            return Constr(5, (int(step.by_resolver), *lists))
        case t.EndResolved():
            lists = (_entries_data(step.own), _unlocks_data(step.unlocks), _entries_data(step.other))
            return Constr(6, lists)
        case t.ElapseEnd():
            return Constr(7, (_entries_data(step.entries), _unlocks_data(step.unlocks)))
        case t.RespondEnd():
            snapshot, cheques = _receipt_data(step.receipt)
            flags = (int(step.use_closer_squash), int(step.use_responder_squash))
            return Constr(8, (snapshot, *flags, cheques, _entries_data(step.entries)))
        case t.MutualEnd():
            return Constr(9, ())
        case _:
            assert_never(step)


def redeemer_data(redeemer: t.MintRedeemer) -> Data:
    seed = () if redeemer.seed is None else (_ref_data(redeemer.seed),)
    return (seed, tuple(step_data(s) for s in redeemer.steps))


def encode_datum(datum: t.Datum) -> bytes:
    return serialise(datum_data(datum))


def encode_redeemer(redeemer: t.MintRedeemer) -> bytes:
    return serialise(redeemer_data(redeemer))


# --- from data -----------------------------------------------------------------------------------


def _name(data: Data) -> str:
    """Foreign data is named, never printed: it may nest as deep as it is long."""
    if isinstance(data, Constr):
        return f"constructor {data.tag} of {len(data.fields)} fields"
    return type(data).__name__


def _int(data: Data, field: str, low: int | None = None, high: int | None = None) -> int:
    if not isinstance(data, int):
        raise _shape(field, type(data).__name__, "an integer")
    if (low is not None and data < low) or (high is not None and data > high):
        raise _range(field, data, f"{'' if low is None else low}..{'' if high is None else high}")
    return data


def _bytes(data: Data, field: str, size: int | None = None) -> bytes:
    if not isinstance(data, bytes):
        raise _shape(field, type(data).__name__, "bytes")
    if size is not None and len(data) != size:
        raise _range(field, f"{len(data)} bytes", f"{size} bytes")
    return data


def _list(data: Data, field: str, size: int | None = None) -> tuple[Data, ...]:
    if not isinstance(data, tuple):
        raise _shape(field, type(data).__name__, "a list")
    if size is not None and len(data) != size:
        raise _shape(field, f"{len(data)} items", f"{size} items")
    return data


def _constr(data: Data, field: str, tag: int, size: int) -> tuple[Data, ...]:
    if not isinstance(data, Constr) or data.tag != tag or len(data.fields) != size:
        raise _shape(field, _name(data), f"constructor {tag} of {size} fields")
    return data.fields


def _flag(data: Data, field: str) -> bool:
    return _int(data, field, 0, 1) == 1


def _optional(data: Data, field: str, read: Callable[[Data, str], T]) -> T | None:
    items = _list(data, field)
    if len(items) > 1:
        raise _shape(field, f"{len(items)} items", "none or one")
    return read(items[0], field) if items else None


def _squash(data: Data, field: str) -> t.Squash:
    amount, index, exclude = _constr(data, field, 0, 3)
    gaps = tuple(_int(e, f"{field}.exclude", 1) for e in _list(exclude, f"{field}.exclude"))
    squash = t.Squash(Lovelace(_int(amount, f"{field}.amount")), _int(index, f"{field}.index", 0), gaps)
    if not squash.is_canonical():
        raise _range(field, squash, "excludes strictly rising, 1 <= e < index, at most 20")
    return squash


def _commitment(data: Data, field: str) -> t.Commitment:
    digest, pending, paid = _list(data, field, 3)
    return t.Commitment(
        _bytes(digest, f"{field}.hash", 32),
        Lovelace(_int(pending, f"{field}.pending", 0)),
        Lovelace(_int(paid, f"{field}.paid", 0)),
    )


def _stage(data: Data) -> t.Stage:
    match data:
        case Constr(0, (amount, first, second, period)):
            snapshot = t.Snapshot(_squash(first, "squash_first"), _squash(second, "squash_second"))
            return t.Opened(
                Lovelace(_int(amount, "non_opener_amount", 0)),
                snapshot,
                Ms(_int(period, "respond_period", 1)),
            )
        case Constr(1, (deposit, closer, responder, elapse_after, entries)):
            return t.Closed(
                Lovelace(_int(deposit, "closer_deposit")),
                _squash(closer, "closer_squash"),
                _squash(responder, "responder_squash"),
                PosixMs(_int(elapse_after, "elapse_after")),
                _commitment(entries, "entries"),
            )
        case Constr(2, (amount, own, other)):
            return t.Resolved(
                Lovelace(_int(amount, "other_amount", 0)),
                _commitment(own, "resolver_entries"),
                _commitment(other, "other_entries"),
            )
        case _:
            raise _shape("stage", _name(data), "opened, closed or resolved")


def decode_datum(raw: bytes) -> t.Datum:
    """`Refused` (cl.data.*) unless it is a datum that the validator could have let through."""
    own_hash, key0, key1, stage, min_ada, owner = _list(deserialise(raw), "datum", 6)
    return t.Datum(
        _bytes(own_hash, "own_hash", 28),
        (t.VerificationKey(_bytes(key0, "key0", 32)), t.VerificationKey(_bytes(key1, "key1", 32))),
        _stage(stage),
        Lovelace(_int(min_ada, "min_ada", 0)),
        _int(owner, "min_ada_owner", 0, 1),
    )


def _signed_snapshot(data: Data, field: str) -> t.SignedSnapshot:
    sides, signature = _list(data, field, 2)
    first, second = _list(sides, field, 2)
    snapshot = t.Snapshot(_squash(first, f"{field}.first"), _squash(second, f"{field}.second"))
    return t.SignedSnapshot(snapshot, t.Signature(_bytes(signature, f"{field}.signature", 64)))


def _snapshot(data: Data) -> t.SignedSnapshot | None:
    return None if _list(data, "snapshot") == () else _signed_snapshot(data, "snapshot")


def _cheque(data: Data) -> t.PresentedCheque:
    index, timeout, lock_or_secret, amount, signature, unlocked = _list(data, "cheque", 6)
    raw = _bytes(lock_or_secret, "cheque.lock", 32)
    secret = Preimage(raw) if _flag(unlocked, "cheque.unlocked") else None
    cheque = t.Cheque(
        _int(index, "cheque.index", 1, _U64 - 1),
        PosixMs(_int(timeout, "cheque.timeout", 0, _U64 - 1)),
        Hashlock(raw) if secret is None else secret.hashlock,
        Lovelace(_int(amount, "cheque.amount", 1, _U64 - 1)),
    )
    signed = t.SignedCheque(cheque, t.Signature(_bytes(signature, "cheque.signature", 64)))
    return t.PresentedCheque(signed, secret)


def _receipt(snapshot: Data, cheques: Data) -> t.Receipt:
    return t.Receipt(_snapshot(snapshot), tuple(_cheque(c) for c in _list(cheques, "cheques")))


def _packed(data: Data, field: str) -> tuple[t.Entry, ...]:
    return unpack_entries(_bytes(data, field))


def _entries(data: Data, field: str = "entries") -> tuple[t.Entry, ...] | None:
    return _optional(data, field, _packed)


def _unlocks(data: Data) -> tuple[t.Unlock, ...]:
    listed = _list(data, "unlocks")
    found = []
    previous = -1
    for item in listed:
        position, secret = _list(item, "unlock", 2)
        previous = _int(position, "unlock.position", previous + 1, t.MAX_PENDING - 1)
        found.append(t.Unlock(previous, Preimage(_bytes(secret, "unlock.secret", 32))))
    return tuple(found)


def _step(data: Data) -> t.Step:
    match data:
        case Constr(0, (by_opener, snapshot)):
            return t.Add(_flag(by_opener, "by_opener"), _snapshot(snapshot))
        case Constr(1, (by_opener, snapshot, cheques)):
            return t.Close(_flag(by_opener, "by_opener"), _receipt(snapshot, cheques))
        case Constr(2, (snapshot, closer, responder, cheques, drop, entries)):
            flags = (_flag(closer, "use_closer"), _flag(responder, "use_responder"), _flag(drop, "drop"))
            return t.Respond(_receipt(snapshot, cheques), *flags, _entries(entries))
        case Constr(3, (entries, unlocks)):
            return t.Elapse(_entries(entries), _unlocks(unlocks))
        case Constr(4, (entries, unlocks)):
            (packed,) = _list(entries, "entries", 1)
            return t.FreeInClosed(_packed(packed, "entries"), _unlocks(unlocks))
        case Constr(5, (by_resolver, own, unlocks, other)):
            return t.FreeInResolved(
                _flag(by_resolver, "by_resolver"), _entries(own), _unlocks(unlocks), _entries(other)
            )
        case Constr(6, (own, unlocks, other)):
            return t.EndResolved(_entries(own), _unlocks(unlocks), _entries(other))
        case Constr(7, (entries, unlocks)):
            return t.ElapseEnd(_entries(entries), _unlocks(unlocks))
        case Constr(8, (snapshot, closer, responder, cheques, entries)):
            sides = (_flag(closer, "use_closer"), _flag(responder, "use_responder"))
            return t.RespondEnd(_receipt(snapshot, cheques), *sides, _entries(entries))
        case Constr(9, ()):
            return t.MutualEnd()
        case _:
            raise _shape("step", _name(data), "a step of docs/validator.md")


def _ref(data: Data, field: str) -> t.OutputRef:
    tx_id, index = _constr(data, field, 0, 2)
    return t.OutputRef(_bytes(tx_id, f"{field}.tx_id", 32), _int(index, f"{field}.index", 0, 65_535))


def decode_redeemer(raw: bytes) -> t.MintRedeemer:
    """`Refused` (cl.data.*) unless it is a redeemer that the validator could have let through."""
    seed, steps = _list(deserialise(raw), "redeemer", 2)
    return t.MintRedeemer(_optional(seed, "seed", _ref), tuple(_step(s) for s in _list(steps, "steps")))


def decode_steps(raw: bytes) -> tuple[t.Step | None, ...]:
    """The steps of a mint redeemer, in the order of the inputs at the script; None for one that is not well
    formed, since strangers write what they like for their own channels. `Refused` (cl.data.*) without a list."""
    _, steps = _list(deserialise(raw), "redeemer", 2)
    return tuple(_step_or_none(step) for step in _list(steps, "steps"))


def _step_or_none(data: Data) -> t.Step | None:
    try:
        return _step(data)
    except Refused:
        return None


def shown_preimages(raw: bytes) -> tuple[Preimage, ...]:
    """Every 32 bytes in a redeemer that may be a preimage, whatever form the step around them has: what the script
    reads we must see, or a cheque that was opened would pass for one that never was."""
    found: dict[bytes, None] = {}
    try:
        waiting: list[Data] = [deserialise(raw)]
    except Refused:
        found = dict.fromkeys(raw[at : at + 32] for at in range(min(len(raw), MAX_BYTES) - 31))
        waiting = []
    while waiting:
        item = waiting.pop()
        match item:
            case bytes() if len(item) == 32:
                found[item] = None
            case tuple():
                waiting.extend(item)
            case Constr(_, fields):
                waiting.extend(fields)
            case Map(pairs):
                waiting.extend(part for pair in pairs for part in pair)
            case _:
                pass
    return tuple(Preimage(one) for one in found)
