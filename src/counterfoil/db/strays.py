"""Strays: transfers in the inbox that only their amount keeps from paying a quote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.matching import LIKELY_WAIT_MS, Reason
from counterfoil.db.schema import chain_transaction, inbox, invoice, quote, transfer
from counterfoil.db.sql import chunks


@dataclass(frozen=True, slots=True)
class Stray:
    """What came, where, and when."""

    destination_id: int
    method: str
    amount_atomic: int
    arrived_at: int


_STRAY = (
    transfer.c.destination_id,
    transfer.c.method,
    transfer.c.amount_atomic,
    chain_transaction.c.first_seen_at,
)
_INVOICE_IDS = sa.bindparam("invoice_ids", expanding=True, type_=sa.BigInteger)
# The day's inbox leads: neither the whole inbox of a merchant may (`+ 0` keeps its index out), nor
# an address, which has had all of its transfers there ever were. What came to other merchants is
# not looked up any further.
_LATELY = (
    sa.select(inbox.c.transfer_id)
    .where(
        inbox.c.created_at > sa.bindparam("since"),
        inbox.c.reason == Reason.NO_EXACT_AMOUNT.value,
        inbox.c.ignored_at.is_(None),
        (inbox.c.merchant_id + 0).in_(
            sa.select(invoice.c.merchant_id).where(invoice.c.id.in_(_INVOICE_IDS))
        ),
    )
    .cte("lately")
    # Else PostgreSQL begins with whatever table it takes for the smallest.
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_STRAYS = (
    sa.select(*_STRAY)
    .join(_LATELY, _LATELY.c.transfer_id == transfer.c.id)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .where(
        (transfer.c.destination_id + 0).in_(
            sa.select(quote.c.destination_id).where(quote.c.invoice_id.in_(_INVOICE_IDS))
        ),
        chain_transaction.c.gone_at.is_(None),
    )
)


def list_strays(connection: sa.Connection, invoice_ids: Sequence[int], since: int) -> list[Stray]:
    """Return the transfers of a wrong amount that came into the inbox after `since`.

    Those alone that came where some invoices asked for money, without what the merchant has set
    aside.
    """
    asked = {"invoice_ids": invoice_ids, "since": since}
    return [_stray(row) for row in connection.execute(_STRAYS, asked)]


_OF_TRANSACTIONS = (
    sa.select(*_STRAY)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .join(inbox, inbox.c.transfer_id == transfer.c.id)
    .where(
        transfer.c.transaction_id.in_(sa.bindparam("transaction_ids", expanding=True)),
        inbox.c.reason == Reason.NO_EXACT_AMOUNT.value,
        inbox.c.ignored_at.is_(None),
    )
)


def list_of_transactions(
    connection: sa.Connection, transaction_ids: Collection[int]
) -> list[Stray]:
    """Return the transfers of a wrong amount of some transactions, also of those that are gone.

    Without what the merchant has set aside.
    """
    return [
        _stray(row)
        for some in chunks(transaction_ids)
        for row in connection.execute(_OF_TRANSACTIONS, {"transaction_ids": some})
    ]


def _stray(row: Any) -> Stray:
    return Stray(row.destination_id, row.method, int(row.amount_atomic), row.first_seen_at)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an invoice asked for, as far as a stray is compared with it."""

    invoice_id: int
    due_at: int | None
    destination_id: int
    method: str
    amount_atomic: int
    created_at: int


def list_asked(connection: sa.Connection, invoice_ids: Sequence[int]) -> list[Asked]:
    """Return what some invoices asked for."""
    return _asked(connection, quote.c.invoice_id.in_(invoice_ids))


def list_asked_before(
    connection: sa.Connection,
    destination_ids: Sequence[int],
    first_at: int,
    last_at: int,
    limit: int,
) -> list[Asked]:
    """Return what unpaid invoices asked for at some destinations, the last before `last_at` first.

    Without what was asked more than a day before `first_at`.
    """
    # The day's quotes lead, the last first: `+ 0` keeps out the index of an address, which has had
    # all of its quotes there ever were.
    return _asked(
        connection,
        (quote.c.destination_id + 0).in_(destination_ids),
        quote.c.created_at.between(first_at - LIKELY_WAIT_MS, last_at),
        invoice.c.status == Status.UNPAID.value,
        limit=limit,
    )


def list_asked_of_expired(
    connection: sa.Connection, destination_ids: Sequence[int], due_from: int, due_to: int
) -> list[Asked]:
    """Return what invoices asked for at some destinations that were due in a time and expired."""
    return _asked(
        connection,
        # The few that were due then lead.
        (quote.c.destination_id + 0).in_(destination_ids),
        invoice.c.status == Status.EXPIRED.value,
        invoice.c.due_at.between(due_from, due_to),
    )


def _asked(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> list[Asked]:
    statement = (
        sa.select(
            quote.c.invoice_id,
            invoice.c.due_at,
            quote.c.destination_id,
            quote.c.method,
            quote.c.amount_atomic,
            quote.c.created_at,
        )
        .join(invoice, invoice.c.id == quote.c.invoice_id)
        .where(*conditions)
        .order_by(quote.c.created_at.desc())
        .limit(limit)
    )
    return [
        Asked(
            row.invoice_id,
            row.due_at,
            row.destination_id,
            row.method,
            int(row.amount_atomic),
            row.created_at,
        )
        for row in connection.execute(statement)
    ]
