"""Calls of UTxO RPC over gRPC: bounded in time and size, each failure by its code.

Fails with cl.chain.provider_down, .timeout, .malformed, .answer_too_large, .rate_limited, .key_refused,
.rpc_refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from gateway.cl.chain.errors import (
    BAD_URL,
    DOWN,
    KEY_REFUSED,
    MALFORMED,
    RATE_LIMITED,
    REFUSED,
    TIMEOUT,
    TOO_LARGE,
)
from gateway.cl.chain.u5c_messages import MESSAGES, METHODS
from gateway.errors import Refused

MAX_ANSWER = 32 * 1024 * 1024
PAUSE_MS = 1_000  # after a limit, which names no time
_SHOWN = 200


class Words(Exception):
    """The server refuses this very request, in these words."""


class U5cLink:
    """`headers` (a key among them) are sent with each call and never shown."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        scheme, _, target = url.partition("://")
        if scheme not in ("http", "https") or not target:
            raise Refused(BAD_URL(field=name, got=url[:80], allowed="http://host:port, https://host:port"))
        self.url, self.name = url, name
        self._timeout_s = timeout_s
        self._metadata = tuple((key.lower(), value) for key, value in (headers or {}).items())
        options = (("grpc.max_receive_message_length", max_answer), ("grpc.enable_http_proxy", 0))
        target = target.rstrip("/")
        if scheme == "http":
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options)
        self._calls: dict[str, Any] = {}
        for method, (path, asked, told) in METHODS.items():
            self._calls[method] = self._channel.unary_unary(
                path,
                request_serializer=MESSAGES[asked].SerializeToString,
                response_deserializer=MESSAGES[told].FromString,
            )

    async def close(self) -> None:
        await self._channel.close()

    async def ask(self, method: str, **fields: Any) -> Any | None:
        """The answer; None when the server does not know the thing. Raises `Words` for a bad request."""
        request = MESSAGES[METHODS[method][1]](**fields)
        try:
            return await self._calls[method](request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            code, words = error.code(), str(error.details() or "")
        if code is grpc.StatusCode.NOT_FOUND:
            return None
        raise self._failure(method, code, words)

    def _failure(self, method: str, code: grpc.StatusCode, words: str) -> Exception:
        shown = words[:_SHOWN]
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return Refused(TIMEOUT(field=method, got=self.url))
            case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in words:
                return Refused(TOO_LARGE(field=method, got=self.url))
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Refused(
                    RATE_LIMITED(field=self.name, got=method, detail=shown, retry_after_ms=PAUSE_MS)
                )
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return Refused(KEY_REFUSED(field=self.name, got=code.name, detail=shown))
            case grpc.StatusCode.UNIMPLEMENTED:
                return Refused(REFUSED(field=method, got=code.name, detail=shown))
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
                return Words(words)
            case grpc.StatusCode.INTERNAL if "deserializing" in words:
                return Refused(MALFORMED(field=method, got=shown, allowed="a message of UTxO RPC v1beta"))
        return Refused(DOWN(field=self.name, got=self.url, detail=f"{code.name}: {shown}"))
