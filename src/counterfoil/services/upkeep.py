"""What time alone brings about: invoices fall due, amounts come free, rows grow old."""

from counterfoil.core import matching
from counterfoil.db import invoices, quotes
from counterfoil.db.engine import Connection
from counterfoil.services.context import Context
from counterfoil.services.payments import reassess

_BATCH = 200
_IDEMPOTENCY_KEPT_MS = 24 * 3_600_000


async def assess_due(context: Context, now: int, after: int) -> int:
    """Assess invoices whose due date has passed, from the id `after` on, one to a transaction.

    Return where to go on, 0 when all were looked at. Whether one is expired is not for the clock
    to say: while a chain was not watched past the due date, `reassess` leaves it as it is.
    """
    due = await context.store.read(
        lambda connection: invoices.list_due(connection, now, after, _BATCH)
    )
    changed = False
    for invoice_id in due:
        changed |= await context.store.write(
            lambda c, i=invoice_id: reassess(c, context, i, now)  # type: ignore[misc]  # mypy cannot infer such a lambda
        )
    if changed:
        context.store.wake("outbox")
        context.store.wake("pages")
    return due[-1] if len(due) == _BATCH else 0


async def sweep(context: Context, now: int) -> None:
    """Free amounts whose quarantine is over, and drop what is kept for a time only."""

    def write(connection: Connection) -> None:
        quotes.start_quarantine(connection, now)
        quotes.release_holds(connection, matching.QUARANTINE_MS, now)
        invoices.forget_idempotency(connection, now - _IDEMPOTENCY_KEPT_MS)

    await context.store.write(write)
