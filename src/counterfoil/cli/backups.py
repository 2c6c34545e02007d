"""The commands that keep the data: `backup FILE` and `backup restore FILE`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterfoil.cli.session import Sentences, session_of

if TYPE_CHECKING:
    from counterfoil.app.backups import Contents, Restored
    from counterfoil.services.restoring import KeptAside
    from counterfoil.settings import Settings

_HOUR_MS = 3_600_000


class _MakesByDefault(Sentences):
    """A group in which a name that is no command is a file to back up to."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name."""
        is_file = bool(args) and args[0] not in self.commands
        return super().resolve_command(ctx, ["make", *args] if is_file else args)


backup = typer.Typer(
    cls=_MakesByDefault,
    help="Back up to a new FILE, while the server runs, or restore from one.",
    no_args_is_help=True,
    subcommand_metavar="FILE | restore FILE",
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


@backup.command(hidden=True)
def make(context: typer.Context, file: File) -> None:
    """Write all that is stored now to a new file, while the server runs."""
    from counterfoil import logs
    from counterfoil.app import backups

    settings = session_of(context).load()
    logs.configure(settings.log_format, "warning")
    contents = asyncio.run(backups.back_up(settings, file))
    typer.echo(f"{file} holds {_describe(contents)}. It was read again, and is whole.")
    typer.echo(f"The secret key is not in it: keep {_key_place(settings)} too, in another place.")
    typer.echo("Without it nobody can open the secrets of webhooks, and nothing can be restored.")


@backup.command()
def restore(context: typer.Context, file: File) -> None:
    """Make an empty installation one with all that a backup holds; the server must not run."""
    from counterfoil import logs
    from counterfoil.app import backups

    settings = session_of(context).load()
    logs.configure(settings.log_format, "warning")
    done = asyncio.run(backups.restore(settings, file))
    typer.echo(f"Restored {_describe(done.contents)}.")
    for line in _what_now(done):
        typer.echo(line)


def _describe(contents: "Contents") -> str:
    from counterfoil.core.events import iso

    return (
        f"{contents.invoices:,} invoices and {contents.payments:,} payments as of "
        f"{iso(contents.made_at)} ({contents.size_bytes / 1_000_000:,.1f} MB)"
    )


def _key_place(settings: "Settings") -> str:
    if settings.secret_key is not None:
        return settings.name_of("secret_key")
    return str(settings.secret_key_file)


def _what_now(done: "Restored") -> list[str]:
    from counterfoil.services.restoring import AMOUNTS_REST_MS, NUMBERS_GAP

    rest_hours = AMOUNTS_REST_MS / _HOUR_MS
    before = (
        "What the lost server did after that is not known here. So that nothing it gave out is "
        "given out again:"
    )
    numbers = f"- Ids and the numbers of events go on {NUMBERS_GAP:,} further."
    amounts = (
        "- One address for all invoices asks for no new amounts until it has been watched for "
        f"{rest_hours:.2f} hours. To sell at once, use a wallet with an extended public key."
    )
    undone = (
        "- Keys, wallets and channels are as they were then: look at `counterfoil key list`, "
        "`wallet list` and `channel list`, and revoke again what was revoked since."
    )
    after = (
        "`counterfoil serve` reads each chain on from where the backup was made. What was paid "
        "meanwhile is credited, or lies in the inbox if its invoice is lost."
    )
    addresses = [_addresses(each) for each in done.aside if each.wallet.method != "TEST"]
    return ["", before, numbers, *addresses, amounts, undone, "", after]


def _addresses(aside: "KeptAside") -> str:
    wallet = aside.wallet
    return (
        f"- {wallet.method} of {aside.merchant}: the addresses {wallet.next_index:,} to "
        f"{aside.next_index - 1:,} may have been shown. They are watched, and new invoices begin "
        f"at {aside.next_index:,}: let your wallet look {len(aside.addresses) + 20:,} addresses "
        "ahead (its gap limit)."
    )
