"""R4. What every closing channel has due on chain, each block: performed together, alarmed when it comes late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from gateway.cl.channel import errors, settle
from gateway.cl.channel import state as s
from gateway.cl.channel.inputs import Context
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.errors import Refused, Rejection

log = structlog.get_logger("gateway.channels")
OVERTAKEN = "cl.chain.inputs_spent"
MOST_RACES = 4  # tries a block against a partner who spends the output under our hands


class Performs(Protocol):
    """The part of channels.Chain that settlement needs."""

    async def perform(
        self, intents: Sequence[settle.Intent]
    ) -> Sequence[tuple[settle.Intent, Rejection]]: ...
    async def ahead(self) -> dict[ChannelId, s.Output] | None: ...


class Deadlines:
    """Level-triggered: nothing is remembered but which alarms were given."""

    def __init__(
        self,
        chain: Performs,
        context: Callable[[], Context],
        on_alarm: Callable[[str, str, str], None],
    ) -> None:
        self._chain, self._context, self._on_alarm = chain, context, on_alarm
        self._alarmed: set[OutputRef] = set()

    async def act(self, states: Mapping[ChannelId, s.State]) -> None:
        """Never raises for what one channel, or the provider, refuses: the next block asks again."""
        refusals = list(await self._chain.perform(self._due(states)))
        for _ in range(MOST_RACES):
            overtaken = {intent.channel for intent, why in refusals if why.code == OVERTAKEN}
            if not overtaken:
                break
            # By a transaction that is in no block yet: at once on top of it, and with other coins (W4, V16).
            again = await self._ahead({c: state for c, state in states.items() if c in overtaken})
            if not again:
                break  # nothing to build differently on: the next block tells
            refusals = [row for row in refusals if row[0].channel not in overtaken]
            refusals += await self._chain.perform(self._due(again))
        for intent, why in refusals:
            unsettled(intent.channel, type(intent.step).__name__, why)

    def _due(self, states: Mapping[ChannelId, s.State]) -> list[settle.Intent]:
        context = self._context()
        found = []
        for state in states.values():
            due = settle.intent(state, context)
            if due is not None:
                found.append(due)
                self._alarm_near(due, context)
        return found

    def _alarm_near(self, due: settle.Intent, context: Context) -> None:
        """Once an output: half the margin is gone and the step is in no block (W7)."""
        if due.lost_at is None or due.output in self._alarmed:
            return
        left, margin = due.lost_at - context.now, context.profile.claim_margin
        if 2 * left.value < margin.value:
            self._alarmed.add(due.output)
            why = errors.DEADLINE_NEAR(field=type(due.step).__name__, got=left, allowed=margin)
            log.error("channel.alarm", channel=due.channel.hex(), code=why.code, detail=str(why)[:300])
            self._on_alarm(due.channel.hex(), why.code, str(why)[:300])

    async def _ahead(self, states: Mapping[ChannelId, s.State]) -> dict[ChannelId, s.State]:
        """The states, each on the output that the mempool makes of its channel, if it makes one; {}: no mempool."""
        try:
            ahead = await self._chain.ahead()
        except Refused as refused:  # the provider's mempool is a help, never a condition
            log.warning("channel.ahead", code=refused.rejection.code, why=str(refused.rejection)[:300])
            return {}
        if ahead is None:
            return {}
        return {
            channel: replace(state, output=ahead[channel])
            if channel in ahead and isinstance(state, (s.Closing, s.OnChain))
            else state
            for channel, state in states.items()
        }


def unsettled(channel: ChannelId, step: str, why: Rejection) -> None:
    log.warning("channel.settle", channel=channel.hex(), step=step, code=why.code, why=str(why)[:500])
