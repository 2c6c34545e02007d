"""What time alone brings about: invoices fall due, amounts come free, rows grow old."""

from counterfoil.core import matching
from counterfoil.db import invoices, quotes
from counterfoil.db.engine import Connection
from counterfoil.services.context import Context
from counterfoil.services.payments import reassess
from counterfoil.services.strays import waits

_BATCH = 200
_IDEMPOTENCY_KEPT_MS = 24 * 3_600_000


async def assess_due(context: Context, now: int, after: int) -> int:
    """Assess invoices whose due date has passed, from the id `after` on, one to a transaction.

    Return where to go on, 0 when all were looked at. Whether one is expired is not for the clock
    to say: while a chain was not watched past the due date, `reassess` leaves it as it is. Those
    that wait for a day because of a wrong amount are not asked about every second of it.
    """

    def read(connection: Connection) -> tuple[list[int], list[int]]:
        due = invoices.list_due(connection, now, after, _BATCH)
        until = waits(connection, due, now) if due else {}
        return due, [each for each in due if until.get(each, now) <= now]

    due, ready = await context.store.read(read)
    changed = False
    for invoice_id in ready:
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
