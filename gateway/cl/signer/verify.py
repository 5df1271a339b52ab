"""R3. The one place that checks Ed25519: libsodium through PyNaCl, which refuses keys and points of small
order and every non-canonical form (F10, P8). OpenSSL and Aiken's evaluator accept some of those."""

from __future__ import annotations

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import CryptoError

from gateway.cl.data.codec import cheque_message, snapshot_message
from gateway.cl.data.types import ChannelId, Cheque, Signature, Snapshot, VerificationKey


def is_sound_key(key: VerificationKey) -> bool:
    """Canonical, on the curve, in the prime-order group: ask before a partner's key enters a channel."""
    return bool(crypto_core_ed25519_is_valid_point(key.raw))


def verify(key: VerificationKey, message: bytes, signature: Signature) -> bool:
    try:
        return bool(crypto_sign_open(signature.raw + message, key.raw) == message)
    except (CryptoError, ValueError, TypeError):
        return False


def verify_cheque(cid: ChannelId, cheque: Cheque, key: VerificationKey, signature: Signature) -> bool:
    return verify(key, cheque_message(cid, cheque), signature)


def verify_snapshot(cid: ChannelId, snapshot: Snapshot, key: VerificationKey, signature: Signature) -> bool:
    return verify(key, snapshot_message(cid, snapshot), signature)
