"""R2. BOLT 8: Noise_XK over secp256k1, ChaCha20-Poly1305, SHA-256; bytes in, bytes out, no I/O.

The handshake is a chain of frozen states; the shell reads exactly `wants` bytes and feeds them.
Where the static (node) key must act, the state is `NeedsEcdh`: the shell asks the signer for
sha256(node key * point) and hands it to `provide`, so the node key never comes here.

    initiator: start_initiator -> (act one, AwaitActTwo); feed -> NeedsEcdh; provide -> Finished(act three)
    responder: start_responder -> AwaitActOne; feed -> NeedsEcdh; provide -> (act two, AwaitActThree);
               feed -> Finished

Any Rejection (bolt8.*) is final: BOLT 8 wants the connection cut without another byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, TypeVar

from gateway.bolt import crypto, errors
from gateway.bolt.crypto import TAG_BYTES, Aead, hkdf_two, sha256
from gateway.errors import Rejection

PROTOCOL = b"Noise_XK_secp256k1_ChaChaPoly_SHA256"
PROLOGUE = b"lightning"
ACT_ONE_BYTES, ACT_TWO_BYTES, ACT_THREE_BYTES = 50, 50, 66
POINT_BYTES = 33
MAX_MESSAGE = 65_535
HEADER_BYTES = 2 + TAG_BYTES
MAX_FRAME = HEADER_BYTES + MAX_MESSAGE + TAG_BYTES
ROTATE_AT = 1_000  # BOLT 8: a key is used 1000 times, twice for each message
_VERSION = b"\x00"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Digest:
    """The running chaining key, handshake hash and the last temporary key."""

    chain: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    temp: bytes = field(default=bytes(32), repr=False)

    @staticmethod
    def initial(responder_static: bytes) -> _Digest:
        name = sha256(PROTOCOL)
        return _Digest(name, sha256(sha256(name + PROLOGUE) + responder_static))

    def absorb(self, data: bytes) -> _Digest:
        return replace(self, hash=sha256(self.hash + data))

    def mix(self, shared: bytes) -> _Digest:
        chain, temp = hkdf_two(self.chain, shared)
        return replace(self, chain=chain, temp=temp)

    def seal(self, counter: int, plaintext: bytes) -> tuple[_Digest, bytes]:
        sealed = Aead(self.temp).seal(counter, self.hash, plaintext)
        return self.absorb(sealed), sealed

    def open(self, counter: int, sealed: bytes) -> tuple[_Digest, bytes] | None:
        plain = Aead(self.temp).open(counter, self.hash, sealed)
        return None if plain is None else (self.absorb(sealed), plain)


class CipherState:
    """One direction's key and counter; rotates itself (BOLT 8, key rotation)."""

    __slots__ = ("_aead", "_chain", "_key", "_nonce")

    def __init__(self, chain: bytes, key: bytes) -> None:
        self._chain, self._key = chain, key
        self._aead = Aead(key)
        self._nonce = 0

    def seal(self, plaintext: bytes) -> bytes:
        sealed = self._aead.seal(self._nonce, b"", plaintext)
        self._advance()
        return sealed

    def open(self, sealed: bytes) -> bytes | None:
        plain = self._aead.open(self._nonce, b"", sealed)
        if plain is not None:
            self._advance()
        return plain

    def _advance(self) -> None:
        self._nonce += 1
        if self._nonce == ROTATE_AT:
            self._chain, self._key = hkdf_two(self._chain, self._key)
            self._aead = Aead(self._key)
            self._nonce = 0


