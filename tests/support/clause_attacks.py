"""For each clause of the validator the transaction that it alone decides.

`refused`: a theft or a nonsense that the clause stops, and that the validator without it lets through.
`honest`: a transaction that the clause lets through, and that the validator without it would stop.
"""

from __future__ import annotations

from tests.support import clause_attacks_ends, clause_attacks_lists, clause_attacks_steps
from tests.support.clause_table import HONEST, REFUSED

PAGES = (clause_attacks_lists, clause_attacks_steps, clause_attacks_ends)
__all__ = ["HONEST", "PAGES", "REFUSED"]
