"""The commands about merchants and their keys."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import MerchantName, Sentences, id_argument, print_table, session_of
from counterfoil.core.access import Scope
from counterfoil.core.events import iso
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Mode

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.core.confirmations import Confirmations

merchant = typer.Typer(
    cls=Sentences, no_args_is_help=True, help="Who is paid: make and list merchants."
)
key = typer.Typer(cls=Sentences, no_args_is_help=True, help="API keys: make, list and revoke them.")


@merchant.command("create")
def create_merchant(
    context: typer.Context,
    name: str,
    currency: Annotated[str, typer.Option(metavar="CODE", help="Such as USD or EUR.")] = "USD",
) -> None:
    """Make a merchant."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> None:
        await merchants.create(here.context, name, currency, here.clock.now())

    session_of(context).run(work, has_merchant=False)
    typer.echo(f"Merchant {name} is there.")


@merchant.command("list")
def list_merchants(context: typer.Context) -> None:
    """List the merchants."""
    from counterfoil.services import merchants

    known = session_of(context).run(lambda here: merchants.list_all(here.database))
    print_table(
        ("ID", "NAME", "CURRENCY", "SINCE", "TOLERANCE", "LATE MONEY", "MAY REDIRECT TO"),
        [
            (
                *(m.id, m.name, m.currency, iso(m.created_at)),
                *(f"{m.tolerance:f} %", m.late_money, " ".join(m.redirect_origins)),
            )
            for m in known
        ],
    )


@merchant.command("allow-redirect")
def allow_redirect(
    context: typer.Context,
    origin: Annotated[str, typer.Argument(help="Such as https://shop.example.")],
    merchant_name: MerchantName = None,
) -> None:
    """Let pay pages send payers back to an origin."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> str:
        found = await merchants.find(here.database, merchant_name)
        await merchants.allow_redirect(here.database, found, origin)
        return found.name

    name = session_of(context).run(work)
    typer.echo(f"Invoices of {name} may send their payers to {origin.lower()}.")


@merchant.command("confirmations")
def set_confirmations(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="What is received, such as LTC.")],
    policy: Annotated[
        str,
        typer.Argument(help='Such as 1 or "0, 1 from 0.5, 6 from 10" (whole coins); or default.'),
    ],
    merchant_name: MerchantName = None,
) -> None:
    """Say how many confirmations make a payment final; 0 counts it as soon as it is seen."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> "tuple[str, str, Confirmations]":
        found = await merchants.find(here.database, merchant_name)
        text = None if policy == "default" else policy
        of, holds = await merchants.set_confirmations(
            here.context, found, method, text, here.clock.now()
        )
        return found.name, of.id, holds

    name, method_id, holds = session_of(context).run(work)
    typer.echo(f"Payments of {method_id} to {name} that come from now on are final at: {holds}.")
    if holds.base == 0:
        typer.echo(
            "What is in no block yet can be taken back by whoever sent it, at little cost: give "
            "away for 0 confirmations only what you can afford to lose.",
            err=True,
        )


@merchant.command("tolerance")
def set_tolerance(
    context: typer.Context,
    percent: Annotated[str, typer.Argument(help="Of an invoice's amount, from 0 to 10.")],
    merchant_name: MerchantName = None,
) -> None:
    """Take invoices made from now on as paid in full if no more than this is missing."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> tuple[str, str]:
        found = await merchants.find(here.database, merchant_name)
        now = here.clock.now()
        set_to = await merchants.set_tolerance(here.database, found, percent, now)
        return found.name, f"{set_to:f}"

    name, set_to = session_of(context).run(work)
    typer.echo(f"New invoices of {name} are paid in full if at most {set_to} % is missing.")


@merchant.command("late-money")
def set_late_money(
    context: typer.Context,
    late_money: Annotated[LateMoney, typer.Argument(metavar="accept|hold")],
    merchant_name: MerchantName = None,
) -> None:
    """Take money that comes late from now on for what it is worth, or hold it for you to decide."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> str:
        found = await merchants.find(here.database, merchant_name)
        await merchants.set_late_money(here.database, found, late_money, here.clock.now())
        return found.name

    name = session_of(context).run(work)
    becomes = "counts" if late_money is LateMoney.ACCEPT else "is seen, and waits for you"
    typer.echo(f"Money that comes late to {name} {becomes}.")


# --- keys --------------------------------------------------------------------------------------


@key.command("create")
def create_key(
    context: typer.Context,
    scope: Annotated[Scope, typer.Option(help="What it may do; each includes the one before.")],
    test: Annotated[bool, typer.Option("--test", help="For test invoices alone.")] = False,
    merchant_name: MerchantName = None,
) -> None:
    """Make an API key; the last line is the key, which is shown only now."""
    from counterfoil.services import keys, merchants

    mode = Mode.TEST if test else Mode.LIVE

    async def work(here: "Installation") -> tuple[str, str]:
        found = await merchants.find(here.database, merchant_name)
        made = await keys.create(
            here.database, here.entropy, found.id, mode, scope, here.clock.now()
        )
        return found.name, made

    name, made = session_of(context).run(work)
    typer.echo(f"A {mode} key of {name} with the scope {scope.label}. It is shown only now:")
    typer.echo(made)


@key.command("list")
def list_keys(context: typer.Context, merchant_name: MerchantName = None) -> None:
    """List a merchant's keys, never their values."""
    from counterfoil.services import keys, merchants

    async def work(here: "Installation") -> list[tuple[object, ...]]:
        found = await merchants.find(here.database, merchant_name)
        return [
            (
                each.id,
                f"{each.hint}...",
                each.mode,
                each.scope,
                iso(each.created_at),
                "never" if each.last_used_at is None else iso(each.last_used_at),
                "in use" if each.revoked_at is None else f"revoked {iso(each.revoked_at)}",
            )
            for each in await keys.list_all(here.database, found.id)
        ]

    titles = ("ID", "KEY", "MODE", "SCOPE", "MADE", "LAST USED", "STATE")
    print_table(titles, session_of(context).run(work))


@key.command("revoke")
def revoke_key(
    context: typer.Context,
    key_id: Annotated[int, id_argument(metavar="ID", help="Of `counterfoil key list`.")],
    merchant_name: MerchantName = None,
) -> None:
    """Let a key open nothing any more, from the next second on."""
    from counterfoil.services import keys, merchants

    async def work(here: "Installation") -> None:
        found = await merchants.find(here.database, merchant_name)
        await keys.revoke(here.database, found.id, key_id, here.clock.now())

    session_of(context).run(work)
    typer.echo(f"Key {key_id} is revoked.")
