"""R4. The bearer token: 32 random bytes in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from gateway.api import errors
from gateway.errors import Refused


def load_or_create(path: Path) -> str:
    """The token of `path`, made on first use with mode 0600; fails when others could read it (A5)."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read(path)
    token = secrets.token_hex(32)
    with os.fdopen(handle, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def read(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Refused(errors.TOKEN_MODE(field="mode", got=oct(mode), allowed="0o600", detail=path.name))
    return path.read_text().strip()
