"""The network as containers: bitcoind, three LNDs, cardano-node, Ogmios and Kupo, described once as data.

Never run against a real engine here: the `docker` package drives a recorded stand-in for one in the tests, and
compose.yaml is generated from the same data. The embedded network (`gateway regtest`) needs none of this.
`data` is a host directory: LND's certificates and macaroons appear in it, and data/cardano must hold the node's
config.json, topology.json and genesis files, of a private devnet or of a public testnet.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "cl-gateway-regtest"
LABEL = f"{NAME}.container"
BITCOIND = "bitcoin/bitcoin:28.1"
LND = {"0.20": "lightninglabs/lnd:v0.20.1-beta", "0.21": "lightninglabs/lnd:v0.21.2-beta"}
CARDANO_NODE = "ghcr.io/intersectmbo/cardano-node:10.5.1"
OGMIOS = "cardanosolutions/ogmios:v6.14.0"
KUPO = "cardanosolutions/kupo:v2.11.0"
USER, SECRET = "regtest", "regtest"  # of a throw-away chain
STARTED_S = 30.0
_DATA = "${REGTEST_DATA:-./regtest-data}"


class ContainerFailed(Exception):
    """A container ended right after its start; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Container:
    """`ports`: container -> 127.0.0.1; `mounts`: directory below `data` -> path, and whether it may be written;
    `volumes`: named volume -> path; `after`: containers that start before."""

    name: str
    image: str
    command: tuple[str, ...]
    ports: tuple[tuple[int, int], ...] = ()
    mounts: tuple[tuple[str, str, bool], ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()


def _bitcoind() -> Container:
    return Container(
        "bitcoind",
        BITCOIND,
        (
            "-regtest", "-server", "-txindex", "-fallbackfee=0.0002", "-rpcbind=0.0.0.0", "-rpcallowip=0.0.0.0/0",
            f"-rpcuser={USER}", f"-rpcpassword={SECRET}",
            "-zmqpubrawblock=tcp://0.0.0.0:28332", "-zmqpubrawtx=tcp://0.0.0.0:28333",
        ),
        ports=((18443, 18443),),
        volumes=(("bitcoind", "/home/bitcoin/.bitcoin"),),
    )  # fmt: skip


def _lnd(name: str, image: str, port: int) -> Container:
    return Container(
        f"lnd-{name}",
        image,
        (
            "--lnddir=/data", "--noseedbackup", f"--alias={name}", "--norest", "--bitcoin.regtest",
            "--bitcoin.node=bitcoind", "--bitcoind.rpchost=bitcoind:18443", f"--bitcoind.rpcuser={USER}",
            f"--bitcoind.rpcpass={SECRET}", "--bitcoind.zmqpubrawblock=tcp://bitcoind:28332",
            "--bitcoind.zmqpubrawtx=tcp://bitcoind:28333", "--rpclisten=0.0.0.0:10009", "--listen=0.0.0.0:9735",
            f"--tlsextradomain=lnd-{name}", "--bitcoin.defaultchanconfs=1", "--trickledelay=100",
        ),
        ports=((10009, port),),
        mounts=((f"lnd-{name}", "/data", True),),
        after=("bitcoind",),
    )  # fmt: skip


def _cardano() -> tuple[Container, ...]:
    config, ipc = ("cardano", "/config", False), ("cardano-ipc", "/ipc")
    socket, file = "/ipc/node.socket", "/config/config.json"
    node = Container(
        "cardano-node",
        CARDANO_NODE,
        (
            "run", "--config", file, "--topology", "/config/topology.json", "--database-path", "/db",
            "--socket-path", socket, "--host-addr", "0.0.0.0", "--port", "3001",
        ),
        mounts=(config,),
        volumes=(("cardano-db", "/db"), ipc),
    )  # fmt: skip
    ogmios = Container(
        "ogmios",
        OGMIOS,
        ("--node-socket", socket, "--node-config", file, "--host", "0.0.0.0", "--port", "1337"),
        ports=((1337, 1337),),
        mounts=(config,),
        volumes=(ipc,),
        after=("cardano-node",),
    )
    kupo = Container(
        "kupo",
        KUPO,
        (
            "--node-socket", socket, "--node-config", file, "--host", "0.0.0.0", "--port", "1442",
            "--workdir", "/db", "--match", "*", "--since", "origin",
        ),
        ports=((1442, 1442),),
        mounts=(config,),
        volumes=(("kupo-db", "/db"), ipc),
        after=("cardano-node",),
    )  # fmt: skip
    return node, ogmios, kupo


def network(lnd: str = "0.21") -> tuple[Container, ...]:
    """Every container, in an order in which each comes after those that it needs."""
    image = LND[lnd]
    nodes = [_lnd(name, image, 10009 + place) for place, name in enumerate(("gateway", "hub", "alice"))]
    return (_bitcoind(), *nodes, *_cardano())


# -- compose -------------------------------------------------------------------------------------


def compose_model(containers: Iterable[Container]) -> dict[str, Any]:
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    for one in containers:
        mounts = [f"{_DATA}/{at}:{path}" + ("" if written else ":ro") for at, path, written in one.mounts]
        mounts += [f"{volume}:{path}" for volume, path in one.volumes]
        volumes.update({volume: {} for volume, _ in one.volumes})
        service: dict[str, Any] = {"image": one.image, "command": list(one.command)}
        if one.after:
            service["depends_on"] = list(one.after)
        if one.ports:
            service["ports"] = [f"127.0.0.1:{host}:{inside}" for inside, host in one.ports]
        services[one.name] = service | {"volumes": mounts}
    return {"name": NAME, "services": services, "volumes": volumes}


def _yaml(value: Any, indent: int = 0) -> list[str]:
    """Block style with JSON's scalars, which are YAML's too."""
    pad = " " * indent
    if isinstance(value, list):
        return [f"{pad}- {json.dumps(item)}" for item in value]
    lines = []
    for key, item in value.items():
        if item and isinstance(item, (dict, list)):
            lines += [f"{pad}{key}:", *_yaml(item, indent + 2)]
        else:
            lines.append(f"{pad}{key}: {json.dumps(item)}")
    return lines


def compose(lnd: str = "0.21") -> str:
    head = "# Generated: python -m regtest.containers --compose > regtest/compose.yaml"
    return "\n".join([head, *_yaml(compose_model(network(lnd)))]) + "\n"


# -- engine --------------------------------------------------------------------------------------


class Engine:
    """Containers over the engine API. `client` is a docker.DockerClient."""

    def __init__(self, client: Any, data: Path) -> None:
        self._client, self._data = client, data.resolve()

    def up(self, containers: Iterable[Container]) -> None:
        """Idempotent: what is there is started, what is missing is made. On a failure nothing is taken down."""
        if not self._networks():
            self._client.networks.create(NAME, driver="bridge", labels={LABEL: "network"})
        for one in containers:
            found = self._client.containers.list(all=True, filters={"label": f"{LABEL}={one.name}"})
            container = found[0] if found else self._create(one)
            if container.status != "running":
                container.start()
            self._running(container, one.name)

    def _create(self, one: Container) -> Any:
        from docker.errors import ImageNotFound

        try:
            self._client.images.get(one.image)
        except ImageNotFound:
            self._client.images.pull(one.image)
        mounts = {}
        for at, path, written in one.mounts:
            (self._data / at).mkdir(parents=True, exist_ok=True)
            mounts[str(self._data / at)] = {"bind": path, "mode": "rw" if written else "ro"}
        mounts |= {f"{NAME}_{volume}": {"bind": path, "mode": "rw"} for volume, path in one.volumes}
        return self._client.containers.create(
            one.image,
            list(one.command),
            name=f"{NAME}-{one.name}",
            labels={LABEL: one.name},
            ports={f"{inside}/tcp": ("127.0.0.1", host) for inside, host in one.ports},
            volumes=mounts,
            network=NAME,
            networking_config={NAME: self._client.api.create_endpoint_config(aliases=[one.name])},
        )

    def _running(self, container: Any, name: str) -> None:
        """Until the engine calls it running; ContainerFailed when it ended or does not start."""
        end = time.monotonic() + STARTED_S
        while True:
            container.reload()
            if container.status == "running":
                return
            if container.status in ("exited", "dead") or time.monotonic() > end:
                tail = container.logs(tail=20).decode(errors="replace")[-800:]
                raise ContainerFailed(f"{name} is {container.status}: {tail}")
            time.sleep(0.1)

    def down(self) -> None:
        """Containers and their network; volumes and `data` stay."""
        for container in self._client.containers.list(all=True, filters={"label": LABEL}):
            container.remove(force=True)
        for made in self._networks():
            made.remove()

    def _networks(self) -> list[Any]:
        """An engine's own filter also finds longer names."""
        return [one for one in self._client.networks.list(names=[NAME]) if one.name == NAME]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m regtest.containers", description=__doc__)
    parser.add_argument("--lnd", choices=sorted(LND), default="0.21")
    parser.add_argument("--data", type=Path, default=Path("regtest-data"))
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--compose", action="store_true", help="write the compose file to standard output")
    what.add_argument("--up", action="store_true")
    what.add_argument("--down", action="store_true")
    options = parser.parse_args(arguments)
    if options.compose:
        sys.stdout.write(compose(options.lnd))
        return 0
    import docker

    engine = Engine(docker.from_env(), options.data)
    if options.up:
        engine.up(network(options.lnd))
    else:
        engine.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
