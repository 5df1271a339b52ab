"""R1. What LND keeps of an HTLC's life for itself, by version (docs/swaps.md, D; LND: contractcourt, invoices).

A value that cannot be known is taken as the largest known: it only makes us refuse earlier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.btc.ports import TimeConstants
from gateway.units import BlockDelta


@dataclass(frozen=True, slots=True)
class _Deltas:
    broadcast: int  # incoming: LND goes on chain this many blocks before expiry
    reject: int  # it refuses to accept or forward with less left
    intercept: int  # it does not offer to an interceptor with less left
    hold: int  # it cancels accepted hold invoices this many blocks before expiry
    min_final_cltv: int


_UP_TO_0_20 = _Deltas(10, 13, 16, 12, 18)
_FROM_0_21 = _Deltas(16, 19, 22, 18, 24)
_LARGEST = _FROM_0_21


def parse_version(text: str) -> tuple[int, int] | None:
    """(0, 20) of "0.20.1-beta commit=v0.20.1-beta"; None when it is not a version."""
    match = re.match(r"v?(\d{1,3})\.(\d{1,3})(?:[.\- ]|$)", text.strip())
    return (int(match[1]), int(match[2])) if match else None


def time_constants(
    version: str, *, lnd_hold: int | None, own_hold: int, lnd_readable: bool = True
) -> TimeConstants:
    """By version; `lnd_hold` is LND's own holdexpirydelta, `own_hold` ours: the largest of all wins."""
    parsed = parse_version(version)
    warnings = []
    if parsed is None:
        deltas = _LARGEST
        warnings.append(
            f"LND's version {version[:40]!r} is unknown: the largest known time constants are used"
        )
    elif parsed > (0, 21) or parsed[0] > 0:
        deltas = _LARGEST
        warnings.append(
            f"LND {version[:40]} is newer than this gateway knows: the largest known time constants are used"
        )
    else:
        deltas = _FROM_0_21 if parsed >= (0, 21) else _UP_TO_0_20
    hold = max(deltas.hold, own_hold, lnd_hold or 0)
    if not lnd_readable:
        hold = max(hold, _LARGEST.hold)
        warnings.append(f"LND's hold expiry delta cannot be read: {hold} blocks are assumed")
    # LND cancels a hold invoice before it would go on chain for it; never count on more than that
    hold = max(hold, deltas.broadcast)
    return TimeConstants(
        hold_cancel=BlockDelta(hold),
        intercept_reject=BlockDelta(deltas.intercept),
        intercept_cancel=BlockDelta(deltas.reject),
        min_final_cltv=BlockDelta(deltas.min_final_cltv),
        warning="; ".join(warnings),
    )
