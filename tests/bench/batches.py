"""For each step and number of pending cheques: a batch of channels, and the largest one that builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nacl.signing import SigningKey

from gateway.cl.data import types as t
from gateway.cl.l1.body import utxo_bytes
from gateway.cl.l1.build import build, channel_ids
from gateway.cl.l1.intents import AgreedTerms, BuiltTx, EndTogether, Intent, OpenChannel, StepChannel
from gateway.cl.l1.protocol import read_figures
from gateway.cl.l1.sizing import channel_min_ada
from gateway.cl.signer.txparts import read_parts, with_witnesses
from gateway.units import Lovelace
from regtest.cardano.cbor import parse
from regtest.cardano.transaction import Ref, decode_output
from tests.bench.chain_world import ADDRESS
from tests.support import channel_world as w
from tests.support import l1_world as l
from tests.support.clause_table import M, closed, resolved, squash
from tests.support.healthy_moves import mutual_end
from tests.support.whole_tx import Whole

Keys = tuple[str, str]
NEW = "new"
MOST = 255  # opens of one seed
COIN = replace(l.coin(1, 60_000_000_000), address=ADDRESS)


def _entries(count: int) -> tuple[t.Entry, ...]:
    return tuple(w.entry(n, M) for n in range(3, 3 + count))


def _all(entries: tuple[t.Entry, ...]) -> tuple[t.Unlock, ...]:
    return w.unlocks(entries, *range(len(entries)))


def _snapshot(c: w.Channel, key: SigningKey) -> t.SignedSnapshot:
    return w.signed_snapshot(key, c.cid, c.snapshot(squash(6 * M, 2, 1), squash(2 * M, 2)))


def add(name: str, keys: Keys, _: int) -> w.Move:
    c = w.channel(w.opened(), name=name, keys=keys)
    return w.Move(c, t.Add(False, _snapshot(c, c.key0)), [c.key1], add=5 * M)


def close(name: str, keys: Keys, count: int) -> w.Move:
    c = w.channel(w.opened(), name=name, keys=keys)
    cheques = tuple(w.locked(c.key1, c.cid, n, M) for n in range(3, 3 + count))
    return w.Move(c, t.Close(True, t.Receipt(_snapshot(c, c.key1), cheques)), [c.key0])


def respond(name: str, keys: Keys, count: int) -> w.Move:
    c = w.channel(closed(entries=_entries(count)), name=name, keys=keys)
    cheques = tuple(w.locked(c.key0, c.cid, n, M) for n in range(3, 3 + count))
    return w.Move(c, t.Respond(t.Receipt(None, cheques)), [c.key1])


def respond_with_list(name: str, keys: Keys, count: int) -> w.Move:
    """The closer's list is presented too, because its squash moves on."""
    c = w.channel(closed(entries=_entries(count)), name=name, keys=keys)
    cheques = tuple(w.locked(c.key0, c.cid, n, M) for n in range(3, 3 + count))
    receipt = t.Receipt(_snapshot(c, c.key0), cheques)
    return w.Move(c, t.Respond(receipt, True, True, True, _entries(count)), [c.key1])


def elapse(name: str, keys: Keys, count: int) -> w.Move:
    mine = _entries(count)
    c = w.channel(closed(entries=mine), name=name, keys=keys)
    return w.Move(c, t.Elapse(mine, _all(mine)) if mine else t.Elapse(), [c.key0])


def free_closed(name: str, keys: Keys, count: int) -> w.Move:
    mine = _entries(count)
    c = w.channel(closed(entries=mine), name=name, keys=keys)
    return w.Move(c, t.FreeInClosed(mine, _all(mine)), [c.key0])


def free_resolved(name: str, keys: Keys, count: int) -> w.Move:
    mine = _entries(count)
    c = w.channel(resolved(7 * M, (), mine), name=name, keys=keys)
    step = t.FreeInResolved(False, mine, _all(mine)) if mine else t.FreeInResolved(False)
    return w.Move(c, step, [c.key1])


def end(name: str, keys: Keys, count: int) -> w.Move:
    mine = _entries(count)
    c = w.channel(resolved(0, mine, ()), name=name, keys=keys)
    return w.Move(c, t.EndResolved(mine, _all(mine)) if mine else t.EndResolved(), [c.key0])


def elapse_end(name: str, keys: Keys, count: int) -> w.Move:
    mine = _entries(count)
    c = w.channel(closed((100 - count) * M, entries=mine), name=name, keys=keys)
    return w.Move(c, t.ElapseEnd(mine, _all(mine)) if mine else t.ElapseEnd(), [c.key0])


def respond_end(name: str, keys: Keys, count: int) -> w.Move:
    c = w.channel(closed(count * M, entries=()), name=name, owner=1, keys=keys)
    cheques = tuple(w.unlocked(c.key0, c.cid, n, M) for n in range(3, 3 + count))
    return w.Move(c, t.RespondEnd(t.Receipt(None, cheques)), [c.key1])


def both_end(name: str, keys: Keys, _: int) -> w.Move:
    made = mutual_end(name)
    c = w.channel(w.opened(), name=name, keys=keys)
    return replace(made, channel=c, signers=[c.key0, c.key1])


