"""R2. What a channel must reserve: the least lovelace of its largest possible output (V9, V11, decision 7).

min_ada is agreed once, at open, for every stage: both exclude lists full, every integer as long as it can
get, a staking part in the address. What the partners share may then fall to nothing and the output stands.
"""

from __future__ import annotations

from gateway.cl.data import types as t
from gateway.cl.data.codec import encode_datum, thread_token_name
from gateway.cl.l1.address import StakePart, script_address
from gateway.cl.l1.body import Out, output_bytes
from gateway.cl.l1.protocol import read_figures
from gateway.cl.ports import ChainParams
from gateway.hashlock import Hashlock
from gateway.units import Lovelace, Ms, PosixMs

_U64 = (1 << 64) - 1
_BIG = Lovelace(-_U64)  # books are signed; a negative one is as long as a positive one
_SQUASH = t.Squash(Lovelace(_U64), _U64, tuple(range(_U64 - t.MAX_EXCLUDES, _U64)))
_ENTRIES = t.Commitment(b"\xff" * 32, Lovelace(_U64), Lovelace(_U64))
_KEYS = (t.VerificationKey(b"\x01" * 32), t.VerificationKey(b"\x02" * 32))
_CID = t.ChannelId(b"\xff" * 20)
WORST_STAGES: tuple[t.Stage, ...] = (
    t.Opened(Lovelace(_U64), t.Snapshot(_SQUASH, _SQUASH), Ms(_U64)),
    t.Closed(_BIG, _SQUASH, _SQUASH, PosixMs(_U64), _ENTRIES),
    t.Resolved(Lovelace(_U64), _ENTRIES, _ENTRIES),
)
WORST_ENTRY = t.Entry(_U64, Lovelace(_U64), PosixMs(_U64), Hashlock(b"\xff" * 32), False)


def worst_output(stage: t.Stage, network_magic: int, *, staked: bool) -> Out:
    """The largest output of this stage: `Lovelace` and `min_ada` need nine bytes each."""
    policy = b"\xff" * 28
    stake = StakePart(b"\xff" * 28) if staked else None
    datum = encode_datum(t.Datum(policy, _KEYS, stage, Lovelace(_U64), 1))
    token = policy + thread_token_name(_CID)
    return Out(str(script_address(policy, network_magic, stake)), _U64, ((token, 1),), datum)


def worst_bytes(network_magic: int, *, staked: bool = True) -> int:
    return max(len(output_bytes(worst_output(s, network_magic, staked=staked))) for s in WORST_STAGES)


def channel_min_ada(params: ChainParams, *, staked: bool = True) -> Lovelace:
    """What both agree at open as min_ada: enough for the worst case of every stage at today's price a byte.
    A later rise of that price is met by the builder, which tops up the output (continuing lovelace is >=)."""
    size = worst_bytes(params.network_magic, staked=staked)
    return Lovelace(read_figures(params).min_utxo(size))
