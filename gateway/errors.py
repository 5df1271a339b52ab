"""R0. Errors are values: a stable dotted code, whose fault, what to do, and what was allowed.

A room declares its codes once with `define`; docs/errors.md is generated from the registry.
A pure core returns a `Rejection`; a shell that must unwind raises `Refused` around one.
Any other exception is a bug of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    LOCAL = "local"  # the caller or operator of this node
    REMOTE = "remote"  # the peer, payer or payee
    ENVIRONMENT = "environment"  # a chain provider, LND, disk, clock


class Action(StrEnum):
    """What the node itself does about it."""

    IGNORE = "ignore"
    WARN = "warn"
    RETRY = "retry"
    REFUSE = "refuse"
    FAIL_CHEQUE = "fail_cheque"
    FAIL_CHANNEL = "fail_channel"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One line of docs/errors.md. `remedy` tells the person what to do next."""

    code: str
    fault: Fault
    action: Action
    meaning: str
    remedy: str
    http_status: int = 400

    def __call__(
        self,
        *,
        field: str = "",
        got: object = "",
        allowed: object = "",
        detail: str = "",
        retry_after_ms: int | None = None,
    ) -> Rejection:
        return Rejection(self, field, str(got), str(allowed), detail, retry_after_ms)


REGISTRY: dict[str, ErrorCode] = {}


def define(
    code: str,
    fault: Fault,
    action: Action,
    meaning: str,
    remedy: str,
    http_status: int = 400,
) -> ErrorCode:
    """Registers a code; fails when it exists already (a bug of ours)."""
    if code in REGISTRY:
        raise ValueError(f"error code {code} is defined twice")
    entry = ErrorCode(code, fault, action, meaning, remedy, http_status)
    REGISTRY[code] = entry
    return entry


@dataclass(frozen=True, slots=True)
class Rejection:
    """A coded refusal: which field, what it held and what is allowed."""

    spec: ErrorCode
    field: str = ""
    got: str = ""
    allowed: str = ""
    detail: str = ""
    retry_after_ms: int | None = None

    @property
    def code(self) -> str:
        return self.spec.code

    def __str__(self) -> str:
        parts = [f"{self.spec.code}: {self.spec.meaning}"]
        if self.field:
            parts.append(f"{self.field}={self.got or '?'}")
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.detail:
            parts.append(self.detail)
        parts.append(self.spec.remedy)
        return " — ".join(parts)


class Refused(Exception):
    """Carries a Rejection through a shell; pure cores return the Rejection itself."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection
