"""Several providers as one: each answer is what a quorum shows, and whoever fails is passed over.

Fewer than the quorum still serve, so that deadlines are met while providers are away; but then
`doubt` says why nothing new may be risked, and no block becomes `is_sure` (threats W2, W3).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from gateway.cl.chain.errors import DISAGREE, DOWN, RATE_LIMITED
from gateway.cl.chain.joint import Joint
from gateway.cl.chain.seat import Seat
from gateway.cl.data.types import OutputRef
from gateway.cl.l1.protocol import read_figures
from gateway.cl.ports import (
    ChainEvent,
    ChainMempool,
    ChainParams,
    ChainProvider,
    Point,
    SubmitRefused,
    SubmitResult,
    Submitted,
    SubmitUnknown,
    Tip,
    Utxo,
)
from gateway.errors import Refused, Rejection

T = TypeVar("T")

LAG_S = 30.0  # so long one provider may lack a block that others have
DISPUTE_S = 60.0  # so long two may show different things: forks of the network itself end sooner


class Several:
    """A `ChainProvider` over `seats`, in the order of preference. `submit` never raises."""

    def __init__(
        self, seats: Sequence[Seat], quorum: int, *, lag_s: float = LAG_S, dispute_s: float = DISPUTE_S
    ) -> None:
        if not 1 <= quorum <= len(seats):
            raise ValueError("a quorum is of the providers that there are")
        self.seats, self.quorum = tuple(seats), quorum
        self._dispute_s = dispute_s
        self._joint = Joint(self.seats, quorum, lag_s)
        self._differ_since: dict[str, float] = {}
        self._again: dict[
            str, Callable[[], Awaitable[object]]
        ] = {}  # what was answered differently, to be asked

    async def close(self) -> None:
        for seat in self.seats:
            await seat.provider.close()

    # --- what may be built on it ---------------------------------------------------------------

    def doubt(self) -> str:
        """Why nothing new may be risked on what is shown; empty: a quorum shows it."""
        for seat in self.seats:
            if seat.dispute:
                return f"the chain providers disagree: {seat.name}: {seat.dispute}"
        if len(self.seats) == 1:
            return ""
        return self._joint.doubt()

    def is_sure(self, point: Point) -> bool:
        """Whether a quorum vouched for this block, with its transactions; one provider alone is believed."""
        return len(self.seats) == 1 or self._joint.is_sure(point)

    def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]:
        return self._joint.follow(points)

    async def look(self) -> None:
        """Call it now and then: asks for the tips, and again what was answered differently. Else a question that is
        asked once an hour would make one dispute of two blocks on their way, and of one of them a pause for hours."""
        await self.tip()
        for again in tuple(self._again.values()):
            with suppress(Refused):
                await again()

    # --- ChainReader ---------------------------------------------------------------------------

    async def tip(self) -> Tip:
        """The highest that a quorum has reached."""
        answers = await self._all(lambda p: p.tip())
        for seat, tip in answers:
            seat.height, seat.slot = tip.height, tip.point.slot.value
        best = max(tip.height for _, tip in answers)
        for seat, tip in answers:
            seat.behind = best - tip.height
        tips = sorted((tip for _, tip in answers), key=lambda tip: tip.height, reverse=True)
        return tips[self._need(len(answers)) - 1]

    async def params(self) -> ChainParams:
        answers = await self._all(lambda p: p.params())
        groups: dict[Hashable, list[tuple[Seat, ChainParams]]] = {}
        broken: list[Rejection] = []
        for seat, params in answers:
            try:
                groups.setdefault(_essence(params), []).append((seat, params))
            except Refused as refused:
                seat.failed(refused.rejection)
                broken.append(refused.rejection)
        if not groups:
            raise Refused(broken[0])
        best = max(groups.values(), key=len)
        together = {seat.name for seat, _ in best}
        whole = sum(len(group) for group in groups.values())
        agree = {seat.name: seat.name in together for group in groups.values() for seat, _ in group}
        lasting = self._note("params", agree, len(best) == whole, self.params)
        if len(best) < self._need(whole) and not (lasting and len(best) * 2 == whole):
            raise Refused(DISAGREE(field="params", got=f"{len(groups)} versions", allowed="one"))
        return best[0][1]  # of equals the most trusted one's, as it was asked first

    async def utxos_at(self, address: str) -> tuple[Utxo, ...]:
        return await self._shown(f"outputs of {address}", lambda p: p.utxos_at(address))

    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]:
        return await self._shown(f"outputs of {policy_id.hex()}", lambda p: p.utxos_of_policy(policy_id))

    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]:
        found = await self._shown("outputs by reference", lambda p: p.utxos_by_ref(refs))
        kept = {utxo.ref: utxo for utxo in found}
        return tuple(kept[ref] for ref in dict.fromkeys(refs) if ref in kept)

    async def _shown(
        self, what: str, work: Callable[[ChainProvider], Awaitable[tuple[Utxo, ...]]]
    ) -> tuple[Utxo, ...]:
        """The outputs that a quorum shows, equal in all that counts: one alone neither adds nor changes one. Where
        half stand against half for long, the most trusted one decides: else a liar could keep us from paying for a
        claim by hiding our outputs. Nothing new is risked meanwhile."""
        answers = await self._all(work)
        need = self._need(len(answers))
        votes: dict[Utxo, list[Utxo]] = {}
        bare: dict[str, set[Utxo]] = {seat.name: set() for seat, _ in answers}
        for seat, utxos in answers:
            for utxo in utxos:
                core = replace(utxo, created_at=None)
                votes.setdefault(core, []).append(utxo)
                bare[seat.name].add(core)
        kept = {core: found[0] for core, found in votes.items() if len(found) >= need}
        agree = {name: cores == kept.keys() for name, cores in bare.items()}
        if self._note(what, agree, all(agree.values()), lambda: self._shown(what, work)):
            trusted = bare[answers[0][0].name]
            halves = {core: found[0] for core, found in votes.items() if len(found) * 2 == len(answers)}
            kept |= {core: utxo for core, utxo in halves.items() if core in trusted}
        return tuple(sorted(kept.values(), key=lambda u: (u.ref.tx_id, u.ref.index)))

    def _note(
        self, what: str, agree: dict[str, bool], all_agree: bool, again: Callable[[], Awaitable[object]]
    ) -> bool:
        """Differences that a block on its way explains pass by themselves; a lasting one is named. Answers whether it
        lasts. `agree`: of each that answered; one alone proves nothing about anyone."""
        if len(agree) == 1:
            return False
        now = asyncio.get_running_loop().time()
        if all_agree:
            self._differ_since.pop(what, None)
            self._again.pop(what, None)
        else:
            self._again[what] = again
        since = self._differ_since.setdefault(what, now) if not all_agree else now
        lasting = not all_agree and now - since >= self._dispute_s
        for seat in self.seats:
            if agree.get(seat.name) and seat.dispute.startswith(what):
                seat.differs("")
            elif lasting and agree.get(seat.name) is False:
                seat.differs(f"{what}: others than the rest shows")
        return lasting

    # --- ChainSubmitter ------------------------------------------------------------------------

    async def submit(self, tx_cbor: bytes) -> SubmitResult:
        """To every provider at once. Refused only when a quorum of those asked refuses."""
        seats = self._ready()
        if not seats:
            return SubmitUnknown(self._no_answer())
        results = await asyncio.gather(*(seat.provider.submit(tx_cbor) for seat in seats))
        refused: list[SubmitRefused] = []
        unknown: list[SubmitUnknown] = []
        for seat, result in zip(seats, results, strict=True):
            match result:
                case Submitted():
                    seat.worked()
                case SubmitRefused():
                    refused.append(result)
                case SubmitUnknown(rejection):
                    seat.failed(rejection)
                    unknown.append(result)
        good = next((result for result in results if isinstance(result, Submitted)), None)
        if good is not None:
            return good
        if len(refused) >= self._need(len(seats)):
            return SubmitRefused(refused[0].rejection, any(one.inputs_spent for one in refused))
        return unknown[0] if unknown else SubmitUnknown(DISAGREE(field="transaction", got="some refuse it"))

    # --- ChainMempool --------------------------------------------------------------------------

    async def pending(self) -> tuple[bytes, ...]:
        """Of every provider that can tell, each transaction once; () where none can. No quorum: it proves nothing."""
        able = [seat.provider for seat in self._ready() if isinstance(seat.provider, ChainMempool)]
        found = await asyncio.gather(*(one.pending() for one in able), return_exceptions=True)
        shown: dict[bytes, None] = {}
        for answer in found:
            if isinstance(answer, Refused):
                continue
            if isinstance(answer, BaseException):
                raise answer
            shown |= dict.fromkeys(answer)
        return tuple(shown)

    # --- who is asked --------------------------------------------------------------------------

    def _need(self, answers: int) -> int:
        return min(self.quorum, answers)

    def _ready(self) -> list[Seat]:
        """Who has not just failed and is not far behind; else everyone that does not ask us to wait."""
        awake = [seat for seat in self.seats if not seat.resting]
        return [seat for seat in awake if not seat.lags] or [
            seat for seat in self.seats if seat.trouble is None or seat.trouble.spec is not RATE_LIMITED
        ]

    async def _all(self, work: Callable[[ChainProvider], Awaitable[T]]) -> list[tuple[Seat, T]]:
        """The answers that came, one at least; raises what the first one raised."""
        seats = self._ready()
        found = await asyncio.gather(*(seat.ask(work) for seat in seats), return_exceptions=True)
        answers: list[tuple[Seat, T]] = []
        refusals: list[Refused] = []
        for seat, answer in zip(seats, found, strict=True):
            if isinstance(answer, Refused):
                refusals.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers.append((seat, answer))
        if not answers:
            raise refusals[0] if refusals else Refused(self._no_answer())
        return answers

    def _no_answer(self) -> Rejection:
        known = next((seat.trouble for seat in self.seats if seat.trouble is not None), None)
        return known if known is not None else DOWN(field="providers", got="none can be asked")


def _essence(params: ChainParams) -> Hashable:
    """What two providers must agree on: every figure that a transaction is built by, and the clock's line."""
    figures = read_figures(params)
    line = params.eras[-1]
    zero = line.start_ms.value - line.start_slot.value * line.slot_length_ms
    return figures, params.network_magic, params.system_start_ms, zero, line.slot_length_ms
