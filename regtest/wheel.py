"""Builds the wheel, installs it in an empty environment and runs `gateway regtest up, status, down` from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = (
    "gateway, gateway.app.process, gateway.cli.main, gateway.cl.l1.build, gateway.cl.signer.file_signer, "
    "gateway.btc.lnd, gateway.swap.engine, pycardano, coincurve, nacl.signing, grpc, regtest.supervisor"
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    base = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**base, **environment}, text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return done.stdout


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        print("building the wheel …", flush=True)
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            place,
            ".",
            cwd=ROOT,
        )
        (wheel,) = place.glob("*.whl")
        print(f"{wheel.name}: {wheel.stat().st_size} bytes; installing …", flush=True)
        venv.create(place / "env", with_pip=True)
        python = place / "env" / "bin" / "python"
        locked = ROOT / "requirements" / "runtime.txt"
        run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", locked, cwd=place)
        run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=place)
        run(python, "-c", f"import {IMPORTS}", cwd=place)
        gateway = place / "env" / "bin" / "gateway"
        network = place / "network"
        print(run(gateway, "--version", cwd=place).strip())
        up = json.loads(run(gateway, "regtest", "up", "--dir", network, "--json", cwd=place))
        status = json.loads(run(gateway, "regtest", "status", "--dir", network, "--json", cwd=place))
        run(gateway, "regtest", "down", "--dir", network, "--json", cwd=place)
        if not status["running"] or up["pid"] != status["pid"]:
            raise SystemExit("the network of the wheel did not run")
        print("regtest up, status, down: ok")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
