"""The program: the options before the command, the commands, and how it ends."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from counterfoil.cli import (
    audit,
    backups,
    chains,
    channels,
    inbox,
    invoices,
    ledger,
    merchants,
    repairs,
    server,
    wallets,
)
from counterfoil.cli.session import Sentences, Session

# What we write is ours alone: the database, its copies and the secret key.
_UMASK = 0o077

app = typer.Typer(
    name="counterfoil",
    cls=Sentences,
    help="Self-hosted, non-custodial crypto invoicing. Settings: counterfoil.toml, COUNTERFOIL_*.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with the values of variables in it would show secrets.
    pretty_exceptions_enable=False,
)
app.add_typer(merchants.merchant, name="merchant")
app.add_typer(merchants.key, name="key")
app.add_typer(wallets.wallet, name="wallet")
app.add_typer(channels.channel, name="channel")
app.add_typer(chains.chain, name="chain")
app.add_typer(invoices.invoice, name="invoice")
app.add_typer(inbox.inbox, name="inbox")
app.add_typer(backups.backup, name="backup")
app.add_typer(ledger.ledger, name="ledger")
server.add_to(app)
app.command()(repairs.explain)
app.command()(repairs.rescan)
audit.add_to(app)


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001  # the signature is Typer's
    if is_wanted:
        typer.echo(f"counterfoil {version('counterfoil')}")
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of the database and the secret key [COUNTERFOIL_DATA; default: the "
            "folder of the SQLite file, else ./counterfoil-data].",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The settings file [COUNTERFOIL_CONFIG; default: ./counterfoil.toml, if any].",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Take the options before the command."""
    context.obj = Session(data, config)


def main() -> None:
    """Run the program."""
    os.umask(_UMASK)
    app()
