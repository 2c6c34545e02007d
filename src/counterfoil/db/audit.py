"""Who did what by hand: rows that are only ever added."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core.ports import Mode
from counterfoil.db.schema import audit, chain_transaction, transfer


@dataclass(frozen=True, slots=True)
class Deed:
    """An act by hand, and what it was done to."""

    act: str
    invoice_id: int | None = None
    payment_id: int | None = None
    transfer_id: int | None = None
    details: Mapping[str, str] | None = None


def insert(
    connection: sa.Connection, merchant_id: int, mode: Mode, who: str, deed: Deed, now: int
) -> None:
    """Write down who did what."""
    connection.execute(
        sa.insert(audit).values(
            merchant_id=merchant_id,
            mode=mode.value,
            at=now,
            who=who,
            act=deed.act,
            invoice_id=deed.invoice_id,
            payment_id=deed.payment_id,
            transfer_id=deed.transfer_id,
            details=json.dumps(dict(deed.details or {})),
        )
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A deed as it was written down; `txid` is of the transfer that was moved, if one was."""

    at: int
    who: str
    act: str
    invoice_id: int | None
    payment_id: int | None
    txid: str | None
    details: Mapping[str, str]


def list_last(
    connection: sa.Connection, merchant_id: int, mode: Mode, invoice_id: int | None, limit: int
) -> list[Entry]:
    """Return what was done by hand, of one invoice or of all, the last first."""
    statement = (
        sa.select(audit, chain_transaction.c.txid)
        .outerjoin(transfer, transfer.c.id == audit.c.transfer_id)
        .outerjoin(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .where(audit.c.merchant_id == merchant_id, audit.c.mode == mode.value)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    if invoice_id is not None:
        statement = statement.where(audit.c.invoice_id == invoice_id)
    return [
        Entry(
            at=row["at"],
            who=row["who"],
            act=row["act"],
            invoice_id=row["invoice_id"],
            payment_id=row["payment_id"],
            txid=row["txid"],
            details=json.loads(row["details"]),
        )
        for row in connection.execute(statement).mappings()
    ]
