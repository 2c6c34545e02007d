"""Marks: the merchant's word that an invoice is settled, whatever the chains say."""

import sqlalchemy as sa

from counterfoil.db.schema import invoice, payment


def set_mark(connection: sa.Connection, invoice_id: int, now: int) -> int:
    """Mark an invoice that has no mark; return the mark's id, which is a payment id of its own."""
    mark_id = _take_payment_id(connection)
    connection.execute(
        sa.update(invoice).where(invoice.c.id == invoice_id).values(marked_at=now, mark_id=mark_id)
    )
    return mark_id


def clear_mark(connection: sa.Connection, invoice_id: int) -> None:
    """Take the mark off an invoice."""
    connection.execute(
        sa.update(invoice).where(invoice.c.id == invoice_id).values(marked_at=None, mark_id=None)
    )


def _take_payment_id(connection: sa.Connection) -> int:
    """Return the next payment id, which no payment will have."""
    if connection.dialect.name != "sqlite":
        sequence = sa.func.pg_get_serial_sequence(payment.name, payment.c.id.name)
        taken: int = connection.execute(sa.select(sa.func.nextval(sequence))).scalar_one()
        return taken
    count = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
    is_ours = count.c.name == payment.name
    last = connection.execute(sa.select(count.c.seq).where(is_ours)).scalar_one_or_none()
    if last is None:
        # Nobody has ever paid.
        connection.execute(sa.insert(count).values(name=payment.name, seq=1))
        return 1
    connection.execute(sa.update(count).where(is_ours).values(seq=last + 1))
    return int(last) + 1
