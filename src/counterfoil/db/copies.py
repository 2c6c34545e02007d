"""A copy of all that is stored, in one SQLite file, whichever store it comes from or goes to.

It has the schema of the store that it was made of, so an older one is brought up to date by the
same migrations, and it has a table more, which says that it is a copy and since when.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from counterfoil.core.errors import SettingsError
from counterfoil.db import migrate
from counterfoil.db.schema import invoice, metadata, payment

_BATCH = 1_000
_mark = sa.Table("backup", sa.MetaData(), sa.Column("at", sa.BigInteger, nullable=False))


class Copy:
    """An open copy; what cannot be read or written is told as a SettingsError."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        """Open a file that is there, to read it; a new one is an empty file to write to."""
        self.path = path
        self._is_new = is_new
        self._engine = sa.create_engine(
            "sqlite+pysqlite://",
            creator=self._connect,
            poolclass=sa.NullPool,
            # Values, share tokens among them, belong into no log.
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
        )
        self._connection: sa.Connection | None = None

    def _connect(self) -> sqlite3.Connection:
        # Nobody else writes a copy, and a folder that may only be read has no room for a log.
        access = "mode=rw" if self._is_new else "mode=ro&immutable=1"
        uri = f"{self.path.resolve().as_uri()}?{access}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        if self._is_new:
            # What breaks off in the middle is thrown away: nothing has to be put back.
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
        return connection

    def __enter__(self) -> Self:
        """Open the file."""
        with self._told():
            self._connection = self._engine.connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.connection.close()

    @property
    def connection(self) -> sa.Connection:
        """The connection, for the queries that serve a store as well."""
        assert self._connection is not None, "it is open within its `with`"  # noqa: S101  # for mypy
        return self._connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            did = "written" if self._is_new else "read"
            message = f"The backup {self.path} cannot be {did}: {error.orig}."
            raise SettingsError(f"backup_not_{did}", message) from None

    # --- making one ---

    def fill(self, source: sa.Connection) -> None:
        """Write all that a connection shows; its transaction must be one snapshot."""
        with self._told():
            migrate.upgrade(self.connection)
            self.connection.exec_driver_sql("BEGIN")
        for table in metadata.sorted_tables:
            for rows in _batches(source, table):
                with self._told():
                    self.connection.execute(sa.insert(table), rows)
        with self._told():
            self.connection.exec_driver_sql("COMMIT")

    def finish(self, now: int) -> None:
        """Mark the file as a copy as of `now`, and see that it is whole and on the disk."""
        with self._told():
            _mark.create(self.connection)
            self.connection.execute(sa.insert(_mark).values(at=now))
        self.check()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # --- reading one ---

    def check(self) -> None:
        """Raise SettingsError where the file is none of ours or is damaged."""
        try:
            is_ours = sa.inspect(self.connection).has_table(_mark.name)
        except sa.exc.DatabaseError:
            is_ours = False
        if not is_ours:
            message = f"{self.path} is no backup that `counterfoil backup` has made."
            raise SettingsError("no_backup", message)
        with self._told():
            found = self.connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            orphans = self.connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if list(found) != ["ok"] or orphans is not None:
            message = f"The backup {self.path} is damaged. Restore another copy of it."
            raise SettingsError("backup_damaged", message)

    def made_at(self) -> int:
        """Return as of when the copy is."""
        at: int = self.connection.execute(sa.select(_mark.c.at)).scalar_one()
        return at

    def count(self) -> tuple[int, int]:
        """Return how many invoices and how many payments it holds."""
        counts = [
            self.connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (invoice, payment)
        ]
        return counts[0], counts[1]

    def upgrade(self) -> None:
        """Bring a copy that may be written to this version's schema."""
        with self._told():
            migrate.upgrade(self.connection)

    def rows(self, table: sa.Table) -> Iterator[Sequence[dict[str, Any]]]:
        """Return the rows of a table, some at a time."""
        with self._told():
            yield from _batches(self.connection, table)


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[dict[str, Any]]]:
    """Return the rows of a table, some at a time, so that no table has to fit into memory."""
    statement = sa.select(table).execution_options(yield_per=_BATCH)
    for rows in connection.execute(statement).mappings().partitions():
        yield [dict(row) for row in rows]
