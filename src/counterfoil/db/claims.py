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


def list_last(connection: sa.Connection, invoice_id: int, limit: int) -> list[tuple[str, int]]:
    """Return the transactions that payers named last for an invoice, and when, the oldest first."""
    statement = (
        sa.select(claim.c.txid, claim.c.created_at)
        .where(claim.c.invoice_id == invoice_id)
        .order_by(claim.c.id.desc())
        .limit(limit)
    )
    return [(row.txid, row.created_at) for row in connection.execute(statement)][::-1]
