"""The commands about single invoices: what a merchant does to them by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import (
    IsTest,
    MerchantName,
    Sentences,
    act,
    id_argument,
    id_option,
    print_table,
)
from counterfoil.core.events import iso

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Actor

invoice = typer.Typer(
    cls=Sentences, no_args_is_help=True, help="What you do to an invoice by hand."
)
InvoiceID = Annotated[int, id_argument(metavar="INVOICE", help="Its id.")]


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

    settle = marks.mark if is_marked else marks.unmark

    async def work(here: "Installation", who: "Actor") -> str:
        found = await settle(here.context, who, invoice_id, here.clock.now())
        return found.standing.status.value

    return act(context, merchant_name, work, is_test=is_test)


@invoice.command("refund")
def refund(  # noqa: PLR0913, PLR0917  # the options of a command
    context: typer.Context,
    invoice_id: InvoiceID,
    amount: Annotated[str, typer.Argument(help="In whole coins with --coin, else in fiat.")],
    coin: Annotated[str, typer.Option(metavar="METHOD", help="What was sent, as LTC.")] = "",
    txid: Annotated[str, typer.Option(help="The transaction that sent it.")] = "",
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why, or how.")] = "",
    payment: Annotated[
        int | None,
        id_option(metavar="ID", help="The payment that it gives back."),
    ] = None,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Write down that money was sent back; nothing is sent, and no status changes."""
    from counterfoil.services import refunds

    draft = refunds.Draft(amount, coin, txid, note, payment)

    async def work(here: "Installation", who: "Actor") -> str:
        now = here.clock.now()
        found, made = await refunds.add(here.context, who, invoice_id, draft, now)
        return f"{made.amount} {made.method or found.currency}"

    noted = act(context, merchant_name, work, is_test=test)
    typer.echo(f"Noted: {noted} of invoice {invoice_id} was sent back.")


@invoice.command("refunds")
def list_refunds(
    context: typer.Context,
    invoice_id: InvoiceID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List what was noted as sent back for an invoice."""
    from counterfoil.services import refunds

    async def work(here: "Installation", who: "Actor") -> list[tuple[object, ...]]:
        found, made = await refunds.list_all(here.context, who, invoice_id)
        return [
            (
                *(each.id, iso(each.created_at), f"{each.amount} {each.method or found.currency}"),
                *(each.payment_id or "", each.txid, " ".join(each.note.split())),
            )
            for each in made
        ]

    titles = ("ID", "AT", "AMOUNT", "PAYMENT", "TXID", "NOTE")
    print_table(titles, act(context, merchant_name, work, is_test=test))
