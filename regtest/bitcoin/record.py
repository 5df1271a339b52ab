"""What a real Bitcoin network must remember to start again in its directory: version, miner's key, ports."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from regtest.bitcoin.daemons import DaemonFailed, free_port

FILE = "network.json"
UNSEEN = 10  # blocks mined at once
Ports = tuple[int, int]  # RPC, peers


@dataclass(frozen=True, slots=True)
class Record:
    """`founded`: its channels were open once. `clean`: it ended in order. `miner`: a throw-away key, 32 bytes in
    hex."""

    version: str
    miner: str
    ports: dict[str, Ports]
    founded: bool = False
    clean: bool = False

    @property
    def first_blocks(self) -> int:
        """What to mine at a new start: LND serves nobody before it has seen a block of today, and after a kill it
        may have seen blocks that the archive missed; it waits until the chain is higher."""
        return 1 if self.clean else UNSEEN + 1


def load(directory: Path) -> Record | None:
    """None: no network was ever begun there. Fails with DaemonFailed on a file that is not ours."""
    try:
        text = (directory / FILE).read_text()
    except FileNotFoundError:
        return None
    try:
        row = json.loads(text)
        ports = {str(name): (int(rpc), int(p2p)) for name, (rpc, p2p) in row["ports"].items()}
        miner = bytes.fromhex(row["miner"]).hex()
        return Record(str(row["version"]), miner, ports, bool(row["founded"]), bool(row["clean"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DaemonFailed(f"{directory / FILE} is not the record of a network: {error!r}") from error


def save(directory: Path, record: Record) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / (FILE + ".part")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(asdict(record), indent=2) + "\n")
    partial.replace(directory / FILE)


def open_record(directory: Path, version: str, names: Sequence[str]) -> Record:
    """The network that is there, or a new one. One whose founding was cut short is thrown away first.

    Fails with DaemonFailed when it was made by another version: LND's and btcd's files only ever go forward.
    """
    found = load(directory)
    if found is not None and found.founded and set(found.ports) == set(names):
        if found.version != version:
            text = f"the network in {directory} runs LND {found.version}, not {version}"
            raise DaemonFailed(f"{text}: use its version or another directory")
        return found
    for name in names if found else ():  # never a name out of the file: it could lead anywhere
        shutil.rmtree(directory / name, ignore_errors=True)
    return Record(version, secrets.token_hex(32), {name: (free_port(), free_port()) for name in names})


def note(directory: Path, record: Record, *, founded: bool, clean: bool) -> Record:
    record = replace(record, founded=founded, clean=clean)
    save(directory, record)
    return record
