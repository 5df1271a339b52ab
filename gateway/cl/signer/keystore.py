"""R3. Seed and signer state in one encrypted file: argon2id, XChaCha20-Poly1305, header authenticated.

File: magic(8) ‖ version(1) ‖ network length(1) ‖ network ‖ opslimit(8) ‖ memlimit(8) ‖ salt(16) ‖ nonce(24) ‖
ciphertext. All before the ciphertext is its associated data. Written to a new file, synced, then renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.utils import random as random_bytes

from gateway.cl.signer.errors import CORRUPT, EXISTS, MISSING, MODE, NETWORK, PASSWORD, WRITE
from gateway.errors import Refused

MAGIC = b"CLGWKEYS"
VERSION = 1
MAX_FILE = 65_536
_OPS_RANGE = range(1, 33)
_MEM_RANGE = range(8_192, (1 << 30) + 1)  # a forged header must not exhaust the machine


@dataclass(frozen=True, slots=True)
class Cost:
    """Of argon2id. The default takes about half a second and 256 MiB."""

    opslimit: int = argon2id.OPSLIMIT_MODERATE
    memlimit: int = argon2id.MEMLIMIT_MODERATE


@dataclass(frozen=True, slots=True)
class Secrets:
    words: str = field(repr=False)
    next_channel: int = 0


class Keystore:
    """An open keystore. It keeps the derived key, not the password; its repr shows the path only."""

    def __init__(
        self, path: Path, network: str, salt: bytes, cost: Cost, key: bytes, secrets: Secrets
    ) -> None:
        self.path = path
        self.network = network
        self._salt, self._cost, self._key = salt, cost, key
        self.secrets = secrets

    def __repr__(self) -> str:
        return f"Keystore({self.path})"

    @staticmethod
    def create(path: Path, network: str, password: str, words: str, cost: Cost | None = None) -> Keystore:
        """Raises `Refused`: cl.keystore.exists, cl.keystore.write."""
        if path.exists():
            raise Refused(EXISTS(field=str(path)))
        chosen, salt = cost or Cost(), random_bytes(argon2id.SALTBYTES)
        made = Keystore(path, network, salt, chosen, _derive(password, salt, chosen), Secrets(words))
        made._write()
        return made

    @staticmethod
    def open(path: Path, network: str, password: str) -> Keystore:
        """Raises `Refused`: cl.keystore.missing, .mode, .corrupt, .network, .password."""
        raw = read_private(path)
        found, cost, salt, nonce, at = _header(raw)
        if found != network:
            raise Refused(NETWORK(field="network", got=found, allowed=network))
        key = _derive(password, salt, cost)
        try:
            plain = crypto_aead_xchacha20poly1305_ietf_decrypt(raw[at:], raw[:at], nonce, key)
        except CryptoError:
            raise Refused(PASSWORD(field=str(path))) from None
        try:
            content = json.loads(plain)
            secrets = Secrets(str(content["words"]), int(content["next_channel"]))
        except (ValueError, KeyError, TypeError):
            raise Refused(CORRUPT(field=str(path), detail="its content has another form")) from None
        return Keystore(path, network, salt, cost, key, secrets)

    def take_channel_index(self) -> int:
        """The next index; the file remembers it before it is handed out."""
        index = self.secrets.next_channel
        previous, self.secrets = self.secrets, replace(self.secrets, next_channel=index + 1)
        try:
            self._write()
        except Refused:
            self.secrets = previous
            raise
        return index

    def _write(self) -> None:
        name = self.network.encode()
        numbers = b"".join(v.to_bytes(8, "big") for v in (self._cost.opslimit, self._cost.memlimit))
        nonce = random_bytes(24)
        head = MAGIC + bytes((VERSION, len(name))) + name + numbers + self._salt + nonce
        content = {"words": self.secrets.words, "next_channel": self.secrets.next_channel}
        plain = json.dumps(content).encode()
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(plain, head, nonce, self._key)
        write_private(self.path, head + sealed)


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    key = argon2id.kdf(32, password.encode(), salt, cost.opslimit, cost.memlimit)
    return bytes(key)


def _header(raw: bytes) -> tuple[str, Cost, bytes, bytes, int]:
    problem = Refused(CORRUPT(field="header"))
    if len(raw) < 10 or not raw.startswith(MAGIC) or raw[8] != VERSION:
        raise problem
    at = 10 + raw[9]
    if len(raw) < at + 16 + 16 + 24 + 16:
        raise problem
    ops, mem = (int.from_bytes(raw[at + i : at + i + 8], "big") for i in (0, 8))
    if ops not in _OPS_RANGE or mem not in _MEM_RANGE:
        raise problem
    try:
        network = raw[10:at].decode("ascii")
    except UnicodeDecodeError:
        raise problem from None
    return network, Cost(ops, mem), raw[at + 16 : at + 32], raw[at + 32 : at + 56], at + 56


def read_private(path: Path) -> bytes:
    """Of a file that only its owner may touch. Raises `Refused`: cl.keystore.missing, .mode, .corrupt."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
                raise Refused(MODE(field=str(path), got=oct(stat.S_IMODE(status.st_mode)), allowed="0o600"))
            raw = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise Refused(MISSING(field=str(path))) from None
    except OSError as e:
        raise Refused(CORRUPT(field=str(path), detail=e.strerror or "unreadable")) from None
    if len(raw) > MAX_FILE:
        raise Refused(CORRUPT(field=str(path), got="too long", allowed=f"{MAX_FILE} bytes"))
    return raw


def write_private(path: Path, raw: bytes) -> None:
    """Whole or not at all, mode 0600. Raises `Refused` (cl.keystore.write)."""
    fresh = path.with_name(f".{path.name}.new")

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    _guarded(path, lambda: _replace(path, fresh, raw, opener))


def _replace(path: Path, fresh: Path, raw: bytes, opener: Callable[[str, int], int]) -> None:
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with open(fresh, "xb", opener=opener) as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _guarded(path: Path, act: Callable[[], None]) -> None:
    try:
        act()
    except OSError as e:
        raise Refused(WRITE(field=str(path), detail=e.strerror or "")) from None
