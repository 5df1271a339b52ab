"""Two whole lives of a channel, step by step, each step one transaction of our builders.

The answered one: open, add, close, respond, both free, end. The other: open, close, free, elapse, free, end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nacl.signing import SigningKey

from gateway.cl.data import types as t
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.l1.build import channel_ids
from gateway.cl.l1.intents import AgreedTerms, OpenChannel, StepChannel
from gateway.cl.l1.parse import ChannelOutput, parse_output
from gateway.cl.l1.sizing import channel_min_ada
from gateway.cl.ports import Utxo
from gateway.units import Lovelace, Ms, PosixMs
from tests.bench.chain_world import Refusal, World
from tests.support import channel_world as w
from tests.support.clause_table import M, squash
from tests.support.l1_world import PARAMS

PERIOD = Ms(24 * 3_600_000)
MONTH_MS = 30 * 24 * 3_600_000
TOTAL = Lovelace(100 * M)


@dataclass
class Life:
    """`opener` and `other` sign as its partners; the wallet's coin pays and takes the change."""

    world: World
    wallet: Utxo
    opener: SigningKey
    other: SigningKey
    timeout: PosixMs
    cid: t.ChannelId
    channel: ChannelOutput | None = None

    @classmethod
    def new(cls, world: World, number: int, wallet: Utxo) -> Life:
        keys = w.keypair(f"bench opener {number}"), w.keypair(f"bench other {number}")
        timeout = PosixMs(world.devnet.now_ms() + MONTH_MS)
        return cls(world, wallet, *keys, timeout, channel_ids(wallet.ref, 1)[0])

    def open(self) -> None:
        keys = w.public(self.opener), w.public(self.other)
        least = channel_min_ada(PARAMS)
        terms = AgreedTerms(self.cid, *keys, TOTAL, Lovelace(30 * M), least, 0, PERIOD)
        built = self.world.run("open", [OpenChannel(terms, self.wallet.ref)], self.wallet, [])
        self._took(built.produced)

    def _step(self, name: str, step: t.Step, key: SigningKey, add: int = 0) -> None:
        if self.channel is None:
            raise Refusal(f"{name}: the channel is not open")
        intent = StepChannel(self.channel, step, w.public(key), Lovelace(add))
        self._took(self.world.run(name, [intent], self.wallet, [key]).produced)

    def _took(self, produced: Sequence[Utxo]) -> None:
        *held, self.wallet = produced
        found = [c for u in held if isinstance(c := parse_output(u, load_blueprint().hash), ChannelOutput)]
        self.channel = found[0] if found else None

    def _snapshot(self, signer: SigningKey) -> t.SignedSnapshot:
        shown = t.Snapshot.of(
            {w.public(self.opener): squash(6 * M, 4, 3), w.public(self.other): squash(2 * M, 2)}
        )
        return w.signed_snapshot(signer, self.cid, shown)

    def _entry(self, index: int, amount: int, paid: bool = False) -> t.Entry:
        return w.entry(index, amount, self.timeout, paid)

    def add(self) -> None:
        self._step("add", t.Add(False, self._snapshot(self.opener)), self.other, 5 * M)

    def close(self) -> None:
        cheques = (
            w.locked(self.other, self.cid, 5, M, self.timeout),
            w.unlocked(self.other, self.cid, 6, 2 * M, self.timeout),
            w.locked(self.other, self.cid, 7, M, self.timeout),
        )
        receipt = t.Receipt(self._snapshot(self.other), cheques)
        self._step("close", t.Close(True, receipt), self.opener)

    def respond(self) -> None:
        cheques = (
            w.locked(self.opener, self.cid, 3, M, self.timeout),
            w.unlocked(self.opener, self.cid, 5, 2 * M, self.timeout),
        )
        self._step("respond", t.Respond(t.Receipt(None, cheques)), self.other)

    def responder_frees(self) -> None:
        own = (self._entry(3, M),)
        self._step("free_resolved", t.FreeInResolved(True, own, w.unlocks(own, 0)), self.other)

    def closer_frees(self) -> None:
        own = (self._entry(5, M), self._entry(6, 2 * M, True), self._entry(7, M))
        self._step("free_resolved", t.FreeInResolved(False, own, w.unlocks(own, 0, 2)), self.opener)

    def free_closed(self) -> None:
        own = (self._entry(5, M), self._entry(6, 2 * M, True), self._entry(7, M))
        self._step("free_closed", t.FreeInClosed(own, w.unlocks(own, 0)), self.opener)

    def elapse(self) -> None:
        own = (self._entry(5, M, True), self._entry(6, 2 * M, True), self._entry(7, M))
        self._step("elapse", t.Elapse(own, w.unlocks(own, 2)), self.opener)

    def other_takes(self) -> None:
        self._step("free_resolved", t.FreeInResolved(False), self.other)

    def end(self) -> None:
        self._step("end", t.EndResolved(), self.opener)
        if self.channel is not None:
            raise Refusal("end: the channel is still there")


Phase = Callable[[Life], None]
ANSWERED: tuple[Phase, ...] = (
    Life.open, Life.add, Life.close, Life.respond, Life.responder_frees, Life.closer_frees, Life.end,
)  # fmt: skip
LEFT_ALONE: tuple[Phase, ...] = (Life.open, Life.close, Life.free_closed)
AFTER_THE_PERIOD: tuple[Phase, ...] = (Life.elapse, Life.other_takes, Life.end)
STEPS = len(ANSWERED) + len(LEFT_ALONE) + len(AFTER_THE_PERIOD)  # script transactions of a pair
