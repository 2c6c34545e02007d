"""What payers say has paid their invoices."""

import sqlalchemy as sa

from counterfoil.db.schema import claim


def insert(connection: sa.Connection, invoice_id: int, txid: str, now: int) -> None:
    """Write down that a payer names a transaction."""
    connection.execute(sa.insert(claim).values(invoice_id=invoice_id, txid=txid, created_at=now))


def list_since(connection: sa.Connection, invoice_id: int, since: int) -> list[int]:
    """Return when an invoice has had claims after `since`."""
    statement = sa.select(claim.c.created_at).where(
        claim.c.invoice_id == invoice_id, claim.c.created_at > since
    )
    return list(connection.execute(statement).scalars())


def list_of_invoice(connection: sa.Connection, invoice_id: int) -> list[tuple[str, int]]:
    """Return the transactions that payers named for an invoice, and when, the oldest first."""
    statement = sa.select(claim.c.txid, claim.c.created_at).where(claim.c.invoice_id == invoice_id)
    rows = connection.execute(statement.order_by(claim.c.id))
    return [(row.txid, row.created_at) for row in rows]
