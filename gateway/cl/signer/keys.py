"""R3. One seed (BIP 39) to all keys: wallet by CIP 1852, channels and node by HKDF with their own domains."""

from __future__ import annotations

import hashlib
import unicodedata

from coincurve import PrivateKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mnemonic import Mnemonic
from nacl.signing import SigningKey

from gateway.cl.data.types import VerificationKey
from gateway.cl.signer.errors import SEED
from gateway.errors import Refused

WALLET_PATH = "m/1852'/1815'/0'/0/0"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def new_words() -> str:
    """24 words, 256 bits from the system's source."""
    return str(Mnemonic("english").generate(256))


def check_words(words: str) -> str:
    """The words in their normal form. Raises `Refused` (cl.keystore.seed) and never shows them."""
    normal = " ".join(unicodedata.normalize("NFKD", words).lower().split())
    if not Mnemonic("english").check(normal):
        raise Refused(SEED(field="seed words", got=f"{len(normal.split())} words", allowed="BIP 39, English"))
    return normal


class KeyRing:
    """All keys of one seed on one network. Its repr shows nothing."""

    def __init__(self, words: str, network: str) -> None:
        normal = check_words(words)
        self._root = Mnemonic.to_seed(normal)
        self._network = network
        self._wallet = _wallet_key(normal)
        self._node = PrivateKey(self._derive_scalar("node"))

    def __repr__(self) -> str:
        return "KeyRing(…)"

    def _derive(self, domain: str) -> bytes:
        info = f"cl-gateway/v1/{self._network}/{domain}".encode()
        return HKDF(algorithm=SHA512(), length=32, salt=b"cl-gateway", info=info).derive(self._root)

    def _derive_scalar(self, domain: str) -> bytes:
        """Below the order of secp256k1; a second try has probability 2^-127."""
        attempt = 0
        while True:
            raw = self._derive(f"{domain}/{attempt}")
            if 0 < int.from_bytes(raw, "big") < _ORDER:
                return raw
            attempt += 1

    def channel_key(self, index: int) -> SigningKey:
        return SigningKey(self._derive(f"channel/{index}"))

    def channel_public(self, index: int) -> VerificationKey:
        return VerificationKey(bytes(self.channel_key(index).verify_key))

    @property
    def node_id(self) -> bytes:
        return bytes(self._node.public_key.format(compressed=True))

    @property
    def node_key(self) -> PrivateKey:
        return self._node

    @property
    def wallet_public(self) -> bytes:
        """32 bytes, without the chain code."""
        return self._wallet[1]

    @property
    def wallet_hash(self) -> bytes:
        return hashlib.blake2b(self.wallet_public, digest_size=28).digest()

    def sign_wallet(self, message: bytes) -> bytes:
        from nacl.bindings import (
            crypto_core_ed25519_scalar_add,
            crypto_core_ed25519_scalar_mul,
            crypto_core_ed25519_scalar_reduce,
            crypto_scalarmult_ed25519_base_noclamp,
        )

        extended, public = self._wallet  # BIP32-Ed25519: kL ‖ kR
        nonce = crypto_core_ed25519_scalar_reduce(hashlib.sha512(extended[32:] + message).digest())
        point = crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = crypto_core_ed25519_scalar_reduce(hashlib.sha512(point + public + message).digest())
        scalar = crypto_core_ed25519_scalar_reduce(extended[:32] + bytes(32))
        product = crypto_core_ed25519_scalar_mul(challenge, scalar)
        return bytes(point + crypto_core_ed25519_scalar_add(nonce, product))


def _wallet_key(words: str) -> tuple[bytes, bytes]:
    from pycardano import HDWallet  # imported here: it is slow to load and only the open keystore needs it

    wallet = HDWallet.from_mnemonic(words).derive_from_path(WALLET_PATH)
    return bytes(wallet.xprivate_key), bytes(wallet.public_key)
