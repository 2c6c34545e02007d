"""Rows for tests that are about the database and not about what the rows mean."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from counterfoil.core.invoice import Standing, Status
from counterfoil.db import invoices, merchants
from counterfoil.db.schema import lease

AT = 1_767_700_000_123


def add_merchant(connection: sa.Connection, name: str = "shop") -> int:
    """Add a merchant and return its id."""
    merchant_id = merchants.insert(connection, name, "EUR", AT)
    assert merchant_id is not None
    return merchant_id


def invoice_row(merchant_id: int, share_token: str, **columns: Any) -> dict[str, Any]:
    """Return the row of an invoice over 25 EUR, as `Store.insert_invoice` takes it."""
    given = {
        "merchant_id": merchant_id,
        "mode": "live",
        "share_token": share_token,
        "type": "address",
        "created_at": AT,
        "updated_at": AT,
        "fiat_amount": str(Decimal("25.00")),
        "fiat_currency": "EUR",
        "tolerance": "0.25",
        "due_at": AT + 900_000,
        "coin_symbol": None,
        "wallet_address": None,
        "coins": "[]",
        "memo": "",
        "client_name": "",
        "client_email": "",
        "invoice_title": "",
        "invoice_message": "",
        "order_id": "",
        "metadata": "{}",
        "redirect_url": None,
    }
    standing = Standing(Status.UNPAID, (), frozenset(), Fraction(0), Fraction(0))
    return invoices.new_row(standing, **(given | columns))


def add_lease(connection: sa.Connection, name: str) -> None:
    """Add a row to a table with which nothing else has to do."""
    connection.execute(sa.insert(lease).values(name=name, holder="", until=0, fence=0))


def lease_names(connection: sa.Connection) -> set[str]:
    """Return the names that `add_lease` added."""
    return set(connection.execute(sa.select(lease.c.name)).scalars())
