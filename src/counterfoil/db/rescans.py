"""Stretches of a chain that are to be read again, how far that is, and what it found."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.db.schema import rescan


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
