"""What LND's failures mean: its words while it starts or goes down are no verdict on a macaroon."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from gateway.btc.rpc import LndChannel
from tests.support.provoke_edges import lnd_files


@pytest.mark.threat("X14")
@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("verification failed: signature mismatch after caveat verification", "btc.macaroon"),
        ("verification failed: context canceled", "btc.unavailable"),
        ("cannot get macaroon: database not open", "btc.unavailable"),
        ("cannot retrieve macaroon: macaroon store is locked", "btc.unavailable"),
    ],
)
async def test_a_shut_macaroon_store_is_no_wrong_macaroon(text: str, means: str, tmp_path: Path) -> None:
    with lnd_files(tmp_path) as (cert, macaroon):
        channel = LndChannel("127.0.0.1", 1, cert, macaroon)
        try:
            none = grpc.aio.Metadata()
            error = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, none, none, text)
            assert (await channel.meaning(error, "GetInfo")).code == means
        finally:
            await channel.close()
