"""The few things that the two dialects spell differently, and how much a statement may hold."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

# Small enough for every SQLite's limit of bound parameters.
CHUNK = 900


def upsert(connection: sa.Connection, table: sa.Table) -> Any:  # there is no common class
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def chunks(values: Collection[T]) -> Iterator[Sequence[T]]:
    """Cut values into parts that a statement can hold; no values are no part."""
    listed = list(values)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]
