"""The command that shows what was done by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import (
    LINES,
    IsTest,
    Limit,
    MerchantName,
    act,
    id_option,
    print_table,
    tell_of_more,
)
from counterfoil.core.events import iso

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Actor, Entry


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command()(audit)


def audit(
    context: typer.Context,
    invoice: Annotated[int | None, id_option(metavar="ID", help="Of one invoice.")] = None,
    limit: Limit = LINES,
    test: IsTest = False,
    merchant_name: MerchantName = None,
) -> None:
    """List what was done by hand and who did it, the last first."""
    from counterfoil.services import audit as service

    async def work(here: "Installation", who: "Actor") -> list["Entry"]:
        return await service.list_last(here.database, who, invoice_id=invoice, limit=limit + 1)

    found = act(context, merchant_name, work, is_test=test)

    rows = [
        (
            *(iso(each.at), each.who, each.act, each.invoice_id or "", each.payment_id or ""),
            *(each.txid or "", " ".join(f"{key}={text}" for key, text in each.details.items())),
        )
        for each in found[:limit]
    ]
    print_table(("AT", "WHO", "ACT", "INVOICE", "PAYMENT", "TXID", "DETAILS"), rows)
    if len(found) > limit:
        tell_of_more(limit)
