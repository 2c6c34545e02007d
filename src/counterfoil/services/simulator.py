"""Paying a test invoice with the simulator's coin, in all the ways that real payers do."""

from fractions import Fraction

from counterfoil.core.errors import ConflictError, UnavailableError
from counterfoil.core.payment import GRACE_MS
from counterfoil.core.ports import Mode, Outcome
from counterfoil.db import invoices, quotes, simulator
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.services import repeats
from counterfoil.services.context import Context
from counterfoil.services.quotes import latest, open_quote

# Long enough for a person, and a shop's webhook, to see the payment before it is taken back.
_FATE_AFTER_MS = 4_000
_SHARE_PAID = {
    Outcome.UNDER: Fraction(1, 2),
    Outcome.OVER: Fraction(3, 2),
}
_METHOD = "TEST"


async def simulate(
    context: Context,
    invoice: Invoice,
    outcome: Outcome,
    now: int,
    request: repeats.Request | None = None,
) -> str:
    """Pay a test invoice as a payer might and return the transaction id.

    A quote that is still good is paid, or a new one is made first; a `request` that comes again
    pays nothing new. Raises ConflictError (`live_invoice`, `not_payable`, `idempotency_mismatch`)
    and what `open_quote` raises.
    """
    if invoice.mode is not Mode.TEST:
        message = "Only a test invoice can be paid with test coins."
        raise ConflictError("live_invoice", message)

    def write(connection: Connection) -> str:
        kept = repeats.take(connection, request, now)
        if kept is not None:
            return kept
        found = invoices.lock(connection, invoice.id)
        quote = _quote(connection, context, found, now)
        destination = quotes.get_destination(connection, quote.destination_id)
        paid = Fraction(quote.amount_atomic) * _SHARE_PAID.get(outcome, Fraction(1))
        fate = outcome.value if outcome in (Outcome.REPLACED, Outcome.REORGED) else None
        txid = simulator.broadcast(
            connection,
            destination.key,
            max(int(paid), 1),
            now,
            # A late payment is one that the simulated network saw after the price had ended.
            first_seen_at=quote.lock_until + GRACE_MS + 1 if outcome is Outcome.LATE else None,
            fate=fate,
            fate_at=now + _FATE_AFTER_MS if fate else None,
        )
        repeats.keep(connection, request, txid)
        return txid

    txid = await context.store.write(write)
    context.store.wake("chains")
    return txid


def _quote(connection: Connection, context: Context, invoice: Invoice, now: int) -> quotes.Quote:
    """Return the quote that a payer would pay now."""
    known = latest(quotes.list_of_invoice(connection, invoice.id)).get(_METHOD)
    if known is not None and known.lock_until > now:
        return known
    method = context.methods.get(_METHOD)
    if method is None:
        message = "The simulator is not running on this server."
        raise UnavailableError("chain_unavailable", message)
    # A moment ago: nobody pays in the very moment in which they are asked.
    open_quote(connection, context, invoice, method, now - 1)
    invoices.touch(connection, invoice.id)
    return latest(quotes.list_of_invoice(connection, invoice.id))[_METHOD]
