"""The commands about the server itself, and the one that pays a test invoice."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, urlsplit

import typer

from counterfoil.cli.session import Session, session_of
from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import NotFoundError
from counterfoil.core.ports import Mode, Outcome

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.invoices import Invoice

DEMO_FOLDER = "demo"


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (serve, demo, doctor, migrate, pay):
        program.command()(command)
    program.command("secret-key")(secret_key)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Where to listen [8000].")] = None,
    role: Annotated[
        str | None, typer.Option(metavar="web|worker|all", help="What to run [all].")
    ] = None,
) -> None:
    """Run the server, until SIGTERM or Ctrl-C."""
    import uvloop

    from counterfoil import logs
    from counterfoil.app import serving

    settings = session_of(context).load(host=host, port=port, role=role)
    logs.configure(settings.log_format, settings.log_level, is_for_good=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving.serve(settings, typer.echo))


def demo(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="In a temporary folder, and end when all is shown.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="Where to listen [8000, or any].")] = None,
) -> None:
    """Show the main job on a server of its own: an invoice, a payment, a signed webhook.

    It keeps its data in `demo` within the data folder, and touches nothing else.
    """
    import uvloop

    from counterfoil.cli import demonstration

    folder = None if once else _demo_folder(session_of(context))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(demonstration.run(folder, port))


def _demo_folder(session: Session) -> Path:
    return session.load().data / DEMO_FOLDER


def doctor(context: typer.Context) -> None:
    """Look at settings, database, chains and the rest, and say what to mend."""
    from counterfoil.cli import examination

    raise typer.Exit(asyncio.run(examination.run(session_of(context))))


def migrate(context: typer.Context) -> None:
    """Bring the database to this version's schema; of a SQLite file a copy is kept."""
    from counterfoil import logs
    from counterfoil.app import parts

    settings = session_of(context).load()
    logs.configure(settings.log_format, "warning")
    asyncio.run(parts.migrate(settings))
    typer.echo(f"The schema of the {settings.database_place} is this version's.")


def secret_key() -> None:
    """Print a new secret key, for COUNTERFOIL_SECRET_KEY on PostgreSQL."""
    from counterfoil.app.secret_key import new_key

    typer.echo(new_key())


def pay(
    context: typer.Context,
    invoice: Annotated[str, typer.Argument(help="A test invoice: its id, share token or pay_url.")],
    outcome: Annotated[Outcome, typer.Option(help="How the payment turns out.")] = Outcome.EXACT,
) -> None:
    """Pay a test invoice with the simulator's coin, as a payer might."""
    from counterfoil.services import simulator

    async def work(here: "Installation") -> str:
        found = await _find_invoice(here, invoice)
        return await simulator.simulate(here.context, found, outcome, here.clock.now())

    txid = session_of(context).run(work)
    typer.echo(f"Paid ({outcome}) with transaction {txid}; `counterfoil serve` sees it.")


async def _find_invoice(here: "Installation", text: str) -> "Invoice":
    """Return the invoice that an id, a share token or the address of a pay page means."""
    from counterfoil.services import checkout_look, invoices, merchants

    if not text.isascii() or not text.isdecimal():
        (token,) = parse_qs(urlsplit(text).query).get("share_token", [text])
        return await here.database.read(lambda connection: checkout_look.find(connection, token))
    for merchant in await merchants.list_all(here.database):
        for mode in Mode:
            principal = Principal(0, merchant.id, mode, Scope.READ)
            try:
                return await invoices.get(here.context, principal, int(text))
            except NotFoundError:
                continue
    raise invoices.not_found()
