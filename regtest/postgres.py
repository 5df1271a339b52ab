"""Makes sure that PostgreSQL's server programs are there for the store's tests: `make postgres`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def server_programs() -> Path | None:
    """The folder of initdb and postgres, the newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if found:
        return found[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def main() -> int:
    if server_programs() is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            print("PostgreSQL is missing: install your system's postgresql server package", file=sys.stderr)
            return 1
        print("installing PostgreSQL (Debian's package) …", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    programs = server_programs()
    print(f"PostgreSQL: {programs}")
    return 0 if programs else 1


if __name__ == "__main__":
    raise SystemExit(main())
