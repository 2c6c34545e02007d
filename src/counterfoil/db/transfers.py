"""Where transfers lie: credited to an invoice, or in the inbox for a reason."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core.quote import Rate
from counterfoil.db.inbox import rates_from
from counterfoil.db.payments import rate_from
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    inbox,
    invoice,
    payment,
    transfer,
)
from counterfoil.db.sql import chunks


@dataclass(frozen=True, slots=True)
class Found:
    """A transfer and where it lies: `payment_id` in `invoice_id`, or `inbox_id` for a `reason`.

    `ignored_at` is since when it is set aside there. `unknown_since` is since when the node has not
    listed it, while it is in no block.
    """

    txid: str
    place: int
    method: str
    amount_atomic: int
    destination_id: int
    address: str
    merchant_id: int
    first_seen_at: int
    block_height: int | None
    unknown_since: int | None
    gone_at: int | None
    invoice_id: int | None
    payment_id: int | None
    inbox_id: int | None
    reason: str | None
    ignored_at: int | None


def list_by_id(connection: sa.Connection, transfer_ids: Sequence[int]) -> list[Found]:
    """Return where some transfers lie now."""
    return [
        each for part in chunks(transfer_ids) for each in _list(connection, transfer.c.id.in_(part))
    ]


def list_by_txid(connection: sa.Connection, chain: str, txid: str) -> list[Found]:
    """Return what is recorded of a transaction."""
    return _list(connection, chain_transaction.c.chain == chain, chain_transaction.c.txid == txid)


@dataclass(frozen=True, slots=True)
class ArrivalRate:
    """What a whole coin cost in a currency when a transaction came; None if nobody knew."""

    transaction_id: int
    method: str
    currency: str
    rate: Rate | None


def list_arrival_rates(
    connection: sa.Connection, transaction_ids: Collection[int]
) -> list[ArrivalRate]:
    """Return what coin cost when some transactions came, as far as it was written down."""
    return [
        rate
        for some in chunks(transaction_ids)
        for row in connection.execute(_ARRIVALS, {"transaction_ids": some}).mappings()
        for rate in _arrival_rates(row)
    ]


_ARRIVALS = (
    sa.select(
        transfer.c.transaction_id,
        transfer.c.method,
        transfer.c.rates,
        invoice.c.fiat_currency,
        payment.c.arrival_rate,
        payment.c.arrival_rate_sources,
        payment.c.arrival_rate_at,
    )
    .outerjoin(payment, (payment.c.transfer_id == transfer.c.id) & payment.c.detached_at.is_(None))
    .outerjoin(invoice, invoice.c.id == payment.c.invoice_id)
    .where(transfer.c.transaction_id.in_(sa.bindparam("transaction_ids", expanding=True)))
)


def _arrival_rates(row: sa.RowMapping) -> Iterator[ArrivalRate]:
    rates: dict[str, Rate | None] = {**rates_from(row["rates"])}
    if row["fiat_currency"] is not None:
        evidence = (row["arrival_rate"], row["arrival_rate_sources"], row["arrival_rate_at"])
        rates[row["fiat_currency"]] = None if evidence[0] is None else rate_from(*evidence)
    for currency, rate in rates.items():
        yield ArrivalRate(row["transaction_id"], row["method"], currency, rate)


def list_waiting(
    connection: sa.Connection, destination_id: int, since: int, limit: int
) -> list[Found]:
    """Return what has come to a destination since then and waits in the inbox, oldest first.

    What is gone or was set aside is left out.
    """
    return _list(
        connection,
        transfer.c.destination_id == destination_id,
        chain_transaction.c.first_seen_at >= since,
        inbox.c.id.is_not(None),
        inbox.c.ignored_at.is_(None),
        chain_transaction.c.gone_at.is_(None),
        limit=limit,
    )


def _list(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> list[Found]:
    statement = (
        sa.select(
            chain_transaction.c.txid,
            transfer.c.place,
            transfer.c.method,
            transfer.c.amount_atomic,
            transfer.c.destination_id,
            destination.c.address,
            destination.c.merchant_id,
            chain_transaction.c.first_seen_at,
            chain_transaction.c.block_height,
            chain_transaction.c.unknown_since,
            chain_transaction.c.gone_at,
            payment.c.invoice_id,
            payment.c.id.label("payment_id"),
            inbox.c.id.label("inbox_id"),
            inbox.c.reason,
            inbox.c.ignored_at,
        )
        .select_from(transfer)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .join(destination, destination.c.id == transfer.c.destination_id)
        .outerjoin(
            payment, (payment.c.transfer_id == transfer.c.id) & payment.c.detached_at.is_(None)
        )
        .outerjoin(inbox, inbox.c.transfer_id == transfer.c.id)
        .where(*conditions)
        .order_by(transfer.c.id)
        .limit(limit)
    )
    return [_found(row) for row in connection.execute(statement).mappings()]


def _found(row: sa.RowMapping) -> Found:
    values: dict[str, Any] = {**row}
    values["amount_atomic"] = int(row["amount_atomic"])
    return Found(**values)
