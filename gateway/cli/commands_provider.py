"""R5. provider: who shows the node Cardano's chain, and how each does."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, client
from gateway.cli.output import console, emit, guarded, table

provider = typer.Typer(help="The providers of Cardano's chain.", no_args_is_help=True)


@provider.command("status")
@guarded
def provider_status(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Each provider's state, height, lag and speed; and why nothing new is risked, if so."""

    def show(value: dict[str, Any]) -> None:
        table(
            "providers",
            ("name", "kind", "state", "height", "behind", "ms", "detail"),
            [
                (
                    r["name"],
                    r["kind"],
                    r["state"],
                    r["height"],
                    r["behind_blocks"],
                    r["latency_ms"],
                    r["detail"],
                )
                for r in value["providers"]
            ],
        )
        console.print(f"{value['quorum']} of {len(value['providers'])} must agree")
        if value["doubt"]:
            console.print(f"[bold]Nothing new is risked:[/bold] {value['doubt']}", soft_wrap=True)

    emit(as_json, client(directory).get("/providers"), show)