class Session:
    """Messages both ways after the handshake. Feed what arrives, then take messages until None.

    Holds at most what was fed and not yet taken; a length is known before its body is waited for.
    """

    __slots__ = ("_body_bytes", "_broken", "_buffer", "_receive", "_send", "remote_static")

    def __init__(self, remote_static: bytes, send: CipherState, receive: CipherState) -> None:
        self.remote_static = remote_static
        self._send, self._receive = send, receive
        self._buffer = bytearray()
        self._body_bytes: int | None = None
        self._broken: Rejection | None = None

    def seal(self, message: bytes) -> bytes | Rejection:
        """The bytes for the wire of one message of at most MAX_MESSAGE bytes."""
        if len(message) > MAX_MESSAGE:  # BOLT 8: MUST NOT exceed 65535
            return errors.FRAME_TOO_LONG(
                field="message", got=f"{len(message)} bytes", allowed=f"{MAX_MESSAGE}"
            )
        return self._send.seal(len(message).to_bytes(2, "big")) + self._send.seal(message)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | Rejection | None:
        """The next message; None when more bytes are needed; the same Rejection for ever once broken."""
        if self._broken is not None:
            return self._broken
        if self._body_bytes is None:
            header = self._open(HEADER_BYTES)
            if not isinstance(header, bytes):
                return header
            self._body_bytes = int.from_bytes(header, "big") + TAG_BYTES
        body = self._open(self._body_bytes)
        if isinstance(body, bytes):
            self._body_bytes = None
        return body

    @property
    def is_mid_message(self) -> bool:
        """Some bytes of a message have come, not all: an end of the stream now is a truncation."""
        return bool(self._buffer) or self._body_bytes is not None

    def _open(self, size: int) -> bytes | Rejection | None:
        if len(self._buffer) < size:
            return None
        plain = self._receive.open(bytes(self._buffer[:size]))
        if plain is None:
            self._broken = errors.FRAME_MAC(field="header" if self._body_bytes is None else "body")
            self._buffer.clear()
            return self._broken
        del self._buffer[:size]
        return plain


@dataclass(frozen=True, slots=True)
class Finished:
    """The handshake is done: send `output` (act three, or nothing), then use `session`."""

    output: bytes
    session: Session


@dataclass(frozen=True, slots=True)
class AwaitActTwo:
    """Initiator, act one sent."""

    wants: ClassVar[int] = ACT_TWO_BYTES
    local_static: bytes
    remote_static: bytes
    ephemeral: bytes = field(repr=False)
    digest: _Digest

    def feed(self, act: bytes) -> NeedsEcdh[Finished] | Rejection:
        opened = _open_act(act, "act two", ACT_TWO_BYTES)
        if isinstance(opened, Rejection):
            return opened
        remote_ephemeral, tag = opened
        shared = crypto.ecdh(self.ephemeral, remote_ephemeral)
        assert shared is not None  # checked by _open_act
        checked = self.digest.absorb(remote_ephemeral).mix(shared).open(0, tag)  # ee
        if checked is None:
            return errors.ACT_MAC(field="act two")
        digest, sealed_static = checked[0].seal(1, self.local_static)

        def finish(static_shared: bytes) -> Finished:
            last, tag = digest.mix(static_shared).seal(0, b"")  # se
            send, receive = hkdf_two(last.chain, b"")
            session = Session(
                self.remote_static, CipherState(last.chain, send), CipherState(last.chain, receive)
            )
            return Finished(_VERSION + sealed_static + tag, session)

        return NeedsEcdh(remote_ephemeral, finish)


@dataclass(frozen=True, slots=True)
class AwaitActOne:
    """Responder, nothing received yet."""

    wants: ClassVar[int] = ACT_ONE_BYTES
    local_static: bytes
    ephemeral: bytes = field(repr=False)

    def feed(self, act: bytes) -> NeedsEcdh[tuple[bytes, AwaitActThree] | Rejection] | Rejection:
        opened = _open_act(act, "act one", ACT_ONE_BYTES)
        if isinstance(opened, Rejection):
            return opened
        remote_ephemeral, tag = opened
        digest = _Digest.initial(self.local_static).absorb(remote_ephemeral)

        def finish(static_shared: bytes) -> tuple[bytes, AwaitActThree] | Rejection:
            checked = digest.mix(static_shared).open(0, tag)  # es
            if checked is None:
                return errors.ACT_MAC(field="act one", detail="the peer does not know our node id")
            own = crypto.public_key(self.ephemeral)
            shared = crypto.ecdh(self.ephemeral, remote_ephemeral)
            assert shared is not None  # checked by _open_act
            answered, answer_tag = checked[0].absorb(own).mix(shared).seal(0, b"")  # ee
            return _VERSION + own + answer_tag, AwaitActThree(self.ephemeral, answered)

        return NeedsEcdh(remote_ephemeral, finish)


