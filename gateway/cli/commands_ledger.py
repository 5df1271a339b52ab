"""R5. ledger show | export | check; swap why | incident | replay."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, client
from gateway.cli.commands_money import swap
from gateway.cli.output import FAILED, ada, console, emit, guarded, record, sat, table
from gateway.errors import Action, Fault, Refused, define
from gateway.swap.replay import replay
from gateway.swap.transitions import IllegalEdge

ledger = typer.Typer(help="The double-entry ledger of swaps, fees and costs.", no_args_is_help=True)
_PAGE = 5000

INCIDENT = define(
    "cli.incident.malformed",
    Fault.LOCAL,
    Action.REFUSE,
    "this is no incident file that this version can replay",
    "Make it with gateway swap incident, by the same version.",
)


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"


def _amount(unit: str, amount: int) -> str:
    return f"{ada(amount)} ada" if unit == "lovelace" else f"{amount} msat"


@ledger.command("show")
@guarded
def show(
    by_swap: Annotated[bool, typer.Option("--by-swap", help="Profit by swap instead of by day.")] = False,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Balances by account, and the profit by day or swap."""
    api = client(directory)
    view = {**api.get("/ledger"), "profit": api.get(f"/ledger/profit?by_swap={str(by_swap).lower()}")}

    def shown(v: dict[str, Any]) -> None:
        table(
            "accounts",
            ("account", "balance"),
            [(a["account"], _amount(a["unit"], a["amount"])) for a in v["accounts"]],
        )
        table(
            "profit",
            ("swap" if by_swap else "day", "ada", "sat"),
            [(p["key"] or "channels", ada(p["lovelace"]), sat(p["msat"])) for p in v["profit"]],
        )
        if v["detail"]:
            console.print(v["detail"])

    emit(as_json, view, shown)


@ledger.command("check")
@guarded
def check(
    accept: Annotated[
        str, typer.Option("--accept", help="Book the difference as your own doing, with this reason.")
    ] = "",
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Compare the ledger with both networks now. Exit code 4 when they differ."""
    api = client(directory)
    view = api.post("/ledger/accept", {"reason": accept}) if accept else api.get("/ledger")
    differs = bool(view["difference_lovelace"] or view["difference_msat"])

    def shown(v: dict[str, Any]) -> None:
        console.print(v["detail"] or "the ledger agrees with the channels")
        if v["difference_msat"] is None:
            console.print("the Lightning node was not compared: it cannot be asked now, or there is none")
        if v["stopped"]:
            console.print(f"new swaps are refused: {v['stopped']}")

    emit(as_json, view, shown)
    if differs:
        raise typer.Exit(FAILED)


@ledger.command("export")
@guarded
def export(
    form: Annotated[Form, typer.Option("--format", help="csv or json.")] = Form.CSV,
    since_ms: Annotated[int, typer.Option(min=0, help="From this time on (POSIX ms).")] = 0,
    until_ms: Annotated[int, typer.Option(min=0, help="Before this time (POSIX ms).")] = 2**53,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else the terminal.")] = None,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Every row, oldest first. --json is the same as --format json."""
    form = Form.JSON if as_json else form
    api = client(directory)
    rows: list[dict[str, Any]] = []
    while page := api.get(
        f"/ledger/rows?after={rows[-1]['id'] if rows else 0}"
        f"&since_ms={since_ms}&until_ms={until_ms}&limit={_PAGE}"
    ):
        rows += page
    if output is None:
        _write(sys.stdout, form, rows)
        return
    with output.open("w", newline="") as file:
        _write(file, form, rows)


def _write(file: TextIO, form: Form, rows: list[dict[str, Any]]) -> None:
    if form is Form.JSON:
        json.dump(rows, file)
        file.write("\n")
        return
    columns = ("id", "at_ms", "entry", "memo", "account", "unit", "amount")
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)


@swap.command("why")
@guarded
def why(
    swap_id: Annotated[str, typer.Argument(help="Payment hash.")],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """What a swap waits for, since when, the worst case, and what you can do."""
    emit(as_json, client(directory).get(f"/swaps/{swap_id}/why"), record)


@swap.command("incident")
@guarded
def incident(
    swap_id: Annotated[str, typer.Argument(help="Payment hash.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else the terminal.")] = None,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """One file with everything about a swap, as JSON. It holds the preimage, if that is known."""
    found = client(directory).get(f"/swaps/{swap_id}/incident")
    text = json.dumps(found, indent=None if as_json else 1) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    output.touch(mode=0o600)
    output.write_text(text)


def decided_again(file: Path) -> list[str]:
    """What differs; raises cli.incident.malformed."""
    try:
        return replay(json.loads(file.read_text()))
    except (Refused, ValueError, KeyError, TypeError, AttributeError, IllegalEdge) as error:
        raise Refused(INCIDENT(field="file", got=str(file)[-80:], detail=str(error)[:200])) from error


@swap.command("replay")
@guarded
def replayed(
    file: Annotated[Path, typer.Argument(help="An incident file.", exists=True, dir_okay=False)],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Decide again on every input of an incident file, without a node. Exit code 4 when something differs."""
    wrong = decided_again(file)
    emit(
        as_json,
        {"differences": wrong},
        lambda v: console.print("\n".join(v["differences"]) or "every decision comes out as it was stored"),
    )
    if wrong:
        raise typer.Exit(FAILED)
