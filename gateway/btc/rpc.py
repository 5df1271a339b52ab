"""R3. One TLS channel to LND with its macaroon, and LND's errors as coded refusals."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from cryptography import x509

from gateway.btc import errors
from gateway.btc.stubs import stateservice_pb2, stateservice_pb2_grpc
from gateway.errors import Refused, Rejection

T = TypeVar("T")
CALL_S = 20.0
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
)


def _read(path: str, field: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refused(errors.FILE(field=field, got=path, detail=str(error))) from error


def _check_certificate(raw: bytes, path: str) -> None:
    """gRPC would take nonsense, and call LND unavailable for ever."""
    try:
        x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        raise Refused(errors.CERTIFICATE(field="tls_cert", got=path, detail=str(error)[:200])) from error


class _Macaroon(grpc.AuthMetadataPlugin):  # type: ignore[misc]  # grpcio ships no types
    def __init__(self, raw: bytes) -> None:
        self._hex = raw.hex()

    def __call__(self, context: Any, callback: Any) -> None:
        callback((("macaroon", self._hex),), None)


class LndChannel:
    """Opens lazily. Fails with btc.file or btc.certificate when a file cannot be read or is no certificate."""

    def __init__(self, host: str, port: int, cert_path: str, macaroon_path: str) -> None:
        self.target = f"{host}:{port}"
        certificate = _read(cert_path, "tls_cert")
        _check_certificate(certificate, cert_path)
        tls = grpc.ssl_channel_credentials(certificate)
        call = grpc.metadata_call_credentials(_Macaroon(_read(macaroon_path, "macaroon")))
        both = grpc.composite_channel_credentials(tls, call)
        self.channel = grpc.aio.secure_channel(self.target, both, options=_OPTIONS)
        self._state = stateservice_pb2_grpc.StateStub(self.channel)

    async def close(self) -> None:
        await self.channel.close()

    async def call(self, work: Awaitable[T], what: str) -> T:
        """One unary call; raises Refused with what its failure means."""
        try:
            return await work
        except grpc.aio.AioRpcError as error:
            raise Refused(await self.meaning(error, what)) from error

    async def meaning(self, error: grpc.aio.AioRpcError, what: str) -> Rejection:
        """LND answers everything with UNKNOWN or UNAVAILABLE while locked: its State service tells which it is."""
        code, text = error.code(), (error.details() or "")[:300]
        lowered = text.lower()
        if code is grpc.StatusCode.UNAVAILABLE and "certificate" in lowered:
            # not every failed handshake: a node that stops or starts breaks handshakes too
            return errors.CERTIFICATE(field="tls_cert", detail=text)
        # while it starts or goes down its macaroon store is shut: that says nothing about the macaroon
        down = any(words in lowered for words in _ENDING_WORDS)
        if code in _REFUSED or (not down and any(words in lowered for words in _MACAROON_WORDS)):
            return errors.MACAROON(field="macaroon", detail=text)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TIMEOUT(field=what, detail=text)
        if code in _MAYBE_LOCKED and any(words in lowered for words in _WALLET_WORDS):
            state = await self._wallet_state()
            if state is not None:
                return state
        if any(words in lowered for words in _STARTING_WORDS):
            return errors.STARTING(field=what, detail=text)
        if code is grpc.StatusCode.UNAVAILABLE or down:
            return errors.UNAVAILABLE(field=self.target, detail=text)
        return errors.MALFORMED(field=what, got=code.name, detail=text)

    async def _wallet_state(self) -> Rejection | None:
        try:
            answer = await self._state.GetState(stateservice_pb2.GetStateRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return None
        name = stateservice_pb2.WalletState.Name(answer.state)
        if name in ("LOCKED", "NON_EXISTING"):
            return errors.LOCKED(field="wallet", got=name.lower())
        if name in ("UNLOCKED", "RPC_ACTIVE", "WAITING_TO_START"):
            return errors.STARTING(field="wallet", got=name.lower())
        return None


# LND has no code for it: macaroon.v2, macaroon-bakery.v2 and LND's macaroons/service.go answer UNKNOWN
_MACAROON_WORDS = ("macaroon", "verification failed", "permission denied", "encoding/hex")
_WALLET_WORDS = ("wallet", "rpc", "unknown service")
# the first two when the State service cannot say more, or the wallet was opened in between
_STARTING_WORDS = (
    "wallet locked", "wallet not created", "waiting to start", "process of starting",
    "unknown service lnrpc.lightning",  # its core is registered last: no LND is without it for long
)  # fmt: skip
# what a node says, and gRPC about it, while it goes down
_ENDING_WORDS = (
    "shutting down", "context canceled", "stream removed", "rst_stream", "unexpected eof",
    "database not open", "database is closed", "store is locked",  # bbolt, sql, LND's macaroons/store.go
)  # fmt: skip
_REFUSED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
_MAYBE_LOCKED = (
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
)
