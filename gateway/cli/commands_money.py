"""R5. pay, payments; invoice create | decode; swap quote | receive | list | show | watch | cancel."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gateway.cli.app import DEFAULT_DIR, Directory, JsonFlag, app, client
from gateway.cli.client import ApiProblem, Client
from gateway.cli.output import FAILED, PENDING, ada, console, emit, guarded, record, sat, table

invoice = typer.Typer(help="BOLT 11 invoices.", no_args_is_help=True)
swap = typer.Typer(help="Swaps between the two networks.", no_args_is_help=True)
UNBOUNDED = "swap.pay.unbounded"  # docs/errors.md
ChannelOption = Annotated[str | None, typer.Option("--channel", help="Use this channel.")]
WaitOption = Annotated[
    int, typer.Option("--wait", help="Seconds to wait for the outcome; 0 returns at once.")
]


@app.command()
@guarded
def pay(
    invoice: Annotated[str, typer.Argument(help="BOLT 11 invoice.")],
    most: Annotated[int | None, typer.Option("--most", min=1, help="Most lovelace to pay in all.")] = None,
    channel: ChannelOption = None,
    wait: WaitOption = 60,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the gateway's price unasked.")] = False,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Pay a Bitcoin Lightning invoice from a channel. Prints the preimage, the proof of payment.

    Without --most the node's own price bounds the cost; a node that knows none shows the gateway's price and asks.
    """
    api = client(directory)
    view = _ordered(api, {"invoice": invoice, "most_lovelace": most, "channel": channel}, yes, as_json)
    end, seen = time.monotonic() + wait, ""
    while view["status"] == "pending" and time.monotonic() < end:
        if view["state"] != seen and not as_json:
            console.print(f"  {view['state']} {view.get('detail', '')}".rstrip())
            seen = view["state"]
        time.sleep(0.25)
        view = api.get(f"/payments/{view['payment_hash']}")
    emit(as_json, view, record)
    if view["status"] == "failed":
        raise typer.Exit(FAILED)
    if view["status"] == "pending":
        if not as_json:
            console.print("Still pending: do not pay again; gateway payments shows how it ends.")
        raise typer.Exit(PENDING)


def _ordered(api: Client, order: dict[str, Any], yes: bool, as_json: bool) -> Any:
    """The payment, begun. A price that nothing bounds is paid only when a person has seen it, or said --yes."""
    try:
        return api.post("/payments", order)
    except ApiProblem as problem:
        if problem.code != UNBOUNDED or (as_json and not yes):
            raise
    price = api.post("/payments/price", {"invoice": order["invoice"], "channel": order["channel"]})
    if not yes:
        asked = f"Pay {ada(price['lovelace'])} ada for {sat(price['amount_msat'])} sat?"
        typer.confirm(f"This node knows no price of its own. {asked}", abort=True)
    bounded = {**order, "channel": price["channel"], "most_lovelace": price["lovelace"]}
    return api.post("/payments", bounded)


