"""The test network's own codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from regtest import supervisor
from tests.support.provoke import provokes


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


@provokes("regtest.control_failed")
def nobody_at_the_control_port(directory: Path) -> Any:
    return supervisor.mine(_running(directory), 1)


@provokes("regtest.unknown_node")
def a_node_that_is_not_there(directory: Path) -> Any:
    return supervisor.lightning_node(_running(directory), "bob")
