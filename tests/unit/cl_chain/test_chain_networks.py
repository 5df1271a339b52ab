"""The time lines of the public networks are known; a provider that tells another is refused, whatever its kind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.cl.chain.blockfrost import Blockfrost
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.koios import Koios
from gateway.cl.chain.kupo import Kupo
from gateway.cl.chain.networks import KNOWN, checked_eras
from gateway.cl.chain.ogmios import Ogmios
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.ports import EraSummary, Point
from gateway.errors import Refused
from gateway.profile import PROFILES
from gateway.units import PosixMs, Slot
from tests.support.scripted_http import scripted
from tests.unit.cl_chain.test_chain_hostile_answers import ogmios

PREPROD = KNOWN[1]
START = PREPROD.system_start_ms // 1_000
BYRON = {
    "start": {"time": 0, "slot": 0},
    "end": {"time": 1_728_000, "slot": 86_400},
    "parameters": {"slot_length": 20},
}


def shelley(time: int = 1_728_000) -> dict[str, Any]:
    end = {"time": 9_000_000, "slot": 7_358_400}
    return {"start": {"time": time, "slot": 86_400}, "end": end, "parameters": {"slot_length": 1}}


async def refusal(work: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code, caught.value.rejection.field


def test_the_profiles_know_the_same_networks() -> None:
    assert {p.cardano_magic: p.name for p in PROFILES.values() if p.name != "regtest"} == {
        magic: one.name for magic, one in KNOWN.items()
    }


def test_only_what_begins_where_it_did_passes_and_unknown_networks_are_free() -> None:
    honest = [
        EraSummary(Slot(0), PosixMs(PREPROD.system_start_ms), 20_000, Slot(86_400)),
        EraSummary(Slot(86_400), PosixMs(PREPROD.shelley_ms), 1_000, Slot(500_000)),
        EraSummary(Slot(500_000), PosixMs(PREPROD.shelley_ms + 413_600_000), 1_000, None),
    ]
    assert checked_eras(1, honest) == tuple(honest)
    moved = [*honest[:2], EraSummary(Slot(500_000), PosixMs(PREPROD.shelley_ms), 1_000, None)]
    with pytest.raises(Refused) as caught:
        checked_eras(1, moved)
    assert caught.value.rejection.code == "cl.chain.wrong_network"
    assert checked_eras(42, moved) == tuple(moved)


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(
    ("start", "shift", "field"), [(START + 1, 0, "system_start_ms"), (START, 60, "slot 86400")]
)
async def test_blockfrost_with_another_time_line(start: int, shift: int, field: str) -> None:
    answers = {
        "/genesis": {"network_magic": 1, "system_start": start},
        "/network/eras": [BYRON, shelley(1_728_000 + shift)],
        "/blocks/latest": {"time": START, "height": 0, "hash": "00" * 32, "slot": 86_400},
        f"/blocks/{'00' * 32}": {"time": START, "height": 0, "hash": "00" * 32, "slot": 86_400},
    }
    async with scripted(answers) as script:
        made = Blockfrost(JsonHttp(script.url, "blockfrost"), 1)
        assert await refusal(made.header(Point(Slot(0), bytes(32)))) == ("cl.chain.wrong_network", field)
        await made.close()


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(
    ("start", "shift", "field"), [(START - 1, 0, "system_start_ms"), (START, 60, "slot 0")]
)
async def test_koios_with_another_time_line(start: int, shift: int, field: str) -> None:
    slot = 1_000_000
    moment = PREPROD.shelley_ms // 1_000 + slot - 86_400 + shift
    row = {"hash": "00" * 32, "abs_slot": slot, "block_height": 1, "block_time": moment, "epoch_no": 1}
    answers = {
        "/genesis": [{"networkmagic": "1", "systemstart": start, "slotlength": "1"}],
        "/tip": [row],
        "/blocks": [row],
    }
    async with scripted(answers) as script:
        made = Koios(JsonHttp(script.url, "koios"), 1)
        assert await refusal(made.header(Point(Slot(0), bytes(32)))) == ("cl.chain.wrong_network", field)
        await made.close()


@pytest.mark.threat("W2")
@pytest.mark.kind("IT")
async def test_ogmios_with_another_beginning() -> None:
    late = datetime.fromtimestamp(START + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answers = {"queryNetwork/genesisConfiguration": {"networkMagic": 1}, "queryNetwork/startTime": late}
    async with ogmios(answers) as url:
        made = OgmiosKupo(Ogmios(url), Kupo("http://127.0.0.1:1"), 1)
        assert await refusal(made.params()) == ("cl.chain.wrong_network", "system_start_ms")
        await made.close()
