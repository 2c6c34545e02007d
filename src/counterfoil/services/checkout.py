"""The pay page: what a payer may do with an invoice, and how open pages are kept fresh.

What is shown stands in `checkout_view`. Only `view`, `choose`, `reprice` and `simulate` ever write.
"""

from collections.abc import Collection

from counterfoil.core.errors import (
    ConflictError,
    InvalidError,
    LimitedError,
    NotFoundError,
    UnavailableError,
)
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode, Outcome
from counterfoil.db import invoices, loops, quotes
from counterfoil.db.engine import Connection
from counterfoil.services import checkout_look, simulator
from counterfoil.services.checkout_view import PAYABLE, Look, Pulse, State, View
from counterfoil.services.context import Context
from counterfoil.services.invoices import not_found
from counterfoil.services.quotes import choose as open_chosen
from counterfoil.services.quotes import open_quote

# Small enough for every database's limit of bound parameters.
_CHUNK = 900


# --- what the payer does -----------------------------------------------------------------------


async def view(context: Context, share_token: str, now: int) -> View:
    """Return the page for a payer who opens it; raises NotFoundError.

    Where there is only one way to pay, the first visit makes the quote. What stands in the way of
    that is told on the page.
    """
    found = (await look(context, share_token, now)).view
    if found.state is not State.CHOOSE or len(found.offers) != 1:
        return found
    problem = None
    try:
        await _open_only_quote(context, share_token, found.offers[0].method, now)
    except (ConflictError, LimitedError, NotFoundError, UnavailableError) as error:
        problem = error.code
    return (await look(context, share_token, now, problem)).view


async def _open_only_quote(context: Context, share_token: str, method_id: str, now: int) -> None:
    def write(connection: Connection) -> None:
        invoice = invoices.lock(connection, checkout_look.find(connection, share_token).id)
        method = context.methods.get(method_id)
        # Somebody else may have opened the page at the same time.
        is_first = not quotes.list_of_invoice(connection, invoice.id)
        if method is not None and is_first and invoice.standing.status is Status.UNPAID:
            open_quote(connection, context, invoice, method, now)
            invoices.touch(connection, invoice.id)

    await context.store.write(write)
    context.store.wake("pages")


async def choose(context: Context, share_token: str, method_id: str, now: int) -> None:
    """Give the payer a price in the method of their choice, or a fresh one.

    Raises ConflictError, LimitedError, UnavailableError, and NotFoundError (`not_found` for the
    invoice, `method_not_offered` for the method).
    """
    found = (await look(context, share_token, now)).view
    if found.state not in PAYABLE:
        raise ConflictError("not_payable", "There is nothing to pay at the moment.")
    try:
        await open_chosen(context, share_token, method_id, now)
    except InvalidError as error:
        # The coin that the invoice names has been switched off since.
        raise NotFoundError("method_not_offered", error.message) from error
    context.store.wake("pages")


async def reprice(context: Context, share_token: str, now: int) -> None:
    """Give the payer a fresh price in the method that was chosen last; raises as `choose` does."""
    found = (await look(context, share_token, now)).view
    if found.chosen is None:
        raise NotFoundError("method_not_offered", "Choose how to pay first.")
    await choose(context, share_token, found.chosen.method, now)


async def simulate(context: Context, share_token: str, outcome: Outcome, now: int) -> None:
    """Pay a test invoice; raises NotFoundError for any other, and as `choose` does."""
    invoice = await context.store.read(
        lambda connection: checkout_look.find(connection, share_token)
    )
    if invoice.mode is not Mode.TEST:
        raise not_found()
    if (await look(context, share_token, now)).view.state not in PAYABLE:
        raise ConflictError("not_payable", "There is nothing to pay at the moment.")
    await simulator.simulate(context, invoice, outcome, now)
    context.store.wake("pages")


async def status(context: Context, share_token: str, now: int) -> str:
    """Return the version of the page, which changes whenever what it shows does."""
    return (await look(context, share_token, now)).view.version


async def look(context: Context, share_token: str, now: int, problem: str | None = None) -> Look:
    """Return the page as it is, without ever writing; raises NotFoundError."""
    return await context.store.read(
        lambda connection: checkout_look.look(connection, context, share_token, problem, now)
    )


# --- keeping open pages fresh -----------------------------------------------------------------


async def take_pulse(context: Context, invoice_ids: Collection[int], now: int) -> Pulse:
    """Return what has become of the invoices and of the chains: one query for all open pages."""
    ids = sorted(invoice_ids)

    def read(connection: Connection) -> Pulse:
        revs: dict[int, int] = {}
        for start in range(0, len(ids), _CHUNK):
            revs |= invoices.revs(connection, ids[start : start + _CHUNK])
        states = loops.list_chains(connection, list(context.methods.chains))
        return Pulse(revs, {state.name: (state.height, state.is_seen(now)) for state in states})

    return await context.store.read(read)
