"""The commands about single invoices: what a merchant does to them by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.inbox import IsTest, actor
from counterfoil.cli.session import MerchantName, Sentences, session_of

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation

invoice = typer.Typer(
    cls=Sentences, no_args_is_help=True, help="What you do to an invoice by hand."
)
InvoiceID = Annotated[int, typer.Argument(metavar="INVOICE", help="Its id.")]


@invoice.command("mark")
def mark(
    context: typer.Context,
    invoice_id: InvoiceID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Settle an invoice by hand, for money that no chain shows."""
    from counterfoil.services import marks

    async def work(here: "Installation") -> str:
        who = await actor(here, merchant_name, is_test=test)
        found = await marks.mark(here.context, who, invoice_id, here.clock.now())
        return found.standing.status.value

    status = session_of(context).run(work)
    typer.echo(f"Invoice {invoice_id} is {status}, settled by hand.")


@invoice.command("unmark")
def unmark(
    context: typer.Context,
    invoice_id: InvoiceID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Take back that an invoice was settled by hand; only money counts again."""
    from counterfoil.services import marks

    async def work(here: "Installation") -> str:
        who = await actor(here, merchant_name, is_test=test)
        found = await marks.unmark(here.context, who, invoice_id, here.clock.now())
        return found.standing.status.value

    typer.echo(f"Invoice {invoice_id} is {session_of(context).run(work)}.")
