"""The command that writes what came, for the books."""

import csv
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import MerchantName, Sentences, session_of
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Mode

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.ledger import Ledger

# What a spreadsheet would take for a formula, if a shop let its customers choose an order_id: also
# behind what ends a cell elsewhere.
_FORMULA = re.compile(r"(^|[;,\t\r\n|\"])(?=[=+\-@\t\r])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Form(StrEnum):
    """How the ledger is written."""

    CSV = "csv"
    JSON = "json"


ledger = typer.Typer(cls=Sentences, no_args_is_help=True, help="What came, for the books.")


@ledger.callback()
def _group() -> None:
    """Keep `export` a command of the group, although it is the only one."""


@ledger.command("export")
def export(
    context: typer.Context,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="TIME", help="When it was first seen: a date, or an ISO 8601 time."
        ),
    ],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The first that is left out.")],
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.CSV,
    is_test: Annotated[bool, typer.Option("--test", help="Test payments, not live ones.")] = False,
    merchant_name: MerchantName = None,
) -> None:
    """Write every transfer that came and is in a block, with its worth and the rates' sources.

    Times without a zone are UTC. A transfer is of the period in which it was first seen; what is in
    no block yet is counted on stderr, and listed when you export the period again. In CSV a ' is
    put before what a spreadsheet would take for a formula; JSON has every text as it is.
    """
    from counterfoil.services import ledger as ledgers
    from counterfoil.services import merchants

    from_at, to_at = parse_time("from", start), parse_time("to", end)
    if from_at >= to_at:
        message = "--to must be later than --from: it is the first time that is left out."
        raise InvalidError(Problem("to", "invalid_time", message))
    mode = Mode.TEST if is_test else Mode.LIVE

    async def work(here: "Installation") -> "Ledger":
        found = await merchants.find(here.database, merchant_name)
        return await ledgers.read(here.context, found.id, mode, from_at, to_at)

    read = session_of(context).run(work)
    if read.unconfirmed:
        count = "1 transfer is" if read.unconfirmed == 1 else f"{read.unconfirmed} transfers are"
        typer.echo(f"{count} in no block yet and not listed: export this period again.", err=True)
    if form is Form.JSON:
        _write_json(read)
        return
    writer = csv.DictWriter(sys.stdout, ledgers.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(text) for name, text in row.items()} for row in read.rows)


def parse_time(name: str, text: str) -> int:
    """Return a date's midnight, or a time, in milliseconds UTC; raises InvalidError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"--{name} must be a date such as 2026-01-31, or a time: 2026-01-31T18:00:00Z."
        raise InvalidError(Problem(name, "invalid_time", message)) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _inert(text: str) -> str:
    return _FORMULA.sub(r"\1'", text)


def _write_json(read: "Ledger") -> None:
    methods = sorted(read.credited_atomic.keys() | read.inbox_atomic.keys())
    totals = {
        method: {
            "credited_atomic": str(read.credited_atomic[method]),
            "inbox_atomic": str(read.inbox_atomic[method]),
        }
        for method in methods
    }
    json.dump({"totals": totals, "entries": read.rows}, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
