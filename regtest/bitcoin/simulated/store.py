"""Rows in one sqlite file. A change is on disk before the node that made it answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from regtest.bitcoin.simulated.ledger import Rows
from regtest.bitcoin.simulated.state import Block, Channel, Node, Row, load_invoice, load_payment


class Store:
    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS rows (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )

    def close(self) -> None:
        self._db.close()

    def load(self) -> Rows | None:
        """None when nothing was ever stored."""
        found: dict[str, list[str]] = {}
        for kind, body in self._db.execute("SELECT kind, body FROM rows"):
            found.setdefault(kind, []).append(body)
        if "meta" not in found:
            return None
        meta = json.loads(found["meta"][0])
        rows = Rows(meta["seed"], counter=meta["counter"])
        for body in found.get("node", ()):
            node = Node(**json.loads(body))
            rows.nodes[node.name] = node
        for body in found.get("channel", ()):
            channel = Channel(**json.loads(body))
            rows.channels[channel.chan_id] = channel
        for body in found.get("invoice", ()):
            invoice = load_invoice(json.loads(body))
            rows.invoices[invoice.key] = invoice
        for body in found.get("payment", ()):
            payment = load_payment(json.loads(body))
            rows.payments[payment.key] = payment
        blocks = [Block(**json.loads(body)) for body in found.get("block", ())]
        rows.blocks = sorted(blocks, key=lambda b: b.height)
        return rows

    def save(self, rows: Rows, changed: Iterable[Row]) -> None:
        """One transaction; blocks of a lost branch are overwritten by height, for the new one is longer."""
        meta = json.dumps({"seed": rows.seed, "counter": rows.counter})
        batch = [("meta", "", meta), *((r.table, r.key, json.dumps(r.to_json())) for r in changed)]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", batch)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
