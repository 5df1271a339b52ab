"""R1. What Cardano Lightning needs of the outside: one narrow Protocol per outside thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from gateway.cl.data.ending import EndEvidence
from gateway.cl.data.types import ChannelId, Cheque, OutputRef, Signature, Snapshot, VerificationKey
from gateway.errors import Rejection
from gateway.units import Lovelace, PosixMs, Slot


@dataclass(frozen=True, slots=True)
class Point:
    """A block of the chain; `ORIGIN` has slot -1 by convention of no block."""

    slot: Slot
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Tip:
    point: Point
    height: int


@dataclass(frozen=True, slots=True)
class Utxo:
    """An unspent output. `assets` maps policy id + asset name (28 + 0..32 bytes) to its quantity."""

    ref: OutputRef
    address: str  # bech32
    lovelace: Lovelace
    assets: tuple[tuple[bytes, int], ...] = ()
    datum_cbor: bytes | None = None  # inline datum only
    datum_hash: bytes | None = None  # set when the output carries a hash, not a datum
    script_ref_cbor: bytes | None = None
    created_at: Point | None = None


@dataclass(frozen=True, slots=True)
class EraSummary:
    """Maps slots to time within one era; the last has no end."""

    start_slot: Slot
    start_ms: PosixMs
    slot_length_ms: int
    end_slot: Slot | None


@dataclass(frozen=True, slots=True)
class ChainParams:
    """Protocol parameters as read from the chain, and the time line (re-read at run time)."""

    protocol: dict[str, Any] = field(hash=False)  # Ogmios v6 names and shapes
    eras: tuple[EraSummary, ...]
    network_magic: int
    system_start_ms: PosixMs


class ChainReader(Protocol):
    """Look-ups. Each raises `Refused` with a cl.chain.* code when the provider fails or lies."""

    async def tip(self) -> Tip: ...
    async def params(self) -> ChainParams: ...
    async def utxos_at(self, address: str) -> tuple[Utxo, ...]: ...
    async def utxos_by_ref(self, refs: Sequence[OutputRef]) -> tuple[Utxo, ...]: ...
    async def utxos_of_policy(self, policy_id: bytes) -> tuple[Utxo, ...]: ...


@dataclass(frozen=True, slots=True)
class Block:
    point: Point
    height: int
    time_ms: PosixMs
    transactions: tuple[bytes, ...]  # whole transactions, CBOR


@dataclass(frozen=True, slots=True)
class RollForward:
    block: Block
    tip: Tip


@dataclass(frozen=True, slots=True)
class RollBackward:
    to: Point | None  # None: to the origin
    tip: Tip


ChainEvent = RollForward | RollBackward


class ChainFollower(Protocol):
    """Chain sync from the newest of `points` that the provider knows (newest first; none: from the origin).
    Yields a RollBackward to the intersection first. Ends by raising `Refused` when the link is lost."""

    def follow(self, points: Sequence[Point]) -> AsyncIterator[ChainEvent]: ...


@dataclass(frozen=True, slots=True)
class Submitted:
    tx_id: bytes


@dataclass(frozen=True, slots=True)
class SubmitRefused:
    """The ledger refused it by rule: it is not in the mempool of that provider."""

    rejection: Rejection
    inputs_spent: bool = False  # an input is gone: rebuild on a fresh view


@dataclass(frozen=True, slots=True)
class SubmitUnknown:
    """No answer: it may or may not be in the mempool. Look, or send the same bytes again."""

    rejection: Rejection


SubmitResult = Submitted | SubmitRefused | SubmitUnknown


class ChainSubmitter(Protocol):
    async def submit(self, tx_cbor: bytes) -> SubmitResult: ...


class ChainProvider(ChainReader, ChainFollower, ChainSubmitter, Protocol):
    """All that a node asks of Cardano, by one provider (or several that act as one)."""

    async def close(self) -> None: ...


@runtime_checkable
class ChainMempool(Protocol):
    """What a provider gains that can show its mempool: a claim then builds on the partner's unconfirmed transaction
    (V16: an add of one lovelace before each of our tries). A provider without it is still whole; claims against
    add-spam then win only the races that they win in the mempool."""

    async def pending(self) -> tuple[bytes, ...]:
        """Whole transactions, CBOR, each after those whose outputs it spends. Raises `Refused` (cl.chain.*).
        Nothing here is on chain: it may vanish, and two providers may show different ones."""
        ...


@dataclass(frozen=True, slots=True)
class ExUnits:
    mem: int
    steps: int


class Evaluator(Protocol):
    """Phase 2. Keys are "spend:0", "mint:0"…; raises `Refused` (cl.l1.script_failed) when a script fails."""

    def evaluate(
        self, tx_cbor: bytes, resolved: Sequence[Utxo], params: ChainParams
    ) -> dict[str, ExUnits]: ...


class Signer(Protocol):
    """Keys never leave it. It refuses (Refused, cl.signer.*) two amounts or locks for one index (decision 12)."""

    async def node_id(self) -> bytes: ...  # 33-byte compressed secp256k1 point
    async def new_channel_key(self) -> VerificationKey: ...
    async def sign_cheque(self, key: VerificationKey, channel: ChannelId, cheque: Cheque) -> Signature: ...
    async def sign_snapshot(
        self, key: VerificationKey, channel: ChannelId, snapshot: Snapshot
    ) -> Signature: ...
    async def signed(self, key: VerificationKey, channel: ChannelId) -> tuple[int, Snapshot]:
        """What it remembers to have signed: the highest index of a cheque (0: none), the newest snapshot."""
        ...

    async def sign_transaction(self, keys: Sequence[VerificationKey], tx_cbor: bytes) -> bytes:
        """Adds the witnesses of the wallet and of `keys`; returns the transaction's CBOR."""
        ...

    async def approve_end(
        self, key: VerificationKey, channel: ChannelId, tx_cbor: bytes, evidence: EndEvidence
    ) -> Signature:
        """The channel key's witness of an end that the partner built; refuses one that pays less than we are owed."""
        ...

    async def complete_end(
        self,
        key: VerificationKey,
        channel: ChannelId,
        tx_cbor: bytes,
        evidence: EndEvidence,
        partner: Signature,
    ) -> bytes:
        """An end that we built with all its witnesses, under the same check; returns the transaction's CBOR."""
        ...

    async def sign_invoice(self, message_hash: bytes) -> bytes:
        """65-byte recoverable ECDSA signature by the node key over a 32-byte hash (BOLT 11)."""
        ...

    async def node_ecdh(self, point: bytes) -> bytes:
        """sha256 of the compressed shared point with the node key (BOLT 8)."""
        ...


class Connection(Protocol):
    """An authenticated, encrypted, ordered stream of messages to one peer."""

    @property
    def remote_node_id(self) -> bytes: ...
    async def send(self, message: bytes) -> None: ...
    async def receive(self) -> bytes:
        """Raises `Refused` (cl.net.closed and others) when the connection ends or breaks a rule."""
        ...

    async def close(self) -> None: ...
    def cut(self, why: Rejection) -> None:
        """Ends it at once: what waits to be written is dropped, and `receive` raises `why`."""
        ...


class Listener(Protocol):
    @property
    def address(self) -> tuple[str, int]:
        """Host and port actually bound."""
        ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """Makes connections in both directions. Raises `Refused` with cl.net.* and bolt8.handshake.* codes."""

    async def connect(self, node_id: bytes, host: str, port: int) -> Connection: ...
    async def listen(
        self, host: str, port: int, on_connection: Callable[[Connection], Awaitable[None]]
    ) -> Listener:
        """Each authenticated peer is given to `on_connection`; its return closes the connection."""
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Now, on the ledger's clock (the devnet's in tests)."""

    def now(self) -> PosixMs: ...
    async def sleep_until(self, moment: PosixMs) -> None: ...
