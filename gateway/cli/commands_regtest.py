"""R5. regtest up | down | status | mine | time | rollback | faucet | invoice | pay: both networks on a laptop."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.app import JsonFlag
from gateway.cli.output import FAILED, REFUSED, console, emit, guarded, record, table
from gateway.errors import Action, Fault, Refused, define

regtest = typer.Typer(help="Both networks on this machine, for tests and trying out.", no_args_is_help=True)

MISSING = define(
    "cli.regtest.missing",
    Fault.LOCAL,
    Action.REFUSE,
    "the regtest extra is not installed",
    "Install it with pip install 'cl-gateway[regtest]'.",
)
BAD_SPAN = define(
    "cli.regtest.span",
    Fault.LOCAL,
    Action.REFUSE,
    "the span of time cannot be read",
    "Write it as +30s, +15m, +2h or +7d.",
)
DEFAULT = Path.home() / ".cl-gateway-regtest"
RegtestDir = Annotated[
    Path, typer.Option("--dir", "-d", envvar="GATEWAY_REGTEST_DIR", help="Where the network lives.")
]


def _supervisor() -> Any:
    """The regtest package is an extra; nothing else in the product imports it."""
    try:
        return importlib.import_module("regtest.supervisor")
    except ImportError as error:
        raise Refused(MISSING(detail=str(error))) from error


def node_settings(network: Path, lnd: str) -> list[str]:
    """Settings of a node on this network, on free ports; with `lnd` it is a gateway on that node."""
    supervisor = _supervisor()
    cardano = supervisor.describe(network)["cardano"]
    found = [f"cardano.ogmios_url={cardano['ogmios_url']}", f"cardano.kupo_url={cardano['kupo_url']}"]
    found += [f"api_port={supervisor.free_port()}", f"listen_port={supervisor.free_port()}"]
    if lnd:
        node = supervisor.lightning_node(network, lnd)
        found += [f"bitcoin.{key}={node[key]}" for key in ("host", "port", "tls_cert", "macaroon")]
        found += ["bitcoin.enabled=true", "swap.enabled=true"]
    return found


def span_ms(text: str) -> int:
    """+30s, +15m, +2h, +7d in milliseconds; fails on anything else."""
    match = re.fullmatch(r"\+?(\d{1,7})(ms|s|m|h|d)", text)
    if match is None:
        raise Refused(BAD_SPAN(field="span", got=text))
    return int(match[1]) * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[match[2]]


@regtest.command()
@guarded
def up(
    directory: RegtestDir = DEFAULT,
    bln: Annotated[
        str, typer.Option(help="embedded (simulated LND) or lnd (real LND and btcd).")
    ] = "embedded",
    detach: Annotated[bool, typer.Option(help="Return once it is up, and leave it running.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Start both networks on free ports; writes regtest.json (endpoints, certificates, macaroons, faucet)."""
    emit(as_json, _supervisor().up(directory, bln, detach=detach), _show_network)


def _show_network(found: dict[str, Any]) -> None:
    cardano, bitcoin = found["cardano"], found["bitcoin"]
    rows = [("Ogmios", cardano["ogmios_url"], ""), ("Kupo", cardano["kupo_url"], "")]
    rows += [
        (f"LND {name}", f"{node['host']}:{node['port']}", node["pubkey"])
        for name, node in bitcoin["nodes"].items()
    ]
    table(f"Networks ({bitcoin['version']})", ("what", "where", "node id"), rows)
    console.print(
        "Make a node on them: gateway init --dir NODE --regtest DIR (with --lnd gateway: a gateway)"
    )


@regtest.command()
@guarded
def down(directory: RegtestDir = DEFAULT, as_json: JsonFlag = False) -> None:
    """Stop everything that up started."""
    emit(as_json, _supervisor().down(directory), record)


@regtest.command("status")
@guarded
def regtest_status(directory: RegtestDir = DEFAULT, as_json: JsonFlag = False) -> None:
    """Both chains' heights and clocks, and the processes."""
    view = _supervisor().status(directory)
    emit(as_json, view, record)
    if not view["running"]:
        raise typer.Exit(REFUSED)


@regtest.command()
@guarded
def mine(
    blocks: Annotated[int, typer.Argument(min=1, max=2016)] = 1,
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Mine Bitcoin blocks; the Cardano clock moves by what they take in this profile."""
    emit(as_json, _supervisor().mine(directory, blocks), record)


@regtest.command("time")
@guarded
def move_time(
    span: Annotated[str, typer.Argument(help="+30s, +15m, +2h, +7d")],
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Move both clocks: ledger time by the span, and the Bitcoin blocks that the profile expects for it."""
    emit(as_json, _supervisor().move_time(directory, span_ms(span)), record)


@regtest.command()
@guarded
def rollback(
    depth: Annotated[int, typer.Argument(min=1, max=2160)],
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Roll the Cardano chain back by some blocks; its transactions return to the mempool."""
    emit(as_json, _supervisor().rollback(directory, depth), record)


@regtest.command()
@guarded
def faucet(
    address: Annotated[str, typer.Argument(help="Cardano address.")],
    lovelace: Annotated[int, typer.Argument(min=1_000_000)] = 1_000_000_000,
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Send test ada to an address."""
    emit(as_json, _supervisor().faucet(directory, address, lovelace), record)
    if not as_json:
        console.print("sent")


NodeName = Annotated[str, typer.Option("--node", help="Which of the network's Lightning nodes.")]


@regtest.command()
@guarded
def invoice(
    sat: Annotated[int, typer.Argument(min=1)],
    node: NodeName = "alice",
    memo: Annotated[str, typer.Option(help="Its description.")] = "regtest",
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """An invoice of one of the network's Bitcoin Lightning nodes, to be paid from a channel."""
    made = _supervisor().invoice(directory, node, sat * 1000, memo)
    # alone on its line and never wrapped, so that it can be copied or used in $(…)
    emit(as_json, made, lambda value: typer.echo(value["invoice"]))


@regtest.command()
@guarded
def pay(
    invoice: Annotated[str, typer.Argument(help="BOLT 11 invoice.")],
    node: NodeName = "alice",
    directory: RegtestDir = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Pay an invoice from one of the network's Bitcoin Lightning nodes."""
    result = _supervisor().pay(directory, node, invoice)
    emit(as_json, result, record)
    if result["status"] != "SUCCEEDED":
        raise typer.Exit(FAILED)
