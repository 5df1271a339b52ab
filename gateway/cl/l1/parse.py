"""R2. From an output on chain to a channel, or why it is none.

Anyone may send anything to the script's address (V15): only an output that holds a thread token of our
policy under its full name is read further, so junk costs one look at its assets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.cl.data.codec import cid_of_token, decode_datum
from gateway.cl.data.types import ChannelId, Datum, OutputRef
from gateway.cl.l1.address import StakePart, read_address
from gateway.cl.l1.errors import NOT_CHANNEL
from gateway.cl.ports import Utxo
from gateway.errors import Refused, Rejection
from gateway.units import Lovelace


@dataclass(frozen=True, slots=True)
class ChannelOutput:
    """An authentic channel: its thread token is in it, exactly one, and nothing else but ada."""

    cid: ChannelId
    datum: Datum
    utxo: Utxo
    stake: StakePart | None

    @property
    def ref(self) -> OutputRef:
        return self.utxo.ref

    @property
    def total(self) -> Lovelace:
        """What the partners share; negative only when the deposit was never covered."""
        return self.utxo.lovelace - self.datum.min_ada


def _no(field: str, got: object, allowed: object) -> Refused:
    return Refused(NOT_CHANNEL(field=field, got=got, allowed=allowed))


def parse_output(utxo: Utxo, policy: bytes) -> ChannelOutput | Rejection:
    """`Rejection` (cl.l1.not_a_channel, cl.data.*) says why it is none. Bounded by the size of the output."""
    try:
        return _parse(utxo, policy)
    except Refused as e:
        return e.rejection


def _parse(utxo: Utxo, policy: bytes) -> ChannelOutput:
    if len(utxo.assets) != 1:  # F3: exactly the thread token
        raise _no("assets", f"{len(utxo.assets)} assets", "one thread token")
    unit, quantity = utxo.assets[0]
    if unit[:28] != policy or quantity != 1:  # In.1
        raise _no("assets", f"{quantity} of {unit.hex()}", f"1 of policy {policy.hex()}")
    cid = cid_of_token(unit[28:])  # In.2, F3: the full name, prefix and length
    address = read_address(utxo.address)
    if not address.is_script or address.payment != policy:
        raise _no("address", utxo.address, f"script {policy.hex()}")
    if utxo.datum_cbor is None:
        raise _no("datum", "a hash" if utxo.datum_hash else "none", "an inline datum")
    if utxo.script_ref_cbor is not None:
        raise _no("script_ref", "present", "none")
    datum = decode_datum(utxo.datum_cbor)
    if datum.own_hash != policy:  # V15: a forged own_hash
        raise _no("datum.own_hash", datum.own_hash.hex(), policy.hex())
    if utxo.lovelace < datum.min_ada:
        raise _no("lovelace", utxo.lovelace, f">= {datum.min_ada}")
    return ChannelOutput(cid, datum, utxo, address.stake)


def parse_channels(utxos: Iterable[Utxo], policy: bytes) -> dict[ChannelId, ChannelOutput]:
    """The channels among `utxos`; everything else is ignored (V15)."""
    found: dict[ChannelId, ChannelOutput] = {}
    for utxo in utxos:
        parsed = parse_output(utxo, policy)
        if isinstance(parsed, ChannelOutput):
            found[parsed.cid] = parsed
    return found
