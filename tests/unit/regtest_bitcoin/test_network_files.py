"""What a real Bitcoin network keeps in its directory, how its daemons are built and how they end. No daemon runs."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regtest.bitcoin import build, record
from regtest.bitcoin.archive import Archive
from regtest.bitcoin.coins import Miner
from regtest.bitcoin.daemons import TETHER, DaemonFailed

NAMES = ("btcd", "gateway")


# -- the chain -----------------------------------------------------------------------------------


def test_a_chain_comes_back_as_it_was_added(tmp_path: Path) -> None:
    path = tmp_path / "chain.txt"
    assert Archive(path).blocks() == []
    Archive(path).add(1, ["aa", "bb"])
    Archive(path).add(3, ["cc"])
    assert Archive(path).blocks() == ["aa", "bb", "cc"]


def test_a_reorganisation_replaces_the_blocks_from_its_height_on(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "chain.txt")
    archive.add(1, ["aa", "bb", "cc"])
    archive.add(2, ["b2", "c2", "d2"])
    assert archive.blocks() == ["aa", "b2", "c2", "d2"]


@given(cut=st.integers(0, 21))
@settings(max_examples=22, deadline=None)
def test_wherever_a_kill_cuts_the_file_whole_blocks_stay(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "chain.txt"
    Archive(path).add(1, ["aa11", "bb22", "cc33"])
    whole = path.read_bytes()
    assert len(whole) == 21
    path.write_bytes(whole[:cut])
    kept = ["aa11", "bb22", "cc33"][: cut // 7]
    assert Archive(path).blocks() == kept
    Archive(path).add(len(kept) + 1, ["dd44"])  # the torn line does not join the next one
    assert Archive(path).blocks() == [*kept, "dd44"]


@pytest.mark.parametrize("line", ["3 cc\n", "0 cc\n", "x cc\n", "-1 cc\n", "\n"])
def test_a_line_that_does_not_fit_ends_the_chain(line: str, tmp_path: Path) -> None:
    path = tmp_path / "chain.txt"
    path.write_text("1 aa\n" + line + "2 bb\n")
    assert Archive(path).blocks() == ["aa"]


# -- the record ----------------------------------------------------------------------------------


def test_a_founded_network_is_found_again(tmp_path: Path) -> None:
    made = record.open_record(tmp_path, "0.20", NAMES)
    noted = record.note(tmp_path, made, founded=True, clean=True)
    assert record.open_record(tmp_path, "0.20", NAMES) == noted
    assert noted.ports == made.ports
    assert Miner(bytes.fromhex(noted.miner)).address == Miner(bytes.fromhex(made.miner)).address


def test_after_a_kill_the_chain_grows_past_all_that_lnd_may_have_seen(tmp_path: Path) -> None:
    made = record.open_record(tmp_path, "0.20", NAMES)
    assert dataclasses.replace(made, clean=True).first_blocks == 1
    assert dataclasses.replace(made, clean=False).first_blocks > record.UNSEEN


def test_another_version_does_not_touch_it(tmp_path: Path) -> None:
    record.note(tmp_path, record.open_record(tmp_path, "0.21", NAMES), founded=True, clean=False)
    (tmp_path / "gateway").mkdir()
    with pytest.raises(DaemonFailed, match=r"runs LND 0\.21, not 0\.20"):
        record.open_record(tmp_path, "0.20", NAMES)
    assert (tmp_path / "gateway").exists()


def test_a_founding_that_was_cut_short_is_thrown_away(tmp_path: Path) -> None:
    begun = record.note(tmp_path, record.open_record(tmp_path, "0.20", NAMES), founded=False, clean=False)
    for name in (*NAMES, "kept"):
        (tmp_path / name).mkdir()
    anew = record.open_record(tmp_path, "0.21", NAMES)
    assert anew.miner != begun.miner
    assert anew.version == "0.21"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", record.FILE]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"ports": {"a": 1}}', '{"ports": {"a": [1, 2]}, "miner": "x"}']
)
def test_a_file_that_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / record.FILE).write_text(text)
    with pytest.raises(DaemonFailed, match=record.FILE):
        record.load(tmp_path)


def test_a_record_cannot_reach_outside_of_its_directory(tmp_path: Path) -> None:
    """Names of nodes are directories that are thrown away."""
    inside, outside = tmp_path / "network", tmp_path / "outside"
    outside.mkdir()
    ports = {"../outside": (1, 2), str(outside): (3, 4), "..": (5, 6), ".": (7, 8)}
    record.save(inside, record.Record("0.20", "00" * 32, ports))
    record.open_record(inside, "0.20", NAMES)
    assert outside.exists()
    assert (inside / record.FILE).exists()


# -- the build -----------------------------------------------------------------------------------


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that logs its arguments and makes the four programs; with `broken` beside it, it fails half-way."""
    programs = tmp_path / "programs"
    programs.mkdir()
    go = programs / "go"
    go.write_text(
        f"""#!{sys.executable}
import os, pathlib, sys
here = pathlib.Path({str(programs)!r})
with (here / "log").open("a") as log:
    print(os.environ["GOFLAGS"], *sys.argv[1:], file=log)
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
assert pathlib.Path("go.mod").exists() and pathlib.Path("go.sum").exists()
for name in ("lnd", "lncli", "btcd", "btcctl"):
    (out / name).write_text(name)
    if (here / "broken").exists():
        sys.exit(3)
"""
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("GATEWAY_CACHE", str(tmp_path / "cache"))
    return programs


@pytest.mark.parametrize("version", build.VERSIONS)
def test_a_build_is_made_once_from_what_is_pinned(version: str, fake_go: Path) -> None:
    target = build.build(version)
    assert target.name.startswith(f"lnd-{version}-")
    assert build.build(version) == target
    calls = (fake_go / "log").read_text().splitlines()
    assert len(calls) == 1
    assert "-mod=readonly" in calls[0]  # go.sum decides
    assert set(build.programs(version)) == set(build.PROGRAMS)
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]


def test_what_failed_half_way_is_not_taken_for_a_build(fake_go: Path, tmp_path: Path) -> None:
    (fake_go / "broken").touch()
    with pytest.raises(SystemExit, match="status 3"):
        build.build("0.21")
    assert not build.is_built("0.21")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(SystemExit, match="make daemons"):
        build.programs("0.21")
    (fake_go / "broken").unlink()
    assert build.is_built("0.21") is False
    build.build("0.21")
    assert build.is_built("0.21")


def test_without_go_it_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GATEWAY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit, match=r"go\.dev/dl"):
        build.build("0.20")


def test_other_pins_are_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tmp_path / "module"
    one.mkdir()
    (one / "go.mod").write_text("module x")
    (one / "go.sum").write_text("a")
    monkeypatch.setattr(build, "module", lambda version: one)
    before = build.home("0.21")
    (one / "go.sum").write_text("b")
    assert build.home("0.21") != before


# -- the end -------------------------------------------------------------------------------------

_PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", sys.argv[1], str(os.getpid()), "/bin/sleep", "60"])
print(child.pid, flush=True)
child.wait()
"""


def _gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_daemon_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(TETHER)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    end = time.monotonic() + 10
    while b"sleep" not in (Path("/proc") / str(child) / "cmdline").read_bytes().split(b"\0")[0]:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    while not _gone(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_daemon_does_not_begin_when_its_parent_is_gone() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(TETHER), "1", "/bin/echo", "began"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
