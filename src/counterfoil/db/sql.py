"""The few things that the two dialects spell differently, and how much a statement may hold."""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
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


def insert_new(connection: sa.Connection, table: sa.Table) -> Any:  # as above
    """Return the INSERT of rows that leaves alone what is there; made once, it is quick to run."""
    return _insert_new(connection.dialect.name, table)


@cache
def _insert_new(dialect: str, table: sa.Table) -> Any:  # as above
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()


def chunks(values: Collection[T]) -> Iterator[Sequence[T]]:
    """Cut values into parts that a statement can hold; no values are no part."""
    listed = list(values)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]
