"""The commands about single invoices: what a merchant does to them by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.inbox import IsTest, actor
from counterfoil.cli.session import MerchantName, Sentences, print_table, session_of
from counterfoil.core.events import iso

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
    status = _settle(context, invoice_id, merchant_name, is_test=test, is_marked=True)
    typer.echo(f"Invoice {invoice_id} is {status}, settled by hand.")


@invoice.command("unmark")
def unmark(
    context: typer.Context,
    invoice_id: InvoiceID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Take back that an invoice was settled by hand; only money counts again."""
    status = _settle(context, invoice_id, merchant_name, is_test=test, is_marked=False)
    typer.echo(f"Invoice {invoice_id} is {status}.")


def _settle(
    context: typer.Context,
    invoice_id: int,
    merchant_name: str | None,
    *,
    is_test: bool,
    is_marked: bool,
) -> str:
    """Mark an invoice or take the mark off, and return its status."""
    from counterfoil.services import marks

    act = marks.mark if is_marked else marks.unmark

    async def work(here: "Installation") -> str:
        who = await actor(here, merchant_name, is_test=is_test)
        found = await act(here.context, who, invoice_id, here.clock.now())
        return found.standing.status.value

    return session_of(context).run(work)


@invoice.command("refund")
def refund(  # noqa: PLR0913, PLR0917  # the options of a command
    context: typer.Context,
    invoice_id: InvoiceID,
    amount: Annotated[str, typer.Argument(help="In whole coins with --coin, else in fiat.")],
    coin: Annotated[str, typer.Option(metavar="METHOD", help="What was sent, as LTC.")] = "",
    txid: Annotated[str, typer.Option(help="The transaction that sent it.")] = "",
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why, or how.")] = "",
    payment: Annotated[
        int | None, typer.Option(metavar="ID", help="The payment that it gives back.")
    ] = None,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Write down that money was sent back; nothing is sent, and no status changes."""
    from counterfoil.services import refunds

    draft = refunds.Draft(amount, coin, txid, note, payment)

    async def work(here: "Installation") -> str:
        who = await actor(here, merchant_name, is_test=test)
        now = here.clock.now()
        found, made = await refunds.add(here.context, who, invoice_id, draft, now)
        return f"{made.amount} {made.method or found.currency}"

    typer.echo(f"Noted: {session_of(context).run(work)} of invoice {invoice_id} was sent back.")


@invoice.command("refunds")
def list_refunds(
    context: typer.Context,
    invoice_id: InvoiceID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List what was noted as sent back for an invoice."""
    from counterfoil.services import refunds

    async def work(here: "Installation") -> list[tuple[object, ...]]:
        who = await actor(here, merchant_name, is_test=test)
        found, made = await refunds.list_all(here.context, who, invoice_id)
        return [
            (
                *(each.id, iso(each.created_at), f"{each.amount} {each.method or found.currency}"),
                *(each.payment_id or "", each.txid, " ".join(each.note.split())),
            )
            for each in made
        ]

    titles = ("ID", "AT", "AMOUNT", "PAYMENT", "TXID", "NOTE")
    print_table(titles, session_of(context).run(work))
