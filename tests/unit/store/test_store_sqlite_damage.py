"""SQLite files that are full, damaged, torn, old or not ours: each has its code, nothing is lost."""

# ruff: noqa: ASYNC240 (small local files; nothing else runs on this loop)
from __future__ import annotations

import resource
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.app.backup import back_up
from gateway.errors import Refused
from gateway.store.store import Store
from tests.support.counter import codecs, current, fold, raise_by


async def open_at(path: Path, **options: Any) -> Store:
    return await Store.open(f"sqlite:///{path}", network="regtest", codecs=codecs(), **options)


async def refusal(coroutine: Any) -> str:
    with pytest.raises(Refused) as caught:
        await coroutine
    return caught.value.rejection.code


def copy(source: Path, target: Path, wal_bytes: int | None = None) -> None:
    target.parent.mkdir()
    shutil.copy(source, target)
    wal = Path(f"{source}-wal")
    if wal.exists():
        raw = wal.read_bytes()
        Path(f"{target}-wal").write_bytes(raw if wal_bytes is None else raw[:wal_bytes])


async def test_a_full_disk_is_named_and_passes(tmp_path: Path) -> None:
    store = await open_at(tmp_path / "a.db")
    await raise_by(store, "a", 1)

    async def big() -> None:
        async with store.transaction("big") as tx:
            pages = await tx.connection.scalar(text("PRAGMA page_count"))
            await tx.connection.execute(text(f"PRAGMA max_page_count={pages}"))
            try:
                await tx.peers.put(b"n", b"x" * 1_000_000)
            finally:
                await tx.connection.execute(text("PRAGMA max_page_count=1000000"))

    assert await refusal(big()) == "store.disk_full"
    assert await raise_by(store, "a", 1) == 2
    assert await current(store, "a") == await fold(store, "a") == (2, 2)
    await store.close()


@pytest.mark.threat("P2")
@pytest.mark.kind("CR")
async def test_a_torn_log_leaves_whole_transactions_only(tmp_path: Path) -> None:
    """The write-ahead log cut at any length: a prefix of the commits, each whole with its effects."""
    store = await open_at(tmp_path / "a.db")
    for _ in range(6):
        await raise_by(store, "a", 1)
    size = Path(f"{tmp_path}/a.db-wal").stat().st_size
    seen = set()
    for step in range(20):
        path = tmp_path / f"copy{step}" / "a.db"
        copy(tmp_path / "a.db", path, size * step // 19)
        torn = await open_at(path)
        total, version = await current(torn, "a")
        assert (total, version) == await fold(torn, "a")
        assert len(await torn.open_effects()) == version
        seen.add(version)
        await torn.close()
    assert {0, 6} <= seen
    assert len(seen) > 3
    await store.close()


@pytest.mark.threat("P4")
@pytest.mark.kind("CR")
async def test_an_older_copy_is_refused_until_merged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await open_at(path)
    await raise_by(store, "a", 1)
    copy(path, tmp_path / "old" / "a.db")
    await raise_by(store, "a", 1)
    await store.close()
    for part in ("", "-wal"):
        Path(f"{path}{part}").unlink(missing_ok=True)
        if Path(f"{tmp_path}/old/a.db{part}").exists():
            shutil.copy(f"{tmp_path}/old/a.db{part}", f"{path}{part}")
    assert await refusal(open_at(path)) == "store.stale_copy"
    store = await open_at(path, accept_restored=True)
    assert store.restored
    await store.close()
    store = await open_at(path)  # not forgotten by a restart
    assert store.restored
    await store.merged()
    await store.close()
    store = await open_at(path)
    assert not store.restored
    await store.close()


@pytest.mark.threat("P4")
async def test_a_backup_that_is_started_somewhere_else_says_what_it_is(tmp_path: Path) -> None:
    """No mark lies beside it there; partners may hold newer books all the same."""
    store = await open_at(tmp_path / "a.db")
    await raise_by(store, "a", 1)
    copied = back_up(tmp_path, tmp_path / "a.db") / "gateway.db"
    await raise_by(store, "a", 1)  # a backup is taken while the node runs
    await store.close()
    elsewhere = tmp_path / "elsewhere" / "a.db"
    elsewhere.parent.mkdir()
    shutil.copy(copied, elsewhere)
    for _ in range(2):
        assert await refusal(open_at(elsewhere)) == "store.stale_copy"
    store = await open_at(elsewhere, accept_restored=True)
    await store.close()
    store = await open_at(elsewhere)
    assert store.restored  # until every channel of it is frozen
    await store.close()


async def test_damage_is_named_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await open_at(path)
    for _ in range(50):
        await raise_by(store, "a", 1)
    await store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * 8192 + whole[12288:])
    assert await refusal(open_at(path)) == "store.corrupt"
    path.write_bytes(b"not a database at all" * 500)
    assert await refusal(open_at(path)) == "store.corrupt"
    path.write_bytes(whole)
    store = await open_at(path)
    assert await current(store, "a") == (50, 50)
    await store.close()


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipes (id INTEGER)")
    other.commit()
    other.close()
    assert await refusal(open_at(path)) == "store.foreign_database"
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    other.close()


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert await refusal(open_at(tmp_path / "file" / "a.db")) == "store.read_only"
    (tmp_path / "dir.db").mkdir()
    assert await refusal(open_at(tmp_path / "dir.db")) == "store.read_only"


async def test_a_writer_from_outside_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.engine.BUSY_TIMEOUT_MS", 50)
    store = await open_at(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await refusal(raise_by(store, "a", 1)) == "store.busy"
    other.execute("COMMIT")
    other.close()
    assert await raise_by(store, "a", 1) == 1
    await store.close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://host/x", "sqlite://", "sqlite:///:memory:", "postgresql"]
)
async def test_a_url_that_cannot_be_used(url: str) -> None:
    assert await refusal(Store.open(url, network="regtest", codecs=codecs())) == "store.bad_url"


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/x?host={tmp_path}"
    assert await refusal(Store.open(url, network="regtest", codecs=codecs())) == "store.unreachable"


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    store = await open_at(tmp_path / "a.db")
    await raise_by(store, "a", 1)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    await store.close()


async def test_a_disk_that_refuses_to_write_is_named(tmp_path: Path) -> None:
    """A file size limit makes every further write fail, as a broken disk does."""
    store = await open_at(tmp_path / "a.db")
    await raise_by(store, "a", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:

        async def big() -> None:
            async with store.transaction("big") as tx:
                for n in range(8):
                    await tx.peers.put(bytes([n]), b"x" * 1_000_000)

        assert await refusal(big()) in ("store.io", "store.commit_unknown")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.close()
    store = await open_at(tmp_path / "a.db")
    assert await current(store, "a") == await fold(store, "a") == (1, 1)
    await store.close()
