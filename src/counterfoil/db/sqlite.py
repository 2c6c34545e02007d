"""SQLite: one writer that shares commits, and readers beside it.

WAL with `synchronous=FULL`: a commit that returned survives a power cut (with NORMAL it does not).
All writes go through one connection, in a thread of its own (sqlite_writer.py). What arrives while
a commit is on its way to the disk shares the next one.
"""

import asyncio
import math
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Mode
from counterfoil.db import invoices, merchants, migrate
from counterfoil.db.engine import Bell, Topics, unavailable
from counterfoil.db.sqlite_writer import Writer, driver_of

T = TypeVar("T")

_READERS = 2
_BUSY_TIMEOUT_S = 30.0
# All that we have, and one for each number of invoices that are inserted at once.
_STATEMENTS_MAX = 512
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY")


class Sqlite:
    """A store in one file."""

    def __init__(self, path: Path, *, inline: bool = False) -> None:
        """Take the file's path; `inline` runs everything in the caller, for the seeded world."""
        self._path = path
        self._inline = inline
        self._engine = sa.create_engine(
            "sqlite+pysqlite://",
            creator=self._connect,
            poolclass=sa.NullPool,
            # Values, share tokens among them, belong into no log.
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
        )
        self._topics = Topics()
        self._readers = ThreadPoolExecutor(_READERS, "sqlite-reader")
        self._reader = threading.local()
        self._reader_connections: list[sa.Connection] = []
        self._writer: Writer | None = None
        self._inline_writer: sa.Connection | None = None
        self._finder: sqlite3.Connection | None = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_MAX,
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _begun(self) -> sa.Connection:
        """Return a connection whose transactions SQLAlchemy leaves to us.

        For SQLAlchemy all that ever happens on it is one transaction, which it begins and ends by
        doing nothing; the real ones are the statements BEGIN and COMMIT.
        """
        connection = self._engine.connect()
        connection.begin()
        return connection

    async def start(self) -> None:
        """Open the file, making it where there is none."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._finder = self._connect()
            # It is used in the event loop, which waits for nobody.
            self._finder.execute("PRAGMA busy_timeout=0")
            self._finder.execute("PRAGMA query_only=ON")
            if self._inline:
                self._inline_writer = self._begun()
            else:
                self._writer = Writer(self._begun)
        except (OSError, sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
            reason = getattr(error, "orig", error)
            message = f"The database file {self._path} cannot be opened: {reason}."
            raise SettingsError("database_unreadable", message) from None

    async def is_ready(self) -> bool:
        """Tell whether a statement runs."""
        try:
            await self.read(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
        except sa.exc.SQLAlchemyError:
            return False
        return True

    async def check_schema(self) -> None:
        """Raise SettingsError where the schema is not the one this version works on."""
        await self.read(migrate.check)

    async def migrate(self) -> None:
        """Copy the file as it is, bring the schema to this version, and drop older copies."""
        if await self.read(migrate.is_current):
            return
        if await self.read(migrate.current) is None:
            await self.write(migrate.upgrade)
            return
        copy = self._path.with_name(f"{self._path.name}.before-{migrate.wanted()}")
        self._copy_before(copy)
        await self.write(migrate.upgrade)
        self._forget_copies_but(copy)

    def _copy_before(self, copy: Path) -> None:
        """Copy the file before its schema changes; raises SettingsError and leaves no part of it.

        A broken copy would be taken for a good one, on a disk that needs the room.
        """
        try:
            copy.unlink(missing_ok=True)
            self._vacuum_into(copy)
            shutil.copymode(self._path, copy)
        except (OSError, sa.exc.DatabaseError) as error:
            with suppress(OSError):
                copy.unlink(missing_ok=True)
            # The copy takes as much as the file at most, and so does what the change writes beside.
            needed_mb = 2 * math.ceil(self._path.stat().st_size / 1_000_000)
            message = (
                f"Before this version changes the database, a copy of it must be kept at {copy}. "
                f"That cannot be written: {getattr(error, 'orig', error)}. Nothing is changed. "
                f"Free {needed_mb} MB there, or stop Counterfoil and move the whole data folder "
                "to a larger disk, then start again."
            )
            raise SettingsError("copy_not_written", message) from None

    def _forget_copies_but(self, newest: Path) -> None:
        """Delete the copies that were kept before earlier changes."""
        ours = re.compile(re.escape(self._path.name) + r"\.before-\d{4}")
        for path in self._path.parent.iterdir():
            if path != newest and ours.fullmatch(path.name):
                # One that somebody else keeps from us is no reason not to start.
                with suppress(OSError):
                    path.unlink()

    def _vacuum_into(self, path: Path) -> None:
        """Copy what is committed, page by page; the writer goes on meanwhile."""
        with self._engine.connect() as connection:
            connection.execute(sa.text("VACUUM INTO :path"), {"path": str(path)})

    async def copy_to(self, path: Path) -> None:
        """Write all that is stored at one moment to an empty file."""
        try:
            await asyncio.to_thread(self._vacuum_into, path)
        except sa.exc.DatabaseError as error:
            message = f"The backup cannot be written: {error.orig}."
            raise SettingsError("backup_not_written", message) from None

    async def read(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` on a snapshot, beside the writer."""
        if self._inline:
            return self._read(fn)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    def _read(self, fn: Callable[[sa.Connection], T]) -> T:
        connection: sa.Connection | None = getattr(self._reader, "connection", None)
        if connection is None:
            connection = self._reader.connection = self._begun()
            # Without it a function that writes would seem to work, and leave nothing behind.
            connection.exec_driver_sql("PRAGMA query_only=ON")
            self._reader_connections.append(connection)
        try:
            driver_of(connection).execute("BEGIN")
            return fn(connection)
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            if _is_of_the_disk(error):
                raise unavailable() from error
            raise
        finally:
            if driver_of(connection).in_transaction:
                driver_of(connection).execute("ROLLBACK")

    async def write(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` in the next commit and return after it."""
        if self._inline:
            return self._write_inline(fn)
        return await self._open().run(fn)

    def _write_inline(self, fn: Callable[[sa.Connection], T]) -> T:
        if self._inline_writer is None:
            raise _not_open()
        driver = driver_of(self._inline_writer)
        driver.execute("BEGIN IMMEDIATE")
        try:
            result = fn(self._inline_writer)
            driver.execute("COMMIT")
        finally:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
        return result

    async def insert_invoice(self, row: Mapping[str, Any]) -> int:
        """Add an invoice; many at once share one commit."""
        if self._inline:
            return self._write_inline(lambda connection: invoices.insert(connection, row))
        return await self._open().insert(row)

    async def find_invoice(
        self, invoice_id: int, merchant_id: int, mode: Mode
    ) -> Sequence[Any] | None:
        """Return the row of a merchant's invoice."""
        return await self._find(
            _FIND_INVOICE,
            (invoice_id, merchant_id, mode),
            lambda connection: invoices.get_row(connection, invoice_id, merchant_id, mode),
        )

    async def find_key(self, digest: str) -> Sequence[Any] | None:
        """Return the row of a key in use."""
        return await self._find(
            _FIND_KEY, (digest,), lambda connection: merchants.find_key(connection, digest)
        )

    async def _find(
        self,
        statement: str,
        values: tuple[Any, ...],
        in_a_thread: Callable[[sa.Connection], Sequence[Any] | None],
    ) -> Sequence[Any] | None:
        """Return the row that a statement finds.

        It is read in the event loop: a row by its id takes 10 us, handing that to a thread and back
        takes ten times as long. A reader of a WAL file waits for nobody, but for the moments in
        which SQLite mends or cuts the log; then a thread waits.
        """
        finder = self._finder
        if finder is None:
            raise _not_open()
        try:
            if not finder.in_transaction and not self._inline:
                # All that is asked in this turn of the loop is read of one snapshot: to take a new
                # one and give it back is a third of what a row costs.
                finder.execute("BEGIN")
                asyncio.get_running_loop().call_soon(self._forget_snapshot)
            rows: list[Sequence[Any]] = finder.execute(statement, values).fetchall()
        except sqlite3.OperationalError:
            return await self.read(in_a_thread)
        return rows[0] if rows else None

    def _forget_snapshot(self) -> None:
        if self._finder is not None:
            self._finder.rollback()

    def _open(self) -> Writer:
        if self._writer is None:
            raise _not_open()
        return self._writer

    def listen(self, topic: str) -> Bell:
        """Return a bell that rings when `topic` is woken."""
        return self._topics.listen(topic)

    def wake(self, topic: str) -> None:
        """Ring the bells of `topic` in this process, the only one."""
        self._topics.ring(topic)

    async def close(self) -> None:
        """Finish the jobs that wait, then close the file."""
        # From here on a write is refused: nobody would take it up.
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
        self._readers.shutdown(wait=True)
        for connection in (*self._reader_connections, self._inline_writer, self._finder):
            if connection is not None:
                connection.close()
        self._inline_writer = self._finder = None


_FIND_INVOICE = invoices.find_statement("?", "?", "?")
_FIND_KEY = merchants.find_key_statement("?")


def _not_open() -> RuntimeError:
    return RuntimeError("The database is not open.")


def _is_of_the_disk(error: sa.exc.OperationalError | sqlite3.OperationalError) -> bool:
    """Tell whether the disk or another process is to blame, and not the statement."""
    name: str = getattr(getattr(error, "orig", error), "sqlite_errorname", "")
    return name.startswith(("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY", "SQLITE_CANTOPEN"))
