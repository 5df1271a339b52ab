"""R5. init, run, unlock, stop, status, logs; wallet; peer."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import commands_regtest
from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, app, client
from gateway.cli.output import ada, console, emit, guarded, record, table
from gateway.errors import Action, Fault, Refused, define

wallet = typer.Typer(help="The node's own ada on Cardano.", no_args_is_help=True)
peer = typer.Typer(help="Connections to other CL nodes.", no_args_is_help=True)

PASSWORD_MISSING = define(
    "cli.password.missing",
    Fault.LOCAL,
    Action.REFUSE,
    "no password was given",
    "Use --password-file, GATEWAY_PASSWORD, a systemd credential, or a terminal.",
)
PASSWORD_FILE_MODE = define(
    "cli.password.mode",
    Fault.LOCAL,
    Action.REFUSE,
    "the password file can be read by others",
    "chmod 600 the password file.",
)
PASSWORD_UNREADABLE = define(
    "cli.password.unreadable",
    Fault.LOCAL,
    Action.REFUSE,
    "the password file cannot be read",
    "Name a text file with --password-file that this user may read.",
)
ALREADY_INITIALISED = define(
    "cli.init.exists",
    Fault.LOCAL,
    Action.REFUSE,
    "this directory already holds a node",
    "Choose another --dir; an existing node is never overwritten.",
)


def find_password(password_file: Path | None, *, confirm: bool = False, prompt: bool = True) -> str | None:
    """From the file, the environment, a systemd credential or the terminal; None when nothing is there."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    systemd = Path(credentials) / "gateway-password" if credentials else None
    if password_file is not None:
        return _password_in(password_file, 0o077)
    if systemd is not None and systemd.exists():
        # systemd grants it by an access list, whose mask shows as the group's bits; its directory is closed to others
        return _password_in(systemd, 0o007)
    if "GATEWAY_PASSWORD" in os.environ:
        return os.environ["GATEWAY_PASSWORD"]
    if prompt and sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))
    return None


def _password_in(source: Path, forbidden: int) -> str:
    """The file's text without its last newline; refused when a mode bit of `forbidden` is set."""
    try:
        mode = stat.S_IMODE(source.stat().st_mode)
        if mode & forbidden:
            raise Refused(PASSWORD_FILE_MODE(field="mode", got=oct(mode), allowed="0o600 or stricter"))
        return source.read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            PASSWORD_UNREADABLE(field="password_file", got=str(source), detail=str(error))
        ) from error


PasswordFile = Annotated[Path | None, typer.Option(help="File (mode 0600) that holds the password.")]


