"""The CLI against a real HTTP server with a recording node behind it: output, JSON, exit codes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import Result
from typer.testing import CliRunner

from gateway.api import token as api_token
from gateway.api.server import create_api
from gateway.cli.commands_regtest import span_ms
from gateway.cli.main import app
from gateway.config import dump
from gateway.errors import Refused
from tests.support.api_node import CHANNEL_ID, HASH, PEER, RecordingNode

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RecordingNode, Path]]:
    directory = tmp_path_factory.mktemp("node")
    node = RecordingNode()
    token = api_token.load_or_create(directory / "api.token")
    server = uvicorn.Server(uvicorn.Config(create_api(node, token), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 10
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    (directory / "config.toml").write_text(dump({"network": "regtest", "api_port": port}))
    yield node, directory
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def cli(served: tuple[RecordingNode, Path]) -> Invoke:
    node, directory = served
    node.calls.clear()
    node.locked = False
    node.payment_states = ["pending", "pending", "paid"]

    def invoke(*words: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, [*words, "--dir", str(directory)], input=input)

    return invoke


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (("status",), "running"), (("wallet", "address"), "addr_test1xyz"),
        (("wallet", "balance"), "1.500000 ada in 2 outputs"), (("wallet", "utxos"), "aa#0"),
        (("wallet", "send", "addr_test1xyz", "1000000", "--yes"), HASH), (("peer", "list"), "no"),
        (("provider", "status"), "1 of 1 must agree"),
        (("peer", "connect", f"{PEER}@127.0.0.1:9911"), "127.0.0.1:9911"),
        (("channel", "list"), "60.000000"), (("channel", "show", CHANNEL_ID), "60000000"),
        (("channel", "open", PEER, "5000000"), "opening"), (("channel", "add", CHANNEL_ID, "7"), CHANNEL_ID),
        (("channel", "close", CHANNEL_ID), "closing"),
        (("channel", "force-close", CHANNEL_ID, "--yes"), "closing"),
        (("invoice", "decode", "lnbcrt1x"), "1000"), (("invoice", "create", "5"), "lnbcrt1x"),
        (("swap", "receive", "5"), "lnbcrt1x"), (("swap", "quote", "lnbcrt1x"), "cl_to_btc"),
        (("swap", "pause", "--reason", "moving"), "moving"), (("swap", "resume"), "swaps are open"),
        (("price", "status"), "price.source.stale"), (("swap", "estimate", "--receive", "5"), "btc_to_cl"),
        (("swap", "list"), "Done"), (("swap", "show", HASH), "Done"), (("swap", "cancel", HASH), "Done"),
        (("swap", "why", HASH), "never pay again"), (("swap", "incident", HASH), '"incident": 1'),
        (("ledger", "show"), "1.500000 ada"), (("ledger", "show", "--by-swap"), "-1.001"),
        (("ledger", "check"), "agrees"), (("ledger", "check", "--accept", "plumber"), "agrees"),
        (("ledger", "export"), "1,7,l1tx/ab,Close,wallet,lovelace,-5"),
        (("ledger", "export", "--format", "json"), '"entry": "l1tx/ab"'),
        (("swap", "watch", HASH), "event2"), (("payments",), "paid"), (("logs",), "two"), (("stop",), "stopping"),
    ],
)  # fmt: skip
def test_each_command_shows_its_answer(cli: Invoke, words: tuple[str, ...], shows: str) -> None:
    result = cli(*words)
    assert result.exit_code == 0, result.output
    assert shows in result.output.replace("\n", "")


def test_a_ledger_that_differs_has_its_own_exit_code(cli: Invoke, served: tuple[RecordingNode, Path]) -> None:
    served[0].difference = 5
    result = cli("ledger", "check")
    served[0].difference = 0
    assert result.exit_code == 4
    assert "it differs" in result.output


def test_an_export_goes_into_a_file_page_by_page(cli: Invoke, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    assert cli("ledger", "export", "-o", str(target)).exit_code == 0
    assert [line.split(",")[0] for line in target.read_text().splitlines()] == ["id", "1", "2", "3"]
    secret = tmp_path / "incident.json"
    assert cli("swap", "incident", HASH, "-o", str(secret)).exit_code == 0
    assert secret.stat().st_mode & 0o077 == 0
    assert json.loads(secret.read_text())["swap"] == HASH


def test_json_is_one_line_for_machines(cli: Invoke) -> None:
    result = cli("channel", "list", "--json")
    assert json.loads(result.stdout)[0]["id"] == CHANNEL_ID
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("stop",), {"state": "stopping"}),
        (("logs", "-n", "1"), ["two"]),
        (("payments",), None), (("swap", "list"), None), (("wallet", "utxos"), None), (("peer", "list"), None),
    ],
)  # fmt: skip
def test_json_everywhere(cli: Invoke, words: tuple[str, ...], answer: object) -> None:
    result = cli(*words, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert found == answer if answer is not None else isinstance(found, list)


def test_pay_waits_and_prints_the_preimage(cli: Invoke) -> None:
    result = cli("pay", "lnbcrt1x")
    assert result.exit_code == 0
    assert f"preimage: {HASH}" in result.output.replace("\n", " ")


def test_a_price_that_nothing_bounds_is_shown_and_asked_for(
    cli: Invoke, served: tuple[RecordingNode, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = served
    monkeypatch.setattr(node, "unbounded", True)
    refused = cli("pay", "lnbcrt1x", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["code"] == "swap.pay.unbounded"
    said_no = cli("pay", "lnbcrt1x", input="n\n")
    assert said_no.exit_code == 1
    assert "0.000777 ada" in said_no.output
    assert cli("pay", "lnbcrt1x").exit_code == 1  # nobody there to ask
    assert [call for call in node.calls if call[0] == "pay" and call[1].most_lovelace] == []
    assert cli("pay", "lnbcrt1x", input="y\n").exit_code == 0
    node.payment_states = ["paid"]
    assert cli("pay", "lnbcrt1x", "--yes", "--json").exit_code == 0
    node.payment_states = ["paid"]
    assert cli("pay", "lnbcrt1x", "--most", "5", "--json").exit_code == 0
    paid = [call[1].most_lovelace for call in node.calls if call[0] == "pay" and call[1].most_lovelace]
    assert paid == [777, 777, 5]


def test_pay_that_is_still_pending_has_its_own_exit_code(
    cli: Invoke, served: tuple[RecordingNode, Path]
) -> None:
    served[0].payment_states = ["pending"]
    result = cli("pay", "lnbcrt1x", "--wait", "0")
    assert result.exit_code == 5
    assert "do not pay again" in result.output


def test_a_failed_payment_has_its_own_exit_code(cli: Invoke, served: tuple[RecordingNode, Path]) -> None:
    served[0].payment_states = ["failed"]
    assert cli("pay", "lnbcrt1x").exit_code == 4


def test_refusals_say_what_to_do(cli: Invoke, served: tuple[RecordingNode, Path]) -> None:
    served[0].locked = True
    result = cli("status")
    assert result.exit_code == 1
    assert "gateway unlock" in result.output
    answer = cli("status", "--json")
    assert json.loads(answer.stdout)["error"]["code"] == "node.locked"


def test_unlock_reads_a_private_password_file(
    cli: Invoke, served: tuple[RecordingNode, Path], tmp_path: Path
) -> None:
    node, _ = served
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o644)
    assert cli("unlock", "--password-file", str(secret)).exit_code == 1
    secret.chmod(0o600)
    assert cli("unlock", "--password-file", str(secret)).exit_code == 0
    assert node.calls == [("unlock", "open sesame")]


def test_a_node_that_is_not_there_is_exit_3(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(dump({"network": "regtest", "api_port": 1}))
    api_token.load_or_create(tmp_path / "api.token")
    result = CliRunner().invoke(app, ["status", "--dir", str(tmp_path)])
    assert result.exit_code == 3
    assert "gateway run" in result.output


def test_dangerous_commands_ask_first(cli: Invoke, served: tuple[RecordingNode, Path]) -> None:
    result = cli("channel", "force-close", CHANNEL_ID, input="n\n")
    assert result.exit_code == 1
    assert served[0].calls == []


@pytest.mark.parametrize(
    ("text", "ms"), [("+30s", 30_000), ("2h", 7_200_000), ("+7d", 604_800_000), ("5ms", 5)]
)
def test_spans(text: str, ms: int) -> None:
    assert span_ms(text) == ms


@pytest.mark.parametrize("text", ["", "-3s", "3", "3 weeks", "+99999999d", "1.5h"])
def test_spans_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Refused) as caught:
        span_ms(text)
    assert caught.value.rejection.code == "cli.regtest.span"


def test_completion_is_there() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert "--install-completion" in result.output
