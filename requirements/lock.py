"""Renews the lock files (hashes for 3.11 to 3.13): python requirements/lock.py. Needs uv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMON = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--quiet"]
LOCKS = {
    "runtime.txt": ["pyproject.toml", "--extra", "regtest"],
    "dev.txt": ["pyproject.toml", "--extra", "dev", "-c", "requirements/runtime.txt"],
    "build.txt": ["requirements/build.in"],
}


def main() -> int:
    for name, sources in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", *sources, *COMMON]
        command += ["-o", f"requirements/{name}"]
        done = subprocess.run(command, cwd=HERE.parent, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
