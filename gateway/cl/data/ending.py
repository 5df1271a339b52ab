"""R1. What two partners agree on, and what a signer is shown, when they end a channel together (decision 9)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.data.types import Datum, OutputRef, SignedSnapshot
from gateway.units import Lovelace, PosixMs, Slot


@dataclass(frozen=True, slots=True)
class EndTerms:
    """The ending transaction less what both know of the channel: from this each rebuilds the body byte for byte.
    The proposer pays the fee and gives the collateral, out of wallet outputs that hold ada alone."""

    output: OutputRef  # the channel's
    address: str  # of the partner's payout, bech32
    payout: Lovelace  # 0: there is no such output
    inputs: tuple[OutputRef, ...]  # of the proposer's wallet
    change_address: str
    change: Lovelace  # the proposer's share and what its inputs held, less the fee
    fee: Lovelace
    first_slot: Slot
    end_slot: Slot  # exclusive
    until: PosixMs  # its time
    collateral: tuple[OutputRef, ...]
    collateral_return: Lovelace
    total_collateral: Lovelace
    references: tuple[OutputRef, ...]  # where the validator lies; none: it is a witness
    spend_mem: int
    spend_steps: int
    mint_mem: int
    mint_steps: int
    tx_id: bytes  # 32 bytes: what the rebuilt body must hash to

    def __post_init__(self) -> None:
        if len(self.tx_id) != 32:
            raise ValueError("a transaction id has 32 bytes")


@dataclass(frozen=True, slots=True)
class EndEvidence:
    """From this the signer works out by itself what an end owes us. `inputs` are ours beside the channel's (then we
    pay the fee) and hold `spent`; `held` is the partner's newest snapshot."""

    output: OutputRef
    lovelace: Lovelace
    datum: Datum
    held: SignedSnapshot | None
    inputs: tuple[OutputRef, ...] = ()
    spent: Lovelace = Lovelace(0)
