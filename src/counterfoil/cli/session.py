"""What every command shares: its settings, an installation to work on, and words for errors."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import typer
from typer.core import TyperGroup

from counterfoil import settings as settings_module
from counterfoil.core.errors import CounterfoilError, InvalidError, NodeError, NotFoundError
from counterfoil.core.ids import ID_MAX
from counterfoil.core.ports import Mode
from counterfoil.settings import Settings

if TYPE_CHECKING:
    # Loading every room takes most of a second, and `--help` needs none of them.
    from counterfoil.app.parts import Installation
    from counterfoil.services.audit import Actor
    from counterfoil.services.invoices import Invoice

T = TypeVar("T")

# What no id can be is refused like a word: no database holds such a number.
id_argument = partial(typer.Argument, min=1, max=ID_MAX)
id_option = partial(typer.Option, min=1, max=ID_MAX)
MerchantName = Annotated[
    str | None, typer.Option("--merchant", metavar="NAME", help="Whose; not needed for only one.")
]
LINES = 20
LINES_MAX = 1_000
Limit = Annotated[int, typer.Option(min=1, max=LINES_MAX, help="So many lines at most.")]
IsTest = Annotated[bool, typer.Option("--test", help="Of test money.")]
# What fields of the API are called at the command line.
_OPTIONS = {
    "coin_symbol": "--coin",
    "fiat_value": "--value",
    "invoice_id": "INVOICE",
    "payment_id": "--payment",
}


class Sentences(TyperGroup):
    """A group of commands that tells an expected error in a sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 1 where it ends in an error that is told to a person."""
        try:
            return super().invoke(ctx)
        except (CounterfoilError, NodeError) as error:
            for sentence in sentences_of(error):
                typer.echo(f"Error: {sentence}", err=True)
            raise typer.Exit(1) from None


def sentences_of(error: Exception) -> list[str]:
    """Return what to tell a person of an error: one sentence, or one for each wrong field."""
    if isinstance(error, InvalidError):
        return [
            problem.message.replace(problem.field, _OPTIONS.get(problem.field, problem.field))
            for problem in error.problems
        ]
    return [str(error)]


@dataclass(frozen=True, slots=True)
class Session:
    """The options that stand before the command."""

    data: Path | None
    config: Path | None

    def load(self, **options: object) -> Settings:
        """Return the settings; `options` are those of the command itself."""
        given = {"data": self.data, "config": self.config, **options}
        return settings_module.load(os.environ, given)

    def run(
        self, work: "Callable[[Installation], Awaitable[T]]", *, has_merchant: bool = True
    ) -> T:
        """Open the installation and return what `work` makes of it."""
        from counterfoil import logs
        from counterfoil.app.parts import opened

        settings = self.load()
        logs.configure(settings.log_format, "warning")

        async def run() -> T:
            async with opened(settings, has_merchant=has_merchant) as here:
                return await work(here)

        return asyncio.run(run())


def session_of(context: typer.Context) -> Session:
    """Return what the options before the command say."""
    session: Session = context.obj
    return session


def act(
    context: typer.Context,
    merchant_name: str | None,
    work: "Callable[[Installation, Actor], Awaitable[T]]",
    *,
    is_test: bool,
) -> T:
    """Return what `work` makes of an installation for a merchant, in whose name somebody acts."""
    from counterfoil.services import merchants
    from counterfoil.services.audit import at_terminal

    async def run(here: "Installation") -> T:
        found = await merchants.find(here.database, merchant_name)
        who = at_terminal(found.id, Mode.TEST if is_test else Mode.LIVE)
        try:
            return await work(here, who)
        except NotFoundError as error:
            hint = "" if is_test else " If it is of test money, say --test."
            raise NotFoundError(error.code, f"{error.message}{hint}") from None

    return session_of(context).run(run)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under titles, each column as wide as it needs to be."""
    lines = [list(titles), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def tell_of_more(limit: int) -> None:
    """Say that a list goes on after `limit` lines."""
    if limit < LINES_MAX:
        longer = min(5 * limit, LINES_MAX)
        typer.echo(f"There are more: --limit {longer} shows up to {longer}.", err=True)
    else:
        typer.echo("There are more.", err=True)


async def find_invoice(here: "Installation", text: str) -> "Invoice":
    """Return the invoice that an id, a share token or the address of a pay page means."""
    from counterfoil.services import checkout_look, invoices

    if not text.isascii():
        raise invoices.not_found()
    if not text.isdecimal():
        token, *_ = parse_qs(urlsplit(text).query).get("share_token", [text])
        return await here.database.read(lambda connection: checkout_look.find(connection, token))
    if len(text) > len(str(ID_MAX)) or int(text) > ID_MAX:
        raise invoices.not_found()
    return await here.database.read(lambda connection: invoices.find_any(connection, int(text)))
