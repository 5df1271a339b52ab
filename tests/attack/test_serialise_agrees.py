"""V19, F9: our bytes are the bytes that the chain's `serialiseData` writes, on 10^4 random objects."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.data.plutus import Constr, Data, Map, deserialise, serialise
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, PosixMs
from tests.support import phase2
from tests.support.channel_world import WALLET
from validators import build

PROBE = Path(__file__).parents[1] / "golden" / "cl_data" / "probe"
SCRIPT = bytes.fromhex((PROBE / "compiled.hex").read_text())
OBJECTS, BATCH = 10_000, 25
LENGTHS = (0, 1, 20, 23, 24, 28, 31, 32, 63, 64, 65, 127, 128, 129, 255, 256, 300)
EDGES = (
    0,
    1,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    2**32 - 1,
    2**32,
    2**63,
    2**64 - 1,
    2**64,
    2**65,
    2**500,
    2**520,
)
TAGS = (0, 1, 2, 6, 7, 8, 127, 128, 1000)


def chain_agrees(pairs: list[tuple[Data, bytes]]) -> bool:
    policy = phase2.script_hash(SCRIPT)
    tx = phase2.Tx(SCRIPT, inputs=[phase2.Spend((b"\x01" * 32, 0), phase2.Output(WALLET, 10_000_000))])
    tx.outputs = [phase2.Output(WALLET, 5_000_000)]
    tx.mint, tx.mint_redeemers = {policy: {b"": 1}}, {policy: tuple(pairs)}
    ran = phase2.run(tx)
    assert ran.ok or "RedeemerError" in ran.message, ran.message
    return ran.ok


def random_data(rng: random.Random, depth: int = 0) -> Data:
    kind = rng.randrange(2 if depth > 1 else 5)
    if kind == 0:
        value = (
            rng.choice(EDGES) + rng.choice((-1, 0, 1))
            if rng.random() < 0.5
            else rng.getrandbits(rng.randrange(1, 90))
        )
        return value if rng.random() < 0.6 else -value
    if kind == 1:
        return rng.randbytes(rng.choice(LENGTHS))
    items = tuple(random_data(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3))))
    if kind == 2:
        return items
    if kind == 3:
        return Constr(rng.choice(TAGS), items)
    return Map(tuple((random_data(rng, depth + 1), item) for item in items))


def random_message(rng: random.Random) -> bytes:
    """A cheque's or a snapshot's message over random channel data."""
    cid = t.ChannelId(rng.randbytes(20))
    if rng.random() < 0.5:
        lock = Hashlock(rng.randbytes(32))
        timeout = PosixMs(rng.getrandbits(rng.randrange(1, 65)))
        cheque = t.Cheque(rng.getrandbits(rng.randrange(1, 65)), timeout, lock, Lovelace(rng.getrandbits(50)))
        return codec.cheque_message(cid, cheque)

    def squash() -> t.Squash:
        gaps = sorted(rng.sample(range(1, 400), rng.randrange(21)))
        return t.Squash(Lovelace(rng.getrandbits(60)), 400, tuple(gaps))

    return codec.snapshot_message(cid, t.Snapshot(squash(), squash()))


@pytest.mark.threat("V19")
@pytest.mark.long
@pytest.mark.kind("MUT")
def test_random_objects_serialise_as_on_chain_f9() -> None:
    rng = random.Random(19)
    batch: list[tuple[Data, bytes]] = []
    done = 0
    while done < OBJECTS:
        if rng.random() < 0.7:
            data: Data = random_data(rng)
            batch.append((data, serialise(data)))
        else:
            message = random_message(rng)
            batch.append((deserialise(message), message))
        done += 1
        if len(batch) == BATCH or done == OBJECTS:
            assert chain_agrees(batch)
            batch = []


@pytest.mark.threat("V19")
@pytest.mark.kind("MUT")
def test_the_probe_refuses_other_bytes() -> None:
    """Definite lists, as other libraries write them, are not what the chain writes."""
    good: Data = (1, b"\x02", ())
    assert chain_agrees([(good, serialise(good))])
    for bad in (bytes.fromhex("8301410280"), serialise(good)[:-1], bytes.fromhex("9f0141029fffff"), b""):
        assert not chain_agrees([(good, serialise(good)), (good, bad)])


@pytest.mark.daemons  # needs the Aiken compiler, which `make validators-check` installs
def test_the_probe_is_what_its_source_compiles_to() -> None:
    names = ("aiken.toml", "validators/probe.ak")
    blueprint = build.cached({name: (PROBE / name).read_text() for name in names})
    assert bytes.fromhex(blueprint["validators"][0]["compiledCode"]) == SCRIPT
