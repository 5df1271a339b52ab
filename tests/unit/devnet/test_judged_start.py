"""A devnet starts under its judge, and both take the faucet's payments."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtest.cardano import Devnet
from regtest.cardano.genesis import faucet_address
from regtest.cardano.views import address_text
from tests.support.devnet import devnet_process

pytestmark = [pytest.mark.devnet, pytest.mark.node]
ADDRESS = address_text(faucet_address())


async def test_faucet_is_judged(devnet: Devnet) -> None:
    for _ in range(3):
        devnet.faucet({ADDRESS: 5_000_000})
    devnet.rollback(2)
    devnet.mine()
    devnet.faucet({ADDRESS: 6_000_000})
    assert devnet.judge is not None
    await devnet.judge.settled()
    report = devnet.judge.report()
    assert (report["judged"], report["agreed_yes"], report["unexplained"]) == (4, 4, [])
    assert report["resyncs"] == {"rollback of blocks": 1}


async def test_killed_process_keeps_its_chain(tmp_path: Path) -> None:
    async with devnet_process(tmp_path / "chain.jsonl") as process:
        paid = await process.control("faucet", address=ADDRESS, lovelace=7_000_000)
        await process.control("faucet", address=ADDRESS, lovelace=8_000_000, mine=False)
        before = await process.control("state")
        await process.kill()
        await process.restart()
        after = await process.control("state")
        assert paid["tx_id"] not in after["mempool"]
        for name in ("tip", "mempool", "utxo_count", "system_start_ms", "now_ms", "ogmios_url", "kupo_url"):
            assert after[name] == before[name]
        mined = await process.control("mine", blocks=2)
        assert mined["tip"]["height"] == before["tip"]["height"] + 2
        assert mined["mempool"] == []
