"""R4. Whether a channel's books are all that was ever signed with them: an old copy signs nothing (P4).

Three witnesses. The store's mark beside the database, and the mark that a backup carries: the node does not start on
such a copy unless its owner says so, and then every channel is frozen. The signer's record: a channel of which it
remembers more is frozen at the start. The partner: a whole directory that was put back shows nothing by itself, so
nothing is signed for a channel before its partner has said, once since the start, what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.cl.channel import errors
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.cheques import is_stale
from gateway.cl.data.types import ChannelId
from gateway.cl.ports import Signer
from gateway.errors import Refused
from gateway.outcome import Continue, Reject

LISTEN_S = 5.0


class Freshness:
    """What has been heard since the start; nothing of it is stored."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._heard: set[ChannelId] = set()
        self._unsaid: set[ChannelId] = set()
        self._early: dict[ChannelId, i.PeerSaid] = {}  # said before our chain showed the opening

    async def behind(self, channel: ChannelId, state: s.State) -> str:
        """What was signed and is not in the books, empty when nothing: they are stored first, so that is a proof."""
        if not isinstance(state, s.WithBooks):
            return ""
        index, newest = await self._signer.signed(state.agreement.local_key, channel)
        ours = state.books.ours
        if index > state.books.last_issued:
            return f"the signer's record has cheque {index}, the database ends at {state.books.last_issued}"
        if not (ours.first.dominates(newest.first) and ours.second.dominates(newest.second)):
            return "the signer's record has a newer snapshot than the database"
        return ""

    def note(self, channel: ChannelId, state: s.State | None, given: i.Input) -> None:
        """What the partner says first on every connection, and after its chain has shown the opening."""
        if not (isinstance(given, i.PeerSaid) and isinstance(given.message, m.Reestablish)):
            return
        if isinstance(state, s.Open | s.Agreed):
            if channel not in self._heard:
                self._unsaid.add(channel)
            self._heard.add(channel)
        elif isinstance(state, s.Funding):
            self._early[channel] = given

    def early(self, channel: ChannelId, state: s.State | None) -> i.PeerSaid | None:
        """What was said before the channel was open, to be judged now that it is; once."""
        return self._early.pop(channel, None) if isinstance(state, s.Normal) else None

    def unsaid(self, channel: ChannelId) -> bool:
        """Whether the partner has spoken for the first time: what was not signed on its return is said now; once."""
        if channel not in self._unsaid:
            return False
        self._unsaid.discard(channel)
        return True

    def may_sign(self, channel: ChannelId, state: s.State | None) -> bool:
        """Once the partner has spoken everything is said again (`unsaid`), so nothing is lost by a no."""
        return channel in self._heard and not is_stale(state)

    async def listen(self, channel: ChannelId, connected: Callable[[], bool]) -> None:
        """A moment for a partner that is here and has not spoken yet."""
        end = asyncio.get_running_loop().time() + LISTEN_S
        while channel not in self._heard and connected() and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)

    def judge_offer(self, channel: ChannelId, state: s.State | None, outcome: Any) -> None:
        """Raises Refused unless the cheque may be signed now, or it is sure that none was for its reference."""
        if isinstance(outcome, Continue) and outcome.events and channel not in self._heard:
            raise Refused(errors.CHANNEL_UNHEARD(field="channel", got=channel.hex()))
        closing_old = isinstance(state, s.Closing) and state.reason.startswith(errors.CHANNEL_STALE.code)
        if isinstance(outcome, Reject) and (is_stale(state) or closing_old):
            raise Refused(errors.CHANNEL_STALE(field="reference", detail="it may have been signed before"))
