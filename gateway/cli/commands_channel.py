"""R5. channel open | add | list | show | close | force-close."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, client
from gateway.cli.client import Client
from gateway.cli.output import FAILED, PENDING, ada, console, emit, guarded, record, table

channel = typer.Typer(help="Cardano Lightning channels.", no_args_is_help=True)
ChannelArg = Annotated[str, typer.Argument(help="Channel id, or enough of its beginning.")]
Wait = Annotated[int, typer.Option("--wait", help="Seconds to wait for it to be done; 0 returns at once.")]


def _wait_for(api: Client, channel_id: str, states: set[str], seconds: int, quiet: bool) -> dict[str, Any]:
    """Follows a channel until it is in one of `states`, showing each change; gives up waiting, never the channel."""
    end = time.monotonic() + seconds
    seen = ""
    while True:
        view: dict[str, Any] = api.get(f"/channels/{channel_id}")
        line = f"{view['state']} {view.get('detail', '')}".strip()
        if line != seen and not quiet:
            console.print(f"  {line}")
            seen = line
        if view["state"] in states or time.monotonic() >= end:
            return view
        time.sleep(0.5)


@channel.command("open")
@guarded
def channel_open(
    peer: Annotated[str, typer.Argument(help="Node id of the peer (66 hex digits).")],
    lovelace: Annotated[int, typer.Argument(min=1, help="Our funds in the channel.")],
    gift: Annotated[int, typer.Option(min=0, help="Of that, given to the peer at once.")] = 0,
    respond_period_ms: Annotated[int | None, typer.Option(min=1)] = None,
    wait: Wait = 0,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Open a channel with a connected peer and fund it."""
    api = client(directory)
    body = {
        "peer": peer,
        "lovelace": lovelace,
        "gift_lovelace": gift,
        "respond_period_ms": respond_period_ms,
    }
    view = api.post("/channels", body)
    if wait:
        view = _wait_for(api, view["id"], {"opened", "failed", "ended"}, wait, as_json)
    emit(as_json, view, record)
    _exit(view, {"opened"}, wait)


@channel.command("add")
@guarded
def channel_add(
    channel_id: ChannelArg,
    lovelace: Annotated[int, typer.Argument(min=1)],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Add funds of ours to an open channel."""
    emit(as_json, client(directory).post(f"/channels/{channel_id}/add", {"lovelace": lovelace}), record)


@channel.command("list")
@guarded
def channel_list(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """All channels."""

    def show(rows: list[dict[str, Any]]) -> None:
        table(
            "channels",
            ("channel", "state", "local ada", "remote ada", "pending", "peer"),
            [
                (
                    r["id"],
                    r["state"],
                    ada(r["local_lovelace"]),
                    ada(r["remote_lovelace"]),
                    len(r["pending"]),
                    r["peer"][:16] + "…",
                )
                for r in rows
            ],
        )

    emit(as_json, client(directory).get("/channels"), show)


@channel.command("show")
@guarded
def channel_show(
    channel_id: ChannelArg, directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False
) -> None:
    """One channel: balances, pending cheques, next deadline."""
    emit(as_json, client(directory).get(f"/channels/{channel_id}"), record)


@channel.command("close")
@guarded
def channel_close(
    channel_id: ChannelArg, wait: Wait = 0, directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False
) -> None:
    """Take no new cheques, let pending ones end, then end it in one transaction that the peer signs too; alone when
    the peer is away, silent or refuses."""
    _close(channel_id, False, wait, directory, as_json)


@channel.command("force-close")
@guarded
def channel_force_close(
    channel_id: ChannelArg,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = 0,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Close now, with whatever is pending; the chain settles the rest."""
    if not yes:
        typer.confirm(f"Close channel {channel_id} now, without the peer?", abort=True)
    _close(channel_id, True, wait, directory, as_json)


def _close(channel_id: str, force: bool, wait: int, directory: Any, as_json: bool) -> None:
    api = client(directory)
    view = api.post(f"/channels/{channel_id}/close", {"force": force})
    if wait:
        view = _wait_for(api, channel_id, {"ended", "failed"}, wait, as_json)
    emit(as_json, view, record)
    _exit(view, {"ended"}, wait)


def _exit(view: dict[str, Any], good: set[str], wait: int) -> None:
    if view["state"] == "failed":
        raise typer.Exit(FAILED)
    if wait and view["state"] not in good:
        raise typer.Exit(PENDING)
