"""R2. How many coins the wallet keeps apart, so that several transactions can be under way at once."""

from __future__ import annotations

from gateway.cl.l1.intents import Pay
from gateway.cl.l1.view import ChainView
from gateway.units import Lovelace

WANTED = 5  # transactions that may be under way together
COIN = Lovelace(
    15_000_000
)  # the fullest transaction's fee, its collateral of 150 %, and a top-up of a channel's bytes
SPARE = Lovelace(5_000_000)  # fee and change of the split itself


def is_coin(lovelace: Lovelace, assets: int) -> bool:
    return assets == 0 and lovelace >= COIN


def coins_to_make(view: ChainView) -> tuple[Pay, ...]:
    """Payments to ourselves; () when there are enough coins, or no free ada for even one more."""
    free = [u for u in view.wallet if u.ref not in view.reserved and u.script_ref_cbor is None]
    have = sum(is_coin(u.lovelace, len(u.assets)) for u in free)
    plain = sum((u.lovelace for u in free), Lovelace(0))
    # each coin that is kept or made, the split's own need, and the rest stays one coin for large openings
    room = (plain.value - SPARE.value) // COIN.value - have
    more = min(WANTED - have, room)
    return tuple(Pay(view.wallet_address, COIN) for _ in range(more))
