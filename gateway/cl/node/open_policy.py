"""R4. What this node takes of a channel that somebody opens to it, and proposes itself (V12)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.channel import errors
from gateway.cl.channel import messages as m
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
