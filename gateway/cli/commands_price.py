"""R5. price status."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, client
from gateway.cli.output import REFUSED, console, emit, guarded, table

price = typer.Typer(help="The price that quotes are made with.", no_args_is_help=True)


@price.command("status")
@guarded
def price_status(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """The price now, where it comes from and why a source is left out. Exit status 1 when there is none."""
    view = client(directory).get("/price")
    emit(as_json, view, _show)
    if not view["ok"]:
        raise typer.Exit(REFUSED)


def _show(view: dict[str, Any]) -> None:
    if view["ok"]:
        console.print(f"1 ada = {view['price']} btc ({view['source']}, {_age(view['age_ms'])} old)")
        console.print(f"  {view['rate_lovelace']} lovelace for {view['rate_msat']} msat")
        console.print(f"  sources apart: {_percent(view['spread_ppm'])}")
    else:
        console.print(f"[red]no price[/red] ({view['code']}): {view['detail']}")
    kind = "measured" if view["volatility_measured"] else "assumed"
    console.print(
        f"  volatility: {_percent(view['volatility_daily_ppm'])} a day, {kind} "
        f"({view['history_samples']} samples over {view['history_ms'] // 3_600_000} h)"
    )
    rows = [
        (
            one["name"],
            one["price"] or "-",
            _age(one["age_ms"]),
            "used" if one["ok"] else " ".join(filter(None, (one["code"], one["got"], one["detail"]))),
        )
        for one in view["sources"]
    ]
    table("sources", ("source", "btc for an ada", "age", "state"), rows)


def _age(age_ms: int | None) -> str:
    return "-" if age_ms is None else f"{age_ms // 1000}.{age_ms % 1000 // 100} s"


def _percent(ppm: int) -> str:
    return f"{ppm // 10_000}.{ppm % 10_000:04d} %"
