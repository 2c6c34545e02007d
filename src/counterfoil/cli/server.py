"""The commands about the server itself, and the one that pays a test invoice."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import Session, find_invoice, session_of
from counterfoil.core.ports import Outcome

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation

DEMO_FOLDER = "demo"


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (serve, demo, doctor, migrate, pay):
        program.command()(command)
    program.command("secret-key")(secret_key)


def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Where to listen; if not given, 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Where to listen; if not given, 8000.")] = None,
    role: Annotated[
        str | None, typer.Option(metavar="web|worker|all", help="What to run; if not given, all.")
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
    port: Annotated[
        int | None, typer.Option(help="Where to listen; if not given, 8000, or any.")
    ] = None,
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
        found = await find_invoice(here, invoice)
        return await simulator.simulate(here.context, found, outcome, here.clock.now())

    txid = session_of(context).run(work)
    typer.echo(f"Paid ({outcome}) with transaction {txid}; `counterfoil serve` sees it.")
