"""Notes of money that a merchant sent back; nothing here is ever sent."""

from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa

from counterfoil.db.schema import payment, refund


@dataclass(frozen=True, slots=True)
class Refund:
    """What was sent back; `method` is None where the amount is in the invoice's currency."""

    id: int
    created_at: int
    amount: str
    method: str | None
    payment_id: int | None
    txid: str
    note: str


def insert(connection: sa.Connection, invoice_id: int, new: Refund) -> Refund:
    """Note what was sent back for an invoice; return that with the id that it was given."""
    columns = {name: value for name, value in asdict(new).items() if name != "id"}
    statement = sa.insert(refund).values(invoice_id=invoice_id, **columns).returning(refund.c.id)
    new_id: int = connection.execute(statement).scalar_one()
    return replace(new, id=new_id)


def list_all(connection: sa.Connection, invoice_id: int) -> list[Refund]:
    """Return what was sent back for an invoice, the oldest first."""
    statement = sa.select(refund).where(refund.c.invoice_id == invoice_id).order_by(refund.c.id)
    return [
        Refund(
            row["id"],
            row["created_at"],
            row["amount"],
            row["method"],
            row["payment_id"],
            row["txid"],
            row["note"],
        )
        for row in connection.execute(statement).mappings()
    ]


def was_credited(connection: sa.Connection, payment_id: int, invoice_id: int) -> bool:
    """Tell whether a payment is, or once was, one of an invoice."""
    statement = sa.select(payment.c.id).where(
        payment.c.id == payment_id, payment.c.invoice_id == invoice_id
    )
    return connection.execute(statement).first() is not None
