"""The demo's inputs, and what follows from them by arithmetic alone; nothing here asks a node.

Every expected balance comes from these numbers, the gateway's published terms and the forwarding fee of the
hub (LND's defaults), so that the audit does not repeat what the gateway believes.
"""

from __future__ import annotations

from dataclasses import dataclass

FAUCET = 500_000_000
CHANNEL = 200_000_000
GATEWAY_ADDS = 50_000_000
RECEIVE = 10_000_000

PAY_MSAT = 20_000_000
FAIL_MSAT = 15_000_000
CRASH_MSAT = 12_000_000
PENDING_MSAT = 9_000_000

RATE_LOVELACE, RATE_MSAT = 13, 10
BASE_FEE, PROPORTIONAL_PPM = 1_000, 5_000
ROUTING_BASE_MSAT, ROUTING_PPM = 1_000, 5_000

HUB_BASE_MSAT, HUB_PPM = 1_000, 1  # LND's defaults (bitcoin.basefee, bitcoin.feerate)

# the user's own price: the gateway's quotes are held to it
OWN_PRICE = (f"swap.rate_lovelace={RATE_LOVELACE}", f"swap.rate_msat={RATE_MSAT}")
SETTINGS = (
    *OWN_PRICE,
    f"swap.base_fee_lovelace={BASE_FEE}",
    f"swap.proportional_fee_ppm={PROPORTIONAL_PPM}",
    f"swap.routing_fee_base_msat={ROUTING_BASE_MSAT}",
    f"swap.routing_fee_ppm={ROUTING_PPM}",
)


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def price(msat: int) -> int:
    """Lovelace that a payer gives for an invoice of `msat`: amount and routing budget at the rate, then fees."""
    budget = ROUTING_BASE_MSAT + _up(msat * ROUTING_PPM, 1_000_000)
    converted = _up((msat + budget) * RATE_LOVELACE, RATE_MSAT)
    return converted + BASE_FEE + _up(converted * PROPORTIONAL_PPM, 1_000_000)


def invoice_for(lovelace: int) -> int:
    """Msat (whole satoshis) that a payer on Bitcoin Lightning gives so that `lovelace` arrive."""
    with_fees = lovelace + BASE_FEE + _up(lovelace * PROPORTIONAL_PPM, 1_000_000)
    return _up(_up(with_fees * RATE_MSAT, RATE_LOVELACE), 1_000) * 1_000


def hub_fee(msat: int) -> int:
    return HUB_BASE_MSAT + msat * HUB_PPM // 1_000_000


@dataclass(frozen=True, slots=True)
class Moves:
    """What each Bitcoin Lightning node gains, in msat."""

    gateway: int
    hub: int
    alice: int


def bitcoin_moves() -> Moves:
    paid = (PAY_MSAT, CRASH_MSAT, PENDING_MSAT)
    received = invoice_for(RECEIVE)
    fees_out = sum(hub_fee(msat) for msat in paid)
    fee_in = hub_fee(received)
    return Moves(
        gateway=received - sum(paid) - fees_out,
        hub=fees_out + fee_in,
        alice=sum(paid) - received - fee_in,
    )


def crossed() -> int:
    """Lovelace that went from the user to the gateway, less what came back as a receipt."""
    return sum(price(msat) for msat in (PAY_MSAT, CRASH_MSAT, PENDING_MSAT)) - RECEIVE
