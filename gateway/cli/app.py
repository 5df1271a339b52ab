"""R5. The root command and what all commands share: the data directory and the way to its node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.client import Client

app = typer.Typer(
    help="A gateway node between Bitcoin Lightning and Cardano Lightning.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # A4: locals of a key handler must never reach a terminal
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable output on one line.")]
Directory = Annotated[
    Path,
    typer.Option("--dir", "-d", envvar="GATEWAY_DIR", help="Data directory of the node.", file_okay=False),
]
DEFAULT_DIR = Path.home() / ".cl-gateway"


def client(directory: Path, timeout_s: float = 60.0) -> Client:
    return Client(directory, timeout_s)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A gateway node between Bitcoin Lightning and Cardano Lightning."""