Maker = Callable[[str, Keys, int], w.Move]
STEPS: dict[str, Maker | None] = {
    NEW: None, "add": add, "close": close, "respond": respond, "respond_with_list": respond_with_list,
    "elapse": elapse, "free_closed": free_closed, "free_resolved": free_resolved, "end": end,
    "elapse_end": elapse_end, "respond_end": respond_end, "mutual_end": both_end,
}  # fmt: skip
PENDING = (0, 1, 5, 10, 20)
WITHOUT_CHEQUES = (NEW, "add", "mutual_end")  # their cost knows no pending ones
NEEDS_CHEQUES = ("free_closed",)


@dataclass(frozen=True)
class Batch:
    """`whole`: signed, with the outputs that it spends, for the judges."""

    count: int
    built: BuiltTx
    whole: Whole

    @property
    def mint_units(self) -> tuple[int, int]:
        return next((r.units.mem, r.units.steps) for r in self.built.draft.redeemers if r.tag == "mint")


def pendings(step: str) -> tuple[int, ...]:
    if step in WITHOUT_CHEQUES:
        return (0,)
    return PENDING[1:] if step in NEEDS_CHEQUES else PENDING


def batch(step: str, pending: int, count: int, one_key: bool) -> Batch | str:
    """The code of the refusal when it does not fit."""
    maker = STEPS[step]
    signing: dict[bytes, SigningKey] = {bytes(w.PAYER.verify_key): w.PAYER}
    intents: list[Intent] = []
    spent = [COIN, l.script_holder()]
    if maker is None:
        key0, key1 = w.public(w.keypair("zero")), w.public(w.keypair("one"))
        least = channel_min_ada(l.PARAMS)
        for cid in channel_ids(COIN.ref, count):
            terms = AgreedTerms(cid, key0, key1, Lovelace(100 * M), Lovelace(0), least, 0, w.PERIOD)
            intents.append(OpenChannel(terms, COIN.ref))
    else:
        for n in range(count):
            own = "" if one_key else f" {n}"
            move = maker(f"{step} {n}", (f"zero{own}", f"one{own}"), pending)
            at = l.on_chain(move.channel)
            spent.append(at.utxo)
            signing |= {bytes(k.verify_key): k for k in move.signers}
            key = w.public(move.signers[0])
            if isinstance(move.step, t.MutualEnd):
                intents.append(EndTogether(at, key, w.public(move.signers[1]), ADDRESS, Lovelace(70 * M)))
            else:
                intents.append(StepChannel(at, move.step, key, Lovelace(move.add)))
    view = replace(l.view([COIN]), wallet_address=ADDRESS)
    built = build(view, intents, l.WINDOW, l.EVALUATOR, l.VERIFY)
    if not isinstance(built, BuiltTx):
        return str(built.code)
    rows = [(raw, k.sign(built.tx_id).signature) for raw, k in signing.items()]
    raw = with_witnesses(read_parts(built.tx_cbor), rows)
    utxo = {Ref(u.ref.tx_id, u.ref.index): decode_output(parse(utxo_bytes(u))) for u in spent}
    return Batch(count, built, Whole(raw, utxo, w.LB_SLOT))


TOO_MUCH = ("cl.l1.too_big", "cl.l1.script_failed")  # over the bytes, or over the budget in the evaluator


def largest(step: str, pending: int, one_key: bool) -> tuple[Batch, Batch]:
    """The batch of one and the largest. Raises `ValueError` when not even one builds, or another thing refuses."""
    one = batch(step, pending, 1, one_key)
    if isinstance(one, str):
        raise ValueError(f"{step} with {pending} pending: {one}")
    best, low, high = one, 1, MOST + 1
    guess = 4
    while high - low > 1:
        made = batch(step, pending, guess, one_key)
        if isinstance(made, Batch):
            best, low = made, guess
        elif made in TOO_MUCH:
            high = guess
        else:
            raise ValueError(f"{guess} x {step} with {pending} pending: {made}")
        guess = min(max(low + 1, _predicted(one, best)), high - 1)
    return one, best


def _predicted(one: Batch, best: Batch) -> int:
    """How many fit by the slope between two batches; what is built decides."""
    if best.count == one.count:
        return 2
    rows = zip(_used(one), _used(best), LIMITS, strict=True)
    more = best.count - one.count
    return min(one.count + (limit - a) * more // max(1, b - a) for a, b, limit in rows)


def _used(made: Batch) -> tuple[int, int, int]:
    return len(made.whole.raw), made.built.mem, made.built.steps


_FIGURES = read_figures(l.PARAMS)
LIMITS = (_FIGURES.max_tx_size, _FIGURES.max_mem, _FIGURES.max_steps)


def bound_by(made: Batch) -> str:
    """The limit that the largest batch is nearest to."""
    shares = {
        name: used / limit
        for name, used, limit in zip(("bytes", "mem", "cpu"), _used(made), LIMITS, strict=True)
    }
    return max(shares, key=lambda name: shares[name])
