"""R5. `gateway`: one program for the node and everything an operator or user does with it."""

from __future__ import annotations

from gateway.cli import (
    commands_channel,
    commands_ledger,
    commands_money,
    commands_node,
    commands_price,
    commands_provider,
    commands_regtest,
)
from gateway.cli.app import app

app.add_typer(commands_node.wallet, name="wallet")
app.add_typer(commands_node.peer, name="peer")
app.add_typer(commands_provider.provider, name="provider")
app.add_typer(commands_channel.channel, name="channel")
app.add_typer(commands_money.invoice, name="invoice")
app.add_typer(commands_money.swap, name="swap")
app.add_typer(commands_price.price, name="price")
app.add_typer(commands_ledger.ledger, name="ledger")
app.add_typer(commands_regtest.regtest, name="regtest")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
