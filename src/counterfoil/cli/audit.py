"""The command that shows what was done by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.inbox import LINES, IsTest, actor
from counterfoil.cli.session import MerchantName, print_table, session_of
from counterfoil.core.events import iso

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Entry


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command()(audit)


def audit(
    context: typer.Context,
    invoice: Annotated[int | None, typer.Option(metavar="ID", help="Of one invoice.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = LINES,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List what was done by hand and who did it, the last first."""
    from counterfoil.services import audit as service

    async def work(here: "Installation") -> list["Entry"]:
        who = await actor(here, merchant_name, is_test=test)
        return await service.list_last(here.database, who, invoice_id=invoice, limit=limit)

    rows = [
        (
            *(iso(each.at), each.who, each.act, each.invoice_id or "", each.payment_id or ""),
            *(each.txid or "", " ".join(f"{key}={text}" for key, text in each.details.items())),
        )
        for each in session_of(context).run(work)
    ]
    print_table(("AT", "WHO", "ACT", "INVOICE", "PAYMENT", "TXID", "DETAILS"), rows)
