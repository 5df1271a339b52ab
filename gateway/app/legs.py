"""R4. The node's channels as legs of swaps, and their notices as inputs of swaps."""

from __future__ import annotations

import structlog

from gateway.cl.channel import effects as f
from gateway.cl.channel import state as s
from gateway.cl.channel.errors import CHEQUE_ANSWERED, CHEQUE_UNKNOWN
from gateway.cl.channel.ledger import find_held
from gateway.cl.data.types import ChannelId, Resolved
from gateway.cl.node.chain_service import ChainService
from gateway.cl.node.channels import Channels
from gateway.cl.node.peers import Peers
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.swap import inputs as i
from gateway.swap.client import SwapClient
from gateway.swap.engine import SwapEngine
from gateway.swap.errors import CHEQUE_UNEXPECTED
from gateway.swap.inputs import ChequeNotOffered, ChequeOffered
from gateway.swap.ports import ChannelStanding
from gateway.units import Lovelace, PosixMs

log = structlog.get_logger("gateway.legs")


class Legs:
    """Implements swap.ports.ChannelLegs."""

    def __init__(self, channels: Channels, peers: Peers, chain: ChainService) -> None:
        self._channels, self._peers, self._chain = channels, peers, chain

    async def standing(self, channel: ChannelId) -> ChannelStanding | None:
        state = self._channels.state(channel)
        if state is None or not isinstance(state, s.WithBooks):
            return None
        balance = self._channels.balance(channel)
        assert balance is not None
        why = ""
        if not isinstance(state, s.Normal):
            why = f"the channel is {type(state).__name__}"
        elif state.frozen:
            why = state.frozen
        elif not self._peers.is_connected(state.agreement.peer):
            why = "the peer is not connected"
        return ChannelStanding(
            channel=channel,
            peer=state.agreement.peer,
            usable=not why,
            local=balance.local,
            remote=balance.remote,
            free_slots_in=balance.slots_in,
            free_slots_out=balance.slots_out,
            why_not=why,
        )

    async def standings(self) -> tuple[ChannelStanding, ...]:
        found = [await self.standing(channel) for channel in self._channels.states()]
        return tuple(one for one in found if one is not None)

    async def offer_cheque(
        self, channel: ChannelId, reference: bytes, hashlock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> ChequeOffered | ChequeNotOffered:
        answer = await self._channels.offer(channel, reference, hashlock, amount, timeout)
        if isinstance(answer, Rejection):
            return ChequeNotOffered(answer.code, str(answer))
        return ChequeOffered(answer)

    async def issued(self, channel: ChannelId, reference: bytes) -> int | None:
        state = self._channels.state(channel)
        if not isinstance(state, s.WithBooks):
            return None
        return next((one.cheque.index for one in state.books.issued if one.reference == reference), None)

    async def holds(self, channel: ChannelId, index: int) -> bool:
        state = self._channels.state(channel)
        if not isinstance(state, (s.Normal, s.Draining)):
            return False
        if isinstance(state, s.Normal) and state.frozen:  # nothing was paid yet: it goes back
            return False
        held = find_held(state.books, index)
        return held is not None and isinstance(held.status, s.Unanswered)

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> str:
        try:
            await self._channels.fulfil(channel, index, preimage)
        except Refused as refused:
            _gone(refused)
            return f"cheque {index} had ended before: {refused.rejection}"
        return ""

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> str:
        try:
            await self._channels.cancel(channel, index, code)
        except Refused as refused:
            _gone(refused)
            if refused.rejection.spec is CHEQUE_UNKNOWN:  # expired, forgotten, and its one notice came early
                return f"the channel holds no cheque {index} any more"
        return ""

    def settled_total(self) -> Lovelace:
        """Received less sent over all channels, for life; what hangs in cheques is in neither."""
        total = Lovelace(0)
        for channel, state in self._channels.states().items():
            balance = self._channels.balance(channel)
            if balance is not None and isinstance(state, s.WithBooks):
                total += balance.local + balance.offered - state.books.local_deposit
        return total

    async def extend_cheque(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        await self._channels.extend(channel, index, timeout)

    async def ask_extension(self, channel: ChannelId, index: int, timeout: PosixMs) -> None:
        await self._channels.ask_extension(channel, index, timeout)

    async def ask_resolution(self, channel: ChannelId, index: int) -> None:
        await self._channels.ask_resolution(channel, index)

    async def claim_on_chain(self, channel: ChannelId, reason: str) -> None:
        if isinstance(self._channels.state(channel), (s.Normal, s.Draining)):
            await self._channels.close(channel, now=True, reason=reason)

    def claim_stands(self, channel: ChannelId) -> bool:
        state = self._channels.state(channel)
        if not isinstance(state, s.OnChain):
            return isinstance(state, s.Ended)
        return state.closed_by_us or isinstance(state.output.datum.stage, Resolved)

    async def top_up(self, channel: ChannelId, lovelace: Lovelace) -> None:
        await self._chain.add_funds(channel, lovelace)


def _gone(refused: Refused) -> None:
    """A cheque that was answered before needs no second answer; anything else is tried again."""
    if refused.rejection.spec not in (CHEQUE_UNKNOWN, CHEQUE_ANSWERED):
        raise refused
    log.info("leg.answered", code=refused.rejection.code, why=str(refused.rejection))


class Notices:
    """A channel's notices to whichever swap has the hash. Returns once the swap has stored them."""

    def __init__(self) -> None:
        self.engine: SwapEngine | None = None
        self.client: SwapClient | None = None
        self.legs: Legs | None = None

    async def __call__(self, state: s.State, notice: f.Notice) -> None:
        assert isinstance(state, s.WithBooks)
        channel, peer = state.agreement.channel, state.agreement.peer
        given: i.Input
        match notice:
            case f.NoticeLocked(index, _, amount, timeout):
                given = i.ChequeLocked(peer, channel, index, amount, timeout)
            case f.NoticeExtended(index, _, timeout):
                given = i.ChequeExtended(channel, index, timeout)
            case f.NoticeExtensionAsked(index, _, timeout):
                given = i.ExtensionAsked(channel, index, timeout)
            case f.NoticePreimage(_, preimage):
                given = i.PreimageSeen(preimage)
            case f.NoticeDead(index, _, proof):
                given = i.OutgoingChequeDead(channel, index, proof)
            case f.NoticeSettled(index, _, proof):
                given = i.IncomingChequeSettled(channel, index, proof)
            case f.NoticeReleased(index, _, proof):
                given = i.IncomingChequeReleased(channel, index, proof)
        known = self.client is not None and await self.client.notify(notice.lock, given)
        if not known:
            known = self.engine is not None and await self.engine.notify(notice.lock, given)
        if not known and isinstance(notice, f.NoticeLocked) and self.legs is not None:
            # nobody asked for it: give it back at once, so that the issuer's funds are free
            await self.legs.cancel_cheque(channel, notice.index, CHEQUE_UNEXPECTED.code)
