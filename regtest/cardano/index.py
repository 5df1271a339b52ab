"""What Kupo knows: every output with the block that made it and the one that spent it, datums, scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtest.cardano.transaction import Output, Pointer, Ref, Script, Tx, blake2b_256

if TYPE_CHECKING:
    from regtest.cardano.chain import Block


@dataclass(frozen=True, slots=True)
class Spent:
    block: Block
    tx_id: bytes
    input_index: int
    redeemer: bytes | None


@dataclass(slots=True)
class Match:
    ref: Ref
    output: Output
    tx_index: int
    created: Block
    spent: Spent | None = None


class Index:
    def __init__(self) -> None:
        self.matches: dict[Ref, Match] = {}
        self.by_address: dict[bytes, dict[Ref, Match]] = {}
        self.by_tx: dict[bytes, dict[Ref, Match]] = {}
        self.datums: dict[bytes, bytes] = {}
        self.scripts: dict[bytes, Script] = {}

    def genesis(self, block: Block, outputs: Mapping[Ref, Output]) -> None:
        for number, (ref, output) in enumerate(sorted(outputs.items())):
            self._add(Match(ref, output, number, block))

    def _add(self, match: Match) -> None:
        self.matches[match.ref] = match
        self.by_address.setdefault(match.output.address, {})[match.ref] = match
        self.by_tx.setdefault(match.ref.tx_id, {})[match.ref] = match

    def _remove(self, ref: Ref) -> None:
        match = self.matches.pop(ref)
        del self.by_address[match.output.address][ref]
        del self.by_tx[ref.tx_id][ref]

    def forward(self, block: Block, spent: Mapping[Ref, Output]) -> None:
        for tx_index, tx in enumerate(block.txs):
            self._learn(tx)
            for position, ref in enumerate(tx.spent()):
                redeemer = tx.witnesses.redeemers.get(Pointer(0, position)) if tx.is_valid else None
                data = redeemer.data if redeemer else None
                self.matches[ref].spent = Spent(block, tx.id, position, data)
            for ref, output in tx.produced().items():
                self._add(Match(ref, output, tx_index, block))

    def backward(self, block: Block) -> None:
        for tx in reversed(block.txs):
            for ref in tx.produced():
                self._remove(ref)
            for ref in tx.spent():
                if ref in self.matches:
                    self.matches[ref].spent = None

    def _learn(self, tx: Tx) -> None:
        """Datums and scripts stay known after a rollback, as with Kupo."""
        for datum in tx.witnesses.datums:
            self.datums[blake2b_256(datum)] = datum
        for script in tx.witnesses.scripts:
            self.scripts[script.hash] = script
        for output in tx.produced().values():
            if output.datum is not None:
                self.datums[blake2b_256(output.datum)] = output.datum
            if output.script is not None:
                self.scripts[output.script.hash] = output.script
