"""A temporary PostgreSQL cluster from Debian's package, under an unprivileged user, on a Unix socket.

Absent binaries are a failure with a clear message, never a skip: half of the store's promises are
made on PostgreSQL.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Cluster:
    socket: Path
    bin: Path
    data: Path
    user: str

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@/{database}?host={quote(str(self.socket))}"

    def create(self) -> str:
        """A new empty database; returns its URL."""
        name = "t_" + uuid.uuid4().hex[:12]
        self.run("createdb", "-h", str(self.socket), "-U", self.user, name)
        return self.url(name)

    def sql(self, database_url: str, statement: str) -> str:
        name = database_url.split("@/")[1].split("?")[0]
        return self.run(
            "psql", "-h", str(self.socket), "-U", self.user, "-d", name, "-Atq", "-v", "ON_ERROR_STOP=1",
            "-c", statement,
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def start(self) -> None:
        # Unix socket only: nothing to guess about ports, nothing to reach from outside.
        # fsync off: these tests kill the server, never the machine under it.
        settings = ("fsync=off", "listen_addresses=''", f"unix_socket_directories='{self.socket}'")
        options = " ".join(f"-c {one}" for one in settings)
        log = self.data.parent / "log"
        self.run("pg_ctl", "-D", str(self.data), "-l", str(log), "-o", options, "-w", "start")

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [*as_user(self.user), str(self.bin / program), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    if path is None:
        raise RuntimeError(
            "PostgreSQL's server programs are missing: install the package `postgresql` (initdb in "
            "/usr/lib/postgresql/*/bin or on PATH); these tests do not pass without it"
        )
    return Path(path).resolve().parent


def unprivileged() -> str:
    """initdb refuses root: ourselves when we are not root, else postgres, else nobody."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("no unprivileged user (postgres, nobody) to run PostgreSQL under")


def as_user(user: str) -> list[str]:
    return [] if os.geteuid() != 0 else ["runuser", "-u", user, "--"]


@contextmanager
def cluster() -> Iterator[Cluster]:
    programs, user = binaries(), unprivileged()
    root = Path(tempfile.mkdtemp(prefix="gw-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(root, user)
        root.chmod(0o755)
        made = Cluster(root, programs, root / "data", user)
        made.run("initdb", "-D", str(made.data), "-U", user, "--auth=trust", "--no-sync", "-E", "UTF8")
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
