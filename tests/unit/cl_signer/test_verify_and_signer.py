"""Strict Ed25519 (P8), the keystore, the guard, and what the signer refuses."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from coincurve import PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.pwhash import argon2id
from nacl.signing import VerifyKey

from gateway.cl.data.types import ChannelId, Cheque, Signature, Snapshot, Squash, VerificationKey
from gateway.cl.l1.build import build
from gateway.cl.l1.intents import BuiltTx, Pay, StepChannel
from gateway.cl.signer.file_signer import FileSigner
from gateway.cl.signer.guard import FileGuard, MemoryGuard
from gateway.cl.signer.keys import new_words
from gateway.cl.signer.keystore import Cost, Keystore
from gateway.cl.signer.verify import is_sound_key, verify, verify_cheque, verify_snapshot
from gateway.errors import Refused
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, PosixMs
from regtest.cardano.transaction import decode_tx
from tests.support import channel_world, l1_world
from tests.support.healthy_moves import MOVES

FAST = Cost(argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)
# The words of CIP 1852 examples; the address follows from them alone.
WORDS = "test walk nut penalty hip pave soap entry language right filter choice"
CID = ChannelId(b"\x07" * 20)
CASES = json.loads(Path(__file__).with_name("ed25519_speccheck.json").read_text())
# novifinancial/ed25519-speccheck, results of LibSodium: only case 3 is valid ("Taming the many EdDSAs").
LIBSODIUM_ACCEPTS = {3}


def cheque(index: int = 1, amount: int = 5, timeout: int = 1_000, lock: int = 1) -> Cheque:
    return Cheque(index, PosixMs(timeout), Hashlock(bytes((lock,)) * 32), Lovelace(amount))


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    return Keystore.create(tmp_path / "keys", "regtest", "secret word", WORDS, FAST)


@pytest.fixture
def signer(store: Keystore) -> FileSigner:
    return FileSigner(store, MemoryGuard(), l1_world.POLICY)


def code(info: pytest.ExceptionInfo[Refused]) -> str:
    return info.value.rejection.code


@pytest.mark.threat("P8")
@pytest.mark.parametrize("number", range(len(CASES)))
def test_speccheck_verdicts_are_libsodiums(number: int) -> None:
    case = {k: bytes.fromhex(v) for k, v in CASES[number].items()}
    key, signature = VerificationKey(case["pub_key"]), Signature(case["signature"])
    assert verify(key, case["message"], signature) is (number in LIBSODIUM_ACCEPTS)


@pytest.mark.threat("P8")
@pytest.mark.parametrize(
    "raw", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xff" * 32]
)
def test_small_order_and_non_canonical_keys_are_unsound(raw: bytes) -> None:
    assert not is_sound_key(VerificationKey(raw))


@pytest.mark.threat("P8")
@settings(max_examples=60)
@given(flip=st.integers(0, 511))
def test_no_bit_of_a_signature_can_change(flip: int) -> None:
    from nacl.signing import SigningKey

    key = SigningKey(b"\x05" * 32)
    public = VerificationKey(bytes(key.verify_key))
    assert is_sound_key(public)
    raw = bytearray(key.sign(b"message").signature)
    assert verify(public, b"message", Signature(bytes(raw)))
    raw[flip // 8] ^= 1 << flip % 8
    assert not verify(public, b"message", Signature(bytes(raw)))


async def test_cheque_and_snapshot_signatures_verify(signer: FileSigner) -> None:
    key = await signer.new_channel_key()
    signed = await signer.sign_cheque(key, CID, cheque())
    assert verify_cheque(CID, cheque(), key, signed)
    assert not verify_cheque(ChannelId(b"\x08" * 20), cheque(), key, signed)
    snapshot = Snapshot(Squash(Lovelace(3), 2, (1,)))
    assert verify_snapshot(CID, snapshot, key, await signer.sign_snapshot(key, CID, snapshot))


@pytest.mark.parametrize("changed", [{"amount": 6}, {"lock": 2}, {"timeout": 999}])
async def test_no_second_amount_lock_or_earlier_timeout(signer: FileSigner, changed: dict[str, int]) -> None:
    key = await signer.new_channel_key()
    first = await signer.sign_cheque(key, CID, cheque())
    assert await signer.sign_cheque(key, CID, cheque()) == first
    await signer.sign_cheque(key, CID, cheque(timeout=1_000))
    with pytest.raises(Refused) as info:
        await signer.sign_cheque(key, CID, cheque(**changed))
    assert code(info) == "cl.signer.equivocation"
    extended = cheque(timeout=2_000)
    assert verify_cheque(CID, extended, key, await signer.sign_cheque(key, CID, extended))


async def test_a_snapshot_never_falls_below_a_signed_one(signer: FileSigner) -> None:
    key = await signer.new_channel_key()
    await signer.sign_snapshot(key, CID, Snapshot(Squash(Lovelace(5), 3, (2,)), Squash(Lovelace(1), 1)))
    for worse in (
        Snapshot(Squash(Lovelace(4), 3, (2,)), Squash(Lovelace(1), 1)),
        Snapshot(Squash(Lovelace(5), 3, (1, 2)), Squash(Lovelace(1), 1)),
        Snapshot(Squash(Lovelace(9), 3), Squash()),
    ):
        with pytest.raises(Refused) as info:
            await signer.sign_snapshot(key, CID, worse)
        assert code(info) == "cl.signer.regression"


def test_the_guard_survives_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    path, key = tmp_path / "guard", VerificationKey(b"\x09" * 32)
    guard = FileGuard(path)
    guard.cheque(key, CID, cheque())
    guard.snapshot(key, CID, Snapshot(Squash(Lovelace(5), 3)))
    guard.close()
    with path.open("ab") as file:
        file.write(b"0123 torn")
    again = FileGuard(path)
    with pytest.raises(Refused) as info:
        again.cheque(key, CID, cheque(amount=6))
    assert code(info) == "cl.signer.equivocation"
    with pytest.raises(Refused) as info:
        again.snapshot(key, CID, Snapshot())
    assert code(info) == "cl.signer.regression"
    again.close()
    damaged = path.read_bytes().replace(b",5,", b",4,", 1)
    path.write_bytes(damaged)
    with pytest.raises(Refused) as info:
        FileGuard(path)
    assert code(info) == "cl.signer.guard_corrupt"


def test_keystore_opens_again_and_counts_on(store: Keystore) -> None:
    assert [store.take_channel_index(), store.take_channel_index()] == [0, 1]
    again = Keystore.open(store.path, "regtest", "secret word")
    assert again.secrets == store.secrets
    assert again.take_channel_index() == 2
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert WORDS.encode() not in store.path.read_bytes()
    assert "walk" not in repr(store) + repr(store.secrets)


def test_keystore_refusals(store: Keystore, tmp_path: Path) -> None:
    raw = store.path.read_bytes()

    def refused(content: bytes, network: str = "regtest", password: str = "secret word") -> str:
        store.path.write_bytes(content)
        with pytest.raises(Refused) as info:
            Keystore.open(store.path, network, password)
        assert "secret word" not in str(info.value)
        return code(info)

    assert refused(raw, password="another") == "cl.keystore.password"
    assert refused(raw, network="mainnet") == "cl.keystore.network"
    assert refused(raw[:40]) == "cl.keystore.corrupt"
    assert refused(raw[:-1]) == "cl.keystore.password"
    assert refused(raw.replace(b"regtest", b"mainnet"), network="mainnet") == "cl.keystore.password"  # AAD
    os.chmod(store.path, 0o640)
    assert refused(raw) == "cl.keystore.mode"
    with pytest.raises(Refused) as info:
        Keystore.open(tmp_path / "none", "regtest", "x")
    assert code(info) == "cl.keystore.missing"
    with pytest.raises(Refused) as info:
        Keystore.create(store.path, "regtest", "x", new_words(), FAST)
    assert code(info) == "cl.keystore.exists"


async def test_a_channel_key_signs_only_for_its_channel(signer: FileSigner) -> None:
    key = await signer.new_channel_key()
    built = build(
        l1_world.view(),
        [Pay(l1_world.WALLET, Lovelace(3_000_000))],
        l1_world.WINDOW,
        l1_world.EVALUATOR,
        verify,
    )
    assert isinstance(built, BuiltTx)
    with pytest.raises(Refused) as info:
        await signer.sign_transaction([key], built.tx_cbor)
    assert code(info) == "cl.signer.not_our_channel"
    signed = await signer.sign_transaction([], built.tx_cbor)
    import cbor2

    ((public, signature),) = cbor2.loads(signed)[1][0]
    VerifyKey(public).verify(built.tx_id, signature)
    again = await signer.sign_transaction([], signed)
    assert again == signed


async def test_invoice_signature_and_ecdh(signer: FileSigner) -> None:
    digest = hashlib.sha256(b"invoice").digest()
    raw = await signer.sign_invoice(digest)
    node_id = await signer.node_id()
    assert PublicKey.from_signature_and_message(raw, digest, hasher=None).format() == node_id
    assert len(await signer.node_ecdh(node_id)) == 32
    with pytest.raises(Refused) as info:
        await signer.node_ecdh(b"\x02" + b"\xff" * 32)
    assert code(info) == "cl.signer.bad_input"
    with pytest.raises(Refused) as info:
        await signer.sign_cheque(VerificationKey(b"\x03" * 32), CID, cheque())
    assert code(info) == "cl.signer.unknown_key"


@pytest.mark.parametrize("name", ["close", "respond", "end"])
async def test_steps_get_their_channel_witness_and_bind_the_channel(signer: FileSigner, name: str) -> None:
    move = MOVES[name]("A")
    key = channel_world.public(move.signers[0])
    intent = StepChannel(l1_world.on_chain(move.channel), move.step, key, Lovelace(move.add))
    built = build(l1_world.view(), [intent], l1_world.WINDOW, l1_world.EVALUATOR, verify)
    assert isinstance(built, BuiltTx)
    signer._keys[key] = move.signers[0]  # as if it were of this seed
    tx = decode_tx(await signer.sign_transaction(built.required_keys, built.tx_cbor))
    assert tx.id == built.tx_id
    assert key.raw in {public for public, _ in tx.witnesses.vkeys}
    for public, signature in tx.witnesses.vkeys:
        VerifyKey(public).verify(tx.id, signature)
    assert signer._guard.channels_of(key) == {move.channel.cid}
