"""The commands for when a payment is missing: why it is, and reading a chain again."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import find_invoice, session_of
from counterfoil.core.money import name_coins
from counterfoil.core.ports import Mode

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.case import Case
    from counterfoil.services.context import Methods
    from counterfoil.services.rescans import Found, Report, Rescan

_HOLDER_BYTES = 8


def explain(
    context: typer.Context,
    invoice: Annotated[str, typer.Argument(help="Its id, share token or pay_url.")],
    txid: Annotated[
        str | None, typer.Option(metavar="ID", help="A transaction that the payer names.")
    ] = None,
) -> None:
    """Say why an invoice is not paid: what was asked for, what was seen, and what to do.

    With --txid the nodes are asked for that transaction.
    """
    from counterfoil.services import diagnosis, explanation
    from counterfoil.services.advice import advise

    async def work(here: "Installation") -> "Case":
        found = await find_invoice(here, invoice)
        return await diagnosis.examine(
            here.context, found, txid, here.clock.now(), at_terminal=True
        )

    case = session_of(context).run(work)
    for sentence in explanation.findings(case):
        typer.echo(sentence)
    typer.echo("What to do:")
    for sentence in advise(case):
        typer.echo(f"- {sentence}")


def rescan(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="What was paid with, such as LTC.")],
    first: Annotated[
        int, typer.Option("--from", metavar="HEIGHT", help="The first block to read again.")
    ],
) -> None:
    """Read blocks again after an outage, and credit what was missed; nothing is credited twice.

    A server that runs does the work; where none does, this command does it.
    """
    from counterfoil.services import rescans

    async def work(here: "Installation") -> "tuple[Report, Methods]":
        methods = here.context.methods
        chain = methods.chain_of(methods.only(method, "method", Mode.TEST))
        asked = await rescans.ask(here.context, chain, first, here.clock.now())
        holder = f"rescan:{here.entropy.token(_HOLDER_BYTES).hex()}"
        report = await rescans.carry_out(here.context, asked, holder, here.clock, _show_progress())
        return report, methods

    report, methods = session_of(context).run(work)
    _tell(report, methods)
    if report.rescan.trouble is not None:
        raise typer.Exit(1)


def _show_progress() -> Callable[["Rescan", str | None], None]:
    """Return what shows a person who waits how far it is, and why it waits."""
    told: set[str] = set()

    def show(known: "Rescan", trouble: str | None) -> None:
        if trouble is not None and trouble not in told:
            told.add(trouble)
            typer.echo(f"{known.chain}: {trouble} The blocks are read when this is over.", err=True)
        if sys.stderr.isatty():
            place = f"Block {known.next_height} of {known.last_height} \r"
            typer.echo(place, err=True, nl=False)

    return show


def _tell(report: "Report", methods: "Methods") -> None:
    done = report.rescan
    for each in report.found:
        typer.echo(_describe(each, methods))
    count = done.next_height - done.first_height
    blocks = "1 block" if count == 1 else f"{count} blocks"
    missed = len(report.found)
    payments = {0: "nothing that was missed", 1: "1 payment that was missed"}.get(
        missed, f"{missed} payments that were missed"
    )
    typer.echo(f"{blocks} of {done.chain} read again from {done.first_height} on: {payments}.")
    if done.trouble is not None:
        typer.echo(
            f"Error: block {done.next_height} cannot be read: {done.trouble} "
            f"When the node can show it, go on with --from {done.next_height}. If it is pruned, "
            "use one that keeps all blocks, or go on with the first height that it has.",
            err=True,
        )


def _describe(found: "Found", methods: "Methods") -> str:
    coins = name_coins(methods.format_coin(found.method, found.amount_atomic), found.method)
    where = (
        f"is credited to invoice {found.invoice_id}"
        if found.invoice_id is not None
        else f"lies in the inbox ({found.reason})"
    )
    return f"{coins} in transaction {found.txid}, block {found.block_height}, {where}"
