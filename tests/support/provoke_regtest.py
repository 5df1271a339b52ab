"""The test network's own codes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import grpc
import grpc.aio
from fastapi.testclient import TestClient

from regtest import supervisor
from regtest.bitcoin.simulated.server import NodeFiles
from regtest.process import Bitcoin, Cardano, Network, control_api
from tests.support.provoke import provokes, refused


def _running(directory: Path) -> Path:
    """A description whose process lives (ours) and whose control port nobody serves."""
    found = {
        "pid": os.getpid(),
        "bln": "embedded",
        "control": f"http://127.0.0.1:{supervisor.free_port()}",
        "bitcoin": {"nodes": {}},
    }
    (directory / supervisor.FILE).write_text(json.dumps(found))
    return directory


@provokes("regtest.not_running")
def nothing_runs_here(directory: Path) -> Any:
    return supervisor.describe(directory)


@provokes("regtest.unknown_backend")
def another_backend(directory: Path) -> Any:
    return supervisor.up(directory, "eclair")


@provokes("regtest.start_failed")
def a_directory_that_is_a_file(directory: Path) -> Any:
    (directory / "cardano").write_text("not a directory")
    return supervisor.up(directory)


@provokes("regtest.time.too_far")
def a_day_on_a_network_of_real_blocks(directory: Path) -> Any:
    """Refused before either chain moves."""
    network = Network(cast(Cardano, Still()), cast(Bitcoin, Still()), "lnd")
    answer = TestClient(control_api(network)).post("/time", json={"span_ms": 86_400_000})
    with patch.object(supervisor.httpx, "request", lambda *_, **__: answer):
        return supervisor.move_time(_running(directory), 86_400_000)


@provokes("regtest.bad_request")
def deeper_than_the_chain(directory: Path) -> Any:
    class Shallow:
        async def rollback(self, depth: int) -> None:
            raise ValueError("a depth between 1 and 7")

    network = Network(cast(Cardano, Shallow()), cast(Bitcoin, Still()), "embedded")
    client = TestClient(control_api(network), raise_server_exceptions=False)
    deep, short = client.post("/rollback", json={"depth": 100}), client.post("/faucet", json={"address": "x"})
    found = []
    for answer in (deep, short):
        with patch.object(supervisor.httpx, "request", lambda *_, answer=answer, **__: answer):
            found.append(refused(lambda: supervisor.rollback(_running(directory), 100)))
    return found


@provokes("regtest.lightning")
async def words_that_are_no_invoice(directory: Path) -> Any:
    from regtest.bitcoin.client import LndClient

    none = grpc.aio.Metadata()
    no = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, none, none, "invalid invoice")
    node = NodeFiles(directory)
    found = {"host": "127.0.0.1", "port": 1, "tls_cert": str(node.tls_cert), "macaroon": str(node.macaroon)}
    with (
        patch.object(supervisor, "lightning_node", lambda *_: found),
        patch.object(LndClient, "pay", AsyncMock(side_effect=no)),
    ):
        return await asyncio.to_thread(refused, lambda: supervisor.pay(directory, "alice", "no invoice"))


class Still:
    """Neither chain may be touched: it has nothing to touch."""

    most_blocks = 2016


@provokes("regtest.control_failed")
def nobody_at_the_control_port(directory: Path) -> Any:
    return supervisor.mine(_running(directory), 1)


@provokes("regtest.unknown_node")
def a_node_that_is_not_there(directory: Path) -> Any:
    return supervisor.lightning_node(_running(directory), "bob")
