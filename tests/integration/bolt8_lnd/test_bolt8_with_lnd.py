"""Our BOLT 8 transport against the peer port of real LNDs: handshake both ways, init, pings, key rotation."""

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.bolt import crypto
from gateway.btc import stubs
from gateway.errors import Refused
from tests.support.lnd_peer import OFFERED, be_dialled, dial, talk, transport
from tests.support.lnd_solo import Solo, started

pytestmark = [pytest.mark.daemons, pytest.mark.asyncio(loop_scope="module")]
pb = stubs.lightning_pb2
ROTATION = 500  # messages under one key and direction (BOLT 8: 1000 nonces, two for each message)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["0.20", "0.21"])
async def solo(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Solo]:
    async with started(request.param, tmp_path_factory.mktemp("peer")) as one:
        yield one


def _key(name: str) -> bytes:
    return hashlib.sha256(f"bolt 8 with LND: {name}".encode()).digest()


async def test_we_dial_lnd_and_keys_rotate(solo: Solo) -> None:
    """Three rotations in each direction; LND would drop the connection at the first one that it reads otherwise."""
    node_id = bytes.fromhex(solo.node.pubkey)
    pings = 3 * ROTATION + 20
    seen = await dial(_key("dial"), node_id, "127.0.0.1", solo.node.p2p_port, pings)
    assert seen.remote_node_id == node_id
    assert seen.pongs == pings
    assert seen.features  # it told what it can


async def test_lnd_dials_us(solo: Solo) -> None:
    async def make_it_dial(public_key: bytes, host: str, port: int) -> None:
        address = pb.LightningAddress(pubkey=public_key.hex(), host=f"{host}:{port}")
        await solo.node.rpc("ConnectPeer", pb.ConnectPeerRequest(addr=address, perm=False, timeout=10))

    pings = ROTATION + 20
    seen = await be_dialled(_key("be dialled"), make_it_dial, pings)
    assert seen.remote_node_id.hex() == solo.node.pubkey
    assert seen.pongs == pings


async def test_lnd_sees_us_as_the_peer_that_we_are(solo: Solo) -> None:
    """LND lists the connection under our node id while it lasts, with the features that we offered."""
    ours = transport(_key("listed"))
    try:
        connection = await ours.connect(bytes.fromhex(solo.node.pubkey), "127.0.0.1", solo.node.p2p_port)
        await talk(connection, 1)
        peers = (await solo.node.rpc("ListPeers", pb.ListPeersRequest())).peers
        mine = [peer for peer in peers if peer.pub_key == crypto.public_key(_key("listed")).hex()]
        assert len(mine) == 1
        assert mine[0].inbound
        assert set(mine[0].features) == OFFERED
    finally:
        await ours.close()


async def test_an_lnd_with_another_key_is_not_the_peer_that_we_asked_for(solo: Solo) -> None:
    other = crypto.public_key(_key("somebody else"))
    with pytest.raises(Refused) as refused:
        await dial(_key("dial"), other, "127.0.0.1", solo.node.p2p_port, 1)
    assert refused.value.rejection.code == "bolt8.handshake.short"  # LND hangs up at our act one
