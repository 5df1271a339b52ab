"""A chain that outlives its process: one JSON line for each change, read back without asking the rules again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from regtest.cardano.chain import Block, Chain
from regtest.cardano.clock import LedgerClock
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.transaction import Tx, decode_tx


class Journal:
    """Writes nothing when `path` is None. A line is on disk before its change is announced."""

    def __init__(self, path: Path | None, clock: LedgerClock, slots: SlotTime) -> None:
        self._clock = clock
        self._file: IO[str] | None = None
        if path is None:
            return
        fresh = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        if fresh:
            self._write("begin", system_start_ms=slots.system_start_ms)

    def _write(self, kind: str, **fields: Any) -> None:
        if self._file is None:
            return
        now_ms = self._clock.now_ms()
        row = {"kind": kind, "now_ms": now_ms, "ahead_ms": now_ms - time.time_ns() // 1_000_000, **fields}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def submit(self, tx: Tx) -> None:
        self._write("submit", tx=tx.raw.hex())

    def block(self, block: Block, dropped: Iterable[Tx]) -> None:
        txs = [tx.id.hex() for tx in block.txs]
        lost = [tx.id.hex() for tx in dropped]
        self._write("block", slot=block.slot, fork=block.fork, txs=txs, dropped=lost)

    def rollback(self, height: int, drop: bool) -> None:
        self._write("rollback", height=height, drop=drop)

    def forget(self, txs: Iterable[Tx]) -> None:
        self._write("forget", txs=[tx.id.hex() for tx in txs])

    def clock(self) -> None:
        self._write("clock")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, slots=True)
class Opened:
    """A journal as it was found. A last line that was cut off by a crash is left out (and removed)."""

    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path | None) -> Opened | None:
        if path is None or not path.exists():
            return None
        rows: list[dict[str, Any]] = []
        good = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                rows.append(json.loads(line))
                good += len(line)
        os.truncate(path, good)
        if not rows:
            path.unlink()
            return None
        return cls(rows)

    @property
    def system_start_ms(self) -> int:
        return int(self.rows[0]["system_start_ms"])

    def now_ms(self, real_time: bool) -> int:
        """Where the clock stood; in real time, as far ahead of the machine's clock as it was."""
        last = self.rows[-1]
        if not real_time:
            return int(last["now_ms"])
        return max(int(last["now_ms"]), int(last["ahead_ms"]) + time.time_ns() // 1_000_000)

    def replay(self, chain: Chain) -> None:
        known: dict[str, Tx] = {}
        for row in self.rows:
            match row["kind"]:
                case "submit":
                    tx = decode_tx(bytes.fromhex(row["tx"]))
                    known[tx.id.hex()] = tx
                    chain.admit(tx)
                case "block":
                    included = set(row["txs"]) | set(row["dropped"])
                    waiting = [tx for tx in chain.pool if tx.id.hex() not in included]
                    chain.append(row["slot"], row["fork"], [known[tx_id] for tx_id in row["txs"]])
                    chain.restore_pool(waiting)
                case "rollback":
                    chain.rollback(chain.tip.height - row["height"], row["drop"])
                case "forget":
                    chain.forget(bytes.fromhex(tx_id) for tx_id in row["txs"])
