"""What only Ogmios and Kupo have: an index beside the node, and the node's own phase 2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.ports import ChainMempool, Submitted, Utxo
from gateway.errors import Refused
from regtest.cardano import Devnet
from regtest.cardano.transaction import Pointer, Ref
from tests.support.chain_blocks import token
from tests.support.chain_providers import ogmios_kupo
from tests.support.devnet_drafts import ALWAYS_V3, UNIT, Draft, key, key_address, make_output, script_address

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ALICE = key("alice of ogmios")
HOME = address_text(key_address(ALICE))
ADA = 1_000_000


@pytest.fixture
async def provider(devnet: Devnet) -> AsyncIterator[OgmiosKupo]:
    made = ogmios_kupo(devnet, magic=devnet.options.network_magic)
    yield made
    await made.close()


async def funds(devnet: Devnet, provider: OgmiosKupo) -> tuple[Utxo, ...]:
    devnet.faucet([(HOME, 100 * ADA)] * 2)
    return await provider.utxos_at(HOME)


def given(utxo: Utxo) -> list[Ref]:
    return [Ref(utxo.ref.tx_id, utxo.ref.index)]


@pytest.mark.threat("W10")
@pytest.mark.kind("IT")
async def test_an_index_that_lags_or_lies_is_named(
    devnet: Devnet, provider: OgmiosKupo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cl.chain.ogmios_kupo.KUPO_GRACE_S", 0.0)
    source, _ = await funds(devnet, provider)
    devnet.set_faults(kupo_lie=True)  # from now on its outputs stand still
    change = make_output(key_address(ALICE), source.lovelace.value - 300_000)
    paid = Draft(inputs=given(source), outputs=[change], fee=300_000, signers=[ALICE]).build()
    assert isinstance(await provider.submit(paid), Submitted)
    devnet.mine()
    assert source.ref not in {u.ref for u in await provider.utxos_at(HOME)}
    devnet.clear_faults()
    devnet.set_faults(kupo_lag_blocks=2)
    await provider.utxos_at(HOME)
    with pytest.raises(Refused) as caught:
        await provider.utxos_at(HOME)
    assert caught.value.rejection.code == "cl.chain.lagging"


async def test_an_index_that_is_late_is_a_timeout(devnet: Devnet) -> None:
    late = ogmios_kupo(devnet, 0.2, devnet.options.network_magic)
    devnet.set_faults(delay_ms=1_000)
    with pytest.raises(Refused) as caught:
        await late.kupo.health()
    assert caught.value.rejection.code == "cl.chain.timeout"
    devnet.clear_faults()
    await late.close()


async def test_remote_evaluation_is_there_for_cross_checks(devnet: Devnet, provider: OgmiosKupo) -> None:
    first, second = await funds(devnet, provider)
    opened = Draft(
        inputs=given(first),
        outputs=[
            make_output(script_address(ALWAYS_V3), 5 * ADA, {token(1): 1}, datum=UNIT),
            make_output(key_address(ALICE), first.lovelace.value - 5 * ADA - 600_000),
        ],
        fee=600_000,
        signers=[ALICE],
        collateral=given(second),
        mint={token(1): 1},
        scripts=[ALWAYS_V3],
        languages={3},
        redeemers={Pointer(1, 0): (b"\x18\x2a", 200_000, 100_000_000)},
    ).build()
    units = await provider.evaluate_remote(opened)
    assert list(units) == ["mint:0"]
    assert all(value > 0 for value in units["mint:0"])


@pytest.mark.threat("W4")
@pytest.mark.kind("IT")
async def test_the_mempool_shows_whole_transactions_in_their_order(
    devnet: Devnet, provider: OgmiosKupo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ChainMempool: one that spends an unconfirmed output comes after the one that makes it; a block empties it."""
    assert isinstance(provider, ChainMempool)
    assert await provider.pending() == ()
    source, _ = await funds(devnet, provider)
    change = make_output(key_address(ALICE), source.lovelace.value - 300_000)
    first = Draft(inputs=given(source), outputs=[change], fee=300_000, signers=[ALICE]).build()
    made = Ref(transaction_id(first), 0)
    less = make_output(key_address(ALICE), source.lovelace.value - 600_000)
    second = Draft(inputs=[made], outputs=[less], fee=300_000, signers=[ALICE]).build()
    for raw in (first, second):
        assert isinstance(await provider.submit(raw), Submitted)
    assert await asyncio.gather(provider.pending(), provider.pending()) == [(first, second)] * 2
    devnet.mine()
    assert await provider.pending() == ()

    async def forged(method: str, params: object = None) -> object:
        row = {"id": "00" * 32, "cbor": first.hex()}
        return {"transaction": row} if method == "nextTransaction" else {}

    monkeypatch.setattr(provider, "_call", forged)
    with pytest.raises(Refused) as caught:
        await provider.pending()
    assert caught.value.rejection.code == "cl.chain.inconsistent"