@dataclass(frozen=True, slots=True)
class AwaitActThree:
    """Responder, act two sent."""

    wants: ClassVar[int] = ACT_THREE_BYTES
    ephemeral: bytes = field(repr=False)
    digest: _Digest

    def feed(self, act: bytes) -> Finished | Rejection:
        refusal = _check_frame(act, "act three", ACT_THREE_BYTES)
        if refusal is not None:
            return refusal
        sealed_static, tag = act[1:50], act[50:]
        opened = self.digest.open(1, sealed_static)
        if opened is None:
            return errors.ACT_MAC(field="act three", detail="the peer's node id cannot be read")
        digest, remote_static = opened
        shared = crypto.ecdh(self.ephemeral, remote_static)
        if shared is None:
            return errors.ACT_KEY(field="act three", got=remote_static.hex())
        checked = digest.mix(shared).open(0, tag)  # se
        if checked is None:
            return errors.ACT_MAC(field="act three", detail="the peer does not hold its node id's key")
        chain = checked[0].chain
        receive, send = hkdf_two(chain, b"")
        return Finished(b"", Session(remote_static, CipherState(chain, send), CipherState(chain, receive)))


@dataclass(frozen=True, slots=True)
class NeedsEcdh(Generic[T]):
    """Ask the signer for sha256 of (node key * `point`), compressed; give it to `provide`."""

    point: bytes
    provide: Callable[[bytes], T] = field(repr=False)


def start_initiator(
    remote_static: bytes, local_static: bytes, ephemeral: bytes
) -> tuple[bytes, AwaitActTwo] | Rejection:
    """(act one, next state). `ephemeral` is a fresh random private key, used once.
    Fails with bolt8.handshake.key when the node id dialled is no point."""
    shared = crypto.ecdh(ephemeral, remote_static)
    if shared is None:
        return errors.ACT_KEY(field="node_id", got=remote_static.hex(), allowed="a point of secp256k1")
    own = crypto.public_key(ephemeral)
    digest, tag = _Digest.initial(remote_static).absorb(own).mix(shared).seal(0, b"")  # es
    return _VERSION + own + tag, AwaitActTwo(local_static, remote_static, ephemeral, digest)


def start_responder(local_static: bytes, ephemeral: bytes) -> AwaitActOne:
    """`ephemeral` is a fresh random private key, used once."""
    return AwaitActOne(local_static, ephemeral)


def _check_frame(act: bytes, name: str, size: int) -> Rejection | None:
    if len(act) != size:
        return errors.ACT_SHORT(field=name, got=f"{len(act)} bytes", allowed=f"{size}")
    if act[:1] != _VERSION:  # BOLT 8: MUST abort on an unknown version
        return errors.ACT_VERSION(field=name, got=act[0], allowed="0")
    return None


def _open_act(act: bytes, name: str, size: int) -> tuple[bytes, bytes] | Rejection:
    """(ephemeral point, tag) of act one or two."""
    refusal = _check_frame(act, name, size)
    if refusal is not None:
        return refusal
    point = act[1 : 1 + POINT_BYTES]
    if not crypto.is_point(point):
        return errors.ACT_KEY(field=name, got=point.hex(), allowed="a point of secp256k1")
    return point, act[1 + POINT_BYTES :]
