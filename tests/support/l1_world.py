"""A frozen view with a funded wallet and channels in any stage, over the devnet's parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.data.blueprint import load_blueprint
from gateway.cl.l1.address import key_address, script_address
from gateway.cl.l1.evaluate import AikenEvaluator
from gateway.cl.l1.parse import ChannelOutput, parse_output
from gateway.cl.l1.validity import Window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import ChainParams, EraSummary, Point, Tip, Utxo
from gateway.units import Lovelace, PosixMs, Slot
from regtest.cardano.params import Params
from tests.support import channel_world as w
from tests.support import phase2

MAGIC = 42
WALLET = str(key_address(b"\x55" * 28, MAGIC))
ERAS = (EraSummary(Slot(0), PosixMs(phase2.SLOT_ZERO_MS), phase2.SLOT_MS, None),)
PARAMS = ChainParams(Params().ogmios(), ERAS, MAGIC, PosixMs(phase2.SLOT_ZERO_MS))
WINDOW = Window(Slot(w.LB_SLOT), Slot(w.UB_SLOT), w.LB, w.UB)
TIP = Tip(Point(Slot(w.LB_SLOT), b"\x01" * 32), 7)
EVALUATOR = AikenEvaluator()
POLICY = load_blueprint().hash
VERIFY = w.verify


def coin(n: int, lovelace: int, assets: tuple[tuple[bytes, int], ...] = ()) -> Utxo:
    ref = t.OutputRef(hashlib.sha256(b"coin %d" % n).digest(), n % 3)
    return Utxo(ref, WALLET, Lovelace(lovelace), assets)


def script_holder() -> Utxo:
    script = load_blueprint().script
    content = b"\x82\x03\x59" + len(script).to_bytes(2, "big") + script
    return Utxo(t.OutputRef(b"\xee" * 32, 0), WALLET, Lovelace(60_000_000), script_ref_cbor=content)


def on_chain(c: w.Channel) -> ChannelOutput:
    unit = POLICY + codec.thread_token_name(c.cid)
    address = str(script_address(POLICY, MAGIC))
    ref = t.OutputRef(*c.ref)
    utxo = Utxo(ref, address, Lovelace(c.lovelace), ((unit, 1),), codec.encode_datum(c.datum))
    parsed = parse_output(utxo, POLICY)
    assert isinstance(parsed, ChannelOutput), parsed
    return parsed


def view(
    wallet: Sequence[Utxo] | None = None,
    channels: Sequence[ChannelOutput] = (),
    *,
    by_reference: bool = True,
) -> ChainView:
    coins = (coin(1, 50_000_000), coin(2, 20_000_000)) if wallet is None else tuple(wallet)
    held = script_holder() if by_reference else None
    return ChainView(TIP, w.LB, PARAMS, load_blueprint(), WALLET, coins, tuple(channels), held)
