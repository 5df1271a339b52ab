"""One provider among several: what it is, how it does, and when it may be asked again."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from gateway.cl.chain.errors import RATE_LIMITED, WRONG_NETWORK
from gateway.cl.ports import ChainProvider
from gateway.errors import Action, Refused, Rejection

log = structlog.get_logger("gateway.chain")

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
LAG_BLOCKS = 5  # at 20 s a block: further behind the best than the network ever is for long


@dataclass(slots=True)
class Seat:
    """`name` is the operator's; `kind` the adapter's (ogmios, blockfrost, koios); `url` without any key."""

    name: str
    kind: str
    url: str
    provider: ChainProvider
    clock: Callable[[], float] = time.monotonic
    height: int = 0
    slot: int = 0
    latency_ms: int = 0
    failures: int = 0  # since the last good answer
    behind: int = 0  # blocks behind the best
    late: bool = False  # lacked a block that others had, for longer than is allowed
    trouble: Rejection | None = None
    dispute: str = ""  # what it shows otherwise than the rest
    _again: float = field(default=0.0)
    _pause: float = field(default=FIRST_PAUSE_S)

    @property
    def resting(self) -> bool:
        """It failed a moment ago, or asked us to wait."""
        return self.clock() < self._again

    @property
    def wait_s(self) -> float:
        return max(0.0, self._again - self.clock())

    @property
    def state(self) -> str:
        if self.trouble is not None:
            if self.trouble.spec is RATE_LIMITED:
                return "limited"
            return "refused" if self.trouble.spec.action is Action.STOP else "down"
        if self.dispute:
            return "disagrees"
        return "lagging" if self.lags else "ok"

    @property
    def lags(self) -> bool:
        return self.late or self.behind > LAG_BLOCKS

    async def ask(self, work: Callable[[ChainProvider], Awaitable[T]]) -> T:
        """Notes how it went; raises what the provider raises."""
        begun = self.clock()
        try:
            answer = await work(self.provider)
        except Refused as refused:
            self.failed(refused.rejection)
            raise
        self.worked()
        self.latency_ms = int((self.clock() - begun) * 1000)
        return answer

    def worked(self) -> None:
        if self.trouble is not None:
            log.info("provider.back", provider=self.name, was=self.trouble.code)
        self.trouble, self.failures = None, 0
        self._again, self._pause = 0.0, FIRST_PAUSE_S

    def failed(self, rejection: Rejection) -> None:
        """Pauses that double; a provider's own word for how long counts, and the wrong network never hurries."""
        if self.trouble is None or self.trouble.code != rejection.code:
            log.warning("provider.trouble", provider=self.name, code=rejection.code, why=str(rejection)[:300])
        self.trouble, self.failures = rejection, self.failures + 1
        if rejection.retry_after_ms is not None:
            pause = rejection.retry_after_ms / 1000
        elif rejection.spec is WRONG_NETWORK:
            pause = LONGEST_PAUSE_S
        else:
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_S)
        self._again = self.clock() + pause

    def differs(self, what: str) -> None:
        """Named once in the log, and in the status until it agrees again."""
        if what and what != self.dispute:
            log.error("provider.disagrees", provider=self.name, what=what)
        elif self.dispute and not what:
            log.info("provider.agrees", provider=self.name)
        self.dispute = what
