"""Builds the channel validator with the pinned compiler: `build.py` writes plutus.json, `--check` compares it.

Python's standard library only. The compiler is installed once into the cache (cargo, about 11 minutes cold).
The build runs in a temporary copy, so that nothing but plutus.json changes in the tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VERSION = "1.1.24"
HERE = Path(__file__).resolve().parent
COMMITTED = HERE / "plutus.json"
PIN = HERE.parent / "gateway" / "cl" / "data" / "blueprint.py"  # the gateway refuses any other script (S4)


def cache_dir() -> Path:
    base = os.environ.get("GATEWAY_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cl-gateway"


def compiler() -> Path:
    """The pinned aiken, installed on first use; fails when neither it nor cargo is there."""
    root = cache_dir() / f"aiken-{VERSION}"
    binary = root / "bin" / "aiken"
    if not binary.exists():
        cargo = shutil.which("cargo")
        if cargo is None:
            raise SystemExit(f"aiken {VERSION} is not in {root}, and there is no cargo to build it")
        command = [cargo, "install", "aiken", "--locked", "--version", VERSION, "--root", str(root)]
        subprocess.run(command, check=True)  # noqa: S603
    shown = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout  # noqa: S603
    if not shown.startswith(f"aiken v{VERSION}"):
        raise SystemExit(f"{binary} is {shown.strip()}, not v{VERSION}")
    return binary


def sources() -> dict[str, str]:
    """Path below validators/ -> text, of all that the compiler reads."""
    files = [HERE / "aiken.toml", *sorted((HERE / "lib").rglob("*.ak"))]
    files += sorted((HERE / "validators").rglob("*.ak"))
    return {str(f.relative_to(HERE)): f.read_text() for f in files}


def compile_sources(tree: dict[str, str]) -> dict[str, Any]:
    """The blueprint of `tree`, without traces. Fails with the compiler's own words."""
    with tempfile.TemporaryDirectory(prefix="cl-validator-") as tmp:
        for name, text in tree.items():
            path = Path(tmp) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [str(compiler()), "build", "--trace-level", "silent"]
        done = subprocess.run(command, cwd=tmp, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        blueprint: dict[str, Any] = json.loads((Path(tmp) / "plutus.json").read_text())
        blueprint["preamble"]["compiler"]["version"] = f"v{VERSION}"  # less the commit it was built from
        return blueprint


def cached(tree: dict[str, str]) -> dict[str, Any]:
    """`compile_sources`, remembered in the cache by the content of the sources and the compiler's version."""
    key = hashlib.sha256(json.dumps([VERSION, tree], sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "validators" / f"{key}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    blueprint = compile_sources(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(blueprint))
    part.replace(path)
    return blueprint


def pinned(blueprint: dict[str, Any]) -> str:
    """blueprint.py with the hash of this blueprint's script."""
    digest = blueprint["validators"][0]["hash"]
    text, found = re.subn(
        r'(VALIDATOR_HASH = bytes\.fromhex\(")[0-9a-f]*"', rf'\g<1>{digest}"', PIN.read_text()
    )
    if found != 1:
        raise SystemExit(f"{PIN.name} names no VALIDATOR_HASH")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed files, write nothing"
    )
    check = parser.parse_args().check
    blueprint = compile_sources(sources())
    wanted = {COMMITTED: json.dumps(blueprint, indent=2, ensure_ascii=False) + "\n", PIN: pinned(blueprint)}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.name} is not what the sources compile to: run `make validators`", file=sys.stderr)
        else:
            path.write_text(wanted[path])
    print(f"validator {blueprint['validators'][0]['hash']}, files to change: {[p.name for p in stale]}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
