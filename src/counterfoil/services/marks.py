"""Settling an invoice by hand, for money that no chain shows: cash, a bank, an exchange."""

from collections.abc import Callable

from counterfoil.core.errors import ConflictError
from counterfoil.core.invoice import Status
from counterfoil.db import invoices, marks
from counterfoil.db.audit import Deed
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.services.audit import Actor, record
from counterfoil.services.context import Context
from counterfoil.services.invoices import own
from counterfoil.services.payments import reassess


async def mark(context: Context, who: Actor, invoice_id: int, now: int) -> Invoice:
    """Mark an invoice as settled; again does nothing.

    Raises NotFoundError, and ConflictError (`already_paid`) where money has settled it.
    """

    def write(connection: Connection) -> Invoice:
        invoice = _lock(connection, who, invoice_id)
        if invoice.marked_at is not None:
            return invoice
        # The watcher may have recorded money that nobody has assessed.
        reassess(connection, context, invoice_id, now)
        if invoices.lock(connection, invoice_id).standing.status is Status.PAID:
            message = "This invoice is paid, so there is nothing to settle by hand."
            raise ConflictError("already_paid", message)
        mark_id = marks.set_mark(connection, invoice_id, now)
        record(connection, who, Deed("mark", invoice_id, mark_id), now)
        reassess(connection, context, invoice_id, now)
        return invoices.lock(connection, invoice_id)

    return await _written(context, write)


async def unmark(context: Context, who: Actor, invoice_id: int, now: int) -> Invoice:
    """Take the mark off an invoice: only money counts again. Raises NotFoundError."""

    def write(connection: Connection) -> Invoice:
        invoice = _lock(connection, who, invoice_id)
        if invoice.marked_at is None:
            return invoice
        marks.clear_mark(connection, invoice_id)
        record(connection, who, Deed("unmark", invoice_id, invoice.mark_id), now)
        reassess(connection, context, invoice_id, now, taken_id=invoice.mark_id)
        return invoices.lock(connection, invoice_id)

    return await _written(context, write)


def _lock(connection: Connection, who: Actor, invoice_id: int) -> Invoice:
    own(connection, who.merchant_id, who.mode, invoice_id)
    return invoices.lock(connection, invoice_id)


async def _written(context: Context, write: Callable[[Connection], Invoice]) -> Invoice:
    invoice = await context.store.write(write)
    context.wake_tellers()
    return invoice