@app.command()
@guarded
def init(
    directory: Directory = DEFAULT_DIR,
    network: Annotated[str, typer.Option(help="regtest, preview, preprod or mainnet.")] = "regtest",
    password_file: PasswordFile = None,
    restore: Annotated[
        bool, typer.Option(help="Ask for an existing mnemonic instead of making one.")
    ] = False,
    alias: Annotated[str, typer.Option(help="Name shown to peers.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as section.key=value; repeatable.")
    ] = None,
    regtest: Annotated[
        Path | None, typer.Option(help="Take all endpoints from the regtest network in this directory.")
    ] = None,
    lnd: Annotated[
        str, typer.Option(help="With --regtest: be a gateway on this LND of the network (gateway).")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a node: keys in an encrypted file, and config.toml."""
    from gateway.app.init import initialise

    if (directory / "config.toml").exists():
        raise Refused(ALREADY_INITIALISED(field="dir", got=str(directory)))
    password = find_password(password_file, confirm=True)
    if not password:
        raise Refused(PASSWORD_MISSING())
    mnemonic = str(typer.prompt("Mnemonic", hide_input=True)) if restore else None
    wanted = settings or []
    if regtest is not None:
        wanted = [*commands_regtest.node_settings(regtest, lnd), *wanted]
    made = initialise(directory, network, password, alias, wanted, mnemonic)

    def show(value: dict[str, Any]) -> None:
        console.print(f"Made a {network} node in {directory}.")
        console.print(f"Node id: {value['node_id']}")
        console.print(f"Address: {value['address']}")
        if value.get("mnemonic"):
            console.print("\nWrite these words down; they are shown once and restore your funds:")
            console.print(f"[bold]{value['mnemonic']}[/bold]", soft_wrap=True)

    emit(as_json, made, show)


@app.command()
@guarded
def run(
    directory: Directory = DEFAULT_DIR,
    password_file: PasswordFile = None,
    accept_old_copy: Annotated[
        bool,
        typer.Option(
            help="Start on an older copy of the database, when the newest is lost. Every open channel is frozen: "
            "gateway channel force-close settles it with what the copy holds."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the node in the foreground. SIGTERM drains it. Without a password it waits for gateway unlock."""
    from gateway.app.process import run_node
    from gateway.config import load

    settings = load(directory)
    configured = Path(settings.password_file) if settings.password_file else None
    password = find_password(password_file or configured, prompt=False)
    raise typer.Exit(run_node(directory, settings, password, accept_old_copy=accept_old_copy))


@app.command()
@guarded
def unlock(
    directory: Directory = DEFAULT_DIR, password_file: PasswordFile = None, as_json: JsonFlag = False
) -> None:
    """Give a running node its password."""
    password = find_password(password_file)
    if not password:
        raise Refused(PASSWORD_MISSING())
    client(directory).post("/unlock", {"password": password})
    emit(as_json, {"state": "unlocked"}, lambda _: console.print("unlocked"))


@app.command()
@guarded
def stop(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Drain and stop the node."""
    client(directory).post("/stop")
    emit(as_json, {"state": "stopping"}, lambda _: console.print("stopping"))


@app.command()
@guarded
def status(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """What the node is doing, and what it is waiting for."""
    emit(as_json, client(directory).get("/status"), _show_status)


def _show_status(view: dict[str, Any]) -> None:
    bitcoin = view["bitcoin"]
    if not bitcoin["configured"]:
        bitcoin = "no LND: this node pays and receives, it is no gateway"
    record({**view, "bitcoin": bitcoin, "paused": f"no new swap: {view['paused']}" if view["paused"] else ""})


@app.command()
@guarded
def logs(
    directory: Directory = DEFAULT_DIR,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The node's log, newest last: one JSON object a line, with --json one list (unless it follows)."""
    api = client(directory)
    shown: list[str] = api.get(f"/logs?lines={lines}")
    if as_json and not follow:
        emit(True, shown, record)
        return
    typer.echo("\n".join(shown))
    last = shown[-1] if shown else ""
    while follow:
        time.sleep(1.0)
        fresh: list[str] = api.get("/logs?lines=1000")
        if last in fresh:
            fresh = fresh[len(fresh) - fresh[::-1].index(last) :]
        for line in fresh:
            typer.echo(line)
        last = fresh[-1] if fresh else last


@wallet.command()
@guarded
def address(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Where to send ada for this node."""
    emit(as_json, client(directory).get("/wallet/address"), lambda v: typer.echo(v["address"]))


@wallet.command()
@guarded
def balance(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Ada in the wallet (not in channels)."""

    def show(v: dict[str, Any]) -> None:
        console.print(f"{ada(v['lovelace'])} ada in {v['utxos']} outputs")
        if v["reserved_lovelace"]:
            console.print(f"{ada(v['reserved_lovelace'])} ada of it reserved for transactions in flight")

    emit(as_json, client(directory).get("/wallet/balance"), show)


@wallet.command()
@guarded
def utxos(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """The wallet's outputs."""

    def show(rows: list[dict[str, Any]]) -> None:
        table(
            "outputs",
            ("output", "ada", "reserved"),
            [(r["ref"], ada(r["lovelace"]), "yes" if r["reserved"] else "") for r in rows],
        )

    emit(as_json, client(directory).get("/wallet/utxos"), show)


@wallet.command()
@guarded
def send(
    address: Annotated[str, typer.Argument(help="Cardano address.")],
    lovelace: Annotated[int, typer.Argument(min=1)],
    directory: Directory = DEFAULT_DIR,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send ada from the wallet."""
    if not yes:
        typer.confirm(f"Send {ada(lovelace)} ada to {address}?", abort=True)
    answer = client(directory).post("/wallet/send", {"address": address, "lovelace": lovelace})
    emit(as_json, answer, record)


@peer.command("connect")
@guarded
def peer_connect(
    node: Annotated[str, typer.Argument(help="node_id@host:port")],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Connect to a CL node and stay connected."""
    node_id, _, place = node.partition("@")
    host, _, port = place.rpartition(":")
    if not (node_id and host and port.isdigit()):
        raise typer.BadParameter("write it as node_id@host:port")
    emit(
        as_json,
        client(directory).post("/peers", {"node_id": node_id, "host": host, "port": int(port)}),
        record,
    )


@peer.command("list")
@guarded
def peer_list(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Known peers."""

    def show(rows: list[dict[str, Any]]) -> None:
        table(
            "peers",
            ("node id", "address", "connected", "channels"),
            [(r["node_id"], r["address"], "yes" if r["connected"] else "no", r["channels"]) for r in rows],
        )

    emit(as_json, client(directory).get("/peers"), show)
