"""The commands about chains: how each stands, and switching one off for good."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import Sentences, print_table, session_of
from counterfoil.core.events import iso

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.chains import Known

chain = typer.Typer(cls=Sentences, no_args_is_help=True, help="The chains that are watched.")


@chain.command("list")
def list_chains(context: typer.Context) -> None:
    """List the chains that this database has ever watched."""
    from counterfoil.services import chains

    async def work(here: "Installation") -> "list[Known]":
        return await chains.list_all(here.context)

    known = session_of(context).run(work, has_merchant=False)
    print_table(
        ("CHAIN", "STATE", "BLOCK", "SEEN UP TO", "OPEN PAYMENTS"),
        [
            (
                each.state.name,
                _state(each),
                each.state.cursor.height if each.state.cursor else "-",
                iso(each.state.watched_at) if each.state.watched_at else "-",
                each.open_payments,
            )
            for each in known
        ],
    )


def _state(known: "Known") -> str:
    if known.state.retired_at is not None:
        return "retired"
    if not known.is_on:
        return "off"
    return "on" if known.state.trouble is None else "on, in trouble"


@chain.command("retire")
def retire_chain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The chain, such as litecoin.")],
) -> None:
    """Wait no longer for a chain that is switched off for good: its unpaid invoices expire."""
    from counterfoil.services import chains

    async def work(here: "Installation") -> "Known":
        return await chains.retire(here.context, name, here.clock.now())

    retired = session_of(context).run(work, has_merchant=False)
    typer.echo(f"{name} is retired. Invoices that asked for it expire when they are due.")
    if retired.open_payments:
        typer.echo(
            f"Payments on it that were never final: {retired.open_payments}. Look at them in your "
            "wallet, and mark their invoices."
        )
    typer.echo("Should you switch it on again, watching goes on where it stopped.")
