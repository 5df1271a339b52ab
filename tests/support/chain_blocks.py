"""Blocks with channel transactions for tests of the chain view: real CBOR, a policy that always agrees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import read
from gateway.cl.chain.view import Back, Forward, KeptPoint, Located, Step, View
from gateway.cl.data.codec import BOLT_TOKEN
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Block, ChainEvent, Point, RollBackward, RollForward, Tip
from gateway.units import PosixMs, Slot
from regtest.cardano.transaction import Output, Pointer, Ref
from tests.support.devnet_drafts import ALWAYS_V3, UNIT, Draft, key, key_address, make_output, script_address

POLICY = ALWAYS_V3.hash
WALLET = key_address(key("wallet"))
STRANGER = key_address(key("stranger"))
MINT, SPEND = 1, 0


def token(number: int) -> bytes:
    return POLICY + BOLT_TOKEN + number.to_bytes(20, "big")


def channel_output(number: int, lovelace: int = 5_000_000) -> Output:
    return make_output(script_address(ALWAYS_V3), lovelace, {token(number): 1}, datum=UNIT)


def digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def open_tx(number: int, salt: object) -> bytes:
    """A wallet input, a channel output, change to the wallet."""
    draft = Draft(
        inputs=[Ref(digest("fund", salt), 0)],
        outputs=[channel_output(number), make_output(WALLET, 3_000_000)],
        mint={token(number): 1},
        redeemers={Pointer(MINT, 0): (b"\x9f\x18\x2a\xff", 1, 1)},
    )
    return draft.build()


def step_tx(number: int, at: OutputRef, lovelace: int) -> bytes:
    """The channel goes on; paid for by a stranger, so that only the channel tells us of it."""
    draft = Draft(
        inputs=[Ref(at.tx_id, at.index), Ref(digest("step", at, lovelace), 0)],
        outputs=[make_output(STRANGER, 2_000_000), channel_output(number, lovelace)],
        mint={POLICY + BOLT_TOKEN: 1},
        redeemers={
            Pointer(MINT, 0): (b"\x43\x01\x02\x03", 1, 1),
            Pointer(SPEND, 0): (UNIT, 1, 1),
        },
    )
    return draft.build()


def end_tx(at: OutputRef) -> bytes:
    draft = Draft(
        inputs=[Ref(at.tx_id, at.index)],
        outputs=[make_output(STRANGER, 2_000_000)],
        mint={POLICY + BOLT_TOKEN: 1},
        redeemers={Pointer(MINT, 0): (b"\x05", 1, 1)},
    )
    return draft.build()


def junk_tx(salt: object) -> bytes:
    """Bolt tokens in a stranger's wallet, at the script without a thread token, and a forged prefix."""
    outputs = [
        make_output(STRANGER, 2_000_000, {POLICY + BOLT_TOKEN: 7}),
        make_output(script_address(ALWAYS_V3), 2_000_000, datum=UNIT),
        make_output(script_address(ALWAYS_V3), 2_000_000, {POLICY + BOLT_TOKEN: 1}, datum=UNIT),
        make_output(script_address(ALWAYS_V3), 2_000_000, {POLICY + b"xxx" + bytes(20): 1}, datum=UNIT),
        make_output(STRANGER, 2_000_000, {token(999): 1}, datum=UNIT),
    ]
    return Draft(inputs=[Ref(digest("junk", salt), 0)], outputs=outputs).build()


def plain_tx(salt: object) -> bytes:
    return Draft(inputs=[Ref(digest("plain", salt), 0)], outputs=[make_output(STRANGER, 9)]).build()


@dataclass
class SimChain:
    """A chain that grows and is rolled back; `events` is what a provider would send."""

    blocks: list[Block] = field(default_factory=list)
    forks: int = 0
    _states: list[dict[OutputRef, bytes]] = field(default_factory=lambda: [{}])

    @property
    def tip(self) -> Tip:
        if not self.blocks:
            return Tip(ORIGIN, 0)
        return Tip(self.blocks[-1].point, self.blocks[-1].height)

    def extend(self, *txs: bytes) -> RollForward:
        height = len(self.blocks) + 1
        self.forks += 1
        point = Point(Slot(height * 20), digest(height, self.forks))
        self._states.append(_applied(self._states[-1], txs))
        self.blocks.append(Block(point, height, PosixMs(height * 20_000), txs))
        return RollForward(self.blocks[-1], self.tip)

    def rollback(self, depth: int) -> RollBackward:
        keep = max(0, len(self.blocks) - depth)
        del self.blocks[keep:], self._states[keep + 1 :]
        return RollBackward(self.blocks[-1].point if self.blocks else None, self.tip)

    def answer(self, points: tuple[Point, ...]) -> list[ChainEvent]:
        """From the newest of `points` on this chain: the step back to it, then every later block."""
        known = {block.point: n + 1 for n, block in enumerate(self.blocks)}
        known[ORIGIN] = 0
        at = next(known[point] for point in points if point in known)
        to = self.blocks[at - 1].point if at else None
        later = [RollForward(block, self.tip) for block in self.blocks[at:]]
        return [RollBackward(to, self.tip), *later]

    def unspent(self) -> dict[OutputRef, bytes]:
        """Live channel outputs of this chain, read without the view."""
        return dict(self._states[-1])


def _applied(before: dict[OutputRef, bytes], txs: tuple[bytes, ...]) -> dict[OutputRef, bytes]:
    live = dict(before)
    for tx in map(read, txs):
        for ref in tx.spent:
            live.pop(ref, None)
        for index, output in tx.created:
            names = [name for name, _ in output.assets if name.startswith(POLICY + BOLT_TOKEN)]
            if output.address == script_address(ALWAYS_V3) and names and len(names[0]) == 51:
                live[OutputRef(tx.tx_id, index)] = names[0][31:]
    return live


@dataclass
class Rows:
    """What the caller of the view commits: points and observations, as the store keeps them."""

    points: list[KeptPoint] = field(default_factory=list)
    seen: list[Located] = field(default_factory=list)

    def commit(self, step: Step | None) -> None:
        match step:
            case Forward(at, _, seen, _):
                self.points.append(at)
                self.seen += seen
            case Back(to, _, taken):
                last = -1 if to is None else to.slot.value
                gone = [one for one in self.seen if one.point.slot.value > last]
                assert tuple(reversed(gone)) == taken
                self.seen = [one for one in self.seen if one.point.slot.value <= last]
                self.points = [one for one in self.points if one.point.slot.value <= last]
            case None:
                pass

    def restored(self, view: View) -> View:
        view.restore(self.points[-2160:], self.seen)
        return view
