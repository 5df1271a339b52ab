"""The door of one real LND: its options, its password, its macaroons, and every state between start and end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from lndgrpc.compiled import walletunlocker_pb2, walletunlocker_pb2_grpc

from gateway.btc import stubs
from gateway.btc.lnd import Lnd
from gateway.errors import Refused
from gateway.hashlock import Preimage
from tests.support.btc_steps import hold
from tests.support.lnd_solo import Solo, made, started

pytestmark = pytest.mark.daemons
pb = stubs.lightning_pb2
both = pytest.mark.parametrize("version", ["0.20", "0.21"])


async def _code(call: Awaitable[object]) -> str:
    """What a call is refused with; empty when it is answered."""
    try:
        await call
    except Refused as error:
        return error.rejection.code
    return ""


@pytest.mark.threat("X4")
@pytest.mark.kind("IT")
@pytest.mark.parametrize(
    ("version", "set_to", "read"),
    [("0.20", 27, 27), ("0.21", 27, 27), ("0.20", 11, 12), ("0.21", 17, 18)],
)
async def test_the_hold_delta_that_lnd_runs_with_is_read(
    version: str, set_to: int, read: int, tmp_path: Path
) -> None:
    """From GetDebugInfo of the running node; a shorter one than the version's own never makes us bolder."""
    extra = (f"--invoices.holdexpirydelta={set_to}",)
    async with started(version, tmp_path, extra=extra) as solo:
        lnd = solo.adapter()
        constants = await lnd.time_constants()
        await lnd.close()
    assert constants.warning == ""
    assert constants.hold_cancel.value == read


async def _gather_codes(lnd: Lnd, into: set[str], until: Callable[[], bool]) -> None:
    while not until():
        into.add(await _code(lnd.info()))
        into.add(await _code(lnd.add_hold_invoice(hold(Preimage(b"\1" * 32)))))
        await asyncio.sleep(0.02)


@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
@both
async def test_while_it_starts_and_ends_every_refusal_names_its_cause(version: str, tmp_path: Path) -> None:
    """Asked without a pause over a start, a stop in good order and a kill: nothing reads as malformed or final."""
    async with started(version, tmp_path) as solo:
        lnd = solo.adapter()
        for stop in (solo.node.stop, solo.node.kill):
            started_again = asyncio.Event()
            codes: set[str] = set()
            asking = asyncio.create_task(_gather_codes(lnd, codes, started_again.is_set))
            await stop()
            await solo.node.start()
            await solo.synced()
            started_again.set()
            await asyncio.wait_for(asking, 30)
            # LND calls its wallet locked for a moment in each start, with a password or without
            assert codes - {""} <= {"btc.unavailable", "btc.starting", "btc.locked"}, codes
            assert "btc.unavailable" in codes
        await lnd.close()


async def _try_to_unlock(solo: Solo, password: bytes) -> str:
    stub = walletunlocker_pb2_grpc.WalletUnlockerStub(solo.node.channel)
    try:
        await stub.UnlockWallet(walletunlocker_pb2.UnlockWalletRequest(wallet_password=password), timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


@pytest.mark.threat("X14")
@pytest.mark.threat("A5")
@pytest.mark.kind("IT")
@both
async def test_the_wallet_opens_to_its_password_alone(version: str, tmp_path: Path) -> None:
    async with started(version, tmp_path, password=True) as solo:
        lnd = solo.adapter()
        assert await _code(lnd.info()) == ""
        await solo.node.kill()
        await solo.node.start(unlock=False)
        for _ in range(100):
            if await _code(lnd.info()) == "btc.locked":
                break
            await asyncio.sleep(0.1)
        assert await _code(lnd.time_constants()) == "btc.locked"
        assert "invalid passphrase" in await _try_to_unlock(solo, b"a wrong guess")
        assert await _code(lnd.info()) == "btc.locked"
        await solo.node.unlock()
        await solo.synced()
        assert await _code(lnd.info()) == ""
        await lnd.close()


@pytest.mark.threat("X14")
@pytest.mark.kind("IT")
@both
async def test_a_node_without_a_wallet_is_named_as_locked(version: str, tmp_path: Path) -> None:
    macaroon = tmp_path / "of another time.macaroon"
    macaroon.write_bytes(bytes(64))
    async with made(version, tmp_path, password=True) as solo:
        await solo.node.launch_lnd()
        for _ in range(300):
            if solo.node.tls_cert.exists() and b"END CERTIFICATE" in solo.node.tls_cert.read_bytes():
                break
            await asyncio.sleep(0.1)
        lnd = solo.adapter(macaroon)
        codes: list[str] = []
        for _ in range(150):
            codes.append(await _code(lnd.info()))
            if codes[-1] == "btc.locked":
                break
            await asyncio.sleep(0.1)
        assert codes[-1] == "btc.locked"
        assert set(codes) <= {"btc.unavailable", "btc.starting", "btc.locked"}
        await lnd.close()


@pytest.mark.threat("A1")
@pytest.mark.kind("IT")
@both
async def test_a_macaroon_whose_root_key_is_gone_opens_nothing(version: str, tmp_path: Path) -> None:
    """An operator takes a macaroon back by deleting its root key: ours must say so, not "retry"."""
    path = tmp_path / "gateway.macaroon"
    async with started(version, tmp_path) as solo:
        wanted = [
            pb.MacaroonPermission(entity=entity, action=action)
            for entity in ("info", "invoices", "offchain")
            for action in ("read", "write")
        ]
        request = pb.BakeMacaroonRequest(permissions=wanted, root_key_id=7)
        baked = await solo.node.rpc("BakeMacaroon", request)
        path.write_bytes(bytes.fromhex(baked.macaroon))
        lnd = solo.adapter(path)
        assert await _code(lnd.info()) == ""
        await solo.node.rpc("DeleteMacaroonID", pb.DeleteMacaroonIDRequest(root_key_id=7))
        assert await _code(lnd.info()) == "btc.macaroon"
        assert await _code(lnd.add_hold_invoice(hold(Preimage(b"\2" * 32)))) == "btc.macaroon"
        await lnd.close()


@pytest.mark.threat("A1")
@pytest.mark.kind("IT")
@both
async def test_a_macaroon_of_another_node_opens_nothing(version: str, tmp_path: Path) -> None:
    async with started(version, tmp_path / "one") as one, started(version, tmp_path / "other") as other:
        lnd = one.adapter(other.node.macaroon)
        assert await _code(lnd.info()) == "btc.macaroon"
        assert await _code(lnd.settle_invoice(Preimage(b"\3" * 32))) == "btc.macaroon"
        await lnd.close()
