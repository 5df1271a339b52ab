"""Reads foreign JSON field by field; whatever does not fit is cl.chain.malformed under its path."""

from __future__ import annotations

import json
from typing import Any

from gateway.cl.chain.errors import MALFORMED
from gateway.errors import Refused

_SHOWN = 80
_U64 = 1 << 64


def malformed(where: str, got: object, allowed: str) -> Refused:
    return Refused(MALFORMED(field=where, got=str(got)[:_SHOWN], allowed=allowed))


def parse(raw: str | bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise malformed(where, type(error).__name__, "JSON") from None


def obj(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed(where, type(value).__name__, "an object")
    return value


def items(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise malformed(where, type(value).__name__, "a list")
    return value


def get(value: object, where: str, *path: str) -> Any:
    """value[path[0]][path[1]]…; fails under the path of the first key that is missing."""
    for key in path:
        where, value = f"{where}.{key}", obj(value, where).get(key, _MISSING)
        if value is _MISSING:
            raise malformed(where, "missing", "a value")
    return value


_MISSING = object()


def whole(value: object, where: str, top: int = _U64) -> int:
    """0 <= value < top."""
    if type(value) is not int or not 0 <= value < top:
        raise malformed(where, value, f"a whole number under {top}")
    return value


def text(value: object, where: str) -> str:
    if type(value) is not str:
        raise malformed(where, type(value).__name__, "text")
    return value


def octets(value: object, where: str, size: int | None = None) -> bytes:
    shown = text(value, where)
    try:
        raw = bytes.fromhex(shown)
    except ValueError:
        raise malformed(where, shown, "hex") from None
    if size is not None and len(raw) != size:
        raise malformed(where, f"{len(raw)} bytes", f"{size} bytes")
    return raw
