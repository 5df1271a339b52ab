"""Routes through the simulated network: cheapest path, fees and time locks, splitting into parts as LND does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from regtest.bitcoin.simulated.state import Channel, Hop, Node

BLOCK_PADDING = 3  # LND routing.BlockPadding: added to the final delta
MIN_PART_MSAT = 10_000_000  # LND routing.DefaultShardMinAmt
MOST_HOPS = 4


@dataclass(frozen=True)
class Ask:
    """What a payer wants of its routes. `cltv_limit` bounds the whole time lock from `height`."""

    source: str
    target: str
    amount_msat: int
    fee_limit_msat: int
    final_cltv: int
    cltv_limit: int
    max_parts: int
    height: int


@dataclass(frozen=True)
class NoRoute:
    reason: str  # LND's failure reason


class Graph:
    """Channels as their owners would send over them now; `reserved` counts what a plan already uses."""

    def __init__(self, nodes: dict[str, Node], channels: Iterable[Channel], online: set[str]) -> None:
        self._nodes = nodes
        self._channels = [c for c in channels if c.a in online and c.b in online]
        self._used: dict[tuple[int, str], int] = {}

    def plan(self, ask: Ask) -> list[list[Hop]] | NoRoute:
        """Routes whose amounts at the target add up to the amount; all of them or none."""
        routes: list[list[Hop]] = []
        left, fees_left, size = ask.amount_msat, ask.fee_limit_msat, ask.amount_msat
        if self._sendable(ask.source) < ask.amount_msat:
            return NoRoute("FAILURE_REASON_INSUFFICIENT_BALANCE")
        while left > 0:
            size = min(size, left)
            route = self.route(ask, size, fees_left)
            if route is not None:
                routes.append(route)
                left -= size
                fees_left -= route[0].amount_msat - size
                self._reserve(route)
            elif len(routes) + 1 >= ask.max_parts or size // 2 < MIN_PART_MSAT:
                return NoRoute("FAILURE_REASON_NO_ROUTE")
            else:
                size //= 2
        return routes

    def route(self, ask: Ask, amount_msat: int, fee_limit_msat: int) -> list[Hop] | None:
        """The cheapest path for one part, within fee and time lock limits."""
        best: list[Hop] | None = None
        for path in self._paths(ask.source, ask.target, ()):
            hops = self._price(path, amount_msat, ask)
            if hops[0].amount_msat - amount_msat > fee_limit_msat:
                continue
            if hops[0].expiry - ask.height > ask.cltv_limit:
                continue
            if any(self._free(h.chan_id, h.source) < h.amount_msat for h in hops):
                continue
            if best is None or hops[0].amount_msat < best[0].amount_msat:
                best = hops
        return best

    def _sendable(self, source: str) -> int:
        ours = [c for c in self._channels if source in (c.a, c.b)]
        return sum(self._free(c.chan_id, source) for c in ours)

    def _free(self, chan_id: int, source: str) -> int:
        channel = next(c for c in self._channels if c.chan_id == chan_id)
        return channel.can_send(source) - self._used.get((chan_id, source), 0)

    def _reserve(self, route: list[Hop]) -> None:
        for hop in route:
            at = (hop.chan_id, hop.source)
            self._used[at] = self._used.get(at, 0) + hop.amount_msat

    def _paths(self, source: str, target: str, seen: tuple[str, ...]) -> Iterable[list[tuple[Channel, str]]]:
        if len(seen) >= MOST_HOPS:
            return
        for channel in self._channels:
            if source not in (channel.a, channel.b) or source in channel.disabled:
                continue
            peer = channel.other(source)
            if peer in seen:
                continue
            if peer == target:
                yield [(channel, source)]
                continue
            for rest in self._paths(peer, target, (*seen, source)):
                yield [(channel, source), *rest]

    def _price(self, path: list[tuple[Channel, str]], amount_msat: int, ask: Ask) -> list[Hop]:
        """From the target backwards: each forwarding node adds its fee and its time lock (BOLT 7)."""
        hops: list[Hop] = []
        amount, expiry = amount_msat, ask.height + ask.final_cltv + BLOCK_PADDING
        for channel, sender in reversed(path):
            hops.append(Hop(channel.chan_id, sender, channel.other(sender), amount, expiry))
            node = self._nodes[sender]
            amount += node.fee_base_msat + amount * node.fee_ppm // 1_000_000
            expiry += node.cltv_delta
        hops.reverse()
        return hops
