"""PyCardano's KupoOgmios context drives the devnet: parameters, UTxOs, build, evaluate, submit."""

from __future__ import annotations

import asyncio

import pycardano as pc
import pytest

from regtest.cardano import Devnet
from regtest.cardano.transaction import Ref, Tx
from tests.support.devnet_drafts import (
    ALWAYS_V3,
    UNIT,
    Draft,
    key,
    key_address,
    make_output,
    script_address,
)

pytestmark = [pytest.mark.devnet, pytest.mark.node]
ADA = 1_000_000


def context(devnet: Devnet) -> pc.ChainContext:
    host, port = devnet.ogmios_url.removeprefix("ws://").split(":")
    return pc.KupoOgmiosV6ChainContext(host, int(port), "", False, kupo_url=devnet.kupo_url)


def wallet() -> tuple[pc.PaymentSigningKey, pc.Address]:
    signing = pc.PaymentSigningKey(bytes(key("alice")))
    verification = pc.PaymentVerificationKey.from_signing_key(signing)
    return signing, pc.Address(verification.hash(), network=pc.Network.TESTNET)


async def test_payment(devnet: Devnet) -> None:
    signing, address = wallet()
    devnet.faucet({str(address): 100 * ADA})

    def pay() -> str:
        chain = context(devnet)
        assert chain.protocol_param.max_tx_ex_mem == 16_500_000
        assert chain.last_block_slot == 1
        builder = pc.TransactionBuilder(chain)
        builder.add_input_address(address)
        builder.add_output(pc.TransactionOutput(address, 5 * ADA))
        tx = builder.build_and_sign([signing], change_address=address)
        chain.submit_tx(tx)
        return str(tx.id)

    tx_id = await asyncio.to_thread(pay)
    devnet.mine()
    assert [tx.id.hex() for tx in devnet.tip.txs] == [tx_id]
    fresh = await asyncio.to_thread(lambda: context(devnet).utxos(str(address)))
    assert sorted(item.output.amount.coin for item in fresh)[0] == 5 * ADA
    assert sum(item.output.amount.coin for item in fresh) == 100 * ADA - devnet.tip.txs[0].fee


async def test_script_spent_by_reference(devnet: Devnet) -> None:
    """A script held by a reference input; its units come from evaluateTransaction."""
    signing, address = wallet()
    funded = devnet.faucet({str(address): 100 * ADA})
    outputs = [
        make_output(script_address(ALWAYS_V3), 20 * ADA, datum=UNIT),
        make_output(key_address(key("alice")), 10 * ADA, script=ALWAYS_V3),
        make_output(key_address(key("alice")), 70 * ADA - 300_000),
    ]
    locked = devnet.submit(Draft([Ref(funded.id, 0)], outputs, signers=[key("alice")]).build())
    assert isinstance(locked, Tx)
    devnet.mine()

    def unlock() -> str:
        chain = context(devnet)
        held = chain.utxos(str(pc.Address(pc.ScriptHash(ALWAYS_V3.hash), network=pc.Network.TESTNET)))
        own = {item.input.index: item for item in chain.utxos(str(address))}
        assert own[1].output.script == pc.PlutusV3Script(ALWAYS_V3.content)
        builder = pc.TransactionBuilder(chain)
        builder.add_script_input(held[0], script=own[1], redeemer=pc.Redeemer(pc.Unit()))
        builder.collaterals.append(own[2])
        tx = builder.build_and_sign([signing], change_address=address)
        chain.submit_tx(tx)
        return str(tx.id)

    tx_id = await asyncio.to_thread(unlock)
    devnet.mine()
    [tx] = devnet.tip.txs
    assert tx.id.hex() == tx_id
    assert Ref(locked.id, 1) in tx.references
