"""The commands about the inbox: what came and pays no invoice, and moving it by hand."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterfoil.cli.session import MerchantName, Sentences, print_table, session_of
from counterfoil.core.money import name_coins
from counterfoil.core.ports import Mode

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Actor

LINES = 20

inbox = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    help="What came and pays no invoice: list it, credit it, or set it aside.",
)
IsTest = Annotated[bool, typer.Option("--test", help="Of test money.")]
ItemID = Annotated[int, typer.Argument(metavar="ID", help="Of `counterfoil inbox list`.")]


async def actor(here: "Installation", merchant_name: str | None, *, is_test: bool) -> "Actor":
    """Return who acts: somebody at the command line, for a merchant, in a mode."""
    from counterfoil.services import merchants
    from counterfoil.services.audit import at_terminal

    found = await merchants.find(here.database, merchant_name)
    return at_terminal(found.id, Mode.TEST if is_test else Mode.LIVE)


@inbox.command("list")
def list_inbox(
    context: typer.Context,
    ignored: Annotated[bool, typer.Option("--ignored", help="What was set aside.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = LINES,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List the inbox, the newest first, with the invoices that each may have been meant for."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation") -> list[dict[str, Any]]:
        who = await actor(here, merchant_name, is_test=test)
        page, _ = await service.list_page(
            here.context, who, is_ignored=ignored, after=None, limit=limit
        )
        return [service.describe(here.context, each) for each in page]

    rows = []
    for each in session_of(context).run(work):
        likely = "; ".join(candidate["reason"] for candidate in each["candidates"])
        amount = name_coins(each["amount"], each["method"])
        came = (each["id"], each["first_seen_at"], amount, each["state"], each["txid"])
        rows.append((*came, each["message"], likely or "none"))
    print_table(("ID", "CAME", "AMOUNT", "STATE", "TXID", "WHY", "MEANT FOR"), rows)


@inbox.command("attach")
def attach(
    context: typer.Context,
    item_id: ItemID,
    invoice_id: Annotated[int, typer.Argument(metavar="INVOICE", help="Its id.")],
    value: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="What it is worth in the invoice's currency."),
    ] = None,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Credit a transfer to an invoice, at the invoice's price if you give no value."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation") -> tuple[int, str]:
        who = await actor(here, merchant_name, is_test=test)
        now = here.clock.now()
        invoice, made = await service.attach(here.context, who, item_id, invoice_id, value, now)
        return made.payment.id, invoice.standing.status.value

    payment_id, status = session_of(context).run(work)
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

    async def work(here: "Installation") -> None:
        who = await actor(here, merchant_name, is_test=test)
        await service.ignore(here.context, who, item_id, here.clock.now())

    session_of(context).run(work)
    typer.echo(f"Transfer {item_id} is set aside; `counterfoil inbox list --ignored` shows it.")


@inbox.command("detach")
def detach(
    context: typer.Context,
    payment_id: Annotated[int, typer.Argument(metavar="PAYMENT", help="Its id.")],
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """Take a payment off its invoice; its transfer goes back to the inbox."""
    from counterfoil.services import inbox as service

    async def work(here: "Installation") -> tuple[int, int, str]:
        who = await actor(here, merchant_name, is_test=test)
        invoice, item = await service.detach(here.context, who, payment_id, here.clock.now())
        return item, invoice.id, invoice.standing.status.value

    item_id, invoice_id, status = session_of(context).run(work)
    typer.echo(f"Invoice {invoice_id} is {status}; the transfer is number {item_id} in the inbox.")
