"""The quickstart's commands, in its order, in one shell: what readers do is what was tested."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scalus import judge_networks, require_verdict

ROOT = Path(__file__).resolve().parents[3]
# set-up of a person's own machine, done here by the test's environment
SKIPPED = ("make demo", "export PATH", "mkdir -p", "gateway --install-completion")
KEPT = ("GATEWAY_CACHE", "GATEWAY_JUDGE")


def script() -> str:
    text = (ROOT / "docs" / "quickstart.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(SKIPPED)]
    return "\n".join(["set -euo pipefail", *lines, ""])


@pytest.mark.devnet
def test_the_quickstart_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "gateway"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway.cli "$@"\n')
    program.chmod(0o755)
    judge_networks(monkeypatch)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_") or k in KEPT},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GRPC_VERBOSITY": "ERROR",
    }
    place = tmp_path / "quickstart"
    place.mkdir()
    try:
        done = subprocess.run(
            ["bash", "-c", script()], cwd=place, env=environment, capture_output=True, text=True, timeout=280,
            check=False,
        )  # fmt: skip
    finally:
        _end_network(place)
    tail = f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, tail
    assert "status: paid" in done.stdout, tail
    assert "status: SUCCEEDED" in done.stdout, tail
    assert "state: ended" in done.stdout, tail
    require_verdict(place / "net")


def _end_network(place: Path) -> None:
    """A script that stops in the middle must not leave its network running."""
    for found in place.glob("*/regtest.json"):
        os.killpg(os.getpgid(json.loads(found.read_text())["pid"]), 15)
