"""R4. Copies of what a node cannot be without: the database (SQLite) and the encrypted keys, by one rename each.

A copy is for a lost disk, and says so: a node started on one refuses (store.stale_copy), since partners hold newer
books, until its owner accepts that (gateway run --accept-old-copy) and closes its channels.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

KEPT = ("keys", "signatures", "config.toml")


def back_up(directory: Path, database: Path | None) -> Path:
    """Blocking; call it in a thread. `database` None: PostgreSQL has its own tools."""
    target = directory / "backup"
    target.mkdir(mode=0o700, exist_ok=True)
    for name in KEPT:
        source = directory / name
        if source.is_file():
            part = target / (name + ".part")
            shutil.copyfile(source, part)
            part.chmod(0o600)
            _into_place(part, target / name)
    if database is not None:
        part = target / "gateway.db.part"
        part.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source_db,
            closing(sqlite3.connect(part)) as copy,
        ):
            source_db.backup(copy)
            copy.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', 'yes')")
            copy.commit()
        part.chmod(0o600)
        _into_place(part, target / "gateway.db")
    return target


def _into_place(part: Path, final: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(final)
