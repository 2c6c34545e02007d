"""Stretches of a chain that are to be read again, how far that is, and what it found."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.db.quotes import CHUNK
from counterfoil.db.schema import chain_transaction, inbox, payment, rescan, transfer


@dataclass(frozen=True, slots=True)
class Rescan:
    """A stretch, and how far it has been read; `trouble` is why it ended before its last block."""

    id: int
    chain: str
    first_height: int
    next_height: int
    last_height: int
    found: tuple[int, ...]
    trouble: str | None
    is_done: bool

    @property
    def next_heights(self) -> range:
        """The heights that are still to be read."""
        return range(self.next_height, self.last_height + 1)


def _rescan(row: sa.RowMapping) -> Rescan:
    return Rescan(
        row["id"],
        row["chain"],
        row["first_height"],
        row["next_height"],
        row["last_height"],
        tuple(json.loads(row["found"])),
        row["trouble"],
        row["done_at"] is not None,
    )


def insert(connection: sa.Connection, chain: str, first: int, last: int, now: int) -> int:
    """Ask for a stretch to be read again and return the number of the request."""
    statement = (
        sa.insert(rescan)
        .values(
            chain=chain,
            first_height=first,
            next_height=first,
            last_height=last,
            found="[]",
            created_at=now,
        )
        .returning(rescan.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def get(connection: sa.Connection, rescan_id: int) -> Rescan:
    """Return a request that exists."""
    statement = sa.select(rescan).where(rescan.c.id == rescan_id)
    return _rescan(connection.execute(statement).mappings().one())


def get_open(connection: sa.Connection, chain: str) -> Rescan | None:
    """Return the oldest request of a chain that is not done."""
    statement = (
        sa.select(rescan)
        .where(rescan.c.chain == chain, rescan.c.done_at.is_(None))
        .order_by(rescan.c.id)
        .limit(1)
    )
    row = connection.execute(statement).mappings().first()
    return _rescan(row) if row else None


def note_block(
    connection: sa.Connection, rescan_id: int, height: int, found: Sequence[int]
) -> None:
    """Note that a block has been read again, and what was found in it."""
    known = get(connection, rescan_id)
    values: dict[str, Any] = {"next_height": height + 1}
    if found:
        values["found"] = json.dumps([*known.found, *found])
    connection.execute(sa.update(rescan).where(rescan.c.id == rescan_id).values(**values))


def end(connection: sa.Connection, rescan_id: int, trouble: str | None, now: int) -> None:
    """End a request: all has been read and assessed, or there is trouble."""
    connection.execute(
        sa.update(rescan).where(rescan.c.id == rescan_id).values(trouble=trouble, done_at=now)
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A transfer and where it lies: credited to an invoice, or in the inbox for a reason."""

    txid: str
    place: int
    method: str
    amount_atomic: int
    block_height: int | None
    invoice_id: int | None
    reason: str | None


def list_found(connection: sa.Connection, transfer_ids: Sequence[int]) -> list[Found]:
    """Return where some transfers lie now."""
    statement = (
        sa.select(
            chain_transaction.c.txid,
            transfer.c.place,
            transfer.c.method,
            transfer.c.amount_atomic,
            chain_transaction.c.block_height,
            payment.c.invoice_id,
            inbox.c.reason,
        )
        .select_from(transfer)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .outerjoin(
            payment, (payment.c.transfer_id == transfer.c.id) & payment.c.detached_at.is_(None)
        )
        .outerjoin(inbox, inbox.c.transfer_id == transfer.c.id)
        .order_by(transfer.c.id)
    )
    parts = [transfer_ids[start : start + CHUNK] for start in range(0, len(transfer_ids), CHUNK)]
    return [
        Found(
            row.txid,
            row.place,
            row.method,
            int(row.amount_atomic),
            row.block_height,
            row.invoice_id,
            None if row.invoice_id is not None else row.reason,
        )
        for part in parts
        for row in connection.execute(statement.where(transfer.c.id.in_(part)))
    ]
