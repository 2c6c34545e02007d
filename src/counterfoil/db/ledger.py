"""What came to a merchant: every transfer that is in a block, with the evidence of its worth."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from counterfoil.core.ports import Mode
from counterfoil.core.quote import Rate
from counterfoil.db.payments import Worth, rate_from
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    inbox,
    invoice,
    payment,
    quote,
    transfer,
)


@dataclass(frozen=True, slots=True)
class PaymentEvidence:
    """The payment that a transfer is; a worth is None where no rate was known.

    `value` is what it is worth at its quote, or what was said by hand, where `quoted` is None.
    """

    payment_id: int
    invoice_id: int
    order_id: str
    currency: str
    depth_needed: int
    final_at: int | None
    value: Fraction
    quoted: Rate | None
    arrival: Worth | None
    final: Worth | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer that is in a block: a payment, or `reason` says why it lies in the inbox."""

    first_seen_at: int
    chain: str
    method: str
    txid: str
    place: int
    block_height: int
    address: str
    amount_atomic: int
    credit: PaymentEvidence | None
    reason: str | None


def list_entries(
    connection: sa.Connection, merchant_id: int, mode: Mode, start: int, end: int
) -> list[Entry]:
    """Return what came to a merchant from `start` on and before `end`, the first to come first.

    What is unconfirmed or gone is no money, and is left out.
    """
    columns = sa.select(
        transfer.c.method,
        transfer.c.place,
        transfer.c.amount_atomic,
        chain_transaction.c.chain,
        chain_transaction.c.txid,
        chain_transaction.c.first_seen_at,
        chain_transaction.c.block_height,
        destination.c.address,
        inbox.c.reason,
        invoice.c.order_id,
        invoice.c.fiat_currency,
        quote.c.rate,
        quote.c.rate_sources,
        quote.c.rate_at,
        quote.c.fiat,
        quote.c.amount_atomic.label("quoted_atomic"),
        *(column.label(f"payment_{column.name}") for column in payment.c),
    )
    statement = (
        _came(columns, merchant_id, mode, start, end)
        .where(chain_transaction.c.block_height.is_not(None))
        .order_by(chain_transaction.c.first_seen_at, transfer.c.id)
    )
    return [_entry(row) for row in connection.execute(statement).mappings()]


def count_unconfirmed(
    connection: sa.Connection, merchant_id: int, mode: Mode, start: int, end: int
) -> int:
    """Return how many transfers came in that time that are in no block yet and may get into one."""
    statement = _came(sa.select(sa.func.count()), merchant_id, mode, start, end).where(
        chain_transaction.c.block_height.is_(None), chain_transaction.c.gone_at.is_(None)
    )
    count: int = connection.execute(statement).scalar_one()
    return count


def _came(
    columns: sa.Select[Any], merchant_id: int, mode: Mode, start: int, end: int
) -> sa.Select[Any]:
    """Return a statement about the transfers that came to a merchant in a time."""
    return (
        columns.select_from(transfer)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .join(destination, destination.c.id == transfer.c.destination_id)
        .outerjoin(
            payment, (payment.c.transfer_id == transfer.c.id) & payment.c.detached_at.is_(None)
        )
        .outerjoin(invoice, invoice.c.id == payment.c.invoice_id)
        .outerjoin(quote, quote.c.id == payment.c.quote_id)
        .outerjoin(inbox, inbox.c.transfer_id == transfer.c.id)
        .where(
            destination.c.merchant_id == merchant_id,
            sa.func.coalesce(invoice.c.mode, inbox.c.mode) == mode.value,
            chain_transaction.c.first_seen_at >= start,
            chain_transaction.c.first_seen_at < end,
        )
    )


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(
        first_seen_at=row["first_seen_at"],
        chain=row["chain"],
        method=row["method"],
        txid=row["txid"],
        place=row["place"],
        block_height=row["block_height"],
        address=row["address"],
        amount_atomic=int(row["amount_atomic"]),
        credit=None if row["payment_id"] is None else _credit(row),
        reason=row["reason"],
    )


def _credit(row: sa.RowMapping) -> PaymentEvidence:
    quoted = None
    if row["payment_quote_id"] is None:
        value = Fraction(row["payment_value"])
    else:
        value = Fraction(Decimal(row["fiat"])) * int(row["amount_atomic"])
        value /= int(row["quoted_atomic"])
        quoted = rate_from(row["rate"], row["rate_sources"], row["rate_at"])
    return PaymentEvidence(
        payment_id=row["payment_id"],
        invoice_id=row["payment_invoice_id"],
        order_id=row["order_id"],
        currency=row["fiat_currency"],
        depth_needed=row["payment_depth_needed"],
        final_at=row["payment_final_at"],
        value=value,
        quoted=quoted,
        arrival=_worth(row, "arrival"),
        final=_worth(row, "final"),
    )


def _worth(row: sa.RowMapping, moment: str) -> Worth | None:
    price, value, sources, at = (
        row[f"payment_{moment}_{name}"] for name in ("rate", "value", "rate_sources", "rate_at")
    )
    if price is None or value is None:
        return None
    return Worth(rate_from(price, sources, at), Fraction(value))
