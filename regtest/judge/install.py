"""Installs the judge's npm packages (scalus, the official Ogmios client) into the cache, from the committed lock.

Stdlib only: it runs before any virtual environment exists.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = ("package.json", "package-lock.json")


def cache_root() -> Path:
    """`GATEWAY_CACHE`, else the user's cache directory."""
    given = os.environ.get("GATEWAY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cl-gateway"


def home() -> Path:
    """One directory for each content of package.json and lock: a change never mixes with an older install."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    return cache_root() / f"judge-{digest[:16]}"


def installed() -> bool:
    return (home() / "node_modules" / "scalus" / "package.json").exists()


def install() -> Path:
    """Fails with SystemExit when Node.js or npm is missing, or npm fails."""
    target = home()
    if installed():
        return target
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise SystemExit("Node.js 20 or later with npm is needed for the judge")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="judge-") as work:
        for name in FILES:
            shutil.copy(HERE / name, work)
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=work, check=False
        )
        if done.returncode:
            raise SystemExit(f"npm ci failed with status {done.returncode}")
        try:
            os.rename(work, target)  # atomic: two installers at once are harmless
        except OSError:
            if not installed():
                raise
        Path(work).mkdir(exist_ok=True)  # so that the temporary directory can be removed
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{install()}\n")
