"""Builds real LND and btcd into the cache from the Go module proxy: versions and hashes are pinned by go.sum.

One Go module for each LND version, since they want different btcd. Stdlib only: it runs before any virtual
environment exists. About 7 minutes a version on two cores the first time, nothing after that.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSIONS = ("0.20", "0.21")
NEWEST = VERSIONS[-1]
PROGRAMS = ("lnd", "lncli", "btcd", "btcctl")
TAGS = "signrpc walletrpc chainrpc invoicesrpc routerrpc neutrinorpc peersrpc monitoring"


def cache_root() -> Path:
    """`GATEWAY_CACHE`, else the user's cache directory."""
    given = os.environ.get("GATEWAY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cl-gateway"


def module(version: str) -> Path:
    return HERE / "go" / f"lnd-{version}"


def home(version: str) -> Path:
    """One directory for each content of go.mod and go.sum."""
    content = b"".join((module(version) / name).read_bytes() for name in ("go.mod", "go.sum"))
    return cache_root() / f"lnd-{version}-{hashlib.sha256(content).hexdigest()[:12]}"


def programs(version: str) -> dict[str, Path]:
    """Name -> path of what `build` made; fails with SystemExit when it was not built."""
    found = {name: home(version) / name for name in PROGRAMS}
    if not all(path.exists() for path in found.values()):
        raise SystemExit(f"LND {version} is not built: run make daemons (needs the Go toolchain)")
    return found


def is_built(version: str) -> bool:
    return all((home(version) / name).exists() for name in PROGRAMS)


def build(version: str) -> Path:
    """Idempotent; two builders at once are harmless. Fails with SystemExit and the compiler's words."""
    target = home(version)
    if is_built(version):
        return target
    go = shutil.which("go")
    if go is None:
        raise SystemExit("the Go toolchain is needed to build LND and btcd: see https://go.dev/dl")
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f"building LND {version} and btcd (minutes, once) …", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="lnd-build-") as work:
        for name in ("go.mod", "go.sum"):
            shutil.copy(module(version) / name, work)
        out = Path(work) / "bin"
        out.mkdir()
        environment = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly"}
        command = [go, "build", "-tags", TAGS, "-o", f"{out}/", "tool"]
        done = subprocess.run(command, cwd=work, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"go build failed with status {done.returncode}")
        try:
            os.rename(out, target)  # atomic
        except OSError:
            if not is_built(version):
                raise
    print(f"LND {version} built in {time.monotonic() - began:.0f} s", flush=True)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=(*VERSIONS, "all"), default="all")
    wanted = parser.parse_args().version
    for version in VERSIONS if wanted == "all" else (wanted,):
        print(f"LND {version}: {build(version)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
