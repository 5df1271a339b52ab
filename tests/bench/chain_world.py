"""The embedded devnet, a wallet with a coin for each channel, and our builders: build, sign, submit, mine."""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl.signing import SigningKey

from gateway.cl.data import types as t
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.data.codec import key_hash
from gateway.cl.l1.address import key_address
from gateway.cl.l1.build import build
from gateway.cl.l1.evaluate import AikenEvaluator
from gateway.cl.l1.intents import BuiltTx, Intent, PublishScript
from gateway.cl.l1.validity import Window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import Point, Tip, Utxo
from gateway.cl.signer.txparts import read_parts, with_witnesses
from gateway.units import Lovelace, PosixMs, Slot
from regtest.cardano import Devnet
from regtest.cardano.failure import Failure
from tests.bench.stopwatch import Stopwatch
from tests.support.channel_world import PAYER, public, verify
from tests.support.l1_world import MAGIC, PARAMS

ADDRESS = str(key_address(key_hash(public(PAYER)), MAGIC))
COIN = 400_000_000
VALID_SLOTS = 900
BLOCK_TXS = 10
BUILD, BUILD_EVALUATION, SIGN = "build", "evaluation in build", "sign"
SUBMIT, BLOCKS = "submit, the rest", "blocks and index"


class Refusal(Exception):
    """A transaction of the benchmark did not stand: its figures would mean nothing."""


@dataclass(frozen=True)
class Submitted:
    """What the devnet accepted, in its order; `slot` as of which it was judged."""

    step: str
    raw: bytes
    slot: int
    seconds: float  # of `Devnet.submit` alone


@dataclass
class World:
    devnet: Devnet
    watch: Stopwatch = field(default_factory=Stopwatch)
    submitted: list[Submitted] = field(default_factory=list)
    script_utxo: Utxo | None = None
    evaluator: TimedEvaluator = field(init=False)

    def __post_init__(self) -> None:
        self.evaluator = TimedEvaluator(self.watch)

    def coins(self, count: int) -> list[Utxo]:
        """Plain outputs of the wallet, mined."""
        paid = self.devnet.faucet([(ADDRESS, COIN)] * count)
        rows = list(paid.produced().items())[:count]
        return [Utxo(t.OutputRef(r.tx_id, r.index), ADDRESS, Lovelace(o.lovelace)) for r, o in rows]

    def publish(self) -> None:
        """The validator into a reference script's output; no script runs, so it is not counted."""
        built = self._build([PublishScript()], self.coins(1))
        raw = self._sign(built, [])
        if isinstance(outcome := self.devnet.submit(raw), Failure):
            raise Refusal(str(outcome))
        self.devnet.mine()
        self.script_utxo = built.script_utxo

    def run(self, step: str, intents: list[Intent], wallet: Utxo, keys: list[SigningKey]) -> BuiltTx:
        """Raises `Refusal`. The wallet's change is the last of `produced`."""
        with self.watch.part(BUILD):
            built = self._build(intents, [wallet])
        with self.watch.part(SIGN):
            raw = self._sign(built, keys)
        slot = self.devnet.tip.slot + 1
        before = self.watch.total
        with self.watch.part(SUBMIT):
            outcome = self.devnet.submit(raw)
        if isinstance(outcome, Failure):
            raise Refusal(f"{step}: {outcome}")
        self.submitted.append(Submitted(step, raw, slot, self.watch.total - before))
        if len(self.submitted) % BLOCK_TXS == 0:
            self.mine()
        return built

    def mine(self) -> None:
        with self.watch.part(BLOCKS):
            self.devnet.mine()

    def now(self) -> PosixMs:
        return PosixMs(self.devnet.now_ms())

    def _window(self) -> Window:
        low = self.devnet.tip.slot
        high = low + VALID_SLOTS
        start_of = self.devnet.chain.time.start_of
        return Window(Slot(low), Slot(high), PosixMs(start_of(low)), PosixMs(start_of(high)))

    def _build(self, intents: list[Intent], wallet: list[Utxo]) -> BuiltTx:
        tip = Tip(Point(Slot(self.devnet.tip.slot), self.devnet.tip.hash), self.devnet.tip.height)
        held = self.script_utxo
        view = ChainView(tip, self.now(), PARAMS, load_blueprint(), ADDRESS, tuple(wallet), script_utxo=held)
        built = build(view, intents, self._window(), self.evaluator, verify)
        if not isinstance(built, BuiltTx):
            raise Refusal(str(built))
        return built

    @staticmethod
    def _sign(built: BuiltTx, keys: list[SigningKey]) -> bytes:
        signing = [PAYER, *keys]
        rows = [(bytes(k.verify_key), k.sign(built.tx_id).signature) for k in signing]
        return with_witnesses(read_parts(built.tx_cbor), rows)


class TimedEvaluator(AikenEvaluator):
    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def evaluate(self, tx_cbor, resolved, params):  # type: ignore[no-untyped-def]
        with self._watch.part(BUILD_EVALUATION):
            return super().evaluate(tx_cbor, resolved, params)
