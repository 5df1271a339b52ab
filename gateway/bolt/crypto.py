"""R2. The only place that touches coincurve (secp256k1) and cryptography (ChaCha20-Poly1305).

Points are 33-byte compressed, signatures 64-byte compact r‖s or 65 bytes with a recovery id.
Every function answers None or False for bad input from outside; it never raises for it.
"""

from __future__ import annotations

import hashlib
import hmac

from coincurve import PrivateKey, PublicKey
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
TAG_BYTES = 16


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def is_point(raw: bytes) -> bool:
    """A compressed point of the curve (33 bytes)."""
    if len(raw) != 33:
        return False
    try:
        PublicKey(raw)
    except ValueError:
        return False
    return True


def is_secret(raw: bytes) -> bool:
    """A private key: 32 bytes, 0 < k < curve order."""
    return len(raw) == 32 and 0 < int.from_bytes(raw, "big") < CURVE_ORDER


def public_key(secret: bytes) -> bytes:
    """The compressed point of a private key; raises ValueError for a bad key (a bug of ours)."""
    return bytes(PrivateKey(secret).public_key.format())


def ecdh(secret: bytes, point: bytes) -> bytes | None:
    """sha256 of the compressed shared point (BOLT 8); None when `point` is none."""
    if not is_point(point):
        return None
    return bytes(PrivateKey(secret).ecdh(point))


def sign_recoverable(secret: bytes, digest: bytes) -> bytes:
    """65 bytes r‖s‖recovery id over a 32-byte hash, RFC 6979, low S."""
    return bytes(PrivateKey(secret).sign_recoverable(digest, hasher=None))


def recover(signature: bytes, digest: bytes) -> bytes | None:
    """The signer's point from 65 bytes; high S is accepted (BOLT 11). None when there is none."""
    try:
        return bytes(PublicKey.from_signature_and_message(signature, digest, hasher=None).format())
    except ValueError:
        return None


def is_low_s(compact: bytes) -> bool:
    return int.from_bytes(compact[32:64], "big") <= CURVE_ORDER // 2


def verify(point: bytes, compact: bytes, digest: bytes) -> bool:
    """ECDSA over a 32-byte hash; refuses high S, r or s out of range and bad points."""
    r, s = int.from_bytes(compact[:32], "big"), int.from_bytes(compact[32:64], "big")
    if not (0 < r < CURVE_ORDER and 0 < s <= CURVE_ORDER // 2) or not is_point(point):
        return False
    body = _der_int(r) + _der_int(s)
    return bool(PublicKey(point).verify(b"\x30" + bytes([len(body)]) + body, digest, hasher=None))


def _der_int(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(raw)]) + raw


def hkdf_two(salt: bytes, ikm: bytes) -> tuple[bytes, bytes]:
    """RFC 5869 with SHA-256, empty info, 64 bytes out, as two keys (BOLT 8)."""
    prk = hmac.digest(salt, ikm, "sha256")
    first = hmac.digest(prk, b"\x01", "sha256")
    return first, hmac.digest(prk, first + b"\x02", "sha256")


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")  # BOLT 8: 32 zero bits, little-endian counter


class Aead:
    """ChaCha20-Poly1305 (RFC 8439) under one key, with BOLT 8's counter nonces."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def seal(self, counter: int, associated: bytes, plaintext: bytes) -> bytes:
        return self._cipher.encrypt(_nonce(counter), plaintext, associated)

    def open(self, counter: int, associated: bytes, ciphertext: bytes) -> bytes | None:
        """None when the tag does not fit."""
        if len(ciphertext) < TAG_BYTES:
            return None
        try:
            return self._cipher.decrypt(_nonce(counter), ciphertext, associated)
        except InvalidTag:
            return None
