"""Installs the locked runtime under every supported Python that this machine has, and imports the whole product.

Locks that resolve can still fail to import (a package that pins another's old major, a wheel built for another ABI).
Environments are kept in the cache, one for each content of the lock. Stdlib only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ("3.11", "3.12", "3.13")
IMPORT_ALL = """
import importlib, pkgutil, sys, gateway, regtest
names = [m.name for p in (gateway, regtest) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    if not name.endswith("__main__") and not name.startswith("regtest.containers"):
        importlib.import_module(name)
print(f"{sys.version.split()[0]}: {len(names)} modules")
"""


def cache_root() -> Path:
    given = os.environ.get("GATEWAY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cl-gateway"


def interpreter(version: str) -> Path | None:
    """python3.x of the system, or the newest of that minor version that pyenv holds."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if found:
        return found[-1]
    on_path = shutil.which(f"python{version}")
    return Path(on_path) if on_path else None


def check(version: str, python: Path) -> None:
    """Fails with CalledProcessError and the importer's own traceback."""
    lock = ROOT / "requirements" / "runtime.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    home = cache_root() / f"smoke-{version}-{digest}"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python, "-m", "venv", home], check=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", lock], check=True)
        (home / "ready").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([home / "bin" / "python", "-c", IMPORT_ALL], check=True, env=environment, cwd=ROOT)


def main() -> int:
    checked = 0
    for version in SUPPORTED:
        python = interpreter(version)
        if python is None:
            print(f"Python {version} is not on this machine: not checked", flush=True)
            continue
        began = time.monotonic()
        check(version, python)
        checked += 1
        print(f"Python {version}: imports in {time.monotonic() - began:.0f} s", flush=True)
    return 0 if checked else 1


if __name__ == "__main__":
    sys.exit(main())
