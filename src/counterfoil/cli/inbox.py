"""The commands about the inbox: what came and pays no invoice, and moving it by hand."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterfoil.cli.session import (
    LINES,
    IsTest,
    Limit,
    MerchantName,
    Sentences,
    act,
    id_argument,
    print_table,
    tell_of_more,
)
from counterfoil.core.money import name_coins

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Actor

inbox = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    help="What came and pays no invoice: list it, credit it, or set it aside.",
)
ItemID = Annotated[int, id_argument(metavar="ID", help="Of `counterfoil inbox list`.")]


@inbox.command("list")
def list_inbox(
    context: typer.Context,
    ignored: Annotated[bool, typer.Option("--ignored", help="What was set aside.")] = False,
    limit: Limit = LINES,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List the inbox, the newest first, with the invoices that each may have been meant for."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation", who: "Actor") -> tuple[list[dict[str, Any]], bool]:
        page, last = await service.list_page(
            here.context, who, is_ignored=ignored, after=None, limit=limit
        )
        return [service.describe(here.context, each) for each in page], last is not None

    found, is_cut = act(context, merchant_name, work, is_test=test)
    rows = []
    for each in found:
        likely = "; ".join(candidate["reason"] for candidate in each["candidates"])
        amount = name_coins(each["amount"], each["method"])
        came = (each["id"], each["first_seen_at"], amount, each["state"], each["txid"])
        rows.append((*came, each["message"], likely or "none"))
    print_table(("ID", "CAME", "AMOUNT", "STATE", "TXID", "WHY", "MEANT FOR"), rows)
    if is_cut:
        tell_of_more(limit)


@inbox.command("attach")
def attach(
    context: typer.Context,
    item_id: ItemID,
    invoice_id: Annotated[int, id_argument(metavar="INVOICE", help="Its id.")],
    value: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="What it is worth in the invoice's currency."),
    ] = None,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Credit a transfer to an invoice, at the invoice's price if you give no value."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation", who: "Actor") -> tuple[int, str]:
        now = here.clock.now()
        invoice, made = await service.attach(here.context, who, item_id, invoice_id, value, now)
        return made.payment.id, invoice.standing.status.value

    payment_id, status = act(context, merchant_name, work, is_test=test)
    typer.echo(f"Invoice {invoice_id} is {status}, with the new payment {payment_id}.")


@inbox.command("ignore")
def ignore(
    context: typer.Context,
    item_id: ItemID,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Set a transfer aside; it may still be credited."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation", who: "Actor") -> None:
        await service.ignore(here.context, who, item_id, here.clock.now())

    act(context, merchant_name, work, is_test=test)
    typer.echo(f"Transfer {item_id} is set aside; `counterfoil inbox list --ignored` shows it.")


@inbox.command("detach")
def detach(
    context: typer.Context,
    payment_id: Annotated[int, id_argument(metavar="PAYMENT", help="Its id.")],
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Take a payment off its invoice; its transfer goes back to the inbox."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation", who: "Actor") -> tuple[int, int, str]:
        invoice, item = await service.detach(here.context, who, payment_id, here.clock.now())
        return item, invoice.id, invoice.standing.status.value

    item_id, invoice_id, status = act(context, merchant_name, work, is_test=test)
    typer.echo(f"Invoice {invoice_id} is {status}; the transfer is number {item_id} in the inbox.")
