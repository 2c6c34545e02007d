"""The commands about wallets: what a merchant receives on.

What is typed here may be a recovery phrase, by mistake. So nothing that was given is ever repeated:
words without quotes around them reach the check that refuses them, not an error that prints them.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import MerchantName, Sentences, id_argument, print_table, session_of
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.events import iso
from counterfoil.core.ports import Mode
from counterfoil.settings import NODE_CHAINS, variable

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation
    from counterfoil.services.wallets import AddedWallet, ListedWallet

_STDIN = "-"

wallet = typer.Typer(
    cls=Sentences, no_args_is_help=True, help="What a merchant receives on. Never a private key."
)


@wallet.command("add", context_settings={"allow_extra_args": True})
def add_wallet(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="What is received, such as LTC.")],
    xpub: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="An account's extended public key; - reads it from stdin."
        ),
    ] = None,
    descriptor: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="An output descriptor; - reads it from stdin."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="One address for all; payments are told apart by amount.")
    ] = None,
    next_index: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The first address to use, counted from 0, instead of asking the node for it.",
        ),
    ] = None,
    merchant_name: MerchantName = None,
) -> None:
    """Add a wallet, and print its first addresses to compare with your own wallet's."""
    from counterfoil.services import merchants, wallets

    given = [each for each in (xpub, descriptor, address) if each is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --xpub, --descriptor and --address")
    value = (
        sys.stdin.readline().strip() if given[0] == _STDIN else " ".join([*given, *context.args])
    )
    is_address = address is not None

    async def work(here: "Installation") -> "AddedWallet":
        _check_chains(here, method)
        found = await merchants.find(here.database, merchant_name)
        return await wallets.add(
            here.context,
            found.id,
            method,
            xpub=None if is_address else value,
            address=value if is_address else None,
            next_index=next_index,
            told=_show_progress,
            now=here.clock.now(),
        )

    _tell(session_of(context).run(work))


def _check_chains(here: "Installation", method: str) -> None:
    if not here.context.methods.of_mode(Mode.LIVE):
        known = {coin: chain for chain, coin in NODE_CHAINS.items()}
        chain = known.get(method.upper(), next(iter(NODE_CHAINS)))
        message = (
            "No chain is switched on, so there is nothing to receive. Set "
            f"{variable(f'chains.{chain}.rpc')}=http://user:password@host:port first."
        )
        raise InvalidError(Problem("method", "no_chain", message))


def _show_progress(percent: int) -> None:
    """Show a person who waits that the node is at work; whatever is printed next goes over it."""
    if sys.stderr.isatty():
        typer.echo(f"The node looks for used addresses: {percent} % \r", err=True, nl=False)


def _tell(added: "AddedWallet") -> None:
    """Print the addresses to compare, and what is known of those that were used before."""
    made = added.wallet
    if made.kind == "address":
        typer.echo(made.addresses[0])
        return
    typer.echo("Compare: these must be the first receive addresses that your own wallet shows.")
    typer.echo("If they differ, do not take money with it.")
    for each in made.addresses:
        typer.echo(each)
    first = f"The first invoice gets address number {made.next_index}, counted from 0"
    if added.history is None:
        typer.echo(f"{first}: no node was asked which were used before.", err=True)
    elif added.history.is_whole:
        typer.echo(f"{first}: none from there on was ever used.", err=True)
    else:
        typer.echo(
            f"{first}. The node sees unspent coin alone: if your wallet has used and emptied a "
            "later one, remove this wallet and add it again with --next-index.",
            err=True,
        )


@wallet.command("list")
def list_wallets(context: typer.Context, merchant_name: MerchantName = None) -> None:
    """List a merchant's wallets."""
    from counterfoil.services import merchants, wallets

    async def work(here: "Installation") -> "list[ListedWallet]":
        found = await merchants.find(here.database, merchant_name)
        return await wallets.list_all(here.context, found.id)

    known = session_of(context).run(work)
    print_table(
        ("ID", "METHOD", "KIND", "NEXT INDEX", "SHOWN", "PAID", "SINCE", "WALLET"),
        [
            (
                *(each.id, each.method, each.kind, each.next_index),
                *(each.use.shown, each.use.paid, iso(each.created_at), each.value),
            )
            for each in known
        ],
    )
    for each in known:
        if each.warning is not None:
            typer.echo(f"Wallet {each.id}: {each.warning}", err=True)


@wallet.command("remove")
def remove_wallet(
    context: typer.Context,
    wallet_id: Annotated[int, id_argument(metavar="ID", help="Of `counterfoil wallet list`.")],
    merchant_name: MerchantName = None,
) -> None:
    """Ask for nothing new on a wallet; what its addresses still receive is credited as ever."""
    from counterfoil.services import merchants, wallets

    async def work(here: "Installation") -> None:
        found = await merchants.find(here.database, merchant_name)
        await wallets.remove(here.context, found.id, wallet_id, here.clock.now())

    session_of(context).run(work)
    typer.echo(f"Wallet {wallet_id} is removed. Its addresses stay watched.")
