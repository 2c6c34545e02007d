"""What requests with an idempotency key were answered, each key once."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core.ports import Mode
from counterfoil.db.schema import idempotency as table
from counterfoil.db.sql import upsert


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an idempotency key is unique."""

    merchant_id: int
    mode: Mode
    endpoint: str
    key: str

    def columns(self) -> dict[str, Any]:
        """Return the key's columns."""
        return {
            "merchant_id": self.merchant_id,
            "mode": self.mode.value,
            "endpoint": self.endpoint,
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What an idempotency key was answered, and to which body."""

    body_digest: str
    answer: str


def get(connection: sa.Connection, scope: Scope) -> KeptAnswer | None:
    """Return what a key was answered, None where nobody has used it."""
    matches = [table.c[name] == value for name, value in scope.columns().items()]
    statement = sa.select(table.c.body_digest, table.c.answer).where(*matches)
    row = connection.execute(statement).first()
    return KeptAnswer(row.body_digest, row.answer) if row else None


def claim(connection: sa.Connection, scope: Scope, body_digest: str, now: int) -> KeptAnswer | None:
    """Take a key for this request and return None, or return the answer to who took it before.

    A twin that is still running holds the row: on PostgreSQL the insert waits for its end, on
    SQLite there is one writer anyway.
    """
    statement = (
        upsert(connection, table)
        .values(**scope.columns(), body_digest=body_digest, answer="", created_at=now)
        .on_conflict_do_nothing()
        .returning(table.c.key)
    )
    if connection.execute(statement).first() is not None:
        return None
    return get(connection, scope)


def keep(connection: sa.Connection, scope: Scope, answer: str) -> None:
    """Keep what the key was answered."""
    matches = [table.c[name] == value for name, value in scope.columns().items()]
    connection.execute(sa.update(table).where(*matches).values(answer=answer))


def forget(connection: sa.Connection, before: int, limit: int) -> int:
    """Drop keys from before a time; return how many."""
    key = tuple(table.primary_key.columns)
    oldest = (
        sa.select(*key).where(table.c.created_at < before).order_by(table.c.created_at).limit(limit)
    )
    return connection.execute(sa.delete(table).where(sa.tuple_(*key).in_(oldest))).rowcount
