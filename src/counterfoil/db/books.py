"""Whether the books balance: what must hold of all rows together, whatever has happened."""

from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.payment import GRACE_MS
from counterfoil.db.schema import (
    chain_transaction,
    event,
    inbox,
    invoice,
    payment,
    quote,
    refund,
    transfer,
)


@dataclass(frozen=True, slots=True)
class Books:
    """What was counted, and what is wrong.

    `miscounted` are transfers that are not credited once or in the inbox once, `baseless` invoices
    that are Paid without a mark and without a final payment, `broken_logs` merchants whose log of
    events lacks a number.
    """

    transfers: int
    miscounted: list[int]
    baseless: list[int]
    broken_logs: list[int]


_CREDITS = (
    sa.select(sa.func.count())
    .where(payment.c.transfer_id == transfer.c.id, payment.c.detached_at.is_(None))
    .scalar_subquery()
)
_WAITING = sa.select(sa.func.count()).where(inbox.c.transfer_id == transfer.c.id).scalar_subquery()
_MISCOUNTED = sa.select(transfer.c.id).where(_CREDITS + _WAITING != 1).order_by(transfer.c.id)
_BASELESS = (
    sa.select(invoice.c.id)
    .where(
        invoice.c.status == Status.PAID.value,
        invoice.c.marked_at.is_(None),
        ~sa.exists().where(
            payment.c.invoice_id == invoice.c.id,
            payment.c.detached_at.is_(None),
            payment.c.final_at.is_not(None),
        ),
    )
    .order_by(invoice.c.id)
)
# The oldest are dropped when their time is over, so a log begins anywhere.
_BROKEN_LOGS = (
    sa.select(event.c.merchant_id)
    .group_by(event.c.merchant_id, event.c.mode)
    .having(sa.func.max(event.c.seq) - sa.func.min(event.c.seq) + 1 != sa.func.count())
    .order_by(event.c.merchant_id)
)


_LATEST_IN_TIME = payment.c.arrived_at - GRACE_MS
# What is late and has no worth on arrival, or may not count for it, is final only by hand.
_UNDECIDED = (
    sa.select(payment.c.invoice_id)
    .distinct()
    .join(invoice, invoice.c.id == payment.c.invoice_id)
    .join(quote, quote.c.id == payment.c.quote_id)
    .join(transfer, transfer.c.id == payment.c.transfer_id)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .where(
        payment.c.detached_at.is_(None),
        chain_transaction.c.gone_at.is_(None),
        payment.c.is_held | payment.c.arrival_value.is_(None),
        # What is settled, or was sent back, has been decided.
        invoice.c.status != Status.PAID.value,
        ~sa.exists().where(refund.c.invoice_id == invoice.c.id),
        sa.or_(
            quote.c.lock_until < _LATEST_IN_TIME,
            invoice.c.due_at < _LATEST_IN_TIME,
            invoice.c.cancelled_at < _LATEST_IN_TIME,
        ),
    )
    .order_by(payment.c.invoice_id)
)


def list_undecided(connection: sa.Connection) -> list[int]:
    """Return the invoices with late money that counts only once the merchant has decided."""
    return list(connection.execute(_UNDECIDED).scalars())


def check(connection: sa.Connection) -> Books:
    """Look through all transfers, invoices and events."""

    def ids(statement: sa.Select[int]) -> list[int]:
        return list(connection.execute(statement).scalars())

    return Books(
        transfers=connection.execute(sa.select(sa.func.count(transfer.c.id))).scalar_one(),
        miscounted=ids(_MISCOUNTED),
        baseless=ids(_BASELESS),
        broken_logs=ids(_BROKEN_LOGS),
    )
