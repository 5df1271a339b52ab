"""The command line as a whole: agreed commands with --json and a page, passwords, completion, output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import commands_node, output
from gateway.cli.main import app
from gateway.errors import Refused

ROOT = Path(__file__).resolve().parents[3]
AGREED = {
    "init", "run", "unlock", "stop", "status", "logs", "wallet address", "wallet balance", "wallet utxos",
    "wallet send",
    "peer connect", "peer list", "channel open", "channel add", "channel list", "channel show", "channel close",
    "channel force-close", "invoice create", "invoice decode", "pay", "payments", "swap quote", "swap receive",
    "swap list", "swap show", "swap watch", "swap cancel", "regtest up", "regtest down", "regtest status",
    "regtest mine", "regtest time", "regtest rollback", "regtest faucet",
}  # fmt: skip


def commands() -> dict[str, set[str]]:
    """Name -> its options."""
    found: dict[str, set[str]] = {}
    root = typer.main.get_command(app)
    for name, one in root.commands.items():  # type: ignore[attr-defined]
        parts = getattr(one, "commands", None)
        for words, command in (
            {f"{name} {n}": c for n, c in parts.items()}.items() if parts else {name: one}.items()
        ):
            found[words] = {option for parameter in command.params for option in parameter.opts}
    return found


def test_every_agreed_command_is_there_and_speaks_json() -> None:
    found = commands()
    assert sorted(AGREED - found.keys()) == []
    assert [name for name, options in found.items() if "--json" not in options] == []
    assert [name for name, options in found.items() if "--dir" not in options] == []


def test_the_page_names_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for row in rows:
        words = re.findall(r"`([^`]+)`", row)
        group = words[0].split()[0] if " " in words[0] else ""
        for word in words:
            plain = word if " " in word or not group else f"{group} {word}"
            named.add(word if word in ("pay", "payments") and group != "regtest" else plain)
    assert sorted(commands().keys() - named) == []


def test_the_page_names_every_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    codes = {output.OK, output.REFUSED, output.USAGE, output.UNREACHABLE, output.FAILED, output.PENDING}
    assert {int(n) for n in re.findall(r"^\| (\d) \|", page, flags=re.M)} == codes


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("chan", "channel"),
        ("channel force", "force-close"),
        ("pay --wa", "--wait"),
        ("regtest roll", "rollback"),
    ],
)
def test_bash_completes(typed: str, offered: str) -> None:
    words = f"gateway {typed}"
    told = {
        "_GATEWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "PYTHONPATH": str(ROOT),
    }
    run = "import sys; sys.argv = ['gateway']; from gateway.cli.main import app; app(prog_name='gateway')"
    done = subprocess.run(
        [sys.executable, "-c", run], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert offered in done.stdout.split(), done.stderr


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GATEWAY_PASSWORD", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "gateway-password"
    path.write_text("from a file\n")
    path.chmod(0o600)
    return path


def test_a_password_comes_from_file_credential_or_environment(
    secret: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = commands_node.find_password
    assert find(None, prompt=False) is None
    monkeypatch.setenv("GATEWAY_PASSWORD", "from the environment")
    assert find(None, prompt=False) == "from the environment"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert find(None, prompt=False) == "from a file"
    other = tmp_path / "other"
    other.write_text("named")
    other.chmod(0o400)
    assert find(other, prompt=False) == "named"


@pytest.mark.parametrize(("mode", "good"), [(0o400, True), (0o440, True), (0o404, False), (0o644, False)])
def test_a_systemd_credential_shows_its_access_list_as_the_groups_bits(
    secret: Path, monkeypatch: pytest.MonkeyPatch, mode: int, good: bool
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret.parent))
    secret.chmod(mode)
    if good:
        assert commands_node.find_password(None, prompt=False) == "from a file"
        return
    with pytest.raises(Refused) as caught:
        commands_node.find_password(None, prompt=False)
    assert caught.value.rejection.code == "cli.password.mode"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--network", "foo"), "config.invalid"),
        (("--network", "mainnet"), "config.mainnet_refused"),
        (("--set", "swap.nope=1"), "config.invalid"),
    ],
)
def test_init_refuses_before_it_writes_anything(
    secret: Path, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    place = tmp_path / "node"
    common = ["init", "--dir", str(place), "--password-file", str(secret)]
    done = CliRunner().invoke(app, [*common, *words])
    assert done.exit_code == 1
    assert f"({code})" in done.stderr
    assert not place.exists()


def test_a_refusal_without_a_value_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    output._complain(False, {"code": "a.code", "title": "no", "field": "config.toml", "detail": "[gone]"})
    shown = capsys.readouterr().err
    assert "config.toml\n" in shown
    assert "[gone]" in shown  # words of others are never read as markup


def test_ids_stay_whole_for_copying(capsys: pytest.CaptureFixture[str]) -> None:
    name = "ab" * 32
    output.table("swaps", ("swap", "state", "more"), [(name, "Done", "x" * 40)])
    assert name in capsys.readouterr().out


def test_a_list_of_records_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    output.record({"events": [{"seq": 1, "event": "QuoteGiven", "note": ""}, {"seq": 2, "event": "Sent"}]})
    assert capsys.readouterr().out.splitlines()[1:] == ["  seq=1, event=QuoteGiven", "  seq=2, event=Sent"]
