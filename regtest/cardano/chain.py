"""The chain itself, without sockets or clocks: blocks, mempool, UTxO set and the index that Kupo serves.

A block is linked to its parent, so that a follower on an abandoned branch finds its way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from regtest.cardano import ledger
from regtest.cardano.cbor import CborError, array, mapping, octets, parse, uint
from regtest.cardano.evaluate import Evaluated, ScriptFailed, SlotTime, evaluate
from regtest.cardano.failure import Failure, most_relevant, undecodable
from regtest.cardano.index import Index
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Pointer, Ref, Tx, blake2b_256, decode_tx

MAX_SUBMITTED_BYTES = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    slot: int
    height: int
    hash: bytes
    parent: Block | None
    fork: int  # how many rollbacks came before it: makes the hash of a re-mined block another one
    txs: tuple[Tx, ...] = ()
    undo: Mapping[Ref, Output] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return 864 + sum(len(tx.raw) for tx in self.txs)  # a Praos header takes about 864 bytes


def block_hash(parent: bytes, height: int, slot: int, fork: int, txs: Iterable[Tx]) -> bytes:
    return blake2b_256(header_cbor(parent, height, slot, fork, tuple(txs)))


def header_cbor(parent: bytes, height: int, slot: int, fork: int, txs: tuple[Tx, ...]) -> bytes:
    """The form of Conway's header; keys and proofs are zeros, the signature's place tells forks apart."""
    parts = body_parts(txs)
    body_hash = blake2b_256(b"".join(blake2b_256(part) for part in parts))
    zero = octets(bytes(32))
    body = array(
        [
            uint(height), uint(slot), b"\xf6" if parent == bytes(32) else octets(parent), zero, zero,
            array([octets(bytes(64)), octets(bytes(80))]), uint(sum(map(len, parts))), octets(body_hash),
            array([zero, uint(0), uint(0), octets(bytes(64))]), array([uint(10), uint(0)]),
        ]
    )  # fmt: skip
    return array([body, octets(fork.to_bytes(8, "big"))])


def body_parts(txs: tuple[Tx, ...]) -> tuple[bytes, ...]:
    """Bodies, witnesses, auxiliary data by index, indexes of the invalid ones."""
    aux = [(uint(n), tx.auxiliary_raw) for n, tx in enumerate(txs) if tx.auxiliary_raw is not None]
    return (
        array([tx.body_raw for tx in txs]),
        array([parse(tx.raw).items()[1].raw for tx in txs]),
        mapping(aux),
        array([uint(n) for n, tx in enumerate(txs) if not tx.is_valid]),
    )


def block_cbor(block: Block) -> bytes:
    """[era, block] as in chain sync; Conway is 7."""
    parent = bytes(32) if block.parent is None else block.parent.hash
    header = header_cbor(parent, block.height, block.slot, block.fork, block.txs)
    return array([uint(7), array([header, *body_parts(block.txs)])])


@dataclass(frozen=True, slots=True)
class RolledBack:
    """`returned` went back to the mempool; `lost` no longer fits or was dropped on demand."""

    blocks: int
    returned: tuple[Tx, ...]
    lost: tuple[Tx, ...]


class Chain:
    """Rules of the mempool are the node's: a transaction is checked as of the slot after the tip."""

    def __init__(
        self, params: Params, time: SlotTime, genesis: Mapping[Ref, Output], network: int = 0
    ) -> None:
        self.params = params
        self.time = time
        self.network = network
        self.fork = 0
        self.genesis = Block(0, 0, block_hash(bytes(32), 0, 0, 0, ()), None, 0)
        self.tip = self.genesis
        self.blocks: list[Block] = [self.genesis]
        self.utxo: dict[Ref, Output] = dict(genesis)
        self.pool: list[Tx] = []
        self.pool_utxo: dict[Ref, Output] = dict(genesis)
        self.held: dict[bytes, int] = {}  # tx id -> first height that may include it (a fault)
        self.index = Index()
        self.index.genesis(self.genesis, genesis)

    # -- questions ---------------------------------------------------------------------------

    def context(self, slot: int, utxo: Mapping[Ref, Output]) -> ledger.Context:
        return ledger.Context(self.params, slot, self.tip.slot, utxo, self.network)

    def on_chain(self, block: Block) -> bool:
        return block.height < len(self.blocks) and self.blocks[block.height] is block

    def find(self, slot: int, block_id: bytes) -> Block | None:
        for block in reversed(self.blocks):
            if block.slot == slot and block.hash == block_id:
                return block
        return None

    def utxo_at(self, block: Block) -> dict[Ref, Output]:
        """The set as it was after `block`, which is on the chain."""
        utxo = dict(self.utxo)
        for undone in reversed(self.blocks[block.height + 1 :]):
            _unapply(utxo, undone)
        return utxo

    def judge(self, tx: Tx, slot: int, utxo: Mapping[Ref, Output]) -> Failure | None:
        """Both phases; None is a yes."""
        if failures := ledger.check(tx, self.context(slot, utxo)):
            return most_relevant(failures)
        return self._phase_two(tx, utxo)

    def _phase_two(self, tx: Tx, utxo: Mapping[Ref, Output]) -> Failure | None:
        outcome = evaluate(tx, utxo, self.params, self.time)
        reason: str | None = None
        match outcome:
            case ScriptFailed(message):
                reason = message
            case Evaluated(units):
                reason = overspent(tx, units)
        if tx.is_valid == (reason is None):
            return None
        declared = "inputs" if tx.is_valid else "collaterals"
        data = {"declaredSpending": declared, "mismatchReason": reason or "all scripts succeed"}
        message = "Invalid transaction submitted as valid, or vice-versa."
        return Failure(3136, "ValidationTagMismatch", message, data)

    # -- changes -----------------------------------------------------------------------------

    def submit(self, raw: bytes) -> Tx | Failure:
        """Into the mempool, or the reason why not."""
        if len(raw) > MAX_SUBMITTED_BYTES:
            return undecodable(f"{len(raw)} bytes")
        try:
            tx = decode_tx(raw)
            failure = self.judge(tx, self.tip.slot + 1, self.pool_utxo)
        except CborError as error:
            return undecodable(str(error))
        if failure is not None:
            return failure
        self.admit(tx)
        return tx

    def admit(self, tx: Tx) -> None:
        self.pool.append(tx)
        _apply(self.pool_utxo, tx)

    def restore_pool(self, txs: list[Tx]) -> None:
        self.pool_utxo = dict(self.utxo)
        self.pool, _ = _refit(txs, self.pool_utxo, set())

    def forget(self, tx_ids: Iterable[bytes]) -> tuple[Tx, ...]:
        """Drops transactions from the mempool, and those that need their outputs."""
        unwanted = set(tx_ids)
        self.pool_utxo = dict(self.utxo)
        kept, lost = _refit(self.pool, self.pool_utxo, unwanted)
        self.pool = kept
        return tuple(lost)

    def forge(self, slot: int) -> tuple[Block, tuple[Tx, ...]]:
        """A block of what fits from the mempool; also returns what was dropped because it no longer holds."""
        if slot <= self.tip.slot:
            raise ValueError("a block's slot is after its parent's")
        utxo = dict(self.utxo)
        chosen: list[Tx] = []
        waiting: list[Tx] = []
        dropped: list[Tx] = []
        room, mem, steps = (
            self.params.max_block_body_size,
            self.params.max_block_mem,
            self.params.max_block_steps,
        )
        for tx in self.pool:
            if self.held.get(tx.id, 0) > self.tip.height + 1:
                waiting.append(tx)
                continue
            redeemers = tx.witnesses.redeemers.values()
            used = (sum(r.mem for r in redeemers), sum(r.steps for r in redeemers))
            if len(tx.raw) > room or used[0] > mem or used[1] > steps or _needs(tx, waiting):
                waiting.append(tx)
            elif ledger.check(tx, self.context(slot, utxo)):
                dropped.append(tx)
            else:
                chosen.append(tx)
                _apply(utxo, tx)
                room, mem, steps = room - len(tx.raw), mem - used[0], steps - used[1]
        block = self.append(slot, self.fork, chosen)
        self.pool_utxo = dict(self.utxo)
        self.pool, lost = _refit(waiting, self.pool_utxo, set())
        return block, tuple(dropped + lost)

    def append(self, slot: int, fork: int, txs: list[Tx]) -> Block:
        """Applies a block without asking any rule again (also used when a stored chain is read back)."""
        undo: dict[Ref, Output] = {}
        for tx in txs:
            undo.update(_apply(self.utxo, tx))
        height = self.tip.height + 1
        digest = block_hash(self.tip.hash, height, slot, fork, txs)
        block = Block(slot, height, digest, self.tip, fork, tuple(txs), undo)
        self.blocks.append(block)
        self.tip = block
        self.index.forward(block, undo)
        return block

    def rollback(self, depth: int, drop: bool = False) -> RolledBack:
        """Takes `depth` blocks back. Their transactions return to the mempool when they still fit."""
        if not 0 < depth < len(self.blocks):
            raise ValueError(f"a depth between 1 and {len(self.blocks) - 1}")
        orphaned: list[Tx] = []
        for _ in range(depth):
            block = self.blocks.pop()
            _unapply(self.utxo, block)
            self.index.backward(block)
            orphaned = [*block.txs, *orphaned]
        self.tip = self.blocks[-1]
        self.fork += 1
        self.pool_utxo = dict(self.utxo)
        unwanted = {tx.id for tx in orphaned} if drop else set()
        self.pool, lost = _refit(orphaned + self.pool, self.pool_utxo, unwanted)
        returned = tuple(tx for tx in orphaned if tx in self.pool)
        return RolledBack(depth, returned, tuple(lost))


