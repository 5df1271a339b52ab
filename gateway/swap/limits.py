"""R1. How much may be open at once and pass in a day, for one peer and in all; who may ask, and how often. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import Rejection
from gateway.swap import errors
from gateway.units import Msat

NONE = Msat(0)
_PEERS_KNOWN = 4_096  # buckets; the one that was asked longest ago goes first
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Values are of the Bitcoin leg; 0 is no limit. An empty allow list allows everybody who is not denied."""

    peer_open: Msat = NONE
    all_open: Msat = NONE
    peer_day: Msat = NONE
    all_day: Msat = NONE
    allow: frozenset[bytes] = frozenset()
    deny: frozenset[bytes] = frozenset()
    quotes_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is open now (quotes included), and what was done within a day."""

    peer_open: Msat = NONE
    all_open: Msat = NONE
    peer_done: Msat = NONE
    all_done: Msat = NONE


def usage(peer: bytes, live: Iterable[tuple[bytes, Msat]], done: Iterable[tuple[bytes, Msat]]) -> Usage:
    """`live` and `done`: peer and value of each open swap or quote, and of each swap of the last day."""
    mine, everything = [0, 0], [0, 0]
    for n, rows in enumerate((live, done)):
        for who, value in rows:
            everything[n] += value.value
            mine[n] += value.value if who == peer else 0
    return Usage(Msat(mine[0]), Msat(everything[0]), Msat(mine[1]), Msat(everything[1]))


def over(limits: Limits, used: Usage, amount: Msat) -> Rejection | None:
    """Why a swap of `amount` would pass a limit. A day counts what is open as if it were done."""
    for limit, taken, code in (
        (limits.peer_open, used.peer_open, errors.LIMIT_PEER_OPEN),
        (limits.all_open, used.all_open, errors.LIMIT_OPEN),
        (limits.peer_day, used.peer_open + used.peer_done, errors.LIMIT_PEER_DAY),
        (limits.all_day, used.all_open + used.all_done, errors.LIMIT_DAY),
    ):
        if limit and taken + amount > limit:
            return code(
                field="amount_msat", got=amount.value, allowed=f"<= {max(0, (limit - taken).value)}",
                detail=f"{taken.value} of {limit.value} msat are taken",
            )  # fmt: skip
    return None


def unwelcome(limits: Limits, peer: bytes) -> Rejection | None:
    """A peer that is denied, or not among those that alone are allowed."""
    if peer in limits.deny or (limits.allow and peer not in limits.allow):
        return errors.PEER_REFUSED(field="peer", got=peer.hex())
    return None


class Buckets:
    """A token bucket a peer: a minute's worth at once, filled evenly; in whole numbers."""

    def __init__(self, per_minute: int) -> None:
        self._rate = per_minute  # a token is 60,000 parts: a millisecond brings `per_minute` of them
        self._left: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def take(self, peer: bytes, now_ms: int) -> Rejection | None:
        """One token, or when there will be one. `now_ms` never goes back (a monotonic clock)."""
        if not self._rate:
            return None
        full, cost = self._rate * _MINUTE_MS, _MINUTE_MS
        left, at = self._left.pop(peer, (full, now_ms))
        left = min(full, left + max(0, now_ms - at) * self._rate)
        enough = left >= cost
        self._left[peer] = (left - cost if enough else left, now_ms)
        if len(self._left) > _PEERS_KNOWN:
            self._left.popitem(last=False)
        if enough:
            return None
        return errors.TOO_MANY_QUOTES(
            field="quotes_per_minute", got="more", allowed=self._rate,
            retry_after_ms=-(-(cost - left) // self._rate),
        )  # fmt: skip
