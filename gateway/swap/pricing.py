"""R1. The parts of a swap's price, each whole lovelace rounded up: every quote names them and they add up.

base + proportional     the operator's terms
spread                  the distance between what the gateway buys and sells at; never negative
inventory               grows with the share of our funds on the side that this swap adds to: who brings
                        what we lack pays nothing of it
option                  0.4 * sigma * sqrt(life): what a price that stays fixed for that long is worth (X10)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.prices.volatility import option_ppm
from gateway.units import Lovelace, Ms, Msat, Rate

if TYPE_CHECKING:
    from gateway.swap.quote import SwapPolicy

PPM = 1_000_000
EVEN = PPM // 2
_SAT = 1000


@dataclass(frozen=True, slots=True)
class Fees:
    """All in lovelace, all at least 0."""

    base: Lovelace
    proportional: Lovelace
    spread: Lovelace
    inventory: Lovelace
    option: Lovelace

    @property
    def total(self) -> Lovelace:
        return self.base + self.proportional + self.spread + self.inventory + self.option


def _part(amount: Lovelace, ppm: int) -> Lovelace:
    return Lovelace(-(-amount.value * ppm // PPM))


def fees(policy: SwapPolicy, peer: bytes, amount: Lovelace, life: Ms, share_ppm: int) -> Fees:
    """Of a swap worth `amount` whose price stays fixed for `life`; `share_ppm`: the part of our funds that already
    lies on the side that the swap adds to (0 to a million)."""
    base, proportional = policy.fee(amount)
    percent = 0 if peer in policy.option_free else policy.option_percent
    option = -(-option_ppm(policy.volatility_ppm, life) * percent // 100)
    inventory = -(-policy.inventory_ppm * min(PPM, max(0, share_ppm)) // PPM)
    return Fees(
        base, proportional, _part(amount, policy.spread_ppm), _part(amount, inventory), _part(amount, option)
    )


def share_ppm(cardano: Lovelace, bitcoin: Msat, rate: Rate) -> int:
    """Which part of our funds is ada, by worth; half when there are none."""
    ada, other = max(0, cardano.value), max(0, rate.lovelace_down(bitcoin).value)
    return EVEN if ada + other == 0 else ada * PPM // (ada + other)


def payment_price(rate: Rate, amount: Msat, budget: Msat, parts: Fees) -> Lovelace:
    """cl_to_btc: the cheque for a payment of `amount` that may cost up to `budget` to route."""
    return rate.lovelace_up(amount + budget) + parts.total


def receipt_price(rate: Rate, receive: Lovelace, parts: Fees) -> Msat:
    """btc_to_cl: the invoice by which `receive` arrives; whole satoshis, many wallets can send no less."""
    exact = rate.msat_up(receive + parts.total)
    return Msat(-(-exact.value // _SAT) * _SAT)


def payment_adds_up(rate: Rate, amount: Msat, budget: Msat, cardano: Lovelace, parts: Fees) -> bool:
    """What a partner checks before it believes a quote: the amounts follow from the rate and the parts."""
    return cardano == payment_price(rate, amount, budget, parts)


def receipt_adds_up(rate: Rate, amount: Msat, cardano: Lovelace, parts: Fees) -> bool:
    return amount == receipt_price(rate, cardano, parts)
