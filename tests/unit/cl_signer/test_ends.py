"""Decision 9: the signer itself refuses an end that does more than end the channel, or pays less than is owed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cbor2
import pytest
from nacl.signing import SigningKey

from gateway.cl.data import codec
from gateway.cl.data import types as t
from gateway.cl.data.ending import EndEvidence
from gateway.cl.l1.body import Draft, encode
from gateway.cl.l1.build import build
from gateway.cl.l1.ending import end_transaction, terms_of
from gateway.cl.l1.errors import END_BODY
from gateway.cl.l1.intents import BuiltTx, EndTogether
from gateway.cl.l1.parse import ChannelOutput
from gateway.cl.l1.protocol import read_figures
from gateway.cl.signer.file_signer import FileSigner
from gateway.cl.signer.guard import FileGuard
from gateway.cl.signer.keystore import Keystore
from gateway.cl.signer.verify import verify
from gateway.errors import Refused
from gateway.units import Lovelace
from regtest.cardano.transaction import decode_tx
from tests.support import channel_world as w
from tests.support import l1_world as l
from tests.unit.cl_signer.test_verify_and_signer import FAST, WORDS

pytestmark = [pytest.mark.kind("MUT")]
M = 1_000_000
PARTNER = SigningKey(hashlib.sha256(b"partner").digest())
OURS, THEIRS = 30 * M, 70 * M  # the non-opener's is ours
MODEL = read_figures(l.PARAMS).cost_model_v3


@dataclass
class Case:
    """We are the non-opener; the partner builds, unless `we_build`."""

    signer: FileSigner
    key: t.VerificationKey
    channel: w.Channel
    output: ChannelOutput

    @property
    def cid(self) -> t.ChannelId:
        return self.channel.cid

    def built(self, payout: int = OURS, address: str = "") -> tuple[BuiltTx, EndTogether]:
        partner = w.public(PARTNER)
        end = EndTogether(self.output, partner, self.key, address or self.address, Lovelace(payout))
        built = build(l.view(), [end], l.WINDOW, l.EVALUATOR, l.VERIFY)
        assert isinstance(built, BuiltTx), str(built)
        return built, end

    @property
    def address(self) -> str:
        return self.signer.wallet_address(l.MAGIC)

    def evidence(self, held: t.SignedSnapshot | None = None) -> EndEvidence:
        return EndEvidence(self.output.ref, self.output.utxo.lovelace, self.output.datum, held)

    async def approves(self, tx: bytes, held: t.SignedSnapshot | None = None) -> t.Signature:
        return await self.signer.approve_end(self.key, self.cid, tx, self.evidence(held))

    async def refuses(self, tx: bytes, field: str, held: t.SignedSnapshot | None = None) -> None:
        with pytest.raises(Refused) as info:
            await self.approves(tx, held)
        assert (info.value.rejection.code, info.value.rejection.field) == ("cl.signer.end", field)

    def squashes(self, for_us: t.Squash, for_partner: t.Squash) -> t.Snapshot:
        return t.Snapshot.of({self.key: for_us, w.public(PARTNER): for_partner})


@pytest.fixture
async def case(tmp_path: Path) -> Case:
    store = Keystore.create(tmp_path / "keys", "regtest", "secret word", WORDS, FAST)
    signer = FileSigner(store, FileGuard(tmp_path / "guard"), l.POLICY)
    key = await signer.new_channel_key()
    plain = w.channel(w.opened(OURS), OURS + THEIRS)
    mine = replace(plain, datum=replace(plain.datum, keys=(w.public(PARTNER), key)))
    return Case(signer, key, mine, l.on_chain(mine))


def spoilt(built: BuiltTx, **change: object) -> bytes:
    return encode(replace(built.draft, **change), MODEL)[0]  # type: ignore[arg-type]


def with_field(tx: bytes, number: int, value: object) -> bytes:
    parts = cbor2.loads(tx)
    body = dict(parts[0])
    body[number] = value
    return bytes(cbor2.dumps([body, *parts[1:]]))


async def test_an_end_that_pays_what_is_owed_is_signed_by_the_channel_key_alone(case: Case) -> None:
    built, end = case.built()
    terms = terms_of(built, end)
    tx = end_transaction(terms, case.output, l.view().blueprint, l.PARAMS)
    assert tx == built.tx_cbor  # byte for byte from the terms alone
    assert verify(case.key, built.tx_id, await case.approves(tx))


@pytest.mark.threat("P7")
async def test_one_lovelace_less_or_another_address_is_refused(case: Case) -> None:
    await case.refuses(case.built(OURS - 1)[0].tx_cbor, "outputs")
    await case.refuses(case.built(address=l.WALLET)[0].tx_cbor, "outputs")


@pytest.mark.threat("P7")
async def test_what_both_signed_since_the_opening_counts(case: Case) -> None:
    received, sent = t.Squash(Lovelace(7 * M), 2), t.Squash(Lovelace(2 * M), 1)
    held = w.signed_snapshot(PARTNER, case.cid, case.squashes(received, t.Squash()))
    await case.refuses(case.built(OURS + 7 * M - 1)[0].tx_cbor, "outputs", held)
    await case.signer.sign_snapshot(case.key, case.cid, case.squashes(received, sent))
    await case.refuses(case.built(OURS + 5 * M - 1)[0].tx_cbor, "outputs", held)
    assert await case.approves(case.built(OURS + 5 * M)[0].tx_cbor, held)


async def test_a_snapshot_that_the_partner_did_not_sign_proves_nothing(case: Case) -> None:
    held = w.signed_snapshot(w.THIRD, case.cid, case.squashes(t.Squash(Lovelace(M), 1), t.Squash()))
    await case.refuses(case.built()[0].tx_cbor, "held", held)


@pytest.mark.threat("P6")
async def test_while_a_cheque_of_ours_is_live_no_end_is_signed(case: Case) -> None:
    cheque = t.Cheque(1, w.LATER, w.secret(1).hashlock, Lovelace(M))
    await case.signer.sign_cheque(case.key, case.cid, cheque)
    await case.refuses(case.built()[0].tx_cbor, "cheques")
    nothing = case.squashes(t.Squash(), t.Squash(Lovelace(0), 1))
    await case.signer.sign_snapshot(case.key, case.cid, nothing)
    assert await case.approves(case.built()[0].tx_cbor)


async def test_a_body_that_does_not_end_this_channel_and_nothing_else_is_refused(case: Case) -> None:
    built, _ = case.built()
    draft: Draft = built.draft
    other = l.POLICY + codec.thread_token_name(t.ChannelId(b"\x09" * 20))
    await case.refuses(spoilt(built, mint=((other, -1),)), "mint")
    await case.refuses(spoilt(built, mint=()), "mint")
    await case.refuses(spoilt(built, mint=(*draft.mint, (l.POLICY + codec.BOLT_TOKEN, 1))), "mint")
    await case.refuses(spoilt(built, signers=draft.signers[:1]), "required_signers")
    third = codec.key_hash(w.public(w.THIRD))
    await case.refuses(spoilt(built, signers=(*draft.signers, third)), "required_signers")
    without = tuple(ref for ref in draft.inputs if ref != case.output.ref)
    await case.refuses(spoilt(built, inputs=without), "inputs")
    await case.refuses(spoilt(built, ub_slot=None), "validity")
    for number, value in ((4, []), (5, {b"\xe0" + bytes(28): 5}), (19, {}), (22, 5)):
        await case.refuses(with_field(built.tx_cbor, number, value), "body")


@pytest.mark.threat("P16")
async def test_after_an_end_nothing_that_moves_value_is_signed(case: Case, tmp_path: Path) -> None:
    """Also by the next process, from the guard's file."""
    known = case.squashes(t.Squash(), t.Squash(Lovelace(M), 1))
    await case.signer.sign_snapshot(case.key, case.cid, known)
    await case.approves(case.built()[0].tx_cbor)
    guard = FileGuard(tmp_path / "guard")
    for act in (
        lambda: guard.cheque(case.key, case.cid, t.Cheque(2, w.LATER, w.secret(2).hashlock, Lovelace(M))),
        lambda: guard.snapshot(case.key, case.cid, case.squashes(t.Squash(), t.Squash(Lovelace(2 * M), 2))),
    ):
        with pytest.raises(Refused) as info:
            act()
        assert info.value.rejection.code == "cl.signer.ended"
    guard.snapshot(case.key, case.cid, known)  # the same again moves nothing
    guard.close()


