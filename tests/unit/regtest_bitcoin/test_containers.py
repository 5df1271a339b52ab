"""The container network: its data, the compose file made of it, and what an engine is asked to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from regtest import containers
from tests.support.fake_engine import FakeEngine

NAMES = ["bitcoind", "lnd-gateway", "lnd-hub", "lnd-alice", "cardano-node", "ogmios", "kupo"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "engine.sock", images={containers.BITCOIND})
    yield fake
    fake.stop()


def _client(engine: FakeEngine) -> Any:
    return docker.DockerClient(base_url=engine.url, version="1.44", timeout=10)


def test_the_network_is_whole_and_in_order() -> None:
    network = containers.network()
    assert [one.name for one in network] == NAMES
    for place, one in enumerate(network):
        assert set(one.after) <= {before.name for before in network[:place]}
    hosts = [host for one in network for _, host in one.ports]
    assert len(set(hosts)) == len(hosts)
    assert {one.image for one in containers.network("0.20")} - {one.image for one in network} == {
        "lightninglabs/lnd:v0.20.1-beta"
    }


def test_what_one_container_is_told_of_another_is_so() -> None:
    """Names and ports within commands belong to containers that offer them."""
    by_name = {one.name: one for one in containers.network()}
    lnd = " ".join(by_name["lnd-hub"].command)
    bitcoind = " ".join(by_name["bitcoind"].command)
    for key in ("zmqpubrawblock", "zmqpubrawtx"):
        port = lnd.split(f"--bitcoind.{key}=tcp://bitcoind:")[1].split()[0]
        assert f"-{key}=tcp://0.0.0.0:{port}" in bitcoind
    assert f"-rpcuser={containers.USER}" in bitcoind
    assert f"--bitcoind.rpcuser={containers.USER}" in lnd
    socket = "/ipc/node.socket"
    for name in ("cardano-node", "ogmios", "kupo"):
        assert socket in by_name[name].command
        assert ("cardano-ipc", "/ipc") in by_name[name].volumes


def test_the_compose_file_is_up_to_date() -> None:
    written = Path(containers.__file__).with_name("compose.yaml").read_text()
    assert written == containers.compose()


def test_the_compose_file_publishes_nothing_beyond_this_machine() -> None:
    services = containers.compose_model(containers.network())["services"]
    assert list(services) == NAMES
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert all(m.endswith(":ro") for m in services["ogmios"]["volumes"] if "REGTEST_DATA" in m)


def test_up_pulls_makes_and_starts_in_order(engine: FakeEngine, tmp_path: Path) -> None:
    network = containers.network()
    containers.Engine(_client(engine), tmp_path / "data").up(network)
    assert [c["Config"]["Labels"][containers.LABEL] for c in engine.containers.values()] == NAMES
    assert engine.order("POST", "/start") == [f"{containers.NAME}-{name}" for name in NAMES]
    assert engine.images == {one.image for one in network}
    pulled = [q["fromImage"] for m, path, q, _ in engine.calls if (m, path) == ("POST", "images/create")]
    assert "bitcoin/bitcoin" not in pulled  # it was there
    assert pulled.count("lightninglabs/lnd") == 1
    made = engine.named("lnd-hub")["Config"]
    assert made["Cmd"] == list(network[2].command)
    assert made["HostConfig"]["PortBindings"] == {"10009/tcp": [{"HostIp": "127.0.0.1", "HostPort": "10010"}]}
    assert made["HostConfig"]["Binds"] == [f"{tmp_path}/data/lnd-hub:/data:rw"]
    assert made["NetworkingConfig"]["EndpointsConfig"][containers.NAME]["Aliases"] == ["lnd-hub"]
    cardano = engine.named("cardano-node")["Config"]["HostConfig"]["Binds"]
    assert f"{tmp_path}/data/cardano:/config:ro" in cardano
    assert f"{containers.NAME}_cardano-ipc:/ipc:rw" in cardano


def test_up_again_makes_nothing_and_starts_what_stands_still(engine: FakeEngine, tmp_path: Path) -> None:
    one = containers.Engine(_client(engine), tmp_path)
    one.up(containers.network())
    engine.named("kupo")["State"] = {"Status": "exited", "Running": False}
    engine.calls.clear()
    one.up(containers.network())
    posts = [path for method, path, _, _ in engine.calls if method == "POST"]
    assert posts == [f"containers/{engine.named('kupo')['Id']}/start"]


def test_a_container_that_ends_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    broken = frozenset({"cardano-node"})
    engine = FakeEngine(tmp_path / "s", images={one.image for one in containers.network()}, broken=broken)
    try:
        with pytest.raises(containers.ContainerFailed, match="cardano-node is exited: no genesis file"):
            containers.Engine(_client(engine), tmp_path).up(containers.network())
        assert f"{containers.NAME}-ogmios" not in engine.order("POST", "/start")
    finally:
        engine.stop()


def test_down_takes_away_what_is_ours_and_nothing_else(engine: FakeEngine, tmp_path: Path) -> None:
    one = containers.Engine(_client(engine), tmp_path)
    one.up(containers.network())
    foreign = {
        "Id": "other",
        "Name": "/other",
        "Config": {"Labels": {"app": "x"}},
        "State": {"Status": "running"},
    }
    engine.containers["other"] = foreign
    engine.networks["longer"] = {"Id": "longer", "Name": f"{containers.NAME}-of-another"}
    one.down()
    assert list(engine.containers) == ["other"]
    assert list(engine.networks) == ["longer"]
    one.down()  # again: nothing to do
    assert not any("volumes" in path for _, path, _, _ in engine.calls)


def test_the_command_line(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docker, "from_env", lambda: _client(engine))
    assert containers.main(["--compose", "--lnd", "0.20"]) == 0
    assert capsys.readouterr().out == containers.compose("0.20")
    assert containers.main(["--up", "--data", str(tmp_path)]) == 0
    assert len(engine.containers) == len(NAMES)
    assert containers.main(["--down"]) == 0
    assert not engine.containers
