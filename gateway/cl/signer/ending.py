"""R3. What the signer itself asks of an end by both signatures (decision 9), from the body's own bytes.

It believes neither the node nor the partner: what is owed follows from the partner's newest signed snapshot, from the
newest that this signer signed, and from the channel's output; the body must burn the channel's token and pay that.
"""

from __future__ import annotations

from typing import Any

from gateway.cl.data.books import newer
from gateway.cl.data.codec import key_hash, snapshot_message, thread_token_name
from gateway.cl.data.ending import EndEvidence
from gateway.cl.data.types import ChannelId, Datum, Opened, Squash, VerificationKey
from gateway.cl.signer.errors import END
from gateway.cl.signer.guard import SignGuard
from gateway.cl.signer.txparts import TxParts
from gateway.cl.signer.verify import verify
from gateway.errors import Refused

# inputs, outputs, fee, end and start of validity, mint, script data hash, collateral (3), signers, references
_FIELDS = frozenset((0, 1, 2, 3, 8, 9, 11, 13, 14, 16, 17, 18))


def _need(field: str, holds: bool, got: object, allowed: object) -> None:
    if not holds:
        raise Refused(END(field=field, got=got, allowed=allowed))


def partner_of(datum: Datum, key: VerificationKey) -> VerificationKey:
    _need("keys", key in datum.keys, key.hex(), "a key of the channel")
    return datum.keys[1] if key == datum.keys[0] else datum.keys[0]


def check(
    parts: TxParts,
    key: VerificationKey,
    channel: ChannelId,
    evidence: EndEvidence,
    guard: SignGuard,
    policy: bytes,
    wallet_hash: bytes,
) -> None:
    """Raises `Refused` (cl.signer.end), naming what is wrong with the body or with the moment."""
    body = parts.body
    partner = partner_of(evidence.datum, key)
    _need("body", set(body) <= _FIELDS, sorted(set(body) - _FIELDS), "no other field")
    burnt = {policy: {thread_token_name(channel): -1}}
    _need("mint", _plain(body.get(9, {})) == burnt, "another mint", "the channel's token burnt, nothing else")
    signers = set(body.get(14, ()))
    both = {key_hash(key), key_hash(partner)}
    _need("required_signers", signers == both, len(signers), "the two partners")
    spent = {(bytes(row[0]), int(row[1])) for row in body.get(0, ())}
    ours = {(ref.tx_id, ref.index) for ref in evidence.inputs}
    _need(
        "inputs", (evidence.output.tx_id, evidence.output.index) in spent, "without it", str(evidence.output)
    )
    if evidence.inputs:
        others = spent - ours - {(evidence.output.tx_id, evidence.output.index)}
        _need("inputs", not others and ours <= spent, len(spent), "the channel's and ours")
    _need("validity", type(body.get(3)) is int, "no end", "an end of validity")
    owed = _owed(key, partner, channel, evidence, guard)
    if evidence.inputs:
        owed += evidence.spent.value - int(body[2])
    paid = sum(_paid(output, wallet_hash) for output in body[1])
    _need("outputs", paid >= owed, f"{paid} lovelace to us", f">= {owed}")


def _plain(mint: Any) -> dict[bytes, dict[bytes, int]]:
    return {policy: dict(tokens) for policy, tokens in dict(mint).items()}


def _paid(output: Any, wallet_hash: bytes) -> int:
    """Lovelace of an output that our wallet's key controls; 0 for every other."""
    address, value = output[0], output[1]  # of either form, a map or a list
    if not isinstance(address, bytes) or len(address) not in (29, 57) or address[0] >> 4 not in (0, 2, 6):
        return 0
    if address[1:29] != wallet_hash or (isinstance(output, dict) and 2 in output):
        return 0
    return value if isinstance(value, int) else int(value[0])


def _owed(
    key: VerificationKey,
    partner: VerificationKey,
    channel: ChannelId,
    evidence: EndEvidence,
    guard: SignGuard,
) -> int:
    """Our share by the chain's record and both newest snapshots, and the min-ada if it is ours."""
    datum, stage = evidence.datum, evidence.datum.stage
    if not isinstance(stage, Opened):
        raise Refused(END(field="stage", got=type(stage).__name__, allowed="Opened"))
    total = (evidence.lovelace - datum.min_ada).value
    non_opener = stage.non_opener_amount.value
    deposit = total - non_opener if key == datum.keys[0] else non_opener
    _, signed = guard.signed(key, channel)
    sent = newer(signed.received_by(partner, key), stage.snapshot.received_by(partner, key))
    live = guard.uncovered(key, channel, sent)
    _need("cheques", not live, f"cheque {live[:5]} is live", "none")
    received: Squash = stage.snapshot.received_by(key, partner)
    if evidence.held is not None:
        message = snapshot_message(channel, evidence.held.snapshot)
        fine = verify(partner, message, evidence.held.signature)
        _need("held", fine, "not the partner's", "a snapshot signed by the partner")
        received = newer(evidence.held.snapshot.received_by(key, partner), received)
    share = min(max(deposit + received.amount.value - sent.amount.value, 0), total)
    return share + (datum.min_ada.value if datum.keys[datum.min_ada_owner] == key else 0)