@app.command()
@guarded
def payments(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Payments made from this node's channels."""

    def show(rows: list[dict[str, Any]]) -> None:
        table(
            "payments",
            ("payment hash", "status", "sat", "ada", "preimage or reason"),
            [
                (
                    r["payment_hash"],
                    r["status"],
                    sat(r["amount_msat"]),
                    ada(r["lovelace"]),
                    r["preimage"] or r["code"] or r["detail"],
                )
                for r in rows
            ],
        )

    emit(as_json, client(directory).get("/payments"), show)


@invoice.command("create")
@guarded
def invoice_create(
    lovelace: Annotated[int, typer.Argument(min=1, help="What this node shall receive.")],
    channel: ChannelOption = None,
    wait: WaitOption = 10,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Make an invoice that any Bitcoin Lightning wallet can pay; the money arrives in a channel."""
    _receive(lovelace, channel, wait, directory, as_json)


@invoice.command("decode")
@guarded
def invoice_decode(
    invoice: Annotated[str, typer.Argument(help="BOLT 11 invoice.")],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """What an invoice says."""
    emit(as_json, client(directory).post("/invoices/decode", {"invoice": invoice}), record)


@swap.command("receive")
@guarded
def swap_receive(
    lovelace: Annotated[int, typer.Argument(min=1, help="What this node shall receive.")],
    channel: ChannelOption = None,
    wait: WaitOption = 10,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Receive Bitcoin Lightning into a channel: prints the invoice to be paid."""
    _receive(lovelace, channel, wait, directory, as_json)


def _receive(lovelace: int, channel: str | None, wait: int, directory: Any, as_json: bool) -> None:
    api = client(directory)
    view = api.post("/invoices", {"lovelace": lovelace, "channel": channel})
    end = time.monotonic() + wait
    while view["status"] == "waiting" and not view["invoice"] and time.monotonic() < end:
        time.sleep(0.2)
        view = next(r for r in api.get("/invoices") if r["payment_hash"] == view["payment_hash"])
    emit(as_json, view, record)
    if view["status"] == "cancelled":
        raise typer.Exit(FAILED)
    if not view["invoice"]:
        raise typer.Exit(PENDING)


@swap.command("quote")
@guarded
def swap_quote(
    invoice: Annotated[str, typer.Argument(help="BOLT 11 invoice.")],
    channel: ChannelOption = None,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """What paying this invoice would cost now."""
    emit(as_json, client(directory).post("/swaps/quote", {"invoice": invoice, "channel": channel}), record)


@swap.command("estimate")
@guarded
def swap_estimate(
    pay_msat: Annotated[
        int | None, typer.Option("--pay-msat", min=1, help="To pay this much bitcoin.")
    ] = None,
    receive: Annotated[
        int | None, typer.Option("--receive", min=1, help="To receive this many lovelace.")
    ] = None,
    channel: ChannelOption = None,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """What a swap would cost now, with every part of the price. Reserves nothing and binds nobody."""
    asked = {"amount_msat": pay_msat, "lovelace": receive, "channel": channel}
    emit(as_json, client(directory).post("/swaps/estimate", asked), record)


@swap.command("list")
@guarded
def swap_list(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Swaps of this gateway."""

    def show(rows: list[dict[str, Any]]) -> None:
        table(
            "swaps",
            ("swap", "try", "direction", "state", "sat", "ada"),
            [
                (r["id"], r["attempt"], r["direction"], r["state"], sat(r["amount_msat"]), ada(r["lovelace"]))
                for r in rows
            ],
        )

    emit(as_json, client(directory).get("/swaps"), show)


@swap.command("show")
@guarded
def swap_show(
    swap_id: Annotated[str, typer.Argument(help="Payment hash.")],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """One swap with all that happened to it."""
    emit(as_json, client(directory).get(f"/swaps/{swap_id}"), record)


@swap.command("watch")
@guarded
def swap_watch(
    swap_id: Annotated[str | None, typer.Argument(help="Payment hash; all when left out.")] = None,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Follow swaps, payments and channels as they change."""
    for event in client(directory).events():
        if swap_id is not None and swap_id not in (event.get("id"), event.get("payment_hash")):
            continue
        emit(as_json, event, lambda e: console.print(f"{e.get('kind')} {e.get('id')} {e.get('event')}"))


@swap.command("pause")
@guarded
def swap_pause(
    reason: Annotated[
        str, typer.Option("--reason", help="Shown to peers and in status.")
    ] = "paused by the operator",
    drain: Annotated[int, typer.Option("--drain", min=0, help="Seconds to wait until no swap is open.")] = 0,
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Take no new swaps, also after a restart; those under way finish. Exit status 5: some are still open."""
    api = client(directory)
    api.post("/swaps/pause", {"reason": reason})
    end = time.monotonic() + drain
    view = api.get("/status")
    while view["swaps_live"] and time.monotonic() < end:
        time.sleep(0.5)
        view = api.get("/status")
    emit(as_json, {"paused": view["paused"] or reason, "swaps_live": view["swaps_live"]}, record)
    if drain and view["swaps_live"]:
        raise typer.Exit(PENDING)


@swap.command("resume")
@guarded
def swap_resume(directory: Directory = DEFAULT_DIR, as_json: JsonFlag = False) -> None:
    """Take new swaps again."""
    api = client(directory)
    api.post("/swaps/resume")
    emit(
        as_json,
        {"paused": api.get("/status")["paused"]},
        lambda v: console.print(v["paused"] or "swaps are open"),
    )


@swap.command("cancel")
@guarded
def swap_cancel(
    swap_id: Annotated[str, typer.Argument(help="Payment hash.")],
    directory: Directory = DEFAULT_DIR,
    as_json: JsonFlag = False,
) -> None:
    """Cancel a swap that has nothing locked yet; refused where money could be lost."""
    emit(as_json, client(directory).post(f"/swaps/{swap_id}/cancel"), record)
