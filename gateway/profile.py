"""R1. A network profile: the laws of both chains and every time constant that follows from them.

No constant of time stands alone in the code: mainnet's profile gives the numbers of docs/swaps.md,
the regtest profile gives seconds through the same functions. Sources: Cardano's and Bitcoin's
block laws (binomial over slots, Poisson), LND's cltv padding, docs/swaps.md for the margins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from gateway.units import BlockDelta, Ms

EPS_SMALL = Fraction(1, 10**6)  # under `small_swap_msat`
EPS_LARGE = Fraction(1, 10**9)

_MINUTE = 60_000
_HOUR = 60 * _MINUTE


@dataclass(frozen=True, slots=True)
class CardanoLaw:
    """A block in each slot with probability `active` (Praos), independently."""

    slot_ms: int
    active: Fraction
    security_k: int = 2160

    def blocks_within(self, blocks: int, eps: Fraction) -> Ms:
        """The least time in which fewer than `blocks` blocks appear with probability <= eps."""
        return Ms(_slots_for(self.active, blocks, eps) * self.slot_ms)

    def fewer_within(self, blocks: int, span: Ms) -> float:
        """The probability that fewer than `blocks` blocks appear in `span`."""
        slots = max(0, span.value) // self.slot_ms
        if slots < blocks:
            return 1.0
        return 0.0 if self.active >= 1 else min(1.0, _binomial_below(slots, self.active, blocks))


@lru_cache(maxsize=256)
def _slots_for(active: Fraction, blocks: int, eps: Fraction) -> int:
    if blocks <= 0:
        return 0
    if active >= 1:
        return blocks
    low, high = blocks, blocks * 2
    while _binomial_below(high, active, blocks) > eps:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if _binomial_below(middle, active, blocks) <= eps:
            high = middle
        else:
            low = middle + 1
    return low


def _binomial_below(slots: int, active: Fraction, blocks: int) -> float:
    """P(Binomial(slots, active) < blocks), summed from its positive terms."""
    p = float(active)
    log_p, log_q = math.log(p), math.log1p(-p)
    log_n = math.lgamma(slots + 1)
    return math.fsum(
        math.exp(log_n - math.lgamma(k + 1) - math.lgamma(slots - k + 1) + k * log_p + (slots - k) * log_q)
        for k in range(blocks)
    )


@dataclass(frozen=True, slots=True)
class BitcoinLaw:
    """Blocks arrive as a Poisson process with this mean gap."""

    block_ms: int
    start_height: int = 0  # blocks mined below it (a regtest's premine) say nothing about the gaps


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """Everything that differs between networks; methods derive the time constants."""

    name: str
    bitcoin_network: str  # LND's name; BOLT 11 prefix follows from it
    cardano_magic: int
    cardano: CardanoLaw
    bitcoin: BitcoinLaw
    validity: Ms  # validity window of our transactions
    tries: int  # attempts to get a claim included before its deadline
    claim_depth: int  # blocks until a claim counts as final for R
    safe_depth: int  # blocks until "never claimed" is proven
    small_depth: int  # the same under the small-amount limit, with a rollback alarm
    staged_depth: int  # blocks until a channel may be used
    lnd_settle: Ms  # L
    skew: Ms
    round_to: Ms  # margins lie on this grid
    min_cheque_life: Ms  # an accepted hold invoice with less left is cancelled
    max_cheque_life: Ms
    min_respond_period: Ms
    receive_life: Ms  # cheque life that a btc_to_cl invoice is made for, unless the operator says otherwise
    cardano_silence: Ms  # longer without a block: no new swap, a claim could stand on chain unseen
    bitcoin_silence: Ms | None  # the same; None where blocks come on demand
    small_swap_msat: int = 100_000_000  # 100k sat
    grace_blocks: BlockDelta = BlockDelta(24)  # G: locally started HTLCs have no deadline in LND's sweeper
    padding: BlockDelta = BlockDelta(3)  # LND adds 3 blocks inside cltv_limit; a block may come as we act

    def _rounded_up(self, span: int) -> Ms:
        step = self.round_to.value
        return Ms(-(-span // step) * step)

    @property
    def funding_life(self) -> Ms:
        """How long an accepted channel waits for its opener's output; each takes a place of all (12 h, live)."""
        return Ms(72 * self.bitcoin.block_ms)

    @property
    def inclusion(self) -> Ms:
        """Time in which a block comes but for 1e-9."""
        return self.cardano.blocks_within(1, EPS_LARGE)

    @property
    def end_patience(self) -> Ms:
        """How long the partners talk about a common end before one closes alone: a few messages, a few blocks."""
        return self.validity

    @property
    def claim_margin(self) -> Ms:
        """R: three tries of one validity window and one inclusion each, then the claim's depth."""
        depth = self.cardano.blocks_within(self.claim_depth, EPS_LARGE)
        return self._rounded_up(self.tries * (self.validity.value + self.inclusion.value) + depth.value)

    def proof_wait(self, *, small: bool) -> Ms:
        """W: past a cheque's timeout, until "never claimed" is proven at depth; to the nearest grid step,
        since the proof is the depth itself and W only says how long it takes."""
        depth = self.small_depth if small else self.safe_depth
        step = self.round_to.value
        exact = self.cardano.blocks_within(depth, EPS_LARGE).value
        return Ms((exact + step // 2) // step * step)

    def proof_depth(self, *, small: bool) -> int:
        return self.small_depth if small else self.safe_depth

    def eps(self, amount_msat: int) -> Fraction:
        """Probability of loss by the block law that a swap of this amount may carry."""
        return EPS_SMALL if amount_msat < self.small_swap_msat else EPS_LARGE

    def blocks_in(self, span: Ms) -> int:
        """The Bitcoin blocks that `span` brings in the mean; only for moving a regtest, never for safety."""
        return span.value // self.bitcoin.block_ms

    def __post_init__(self) -> None:
        # Each inequality is a way to lose money when it fails.
        if self.safe_depth < self.small_depth or self.staged_depth < 1 or self.tries < 1:
            raise ValueError("a proof needs at least the small depth, a channel at least one block")
        if self.max_cheque_life <= self.claim_margin + self.skew:
            raise ValueError("the longest cheque must outlive the margin for its own claim")
        if self.min_respond_period.value < self.inclusion.value * 2 + self.skew.value:
            raise ValueError("the respond period must leave room to see a close and answer it")


_LIVE_CARDANO = CardanoLaw(slot_ms=1000, active=Fraction(1, 20))
_LIVE_BITCOIN = BitcoinLaw(block_ms=600_000)


def _live(name: str, bitcoin: str, magic: int) -> NetworkProfile:
    return NetworkProfile(
        name=name,
        bitcoin_network=bitcoin,
        cardano_magic=magic,
        cardano=_LIVE_CARDANO,
        bitcoin=_LIVE_BITCOIN,
        validity=Ms(20 * _MINUTE),
        tries=3,
        claim_depth=60,
        safe_depth=180,
        small_depth=30,
        staged_depth=15,
        lnd_settle=Ms(5 * _MINUTE),
        skew=Ms(2 * _MINUTE),
        round_to=Ms(_MINUTE),
        min_cheque_life=Ms(15 * _MINUTE),
        max_cheque_life=Ms(14 * 24 * _HOUR),
        min_respond_period=Ms(24 * _HOUR),  # decision 14
        receive_life=Ms(_HOUR),
        cardano_silence=Ms(5 * _MINUTE),
        bitcoin_silence=Ms(90 * _MINUTE),
    )


MAINNET = _live("mainnet", "mainnet", 764824073)
PREPROD = _live("preprod", "testnet", 1)
PREVIEW = _live("preview", "signet", 2)
REGTEST = NetworkProfile(
    name="regtest",
    bitcoin_network="regtest",
    cardano_magic=42,
    cardano=CardanoLaw(slot_ms=1000, active=Fraction(1)),
    bitcoin=BitcoinLaw(block_ms=2_000, start_height=500),
    validity=Ms(30_000),
    tries=2,
    claim_depth=2,
    safe_depth=4,
    small_depth=2,
    staged_depth=2,
    lnd_settle=Ms(2_000),
    skew=Ms(2_000),
    round_to=Ms(1_000),
    min_cheque_life=Ms(10_000),
    max_cheque_life=Ms(6 * _HOUR),
    min_respond_period=Ms(20_000),
    receive_life=Ms(60_000),
    cardano_silence=Ms(60_000),
    bitcoin_silence=None,
)

PROFILES = {p.name: p for p in (MAINNET, PREPROD, PREVIEW, REGTEST)}
