"""Channels in transactions: keys, signed cheques, healthy steps; tests change one thing and run it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.data.plutus import Data, serialise
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.units import Lovelace, Ms, PosixMs
from tests.support import phase2

LB_SLOT, UB_SLOT = 1_000, 1_300
LB = PosixMs(phase2.SLOT_ZERO_MS + LB_SLOT * phase2.SLOT_MS)
UB = PosixMs(phase2.SLOT_ZERO_MS + UB_SLOT * phase2.SLOT_MS)
PERIOD = Ms(3_600_000)
LATER = PosixMs(UB.value + 1)  # usable with room
EARLIER = PosixMs(LB.value - 1)  # expired with room
MIN_ADA = Lovelace(3_000_000)
THIRD = SigningKey(hashlib.sha256(b"third party").digest())
SEED_REF = t.OutputRef(b"\xab" * 32, 3)


def keypair(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def public(key: SigningKey) -> t.VerificationKey:
    return t.VerificationKey(bytes(key.verify_key))


PAYER = keypair("wallet")
WALLET = b"\x60" + codec.key_hash(public(PAYER))


def verify(key: t.VerificationKey, message: bytes, signature: t.Signature) -> bool:
    try:
        VerifyKey(key.raw).verify(message, signature.raw)
    except (BadSignatureError, ValueError):
        return False
    return True


def secret(n: int) -> Preimage:
    return Preimage(hashlib.sha256(b"secret %d" % n).digest())


def signed_cheque(
    key: SigningKey,
    cid: t.ChannelId,
    index: int,
    amount: int,
    timeout: PosixMs = LATER,
    lock_of: int | None = None,
) -> t.SignedCheque:
    lock = secret(index if lock_of is None else lock_of).hashlock
    cheque = t.Cheque(index, timeout, lock, Lovelace(amount))
    return t.SignedCheque(cheque, t.Signature(key.sign(codec.cheque_message(cid, cheque)).signature))


def locked(
    key: SigningKey, cid: t.ChannelId, index: int, amount: int, timeout: PosixMs = LATER
) -> t.PresentedCheque:
    return t.PresentedCheque(signed_cheque(key, cid, index, amount, timeout))


def unlocked(
    key: SigningKey, cid: t.ChannelId, index: int, amount: int, timeout: PosixMs = LATER
) -> t.PresentedCheque:
    return t.PresentedCheque(signed_cheque(key, cid, index, amount, timeout), secret(index))


def signed_snapshot(key: SigningKey, cid: t.ChannelId, snapshot: t.Snapshot) -> t.SignedSnapshot:
    return t.SignedSnapshot(snapshot, t.Signature(key.sign(codec.snapshot_message(cid, snapshot)).signature))


def entry(index: int, amount: int, timeout: PosixMs = LATER, paid: bool = False) -> t.Entry:
    return t.Entry(index, Lovelace(amount), timeout, secret(index).hashlock, paid)


def unlocks(entries: Sequence[t.Entry], *positions: int) -> tuple[t.Unlock, ...]:
    return tuple(t.Unlock(p, secret(entries[p].index)) for p in positions)


@dataclass(frozen=True)
class Channel:
    """One channel input: `ours` and `theirs` sign as keys[0] and keys[1] of the datum."""

    name: str
    datum: t.Datum
    lovelace: int
    cid: t.ChannelId
    key0: SigningKey
    key1: SigningKey
    stake: bytes = b""

    @property
    def total(self) -> Lovelace:
        return Lovelace(self.lovelace) - self.datum.min_ada

    @property
    def ref(self) -> phase2.Ref:
        return hashlib.sha256(self.name.encode()).digest(), 0

    def snapshot(self, received0: t.Squash, received1: t.Squash) -> t.Snapshot:
        """From what keys[0] and keys[1] received."""
        return t.Snapshot.of({self.datum.keys[0]: received0, self.datum.keys[1]: received1})


def channel(
    stage: t.Stage,
    total: int = 100_000_000,
    name: str = "A",
    owner: int = 0,
    keys: tuple[str, str] = ("zero", "one"),
    stake: bytes = b"",
) -> Channel:
    cid = t.ChannelId(hashlib.sha256(b"cid " + name.encode()).digest()[:20])
    key0, key1 = keypair(keys[0]), keypair(keys[1])
    datum = t.Datum(load_blueprint().hash, (public(key0), public(key1)), stage, MIN_ADA, owner)
    return Channel(name, datum, total + MIN_ADA.value, cid, key0, key1, stake)


def opened(non_opener: int = 30_000_000, snapshot: t.Snapshot | None = None, period: Ms = PERIOD) -> t.Opened:
    return t.Opened(Lovelace(non_opener), snapshot or t.Snapshot(), period)


@dataclass
class Move:
    """A channel input, its step, and what goes wrong with it on purpose."""

    channel: Channel
    step: t.Step
    signers: list[SigningKey] = field(default_factory=list)
    add: int = 0
    elapse_after: PosixMs | None = None
    step_data: Data | None = None  # instead of the step's own
    after: books.Applied | books.Ended | None = None


def address_of(script_hash: bytes, stake: bytes = b"") -> bytes:
    return (b"\x10" if stake else b"\x70") + script_hash + stake


def situation(move: Move, lb: PosixMs = LB, ub: PosixMs = UB) -> books.Situation:
    c = move.channel
    total_out = c.total + Lovelace(move.add)
    signers = [public(k) for k in move.signers]
    return books.Situation(c.cid, c.total, signers, verify, lb, ub, total_out, move.elapse_after)


def healthy(moves: Sequence[Move], script: bytes | None = None) -> phase2.Tx:
    """The transaction of these moves in input order, with a key-address fee input (F1), surplus to the wallet.
    Fails when `books` refuses a move, unless the move brings its own `after`."""
    code = load_blueprint().script if script is None else script
    own = phase2.script_hash(code)
    moves = sorted(moves, key=lambda m: m.channel.ref)
    tx = phase2.Tx(code, lower_slot=LB_SLOT, upper_slot=UB_SLOT)
    tx.inputs.append(phase2.Spend((b"\x00" * 32, 1), phase2.Output(WALLET, 900_000_000)))
    names: dict[bytes, int] = {}
    for move in moves:
        c = move.channel
        result = move.after or books.apply_step(c.datum, move.step, situation(move))
        assert not isinstance(result, Rejection), str(result)
        name = codec.thread_token_name(c.cid)
        address = address_of(own, c.stake)
        datum = codec.datum_data(replace(c.datum, own_hash=own))
        tx.inputs.append(phase2.Spend(c.ref, phase2.Output(address, c.lovelace, {own: {name: 1}}, datum), 0))
        if isinstance(result, books.Applied):
            lovelace = result.least.value + result.datum.min_ada.value
            after = codec.datum_data(replace(result.datum, own_hash=own))
            tx.outputs.append(phase2.Output(address, lovelace, {own: {name: 1}}, after))
        else:
            names[name] = -1
        tx.signers += [codec.key_hash(public(k)) for k in move.signers]
    tx.mint = {own: names or {codec.BOLT_TOKEN: 1}}
    steps = tuple(m.step_data if m.step_data is not None else codec.step_data(m.step) for m in moves)
    tx.mint_redeemers = {own: ((), steps)}
    tx.outputs.append(phase2.Output(WALLET, 50_000_000))
    return tx


def opening(datums: Sequence[t.Datum], lovelaces: Sequence[int], script: bytes | None = None) -> phase2.Tx:
    """The transaction that opens one channel for each datum."""
    code = load_blueprint().script if script is None else script
    own = phase2.script_hash(code)
    tx = phase2.Tx(code, lower_slot=LB_SLOT, upper_slot=UB_SLOT)
    tx.inputs.append(phase2.Spend((SEED_REF.tx_id, SEED_REF.index), phase2.Output(WALLET, 900_000_000)))
    n = len(datums)
    cids = [codec.channel_id(SEED_REF, n - i) for i in range(n)]
    for cid, datum, lovelace in zip(cids, datums, lovelaces, strict=True):
        token = {own: {codec.thread_token_name(cid): 1}}
        data = codec.datum_data(replace(datum, own_hash=own))
        tx.outputs.append(phase2.Output(address_of(own), lovelace, token, data))
    tx.outputs.append(phase2.Output(WALLET, 50_000_000))
    tx.mint = {own: {codec.thread_token_name(c): 1 for c in cids}}
    tx.mint_redeemers = {own: codec.redeemer_data(t.MintRedeemer(SEED_REF, ()))}
    return tx


def accepts(tx: phase2.Tx) -> bool:
    return phase2.run(tx).ok


def datum_of(output: phase2.Output) -> t.Datum:
    assert output.datum is not None
    return codec.decode_datum(serialise(output.datum))
