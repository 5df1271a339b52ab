"""Rows of the network and their bookkeeping: nodes, channels, what changed since it was last stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.bolt import crypto
from regtest.bitcoin.simulated.state import IN_FLIGHT, Block, Channel, Hop, Invoice, Node, Payment, Row


class LndError(Exception):
    """An answer of LND's that is an error: its gRPC code by name, and its text."""

    def __init__(self, text: str, code: str = "UNKNOWN") -> None:
        super().__init__(text)
        self.text, self.code = text, code


@dataclass
class Rows:
    """Everything that a restart must find again."""

    seed: str
    nodes: dict[str, Node] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    counter: int = 0


class Ledger:
    """`online` holds the names of running nodes. `changed` rows are taken by whoever stores and notifies."""

    def __init__(self, rows: Rows, part_hold_ms: int = 120_000) -> None:
        self.rows = rows
        self.part_hold_ms = part_hold_ms
        self.online: set[str] = set()
        self.changed: dict[tuple[str, str], Row] = {}
        self.new_blocks: list[Block] = []

    # -- small things ----------------------------------------------------------------------------

    @property
    def height(self) -> int:
        return self.rows.blocks[-1].height

    def take_changes(self) -> tuple[list[Row], list[Block]]:
        rows, blocks = list(self.changed.values()), self.new_blocks
        self.changed, self.new_blocks = {}, []
        return rows, blocks

    def _touch(self, row: Row) -> None:
        self.changed[(row.table, row.key)] = row

    def _next(self) -> int:
        self.rows.counter += 1
        return self.rows.counter

    def _bytes(self, what: str) -> bytes:
        return hashlib.sha256(f"{self.rows.seed}/{what}/{self._next()}".encode()).digest()

    def channels_of(self, name: str) -> list[Channel]:
        return [c for c in self.rows.channels.values() if name in (c.a, c.b)]

    def pending(self, chan_id: int) -> list[tuple[Payment, Hop]]:
        """HTLCs that are locked in on a channel."""
        return [
            (p, h)
            for p in self.rows.payments.values()
            if p.status == IN_FLIGHT
            for a in p.attempts
            for h in a.hops
            if h.chan_id == chan_id and h.open
        ]

    def add_node(self, name: str) -> Node:
        secret = hashlib.sha256(f"{self.rows.seed}/node/{name}".encode()).digest()
        node = Node(name, secret.hex(), crypto.public_key(secret).hex(), name)
        self.rows.nodes[name] = node
        self._touch(node)
        return node

    def set_node(self, name: str, **values: int | str) -> None:
        node = self.rows.nodes[name]
        for key, value in values.items():
            setattr(node, key, value)
        self._touch(node)

    def add_channel(self, a: str, b: str, a_msat: int, b_msat: int) -> Channel:
        capacity = (a_msat + b_msat) // 1000
        index = len(self.rows.channels) + 1
        funding = hashlib.sha256(f"{self.rows.seed}/channel/{index}".encode()).hexdigest()
        chan_id = (self.rows.blocks[0].height << 40) | (index << 16)
        channel = Channel(chan_id, a, b, capacity, a_msat, b_msat, capacity // 100, f"{funding}:0")
        self.rows.channels[chan_id] = channel
        self._touch(channel)
        return channel

    def disable(self, name: str, disabled: bool) -> None:
        """Whether `name` still sends over its channels; balances stay as they are."""
        for channel in self.channels_of(name):
            channel.disabled = [n for n in channel.disabled if n != name] + ([name] if disabled else [])
            self._touch(channel)
