"""Refusals as Ogmios v6 words them: code, data, and the ledger predicate behind each.

Ogmios answers with one failure of the ledger's list, the one of lowest priority number;
`PRIORITY` follows its order so that a client sees the same code here and there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PRIORITY = {
    3164: 0,
    3997: 1, 3998: 1,
    3121: 2, 3130: 2, 3124: 2, 3118: 2, 3126: 2, 3120: 2,
    3166: 3,
    3117: 4, 3114: 4, 3129: 4,
    3113: 5,
    3108: 6,
    3105: 7, 3106: 7,
    3107: 8,
    3116: 9, 3100: 9, 3101: 9, 3115: 9,
    3109: 10, 3111: 10, 3102: 10,
    3004: 11,
    3103: 12,
    3104: 13, 3110: 13, 3112: 13,
    3133: 14, 3132: 14, 3131: 14,
    3141: 15,
    3135: 16,
    3128: 17, 3125: 17,
    3134: 18, 3119: 18,
    3161: 19, 3122: 19,
    3123: 20, 3136: 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """`predicate` is the ledger's constructor; `code` and `data` are Ogmios's."""

    code: int
    predicate: str
    message: str
    data: Any = field(default=None, hash=False)

    def error(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"code": self.code, "message": f"{self.message} ({self.predicate})"}
        if self.data is not None:
            shown["data"] = self.data
        return shown


def most_relevant(failures: Iterable[Failure]) -> Failure:
    """The first of the lowest priority number."""
    return min(failures, key=lambda failure: PRIORITY[failure.code])


def undecodable(reason: str) -> Failure:
    return Failure(
        -32602,
        "DecoderError",
        "Invalid transaction; It looks like the given transaction wasn't well-formed",
        {"conway": reason},
    )
