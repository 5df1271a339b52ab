"""One chain out of what several providers tell, without I/O.

Each provider tells its own chain (a `Line`). A block is told on when enough providers have it with the
same transactions; a rollback when enough have left the newest block. Every block that fewer than the
quorum have vouched for is not `sure`: deadlines may be met by it, nothing may be proven by it. A
provider that comes back tells the blocks after the newest sure one again, and is compared with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.cl.chain.points import ORIGIN, SECURITY_BLOCKS
from gateway.cl.ports import Block, ChainEvent, Point, RollBackward, RollForward, Tip

Mark = tuple[Point, bytes | None]  # a block that was told on, and the digest of its contents if known


def contents(block: Block) -> bytes:
    """Two providers that show one block show the same transactions, in their order."""
    whole = hashlib.blake2b(digest_size=32)
    for raw in block.transactions:
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.digest()


@dataclass(slots=True)
class Line:
    """A provider's chain from `base` on; `floor` of the marks are ancestors of the base, or the base."""

    base: Point | None
    floor: int
    tip: Tip
    order: list[tuple[Point, bytes]] = field(default_factory=list)
    place: dict[bytes, int] = field(default_factory=dict)  # block hash -> index in `order`
    blocks: dict[bytes, Block] = field(default_factory=dict)  # those that were not told on yet
    left: bool = False  # its newest event took blocks back

    @property
    def end(self) -> Point | None:
        return self.order[-1][0] if self.order else self.base

    def add(self, block: Block) -> None:
        self.left = False
        self.place[block.point.block_hash] = len(self.order)
        self.order.append((block.point, contents(block)))
        self.blocks[block.point.block_hash] = block

    def cut(self, length: int) -> None:
        for point, _ in self.order[length:]:
            del self.place[point.block_hash]
            self.blocks.pop(point.block_hash, None)
        del self.order[length:]


