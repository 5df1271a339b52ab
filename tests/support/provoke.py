"""Which case provokes which error code: a small function that feeds bad input to the real code, or a named test."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import REGISTRY, Refused, Rejection
from gateway.outcome import Continue, Reject

Case = Callable[[Path], Any]  # gets an empty directory; may be async; returns or raises what it got


@dataclass(frozen=True, slots=True)
class Provocation:
    code: str
    case: Case


CASES: list[Provocation] = []
PROVED: dict[str, tuple[str, ...]] = {}  # code -> tests, "path::name", that provoke it themselves


def provokes(*codes: str) -> Callable[[Case], Case]:
    """Registers a case. With several codes it gives one refusal for each, in this order."""

    def register(case: Case) -> Case:
        CASES.extend(Provocation(code, case) for code in codes)
        return case

    return register


def proved_by(where: str, *codes: str) -> None:
    for code in codes:
        PROVED[code] = (*PROVED.get(code, ()), where)


def load_all() -> None:
    """Every module of the gateway, so that every code is declared."""
    import gateway

    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith(("env", "__main__")) and ".migrations" not in module.name:
            importlib.import_module(module.name)
    assert len(REGISTRY) > 150


def codes_of(got: Any) -> list[str]:
    """The codes in what a case gave back: rejections, outcomes, a channel's refusing effects, or codes themselves."""
    match got:
        case None:
            return []
        case str():
            return [got] if got in REGISTRY else []
        case Rejection():
            return [got.code]
        case Reject(rejection=rejection):
            return [rejection.code]
        case Continue(events=events, effects=effects):
            found = [*events, *effects]
            texts = [getattr(one, name, "") for one in found for name in ("code", "detail")]
            texts += [getattr(getattr(one, "message", None), "code", "") for one in found]
            return list(dict.fromkeys(text for text in texts if text in REGISTRY))
        case list() | tuple():
            return [code for one in got for code in codes_of(one)]
        case _:
            found_code = getattr(getattr(got, "rejection", got), "code", "")
            return [found_code] if found_code in REGISTRY else []


async def run(case: Case, directory: Path) -> list[str]:
    """The codes that a case provokes, in order."""
    try:
        got = case(directory)
        if isinstance(got, Awaitable):
            got = await got
    except Refused as refused:
        return [refused.rejection.code]
    return codes_of(got)


def refused(call: Callable[[], Any]) -> Rejection:
    """The rejection that a call raises or returns; fails when there is none."""
    try:
        got = call()
    except Refused as error:
        return error.rejection
    if isinstance(got, Reject):
        return got.rejection
    assert isinstance(got, Rejection), f"not refused: {got!r}"
    return got


async def arefused(waiting: Awaitable[Any]) -> Rejection:
    try:
        got = await waiting
    except Refused as error:
        return error.rejection
    if isinstance(got, Reject):
        return got.rejection
    assert isinstance(got, Rejection), f"not refused: {got!r}"
    return got
