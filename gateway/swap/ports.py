"""R1. What the swap engine needs beside Bitcoin Lightning: a channel's cheques, and the way to a peer's engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.cl.data.types import ChannelId
from gateway.hashlock import Hashlock, Preimage
from gateway.swap.inputs import ChequeNotOffered, ChequeOffered
from gateway.units import Lovelace, PosixMs


@dataclass(frozen=True, slots=True)
class ChannelStanding:
    """One channel now. Amounts are spendable: what is at risk in cheques is taken off."""

    channel: ChannelId
    peer: bytes
    usable: bool
    local: Lovelace
    remote: Lovelace
    free_slots_in: int
    free_slots_out: int
    why_not: str = ""


class ChannelLegs(Protocol):
    """The node's channels as legs of swaps. Each call is idempotent and returns only once it is durable."""

    async def standing(self, channel: ChannelId) -> ChannelStanding | None: ...
    async def standings(self) -> tuple[ChannelStanding, ...]: ...
    async def offer_cheque(
        self, channel: ChannelId, reference: bytes, hashlock: Hashlock, amount: Lovelace, timeout: PosixMs
    ) -> ChequeOffered | ChequeNotOffered:
        """At most one cheque is ever signed for `reference`; not offered means that none was and none will be."""
        ...

    async def issued(self, channel: ChannelId, reference: bytes) -> int | None:
        """The index of the cheque that was signed for `reference`."""
        ...

    async def holds(self, channel: ChannelId, index: int) -> bool:
        """The partner's cheque lies with us unanswered, in a whole channel that no close is known of."""
        ...

    async def fulfil_cheque(self, channel: ChannelId, index: int, preimage: Preimage) -> str:
        """Empty: it is claimed, and the channel's notice tells of the end. Else why it can be claimed no more."""
        ...

    async def cancel_cheque(self, channel: ChannelId, index: int, code: str) -> str:
        """Empty: the channel's notice tells of the release. Else why there is nothing to release any more."""
        ...

    async def extend_cheque(self, channel: ChannelId, index: int, timeout: PosixMs) -> None: ...
    async def ask_extension(self, channel: ChannelId, index: int, timeout: PosixMs) -> None: ...
    async def ask_resolution(self, channel: ChannelId, index: int) -> None: ...
    async def claim_on_chain(self, channel: ChannelId, reason: str) -> None:
        """Closes the channel with every cheque whose preimage we have; nothing when it is closing already."""
        ...

    def claim_stands(self, channel: ChannelId) -> bool:
        """A close or respond of ours, which carried our cheques, is in a block."""
        ...

    async def top_up(self, channel: ChannelId, lovelace: Lovelace) -> None:
        """Adds funds of ours on chain (step add); they count once they lie deep enough."""
        ...


class PeerLink(Protocol):
    """Asks another node's engine. Answers come later, as inputs; asking again is harmless."""

    async def ask_quote(self, peer: bytes, channel: ChannelId, invoice: str) -> None: ...
    async def ask_invoice(
        self, peer: bytes, channel: ChannelId, hashlock: Hashlock, receive: Lovelace
    ) -> None: ...
