"""The real network as the regtest supervisor runs it: pays both ways, goes on where it ended, leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.btc import stubs
from regtest import supervisor
from regtest.bitcoin.backend import RealBitcoin
from regtest.bitcoin.client import LndClient
from regtest.bitcoin.daemons import DaemonFailed, LndNode
from regtest.bitcoin.network import NAMES

pytestmark = pytest.mark.daemons
MSAT = 5_000_000


def _daemons(directory: Path) -> list[int]:
    """Living processes that were started with a path below `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
        except (OSError, NotADirectoryError):
            continue
        if entry.name.isdigit() and f"dir={directory}/bitcoin".encode() in words:
            found.append(int(entry.name))
    return found


def _eventually(check: Callable[[], bool], within_s: float = 40) -> None:
    end = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < end
        time.sleep(0.1)


def _pays(directory: Path, payer: str, payee: str) -> None:
    invoice = supervisor.invoice(directory, payee, MSAT, "a test")["invoice"]
    paid = supervisor.pay(directory, payer, invoice)
    assert paid["status"] == "SUCCEEDED", paid
    assert paid["fee_msat"] > 0  # over the hub


def test_it_goes_on_after_an_end_and_after_a_kill(tmp_path: Path) -> None:
    first = supervisor.up(tmp_path, "lnd")
    try:
        nodes = first["bitcoin"]["nodes"]
        assert first["bitcoin"]["backend"] == "lnd"
        assert first["bitcoin"]["height"] > 0
        assert set(nodes) == set(NAMES)
        assert len(_daemons(tmp_path)) == 1 + len(NAMES)
        _pays(tmp_path, "gateway", "alice")
        _pays(tmp_path, "alice", "gateway")
        low = supervisor.status(tmp_path)["bitcoin"]["height"]
        assert supervisor.mine(tmp_path, 25)["bitcoin"]["height"] >= low + 25

        supervisor.down(tmp_path)
        assert _daemons(tmp_path) == []

        second = supervisor.up(tmp_path, "lnd")
        assert second["bitcoin"]["nodes"] == nodes  # keys, ports, files
        assert second["bitcoin"]["height"] > low + 25
        _pays(tmp_path, "gateway", "alice")

        os.kill(second["pid"], signal.SIGKILL)
        os.waitpid(second["pid"], 0)  # our child: it would stay a zombie
        _eventually(lambda: _daemons(tmp_path) == [])

        third = supervisor.up(tmp_path, "lnd")
        assert third["bitcoin"]["nodes"] == nodes
        assert third["bitcoin"]["height"] > second["bitcoin"]["height"]
        _pays(tmp_path, "alice", "gateway")
    finally:
        if supervisor.status(tmp_path)["running"]:
            supervisor.down(tmp_path)
    assert _daemons(tmp_path) == []


async def _paid(nodes: dict[str, Any], payer: str, payee: str) -> str:
    one, other = LndClient(nodes[payer]), LndClient(nodes[payee])
    try:
        return (await one.pay(await other.add_invoice(MSAT), 1_000_000, timeout_s=15)).status
    finally:
        await one.close()
        await other.close()


async def _alone(node: LndNode) -> bool:
    """Before that, an attempt would wait in the dying link until the payment's own timeout."""
    channels = await node.rpc("ListChannels", stubs.lightning_pb2.ListChannelsRequest(active_only=True))
    return len(channels.channels) == 0


async def test_one_lnd_may_end_or_die_and_come_back(tmp_path: Path) -> None:
    """With the other version; the network goes on with it when none is named, and not with another one."""
    backend = RealBitcoin(tmp_path, "0.20")
    await backend.start()
    try:
        assert backend.describe()["version"].startswith("0.20.")
        network, nodes = backend.network, backend.describe()["nodes"]
        hub = network.nodes["hub"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            await hub.stop(number)
            await network.until(lambda: _alone(network.nodes["gateway"]), "the gateway to see it")
            assert await _paid(nodes, "gateway", "alice") == "FAILED"
            low = await backend.height()
            await backend.mine(3, 6_000)
            assert backend.describe()["height"] == low + 3
            await hub.start()
            await network.connect_all()
            await asyncio.gather(*(_forget(node) for node in network.nodes.values()))
            assert await _paid(nodes, "gateway", "alice") == "SUCCEEDED"
        await network.reorganise(2)
        tip = await backend.height()
    finally:
        await backend.stop()
    with pytest.raises(DaemonFailed, match=r"runs LND 0\.20, not 0\.21"):
        RealBitcoin(tmp_path, "0.21")
    again = RealBitcoin(tmp_path)
    await again.start()
    try:
        assert again.describe()["version"].startswith("0.20.")
        assert await again.height() == tip + 1  # the reorganised chain, and the block of a new start
        assert await _paid(again.describe()["nodes"], "alice", "gateway") == "SUCCEEDED"
    finally:
        await again.stop()


async def _forget(node: LndNode) -> None:
    """Mission control would remember that the hub could not be reached."""
    router = stubs.router_pb2_grpc.RouterStub(node.channel)
    metadata = (("macaroon", node.macaroon.read_bytes().hex()),)
    await router.ResetMissionControl(stubs.router_pb2.ResetMissionControlRequest(), metadata=metadata)
