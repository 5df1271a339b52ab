"""R2. What a transaction is a function of: the chain as seen at one moment, frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.cl.data.blueprint import Blueprint
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.cl.l1.parse import ChannelOutput
from gateway.cl.ports import ChainParams, Tip, Utxo
from gateway.units import Lovelace, PosixMs


@dataclass(frozen=True, slots=True)
class ChainView:
    """`now` is the ledger's clock. `reserved` are outputs that transactions still under way spend:
    nothing built on this view touches them, so concurrent builds never collide."""

    tip: Tip
    now: PosixMs
    params: ChainParams
    blueprint: Blueprint
    wallet_address: str
    wallet: tuple[Utxo, ...] = ()
    channels: tuple[ChannelOutput, ...] = ()
    script_utxo: Utxo | None = None  # holds the validator as a reference script
    reserved: frozenset[OutputRef] = frozenset()
    fee_bonus: Lovelace = Lovelace(0)  # on top of the least fee, as a deadline comes near

    def reserve(self, refs: Iterable[OutputRef]) -> ChainView:
        """The view for the next build, once a transaction that spends `refs` was built on this one."""
        return replace(self, reserved=self.reserved | frozenset(refs))

    def channel(self, cid: ChannelId) -> ChannelOutput | None:
        return next((c for c in self.channels if c.cid == cid), None)
