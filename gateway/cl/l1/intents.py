"""R2. What a transaction shall do: several of these go into one (see build.py)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cl.data.types import (
    ChannelId,
    Datum,
    MutualEnd,
    Opened,
    OutputRef,
    Snapshot,
    Step,
    VerificationKey,
)
from gateway.cl.l1.address import StakePart
from gateway.cl.l1.body import Draft
from gateway.cl.l1.parse import ChannelOutput
from gateway.cl.l1.validity import Window
from gateway.cl.ports import Utxo
from gateway.units import Lovelace, Ms


@dataclass(frozen=True, slots=True)
class AgreedTerms:
    """What both partners agreed in open and accept; the datum on chain follows from it entirely. The address has
    no staking part (V13)."""

    cid: ChannelId
    opener: VerificationKey
    non_opener: VerificationKey
    total: Lovelace
    non_opener_amount: Lovelace
    min_ada: Lovelace
    min_ada_owner: int  # 0: the opener
    respond_period: Ms

    def datum(self, policy: bytes) -> Datum:
        stage = Opened(self.non_opener_amount, Snapshot(), self.respond_period)
        return Datum(policy, (self.opener, self.non_opener), stage, self.min_ada, self.min_ada_owner)

    @property
    def lovelace(self) -> Lovelace:
        return self.total + self.min_ada


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """`terms.cid` must be the one that `channel_ids` gives for `seed`; the seed is an output of our wallet."""

    terms: AgreedTerms
    seed: OutputRef


@dataclass(frozen=True, slots=True)
class StepChannel:
    """`signer` is our channel key. `add`: lovelace on top, for Add only. The channel's continuing output
    holds exactly what the validator demands (or the ledger's least); what is freed goes to our wallet."""

    channel: ChannelOutput
    step: Step
    signer: VerificationKey
    add: Lovelace = Lovelace(0)


@dataclass(frozen=True, slots=True)
class EndTogether:
    """Ends `channel` by both signatures: `payout` goes to the partner at `address` (0: nothing does; the ledger's
    least output is topped up by us), all the rest to our wallet."""

    channel: ChannelOutput
    signer: VerificationKey
    partner: VerificationKey
    address: str
    payout: Lovelace

    @property
    def step(self) -> Step:
        return MutualEnd()


@dataclass(frozen=True, slots=True)
class Pay:
    """Plain lovelace to a key or script address of this network (wallet send)."""

    address: str
    lovelace: Lovelace


@dataclass(frozen=True, slots=True)
class PublishScript:
    """Puts the validator into an output of our wallet, for all later transactions to refer to."""


Intent = OpenChannel | StepChannel | EndTogether | Pay | PublishScript


@dataclass(frozen=True, slots=True)
class ChannelAfter:
    """A channel as the built transaction leaves it; `ref` None: ended, its token burnt."""

    cid: ChannelId
    ref: OutputRef | None
    datum: Datum | None
    lovelace: Lovelace
    stake: StakePart | None


@dataclass(frozen=True, slots=True)
class BuiltTx:
    """`tx_cbor` lacks only the key witnesses. `spent` are all inputs (collateral is among them): reserve them."""

    tx_cbor: bytes
    tx_id: bytes
    fee: Lovelace
    window: Window
    spent: tuple[OutputRef, ...]
    produced: tuple[Utxo, ...]
    channels: tuple[ChannelAfter, ...]
    required_keys: tuple[VerificationKey, ...]  # of channels; the wallet's key always signs
    script_utxo: Utxo | None  # the published reference script, if any
    mem: int
    steps: int
    draft: Draft
