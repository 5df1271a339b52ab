"""Points of the chain that have names."""

from __future__ import annotations

from gateway.cl.ports import Point
from gateway.units import Slot

ORIGIN = Point(Slot(-1), b"")  # before the first block
SECURITY_BLOCKS = 2160  # k of every public network: the ledger itself never goes back further
