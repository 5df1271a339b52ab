"""The follower's memory, without I/O: blocks and rollbacks in, what they showed or took back out.

Theory: `apply` gets each event of chain sync once and answers with one `Step`, which the caller
commits in one transaction (`Forward`: the point and its observations; `Back`: forget everything after
a slot). After a restart `View.restore` is given what was committed, and goes on without gap or repeat.
An observation has depth 1 in the newest block; it is `Deep` when its depth reaches one of `depths`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.cl.chain.address import address_bytes, address_text
from gateway.cl.chain.errors import INCONSISTENT, TOO_DEEP
from gateway.cl.chain.points import ORIGIN, SECURITY_BLOCKS
from gateway.cl.chain.txcbor import TxOutput, TxView, read, transaction_id
from gateway.cl.data.codec import BOLT_TOKEN
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.cl.ports import Block, ChainEvent, Point, RollBackward, Tip, Utxo
from gateway.errors import Refused
from gateway.units import Lovelace, PosixMs, Slot

_SCRIPT_PAYMENT = (1, 3, 5, 7)  # address types whose payment part is a script


@dataclass(frozen=True, slots=True)
class ChannelCreated:
    """An output at the validator with exactly one thread token; whether its datum is sound is not said."""

    channel: ChannelId
    utxo: Utxo


@dataclass(frozen=True, slots=True)
class ChannelSpent:
    """`redeemer` is the policy's mint redeemer: what each step showed, preimages too."""

    channel: ChannelId
    ref: OutputRef
    tx_id: bytes
    tx_cbor: bytes
    redeemer: bytes | None


@dataclass(frozen=True, slots=True)
class TxSeen:
    """A transaction that we asked about, or that touches a channel or one of our addresses."""

    tx_id: bytes
    valid: bool


Observation = ChannelCreated | ChannelSpent | TxSeen


@dataclass(frozen=True, slots=True)
class Located:
    observation: Observation
    point: Point
    height: int


@dataclass(frozen=True, slots=True)
class Deep:
    """`located` has just come to lie `depth` blocks deep; told again when a rollback made it shallow."""

    located: Located
    depth: int


@dataclass(frozen=True, slots=True)
class KeptPoint:
    point: Point
    height: int
    time_ms: PosixMs


@dataclass(frozen=True, slots=True)
class Forward:
    at: KeptPoint
    tip: Tip
    seen: tuple[Located, ...]
    deep: tuple[Deep, ...]


@dataclass(frozen=True, slots=True)
class Back:
    """Everything after `to` (None: everything) is undone; `taken` is newest first."""

    to: Point | None
    tip: Tip
    taken: tuple[Located, ...]


Step = Forward | Back


