"""Where transfers lie: credited to an invoice, or in the inbox for a reason."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.db.schema import chain_transaction, destination, inbox, payment, transfer
from counterfoil.db.sql import chunks


@dataclass(frozen=True, slots=True)
class Found:
    """A transfer and where it lies; `reason` is why it is in the inbox, if it is."""

    txid: str
    place: int
    method: str
    amount_atomic: int
    destination_id: int
    address: str
    merchant_id: int
    first_seen_at: int
    block_height: int | None
    gone_at: int | None
    invoice_id: int | None
    reason: str | None


def list_by_id(connection: sa.Connection, transfer_ids: Sequence[int]) -> list[Found]:
    """Return where some transfers lie now."""
    return [
        each for part in chunks(transfer_ids) for each in _list(connection, transfer.c.id.in_(part))
    ]


def list_by_txid(connection: sa.Connection, chain: str, txid: str) -> list[Found]:
    """Return what is recorded of a transaction."""
    return _list(connection, chain_transaction.c.chain == chain, chain_transaction.c.txid == txid)


def list_uncredited(connection: sa.Connection, destination_ids: Collection[int]) -> list[Found]:
    """Return what came to some destinations and is credited to nobody; what is gone is left out."""
    return _list(
        connection,
        transfer.c.destination_id.in_(destination_ids),
        payment.c.id.is_(None),
        chain_transaction.c.gone_at.is_(None),
    )


def _list(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Found]:
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
            chain_transaction.c.gone_at,
            payment.c.invoice_id,
            inbox.c.reason,
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
    )
    return [_found(row) for row in connection.execute(statement).mappings()]


def _found(row: sa.RowMapping) -> Found:
    values: dict[str, Any] = {**row}
    values["amount_atomic"] = int(row["amount_atomic"])
    # What was attached by hand is in the inbox no more.
    values["reason"] = None if row["invoice_id"] is not None else row["reason"]
    return Found(**values)
