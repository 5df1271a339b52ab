"""R3. `Signer` over the keystore in this process: guard first, then the signature (decision 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coincurve import PublicKey
from nacl.signing import SigningKey

from gateway.cl.data.codec import cheque_message, cid_of_token, decode_datum, key_hash, snapshot_message
from gateway.cl.data.ending import EndEvidence
from gateway.cl.data.types import ChannelId, Cheque, Signature, Snapshot, VerificationKey
from gateway.cl.l1.address import key_address
from gateway.cl.signer import ending
from gateway.cl.signer.errors import BAD_INPUT, END, NOT_OURS, UNKNOWN_KEY
from gateway.cl.signer.guard import SignGuard
from gateway.cl.signer.keys import KeyRing
from gateway.cl.signer.keystore import Keystore
from gateway.cl.signer.txparts import TxParts, read_parts, with_witnesses
from gateway.cl.signer.verify import verify
from gateway.errors import Refused


class FileSigner:
    """`policy` is the validator's hash: only transactions that act on its channels get a channel key's witness."""

    def __init__(self, keystore: Keystore, guard: SignGuard, policy: bytes) -> None:
        self._store = keystore
        self._guard = guard
        self._policy = policy
        self._ring = KeyRing(keystore.secrets.words, keystore.network)
        self._keys: dict[VerificationKey, SigningKey] = {}
        for index in range(keystore.secrets.next_channel):
            self._load(index)

    def __repr__(self) -> str:
        return f"FileSigner({self._store.path})"

    def _load(self, index: int) -> VerificationKey:
        key = self._ring.channel_key(index)
        public = VerificationKey(bytes(key.verify_key))
        self._keys[public] = key
        return public

    def wallet_address(self, network_magic: int) -> str:
        return str(key_address(self._ring.wallet_hash, network_magic))

    async def node_id(self) -> bytes:
        return self._ring.node_id

    async def new_channel_key(self) -> VerificationKey:
        return self._load(self._store.take_channel_index())

    def _key(self, key: VerificationKey) -> SigningKey:
        found = self._keys.get(key)
        if found is None:
            raise Refused(UNKNOWN_KEY(field="key", got=key.hex()))
        return found

    async def sign_cheque(self, key: VerificationKey, channel: ChannelId, cheque: Cheque) -> Signature:
        signing, message = self._key(key), cheque_message(channel, cheque)
        self._guard.cheque(key, channel, cheque)
        return Signature(signing.sign(message).signature)

    async def sign_snapshot(self, key: VerificationKey, channel: ChannelId, snapshot: Snapshot) -> Signature:
        signing, message = self._key(key), snapshot_message(channel, snapshot)
        self._guard.snapshot(key, channel, snapshot)
        return Signature(signing.sign(message).signature)

    async def signed(self, key: VerificationKey, channel: ChannelId) -> tuple[int, Snapshot]:
        return self._guard.signed(key, channel)

    async def sign_transaction(self, keys: Sequence[VerificationKey], tx_cbor: bytes) -> bytes:
        """The body's bytes stay as they are. Raises `Refused` (cl.signer.not_our_channel, .unknown_key)."""
        parts = read_parts(tx_cbor)
        chosen = sorted(set(keys))
        foreign = set(parts.body.get(14, ())) - {key_hash(k) for k in chosen}
        if foreign:  # beside a partner's, our signature ends a channel whatever is owed: see `complete_end`
            got = ", ".join(sorted(one.hex() for one in foreign if isinstance(one, bytes)))[:120]
            raise Refused(NOT_OURS(field="required_signers", got=got, allowed="the keys asked for"))
        signing = [self._key(k) for k in chosen]
        for key in chosen:
            for cid in self._channels_touched(parts, key):
                self._guard.bind(key, cid)
        witnesses = [(self._ring.wallet_public, self._ring.sign_wallet(parts.tx_id))]
        witnesses += [(k.raw, s.sign(parts.tx_id).signature) for k, s in zip(chosen, signing, strict=True)]
        return with_witnesses(parts, witnesses)

    async def approve_end(
        self, key: VerificationKey, channel: ChannelId, tx_cbor: bytes, evidence: EndEvidence
    ) -> Signature:
        """The channel key's alone: the wallet signs nothing that a partner built."""
        parts = read_parts(tx_cbor)
        return self._end(parts, key, channel, evidence)

    async def complete_end(
        self,
        key: VerificationKey,
        channel: ChannelId,
        tx_cbor: bytes,
        evidence: EndEvidence,
        partner: Signature,
    ) -> bytes:
        """Our own proposal, with every witness: the partner's, the channel key's and the wallet's."""
        parts = read_parts(tx_cbor)
        other = ending.partner_of(evidence.datum, key)
        if not verify(other, parts.tx_id, partner):
            raise Refused(END(field="partner", got="a signature of something else", allowed=other.hex()))
        own = self._end(parts, key, channel, evidence)
        wallet = (self._ring.wallet_public, self._ring.sign_wallet(parts.tx_id))
        return with_witnesses(parts, [wallet, (key.raw, own.raw), (other.raw, partner.raw)])

    def _end(
        self, parts: TxParts, key: VerificationKey, channel: ChannelId, evidence: EndEvidence
    ) -> Signature:
        signing = self._key(key)
        ending.check(parts, key, channel, evidence, self._guard, self._policy, self._ring.wallet_hash)
        self._guard.bind(key, channel)
        self._guard.end(key, channel)
        return Signature(signing.sign(parts.tx_id).signature)

    def _channels_touched(self, parts: TxParts, key: VerificationKey) -> set[ChannelId]:
        """The channels of `key` that this transaction steps or ends; fails when there is none."""
        if key_hash(key) not in parts.body.get(14, ()):
            raise Refused(NOT_OURS(field="required_signers", got="without it", allowed=key.hex()))
        minted: dict[bytes, int] = dict(parts.body.get(9, {}).get(self._policy, {}))
        if not minted:
            raise Refused(NOT_OURS(field="mint", got="not our policy", allowed=self._policy.hex()))
        known = self._guard.channels_of(key)
        found: set[ChannelId] = set()
        for name, quantity in minted.items():
            if len(name) == 23 and quantity == -1:
                cid = cid_of_token(name)
                if not known or cid in known:  # a key that signed nothing yet ends its first channel
                    found.add(cid)
        for output in parts.body[1]:
            cid_here = self._continued(output, key)
            if cid_here is not None and minted.get(b"\xe2\x9a\xa1" + cid_here.raw, 0) == 0:
                found.add(cid_here)
        if not found:
            raise Refused(NOT_OURS(field="outputs", got="no channel of the key", allowed=key.hex()))
        return found

    def _continued(self, output: Any, key: VerificationKey) -> ChannelId | None:
        """The channel that this output continues, when `key` is one of its keys."""
        if not isinstance(output, dict) or not isinstance(output.get(1), list) or 2 not in output:
            return None
        try:
            tokens = output[1][1].get(self._policy, {})
            datum = decode_datum(output[2][1].value)
            (name,) = tokens
        except (AttributeError, IndexError, TypeError, ValueError, Refused):
            return None
        return cid_of_token(name) if key in datum.keys else None

    async def sign_invoice(self, message_hash: bytes) -> bytes:
        if len(message_hash) != 32:
            raise Refused(BAD_INPUT(field="message_hash", got=f"{len(message_hash)} bytes", allowed="32"))
        return bytes(self._ring.node_key.sign_recoverable(message_hash, hasher=None))

    async def node_ecdh(self, point: bytes) -> bytes:
        try:
            PublicKey(point)  # on the curve, compressed or not
        except ValueError:
            raise Refused(
                BAD_INPUT(field="point", got=point[:33].hex(), allowed="a secp256k1 point")
            ) from None
        return bytes(self._ring.node_key.ecdh(point))