async def test_an_ordinary_signature_never_stands_beside_the_partners(case: Case) -> None:
    with pytest.raises(Refused) as info:
        await case.signer.sign_transaction([case.key], case.built()[0].tx_cbor)
    assert info.value.rejection.code == "cl.signer.not_our_channel"


async def test_our_own_proposal_gets_every_witness_and_the_same_check(case: Case) -> None:
    """We build and pay the fee: our change must hold our share and what our inputs held, less the fee."""
    view = replace(l.view(), wallet_address=case.address)
    end = EndTogether(case.output, case.key, w.public(PARTNER), l.WALLET, Lovelace(THEIRS + w.MIN_ADA.value))
    built = build(view, [end], l.WINDOW, l.EVALUATOR, l.VERIFY)
    assert isinstance(built, BuiltTx), str(built)
    inputs = tuple(ref for ref in built.spent if ref != case.output.ref)
    spent = sum((u.lovelace for u in view.wallet if u.ref in inputs), Lovelace(0))
    evidence = replace(case.evidence(), inputs=inputs, spent=spent)
    theirs = t.Signature(PARTNER.sign(built.tx_id).signature)
    for wrong in (t.Signature(bytes(64)), t.Signature(w.THIRD.sign(built.tx_id).signature)):
        with pytest.raises(Refused) as info:
            await case.signer.complete_end(case.key, case.cid, built.tx_cbor, evidence, wrong)
        assert info.value.rejection.field == "partner"
    for bad in (
        replace(evidence, spent=spent + Lovelace(1)),
        replace(evidence, inputs=(t.OutputRef(b"\x01" * 32, 0),)),
    ):
        with pytest.raises(Refused) as info:
            await case.signer.complete_end(case.key, case.cid, built.tx_cbor, bad, theirs)
        assert info.value.rejection.code == "cl.signer.end"
    signed = decode_tx(await case.signer.complete_end(case.key, case.cid, built.tx_cbor, evidence, theirs))
    assert signed.id == built.tx_id
    assert len(signed.witnesses.vkeys) == 3


async def test_terms_that_give_another_body_are_refused(case: Case) -> None:
    terms = terms_of(*case.built())
    changed: tuple[dict[str, object], ...] = (
        {"payout": terms.payout + Lovelace(1)}, {"change": terms.change + Lovelace(1)},
        {"fee": terms.fee + Lovelace(1)}, {"address": l.WALLET},
        {"mint_mem": terms.mint_mem + 1}, {"references": ()}, {"tx_id": bytes(32)},
        {"output": t.OutputRef(b"\x01" * 32, 0)}, {"inputs": (case.output.ref,)}, {"end_slot": terms.first_slot},
        {"collateral_return": Lovelace(1)},
    )  # fmt: skip
    for change in changed:
        with pytest.raises(Refused) as info:
            end_transaction(replace(terms, **change), case.output, l.view().blueprint, l.PARAMS)  # type: ignore[arg-type]
        assert info.value.rejection.spec is END_BODY, change
    with pytest.raises(Refused):
        end_transaction(replace(terms, address="nonsense"), case.output, l.view().blueprint, l.PARAMS)