def overspent(tx: Tx, units: Mapping[Pointer, tuple[int, int]]) -> str | None:
    """Says which redeemer's budget does not cover what its script took."""
    for pointer, (mem, steps) in sorted(units.items()):
        redeemer = tx.witnesses.redeemers[pointer]
        if mem > redeemer.mem or steps > redeemer.steps:
            given = f"memory {redeemer.mem}, cpu {redeemer.steps}"
            return f"redeemer {pointer}: the budget ({given}) is less than memory {mem}, cpu {steps}"
    return None


def _needs(tx: Tx, others: list[Tx]) -> bool:
    made = {other.id for other in others}
    return any(ref.tx_id in made for ref in (*tx.inputs, *tx.references, *tx.collateral))


def _apply(utxo: dict[Ref, Output], tx: Tx) -> dict[Ref, Output]:
    spent = {ref: utxo.pop(ref) for ref in tx.spent()}
    utxo.update(tx.produced())
    return spent


def _unapply(utxo: dict[Ref, Output], block: Block) -> None:
    made = {ref for tx in block.txs for ref in tx.produced()}
    for ref in made:
        utxo.pop(ref, None)
    utxo.update({ref: output for ref, output in block.undo.items() if ref not in made})


def _refit(txs: list[Tx], utxo: dict[Ref, Output], unwanted: set[bytes]) -> tuple[list[Tx], list[Tx]]:
    """Applies in order those whose inputs exist; the rest is lost."""
    kept: list[Tx] = []
    lost: list[Tx] = []
    for tx in txs:
        if tx.id in unwanted or any(ref not in utxo for ref in (*tx.inputs, *tx.references, *tx.collateral)):
            lost.append(tx)
        else:
            kept.append(tx)
            _apply(utxo, tx)
    return kept, lost
