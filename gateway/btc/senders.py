"""R1. Which payments may still be on their way to LND: until then neither "no record" nor the failure of an earlier
attempt is proof (docs/swaps.md, the law)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gateway.hashlock import Hashlock


@dataclass(slots=True)
class Sending:
    """One SendPaymentV2. `seen`: LND has told of it, so that its record is of this attempt and no earlier one
    (LND writes the record before it opens the stream of updates)."""

    hashlock: Hashlock
    seen: bool = False


class Senders:
    """`patience_s`: how long after its sender's end a request may still arrive. Seconds of a monotonic clock."""

    def __init__(self, patience_s: float, monotonic: Callable[[], float]) -> None:
        self._patience_s, self._monotonic = patience_s, monotonic
        self._sending: Counter[Hashlock] = Counter()
        self._ended: dict[Hashlock, float] = {}  # unseen, and when they ended
        self._seen: dict[Hashlock, float] = {}
        # an earlier process may have sent anything just before it died: its connection ended by now
        self._born = monotonic()

    def begin(self, hashlock: Hashlock) -> Sending:
        self._sending[hashlock] += 1
        self._seen.pop(hashlock, None)  # what LND told of an earlier attempt says nothing of this one
        return Sending(hashlock)

    def end(self, sending: Sending) -> None:
        """Notes the end; forgets those whose end is too long ago to make a difference."""
        now, lock = self._monotonic(), sending.hashlock
        self._sending -= Counter((lock,))
        old = now - self._patience_s
        self._ended = {h: ended for h, ended in self._ended.items() if ended > old}
        self._seen = {h: ended for h, ended in self._seen.items() if ended > old}
        alone = lock not in self._sending and lock not in self._ended
        if sending.seen and alone:
            self._seen[lock] = now
        else:
            self._ended[lock] = now

    def seen(self, hashlock: Hashlock) -> bool:
        """LND has told of the one and last attempt of this process."""
        return hashlock in self._seen

    def doubt(self, hashlock: Hashlock) -> str:
        """Why a request for this hash may still arrive; empty: none can."""
        if hashlock in self._sending:
            return "it is being sent"
        since = self._monotonic() - self._ended.get(hashlock, self._born)
        if hashlock in self._seen or since >= self._patience_s:
            return ""
        return f"the sender ended {since:.0f} s ago"
