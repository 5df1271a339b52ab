"""`gateway regtest`: what another project's tests rely on. Each command is the real one, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from regtest.bitcoin.client import LndClient
from regtest.demo import ledger

pytestmark = pytest.mark.devnet
ADDRESS = "addr_test1vpz7trety06633xs5rhjgp35alrnqng8r3pcegeqnwu3jcgmxfaw2"


def gateway(*words: str | Path, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, words), "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "net"
    gateway("regtest", "up", "--dir", place)
    yield place
    if gateway_runs(place):
        gateway("regtest", "down", "--dir", place)


def gateway_runs(place: Path) -> bool:
    try:
        return alive(int(json.loads((place / "regtest.json").read_text())["pid"]))
    except FileNotFoundError:
        return False


def test_what_is_written_is_enough_for_another_project(net: Path) -> None:
    """Endpoints, certificates, macaroons, faucet: with nothing of ours but the file."""
    found = json.loads((net / "regtest.json").read_text())
    faucet = found["faucet"]
    body = {**faucet["body"], "address": ADDRESS}
    answer = httpx.request(faucet["method"], faucet["url"], json=body, trust_env=False)
    assert answer.status_code == 200
    kupo = f"{found['cardano']['kupo_url']}/matches/{ADDRESS}?unspent"
    rows = httpx.get(kupo, trust_env=False).json()
    assert [row["value"]["coins"] for row in rows] == [faucet["body"]["lovelace"]]
    assert rows[0]["transaction_id"] == answer.json()["tx_id"]

    async def both_services() -> None:
        seen = await ledger.transactions(found["cardano"]["ogmios_url"])
        assert seen[-1].id == answer.json()["tx_id"]
        assert set(found["bitcoin"]["nodes"]) == {"gateway", "hub", "alice"}
        for node in found["bitcoin"]["nodes"].values():
            client = LndClient(node)
            assert (await client.get_info()).identity_pubkey == node["pubkey"]
            await client.close()

    asyncio.run(both_services())


def test_two_networks_on_one_machine_and_one_in_one_directory(net: Path, tmp_path: Path) -> None:
    first = json.loads((net / "regtest.json").read_text())
    assert gateway("regtest", "up", "--dir", net)["pid"] == first["pid"]
    second = gateway("regtest", "up", "--dir", tmp_path / "other")
    try:
        assert second["pid"] != first["pid"]
        assert ports(first).isdisjoint(ports(second))
        assert gateway("regtest", "mine", "3", "--dir", tmp_path / "other")["bitcoin"]["height"] > 3
    finally:
        gateway("regtest", "down", "--dir", tmp_path / "other")
    assert gateway("regtest", "status", "--dir", net)["running"]
    assert not gateway("regtest", "status", "--dir", tmp_path / "other", code=1)["running"]


def ports(found: dict[str, Any]) -> set[str]:
    nodes = found["bitcoin"]["nodes"].values()
    urls = [found["control"], *(v for k, v in found["cardano"].items() if k.endswith("_url"))]
    return {url.rpartition(":")[2] for url in urls} | {str(node["port"]) for node in nodes}


def test_time_moves_both_chains_and_the_lightning_nodes_clock(net: Path) -> None:
    before = gateway("regtest", "status", "--dir", net)
    moved = gateway("regtest", "time", "+2h", "--dir", net)
    assert moved["cardano"]["time_ms"] - before["cardano"]["time_ms"] >= 7_200_000
    assert moved["bitcoin"]["height"] - before["bitcoin"]["height"] >= 3_600
    invoice = gateway("regtest", "invoice", "5000", "--dir", net)["invoice"]
    client_sees = asyncio.run(decode(net, invoice))
    assert abs(client_sees.timestamp * 1000 - moved["cardano"]["time_ms"]) < 60_000
    paid = gateway("regtest", "pay", invoice, "--node", "gateway", "--dir", net)
    assert (paid["status"], len(paid["preimage"]), paid["reason"]) == ("SUCCEEDED", 64, "")


async def decode(net: Path, invoice: str) -> Any:
    client = LndClient(json.loads((net / "regtest.json").read_text())["bitcoin"]["nodes"]["hub"])
    try:
        return await client.decode(invoice)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("words", "code", "field"),
    [
        (("time", "+400d"), "regtest.time.too_far", "span_ms"),
        (("time", "3 weeks"), "cli.regtest.span", "span"),
        (("rollback", "2000"), "regtest.bad_request", "rollback"),
        (("faucet", "addr_bad"), "regtest.bad_request", "address"),
        (("faucet", "addr_test1qqqqqqqqqqqq"), "regtest.bad_request", "faucet"),
        (("pay", "no-invoice"), "regtest.lightning", "node"),
        (("invoice", "5", "--node", "bob"), "regtest.unknown_node", "node"),
    ],
)
def test_each_refusal_has_a_code_and_leaves_the_network_running(
    net: Path, words: tuple[str, ...], code: str, field: str
) -> None:
    error = gateway("regtest", *words, "--dir", net, code=1)["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert error["remedy"]
    assert gateway("regtest", "status", "--dir", net)["running"]


def test_a_killed_network_is_gone_and_comes_back_where_it_was(net: Path) -> None:
    tx_id = gateway("regtest", "faucet", ADDRESS, "5000000", "--dir", net)["tx_id"]
    pid = json.loads((net / "regtest.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not gateway("regtest", "status", "--dir", net, code=1)["running"]
    error = gateway("regtest", "mine", "--dir", net, code=1)["error"]
    assert (error["code"], error["detail"]) == ("regtest.not_running", "its process has ended")
    again = gateway("regtest", "up", "--dir", net)
    seen = asyncio.run(ledger.transactions(again["cardano"]["ogmios_url"]))
    assert tx_id in [one.id for one in seen]


def test_a_process_that_only_has_its_number_is_neither_trusted_nor_stopped(net: Path) -> None:
    written = (net / "regtest.json").read_text()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (net / "regtest.json").write_text(json.dumps({**json.loads(written), "pid": stranger.pid}))
        assert gateway("regtest", "down", "--dir", net, code=1)["error"]["code"] == "regtest.not_running"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        (net / "regtest.json").write_text(written)


def test_it_runs_in_the_foreground_too_and_ends_in_order(tmp_path: Path) -> None:
    place = tmp_path / "net"
    words = ["regtest", "up", "--no-detach", "--dir", str(place)]
    child = subprocess.Popen([sys.executable, "-m", "gateway.cli", *words], start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not (place / "regtest.json").exists():
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        assert json.loads((place / "regtest.json").read_text())["pid"] == child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert not (place / "regtest.json").exists()
