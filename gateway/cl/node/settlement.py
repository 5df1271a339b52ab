"""R4. Brings due steps on chain: composed into batches, split when refused, built on the mempool when it is ahead.

A batch that is refused, by our own evaluator or by the ledger, is halved until the culprit stands alone; the others
go at once. Nothing is remembered between blocks: what is still due then is composed anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from gateway.cl.chain.errors import INPUTS_SPENT, SUBMIT_REFUSED
from gateway.cl.chain.txcbor import read
from gateway.cl.chain.view import ChannelCreated, ChannelSpent, Located, View
from gateway.cl.channel import settle
from gateway.cl.channel import state as s
from gateway.cl.data import types as t
from gateway.cl.data.books import Verify
from gateway.cl.l1.compose import Batch, Due, compose
from gateway.cl.l1.errors import TOO_EARLY
from gateway.cl.l1.intents import StepChannel
from gateway.cl.l1.parse import ChannelOutput, parse_output
from gateway.cl.node.wallet import OwnTransactions, Wallet
from gateway.cl.node.watched import Watched
from gateway.cl.ports import ChainMempool, ChainReader, Clock, Utxo
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile

log = structlog.get_logger("gateway.settlement")
Refusal = tuple[settle.Intent, Rejection]
_OF_THE_BATCH = (INPUTS_SPENT, SUBMIT_REFUSED)  # every other cl.chain.* is the provider's own trouble


class Settlement:
    def __init__(
        self,
        wallet: Wallet,
        own: OwnTransactions,
        provider: ChainReader,
        clock: Clock,
        profile: NetworkProfile,
        policy: bytes,
        verify: Verify,
        watched: Watched,
        view: Callable[[], View],
    ) -> None:
        self._wallet, self._own, self._provider, self._clock = wallet, own, provider, clock
        self._profile, self._policy, self._verify = profile, policy, verify
        self._watched, self._view = watched, view
        self._pending: dict[t.OutputRef, ChannelOutput] = {}  # of the last look at the mempool

    def on_chain(self, channel: t.ChannelId) -> ChannelOutput | None:
        for created in self._view().channels:
            if created.channel == channel:
                return self._parsed(created.utxo)
        return None

    def _parsed(self, utxo: Utxo) -> ChannelOutput | None:
        parsed = parse_output(utxo, self._policy)
        return parsed if isinstance(parsed, ChannelOutput) else None

    async def ahead(self) -> dict[t.ChannelId, s.Output] | None:
        """Outputs of our channels that strangers' transactions in the provider's mempool are making: whoever does
        not build on them loses the race to them, block after block (V16). None where the provider shows no
        mempool, or nothing in it."""
        if not isinstance(self._provider, ChainMempool):
            return None
        pending = await self._provider.pending()
        if not pending:
            return None
        self._wallet.spent_elsewhere = frozenset(ref for raw in pending for ref in read(raw).spent)
        located = self._view().preview(pending)
        ours = self._touched_by_us(located)
        self._pending.clear()
        found: dict[t.ChannelId, s.Output] = {}
        for channel, story in self._watched.ahead(located).items():
            output = story.output
            if channel in ours or output is None or story.ended_by is not None:
                continue
            created = next((u for u in _outputs(located) if u.ref == output.ref), None)
            parsed = None if created is None else self._parsed(created)
            if parsed is not None:
                found[channel], self._pending[output.ref] = output, parsed
        return found

    def _touched_by_us(self, located: Iterable[Located]) -> set[t.ChannelId]:
        """Channels where a step of ours is in the mempool: it is under way, nothing is to be built on it."""
        own = self._own.ids()
        return {
            one.observation.channel
            for one in located
            if isinstance(one.observation, ChannelSpent) and one.observation.tx_id in own
        }

    async def perform(self, intents: Sequence[settle.Intent]) -> tuple[Refusal, ...]:
        """Each on the output as it is now, several in one transaction; what is under way, too early or has moved is
        passed over. Returns those that no transaction took, each with its reason. Never raises for one of them."""
        async with self._wallet.building:
            return await self._perform(intents)

    async def _perform(self, intents: Sequence[settle.Intent]) -> tuple[Refusal, ...]:
        by_ref = {intent.output: intent for intent in intents}
        dues = [due for due in map(self._due, by_ref.values()) if due is not None]
        if not dues:
            return ()
        refused: list[tuple[Due, Rejection]] = []
        waiting: deque[Batch] = deque()
        try:
            view = await self._wallet.frozen(instead_of=[d.step.channel.ref for d in dues])
            made = compose(view, dues, self._profile, self._verify)
            refused += [row for row in made.refused if row[1].spec is not TOO_EARLY]
            waiting += made.batches
            while waiting:
                batch = waiting[0]
                refusal = await self._try(batch)
                waiting.popleft()
                if refusal is None:
                    continue
                if len(batch.dues) > 1:
                    log.info("batch.split", steps=len(batch.dues), code=refusal.code)
                    waiting.extendleft(reversed(batch.halves()))
                elif refusal.spec is not TOO_EARLY:
                    refused.append((batch.dues[0], refusal))
        except Refused as trouble:  # the provider's: it holds for all that is left
            left = [d for batch in waiting for d in batch.dues] if waiting else dues
            refused += [(due, trouble.rejection) for due in left]
        return tuple((by_ref[due.step.channel.ref], why) for due, why in refused)

    def _due(self, intent: settle.Intent) -> Due | None:
        if self._own.on_the_way(self._clock.now(), spends=intent.output) is not None:
            return None
        output = self._pending.get(intent.output) or self.on_chain(intent.channel)
        if output is None or output.ref != intent.output:
            return None
        step = StepChannel(output, intent.step, self._watched.keys[intent.channel])
        return Due(step, intent.deadline, intent.lost_at, intent.not_before, intent.usable_until)

    async def _try(self, batch: Batch) -> Rejection | None:
        """Sends it on a fresh view; the refusal is the batch's. Raises the provider's own trouble."""
        refs = [d.step.channel.ref for d in batch.dues]
        view = replace(await self._wallet.frozen(instead_of=refs), fee_bonus=batch.bonus)
        steps = tuple(d.step for d in batch.dues)
        purpose = ", ".join(f"{type(one.step).__name__} {one.channel.cid.hex()}" for one in steps)
        try:
            await self._wallet.send(
                view, steps, purpose, steps[0].channel.cid,
                use_before=batch.use_before, not_before=batch.not_before,
            )  # fmt: skip
        except Refused as refused:
            rejection = refused.rejection
            if rejection.code.startswith("cl.chain.") and rejection.spec not in _OF_THE_BATCH:
                raise
            return rejection
        return None


def _outputs(located: Iterable[Located]) -> list[Utxo]:
    return [one.observation.utxo for one in located if isinstance(one.observation, ChannelCreated)]