class View:
    """Follows one policy; `addresses` are the wallet's own, in bech32."""

    def __init__(
        self,
        policy_id: bytes,
        *,
        addresses: Iterable[str] = (),
        depths: Sequence[int] = (1,),
        start: Point | None = None,
    ) -> None:
        """`start`: the block after which to begin (the validator is younger); None: the origin."""
        self._policy = policy_id
        self._addresses = {address_bytes(one) for one in addresses}
        self._depths = tuple(sorted(set(depths)))
        self._points: deque[KeptPoint] = deque(maxlen=SECURITY_BLOCKS)
        self._recent: deque[Located] = deque()  # shown by the kept blocks, oldest first
        self._live: dict[OutputRef, ChannelCreated] = {}
        self._spent: dict[OutputRef, ChannelCreated] = {}  # by the kept blocks
        self._start = start
        self._watched: set[bytes] = set()

    def restore(self, points: Sequence[KeptPoint], located: Sequence[Located]) -> None:
        """What was committed: points and observations, each oldest first. Only on a new view."""
        if self._points or self._recent:
            raise RuntimeError("only a new view can be restored")
        self._points.extend(points)
        for one in located:
            self._remember(one)
        self._forget_old()

    def watch(self, tx_id: bytes) -> None:
        """Tells when this transaction is on chain. Call it before the transaction is submitted."""
        self._watched.add(tx_id)

    def unwatch(self, tx_id: bytes) -> None:
        self._watched.discard(tx_id)

    def watch_address(self, address: str) -> None:
        self._addresses.add(address_bytes(address))

    @property
    def points(self) -> tuple[Point, ...]:
        """Newest first, as `ChainFollower.follow` wants them."""
        kept = [one.point for one in reversed(self._points)]
        if len(kept) < SECURITY_BLOCKS:
            kept.append(ORIGIN if self._start is None else self._start)
        return tuple(kept)

    @property
    def newest(self) -> KeptPoint | None:
        return self._points[-1] if self._points else None

    def at_depth(self, depth: int) -> KeptPoint | None:
        """The block that lies `depth` deep (1: the newest), if it is kept."""
        return self._points[-depth] if 0 < depth <= len(self._points) else None

    @property
    def channels(self) -> tuple[ChannelCreated, ...]:
        """The unspent channel outputs on the chain that was followed."""
        return tuple(self._live.values())

    @property
    def recent(self) -> tuple[Located, ...]:
        """What the last k blocks showed, oldest first."""
        return tuple(self._recent)

    def depth(self, located: Located) -> int:
        """1 in the newest block; 0 when its block is not on our chain."""
        newest = self.newest
        return 0 if newest is None else max(0, newest.height - located.height + 1)

    def apply(self, event: ChainEvent) -> Step | None:
        """None when the event changes nothing. Fails with cl.chain.inconsistent, .rollback_too_deep, .malformed;
        the view is then as it was."""
        if isinstance(event, RollBackward):
            return self._back(event.to, event.tip)
        block = event.block
        newest = self.newest
        if newest is not None and block.height != newest.height + 1:
            raise Refused(INCONSISTENT(field="block.height", got=block.height, allowed=newest.height + 1))
        if newest is not None and block.point.slot <= newest.point.slot:
            allowed = f"later than {newest.point.slot.value}"
            raise Refused(INCONSISTENT(field="block.slot", got=block.point.slot.value, allowed=allowed))
        seen = self._observe(block)
        kept = KeptPoint(block.point, block.height, block.time_ms)
        self._points.append(kept)
        for located in seen:
            self._remember(located)
        self._forget_old()
        return Forward(kept, event.tip, seen, self._deepened(block.height))

    def preview(self, transactions: Iterable[bytes]) -> tuple[Located, ...]:
        """What these would show in the next block, in this order; nothing is remembered, nothing was proven.
        Fails with cl.chain.malformed."""
        newest = self.newest
        if newest is None:
            return ()
        at, height = Point(Slot(newest.point.slot.value + 1), bytes(32)), newest.height + 1
        made: dict[OutputRef, ChannelCreated] = {}
        shown: list[Observation] = []
        for raw in transactions:
            if self._policy in raw:
                shown += self._read(read(raw), raw, at, made)
        return tuple(Located(one, at, height) for one in shown)

    def _deepened(self, height: int) -> tuple[Deep, ...]:
        wanted = {height - depth + 1: depth for depth in self._depths}
        return tuple(Deep(one, wanted[one.height]) for one in self._recent if one.height in wanted)

    def _back(self, to: Point | None, tip: Tip) -> Step | None:
        keep = len(self._points)
        while keep and self._points[keep - 1].point != to:
            keep -= 1
        if keep == len(self._points):
            return None
        if keep == 0 and (to != self._start or len(self._points) == SECURITY_BLOCKS):
            got = "origin" if to is None else to.slot.value
            raise Refused(
                TOO_DEEP(field="rollback", got=got, allowed=f"one of the last {SECURITY_BLOCKS} blocks")
            )
        while len(self._points) > keep:
            self._points.pop()
        return Back(to, tip, self._take_back(self._points[-1].height if self._points else -1))

    def _take_back(self, height: int) -> tuple[Located, ...]:
        taken: list[Located] = []
        while self._recent and self._recent[-1].height > height:
            located = self._recent.pop()
            taken.append(located)
            match located.observation:
                case ChannelCreated(_, utxo):
                    self._live.pop(utxo.ref, None)
                case ChannelSpent(_, ref):
                    self._live[ref] = self._spent.pop(ref)
        return tuple(taken)

    def _remember(self, located: Located) -> None:
        self._recent.append(located)
        match located.observation:
            case ChannelCreated(_, utxo):
                self._live[utxo.ref] = located.observation
            case ChannelSpent(_, ref):
                self._spent[ref] = self._live.pop(ref)

    def _forget_old(self) -> None:
        oldest = self._points[0].height if self._points else 0
        while self._recent and self._recent[0].height < oldest:
            past = self._recent.popleft().observation
            if isinstance(past, ChannelSpent):
                del self._spent[past.ref]

    def _observe(self, block: Block) -> tuple[Located, ...]:
        shown: list[Observation] = []
        made: dict[OutputRef, ChannelCreated] = {}
        for raw in block.transactions:
            # Most transactions are none of our business, and hold neither policy nor address.
            if self._policy in raw or any(address in raw for address in self._addresses):
                shown += self._read(read(raw), raw, block.point, made)
            elif self._watched and (tx_id := transaction_id(raw)) in self._watched:
                shown.append(TxSeen(tx_id, read(raw).valid))
        return tuple(Located(one, block.point, block.height) for one in shown)

    def _read(
        self, tx: TxView, raw: bytes, point: Point, made: dict[OutputRef, ChannelCreated]
    ) -> list[Observation]:
        found: list[Observation] = []
        for ref in tx.spent:
            spent = made.pop(ref, None) or self._live.get(ref)
            if spent is not None:
                redeemer = tx.mint_redeemer(self._policy)
                found.append(ChannelSpent(spent.channel, ref, tx.tx_id, raw, redeemer))
        ours = bool(found)
        for index, output in tx.created:
            ours = ours or output.address in self._addresses
            channel = self._channel(output)
            if channel is not None:
                ref = OutputRef(tx.tx_id, index)
                made[ref] = ChannelCreated(channel, _utxo(ref, output, point))
                found.append(made[ref])
        if found or ours or tx.tx_id in self._watched:
            found.append(TxSeen(tx.tx_id, tx.valid))
        return found

    def _channel(self, output: TxOutput) -> ChannelId | None:
        """V15: only the policy's own thread token, at its own script, makes a channel."""
        if output.address[:1] == b"" or output.address[0] >> 4 not in _SCRIPT_PAYMENT:
            return None
        if output.address[1:29] != self._policy:
            return None
        prefix = self._policy + BOLT_TOKEN
        tokens = [key for key, _ in output.assets if key.startswith(prefix) and len(key) == len(prefix) + 20]
        return ChannelId(tokens[0][len(prefix) :]) if len(tokens) == 1 else None


def _utxo(ref: OutputRef, output: TxOutput, point: Point) -> Utxo:
    return Utxo(
        ref=ref,
        address=address_text(output.address),
        lovelace=Lovelace(output.lovelace),
        assets=output.assets,
        datum_cbor=output.datum,
        datum_hash=output.datum_hash,
        script_ref_cbor=output.script,
        created_at=point,
    )
