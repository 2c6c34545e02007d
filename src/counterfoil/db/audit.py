"""Who did what by hand: rows that are only ever added."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core.ports import Mode
from counterfoil.db.schema import audit


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
