"""R4. What this node takes of a channel that somebody opens to it, and proposes itself (V12); what a peer takes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.cl.channel import errors
from gateway.cl.channel import messages as m
from gateway.cl.node.peers import Peers
from gateway.errors import Rejection
from gateway.profile import NetworkProfile
from gateway.units import Lovelace, Ms


@dataclass(frozen=True, slots=True)
class OpenPolicy:
    """What this node takes of a channel that somebody opens to it, and proposes itself."""

    least_funding: Lovelace
    respond_period: Ms
    most_respond_period: Ms
    min_ada: Lovelace  # for the worst case of every stage (decision 7, V11)
    least_cheque: Lovelace = Lovelace(1)

    def terms(self, profile: NetworkProfile) -> m.Terms:
        return m.Terms(
            self.least_funding,
            self.respond_period,
            20,
            self.least_cheque,
            profile.min_cheque_life,
            profile.max_cheque_life,
        )

    def refusal(self, proposal: m.OpenChannel) -> Rejection | None:
        """V12: one check a field."""
        rows: tuple[tuple[str, bool, object, object], ...] = (
            ("amount_lovelace", proposal.amount >= self.least_funding, proposal.amount, self.least_funding),
            (
                "gift_lovelace",
                Lovelace(0) <= proposal.gift <= proposal.amount,
                proposal.gift,
                proposal.amount,
            ),
            (
                "respond_period_ms",
                self.respond_period <= proposal.respond_period <= self.most_respond_period,
                proposal.respond_period,
                f"{self.respond_period.value}..{self.most_respond_period.value}",
            ),
            ("min_ada_lovelace", proposal.min_ada >= self.min_ada, proposal.min_ada, self.min_ada),
        )
        for field, fine, got, allowed in rows:
            if not fine:
                return errors.OPEN_TERMS(field=field, got=got, allowed=allowed)
        return None


ANSWER_S = 5.0


class PeerTerms:
    """Asked before a proposal, so that the owner hears at once which field a peer would refuse."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[int | None, m.Terms]] = {}

    async def ask(self, peers: Peers, peer: bytes) -> m.Terms | None:
        """None: no answer. Then the answer to the proposal itself has to do."""
        number = await peers.ask(peer, m.QueryTerms())
        end = asyncio.get_running_loop().time() + ANSWER_S
        while asyncio.get_running_loop().time() < end and peers.is_connected(peer):
            conversation, terms = self._newest.get(peer, (None, None))
            if terms is not None and conversation == number:
                return terms
            await asyncio.sleep(0.01)
        return None

    def heard(self, peer: bytes, conversation: int | None, terms: m.Terms) -> None:
        self._newest[peer] = (conversation, terms)


def outside(terms: m.Terms, amount: Lovelace, respond_period: Ms) -> Rejection | None:
    """What of a proposal the peer says that it would refuse."""
    if amount < terms.least_funding:
        least = f">= {terms.least_funding.value}, says the peer"
        return errors.OPEN_TERMS(field="amount_lovelace", got=amount.value, allowed=least)
    if respond_period < terms.least_respond_period:
        least = f">= {terms.least_respond_period.value}, says the peer"
        return errors.OPEN_TERMS(field="respond_period_ms", got=respond_period.value, allowed=least)
    return None
