"""R4. Which Lightning node the swaps of this database go through.

Another node, or the same host with another wallet, knows nothing of them: its "no such payment" and "no such invoice"
are no proofs, and what it would pay or hold for us could not be followed.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.btc.ports import BitcoinLightning, NodeInfo
from gateway.errors import Refused
from gateway.store.store import Store
from gateway.swap import errors

PINNED = "lightning_node"


class Identity:
    """The node that answered first is pinned in the store. `accepted` (hex, from the operator's settings) replaces it
    once no swap has a leg."""

    def __init__(
        self, store: Store, bitcoin: BitcoinLightning, accepted: str, any_risk: Callable[[], bool]
    ) -> None:
        self._store, self._btc, self._accepted, self._any_risk = store, bitcoin, accepted, any_risk
        self._pinned = ""

    async def info(self) -> NodeInfo:
        """LND's info, where it is our node; raises swap.other_node, and btc.* where it does not answer."""
        found = await self._btc.info()
        node = found.node_id.hex()
        if not self._pinned:
            self._pinned = await self._store.remember(PINNED, node)
        if node != self._pinned and node == self._accepted.lower() and not self._any_risk():
            self._pinned = await self._store.remember(PINNED, node, instead_of=self._pinned)
        if node != self._pinned:
            raise Refused(errors.OTHER_NODE(field="bitcoin.node_id", got=node, allowed=self._pinned))
        return found