class Agreement:
    """`quorum` providers make a block sure; `step` is given how many are needed just now."""

    def __init__(self, points: Sequence[Point], quorum: int, names: Sequence[str]) -> None:
        """`points`: told before, newest first, as for `ChainFollower.follow`; `names`: of the providers,
        the most trusted first: it decides between equals."""
        self.from_origin = not points or ORIGIN in points
        self.marks: list[Mark] = [(p, None) for p in reversed(points) if p != ORIGIN]
        self.quorum = quorum
        self.lines: dict[str, Line] = {}
        self.sure = 0  # so many of the marks are sure
        self.disputes: dict[str, str] = {}  # provider -> what it shows otherwise
        self._index = {point.block_hash: n for n, (point, _) in enumerate(self.marks)}
        self._names = tuple(names)
        self._given = len(self.marks)  # told by an earlier run
        self._begun = False
        self._stranded: set[str] = set()

    def resume_at(self) -> list[Point]:
        """Points for a provider that begins, or begins again: what is sure, newest first."""
        known = self.marks[: max(self.sure, self._given)]
        points = [point for point, _ in reversed(known[-SECURITY_BLOCKS:])]
        return [*points, ORIGIN] if self.from_origin else points

    @property
    def head(self) -> Point | None:
        return self.marks[-1][0] if self.marks else None

    def is_sure(self, point: Point) -> bool:
        at = self._index.get(point.block_hash)
        return at is not None and at < self.sure

    # --- what providers tell -------------------------------------------------------------------

    def take(self, name: str, event: ChainEvent) -> None:
        line = self.lines.get(name)
        if isinstance(event, RollForward):
            if line is not None:
                line.tip = event.tip
                line.add(event.block)
                self._compare(name, line, event.block)
        elif line is None:
            self._attach(name, event)
        else:
            line.tip = event.tip
            self._cut(name, line, event.to)
        self._settle()

    def lost(self, name: str) -> None:
        self.lines.pop(name, None)
        self._stranded.discard(name)

    def _attach(self, name: str, event: RollBackward) -> None:
        floor = 0 if event.to is None else self._index.get(event.to.block_hash, -1) + 1
        if event.to is None or floor:
            self.lines[name] = Line(event.to, floor, event.tip)
            self.disputes.pop(name, None)

    def _cut(self, name: str, line: Line, to: Point | None) -> None:
        if to == line.base:
            line.cut(0)
        elif to is not None and to.block_hash in line.place:
            line.cut(line.place[to.block_hash] + 1)
        else:  # below its base: attached anew, on what was told
            del self.lines[name]
            self._attach(name, RollBackward(to, line.tip))
        if name in self.lines:
            self.lines[name].left = True

    def _compare(self, name: str, line: Line, block: Block) -> None:
        at = self._index.get(block.point.block_hash)
        if at is None:
            return
        told = self.marks[at][1]
        if told is not None and told != line.order[-1][1]:
            self.disputes[name] = f"other transactions in block {block.height}"
        line.blocks.pop(block.point.block_hash, None)

    def _has(self, line: Line, at: int) -> bool:
        """Whether the mark is on the provider's chain, with the contents that were told."""
        if at < line.floor:
            return True
        point, told = self.marks[at]
        place = line.place.get(point.block_hash)
        return place is not None and told in (None, line.order[place][1])

    def _settle(self) -> None:
        while self.sure < len(self.marks):
            if sum(self._has(line, self.sure) for line in self.lines.values()) < self.quorum:
                return
            self.sure += 1

    # --- what is told on -----------------------------------------------------------------------

    def step(self, need: int) -> ChainEvent | None:
        """What `need` providers agree on next; None: nothing more yet."""
        if not self.lines or len(self.lines) < need:
            return None
        if not self._begun:
            return self._begin()
        votes = self._votes()
        best = max(votes, key=lambda key: len(votes[key]), default=None)
        if best is not None and len(votes[best]) >= need:
            return self._forward(best, votes[best])
        gone = [line for line in self.lines.values() if self._has_left(line)]
        if len(gone) >= need and len(self.lines) - len(gone) < need:
            return self._back(need)
        return None

    def stranded(self) -> list[str]:
        """Providers whose next block cannot be told from what is kept of their chain: they are asked anew."""
        return [name for name in self._stranded if name in self.lines]

    def differing(self) -> tuple[set[str], ...]:
        """Providers by the block that each has next; more than one set: they differ."""
        return tuple(self._votes().values()) if self._begun else ()

    def keeps_up(self, name: str) -> bool:
        """The newest block that was told is on its chain."""
        line, last = self.lines.get(name), len(self.marks) - 1
        return line is not None and last >= 0 and self._has(line, last)

    def _has_left(self, line: Line) -> bool:
        """The head is not on its chain; one that is only behind it, and never had it, has not left it."""
        last = len(self.marks) - 1
        if last < 0 or self._has(line, last):
            return False
        on_marks = line.end is None or line.end.block_hash in self._index
        return line.left or not on_marks

    def _votes(self) -> dict[tuple[bytes, bytes], set[str]]:
        votes: dict[tuple[bytes, bytes], set[str]] = {}
        for name in self._names:
            after = self._after(self.lines[name]) if name in self.lines else None
            if after is not None:
                votes.setdefault((after[0].block_hash, after[1]), set()).add(name)
        return votes

    def _after(self, line: Line) -> tuple[Point, bytes] | None:
        """The block after the head on the provider's chain."""
        head = self.head
        if head == line.base:
            at = 0
        elif head is not None and head.block_hash in line.place:
            at = line.place[head.block_hash] + 1
            if not self._has(line, len(self.marks) - 1):
                return None
        else:
            return None
        return line.order[at] if at < len(line.order) else None

    def _forward(self, key: tuple[bytes, bytes], voters: set[str]) -> RollForward:
        digest, whole = key
        block, tip = None, None
        for name in voters:
            line = self.lines[name]
            block = line.blocks.pop(digest, block)
            tip = line.tip if tip is None or line.tip.height > tip.height else tip
        if block is None or tip is None:
            raise RuntimeError("a voter holds the block that it votes for")
        self._index[digest] = len(self.marks)
        self.marks.append((block.point, whole))
        self._settle()
        self._forget()
        if tip.height < block.height:
            tip = Tip(block.point, block.height)
        return RollForward(block, tip)

    def _begin(self) -> RollBackward:
        """At the newest mark that anyone has: who is behind it comes after."""
        self._begun = True
        return self._back(1)

    def _back(self, need: int) -> RollBackward:
        keep = len(self.marks)
        while keep and sum(self._has(line, keep - 1) for line in self.lines.values()) < need:
            keep -= 1
        cut = {point.block_hash for point, _ in self.marks[keep:]}
        for name, line in self.lines.items():
            based = line.base is not None and line.base.block_hash in cut
            if based or any(one in line.place and one not in line.blocks for one in cut):
                self._stranded.add(name)
            line.floor = min(line.floor, keep)
        for digest in cut:
            del self._index[digest]
        del self.marks[keep:]
        self.sure, self._given = min(self.sure, keep), min(self._given, keep)
        self._settle()
        tips = [line.tip for line in self.lines.values()]
        return RollBackward(self.head, max(tips, key=lambda tip: tip.height))

    def _forget(self) -> None:
        """Keeps the last k marks at least, and what lines need of them."""
        if len(self.marks) < 2 * SECURITY_BLOCKS:
            return
        gone = len(self.marks) - SECURITY_BLOCKS
        del self.marks[:gone]
        self._index = {point.block_hash: n for n, (point, _) in enumerate(self.marks)}
        self.sure, self._given = max(0, self.sure - gone), max(0, self._given - gone)
        self.from_origin = False
        for line in self.lines.values():
            line.floor = max(0, line.floor - gone)
            _trim(line)


def _trim(line: Line) -> None:
    """A line forgets what lies k blocks behind its newest; its base is then the last block forgotten."""
    gone = len(line.order) - SECURITY_BLOCKS
    if gone <= 0:
        return
    line.base = line.order[gone - 1][0]
    for point, _ in line.order[:gone]:
        line.blocks.pop(point.block_hash, None)
    del line.order[:gone]
    line.place = {point.block_hash: n for n, (point, _) in enumerate(line.order)}
