"""SQLite: one writer that shares commits, and readers beside it.

WAL with `synchronous=FULL`: a commit that returned survives a power cut (with NORMAL it does not).
All writes go through one connection. What arrives while a commit is on its way to the disk shares
the next one, each function in a savepoint of its own; nobody is answered before COMMIT returned.
"""

import asyncio
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from counterfoil.core.errors import SettingsError
from counterfoil.db import migrate
from counterfoil.db.engine import Bell, Topics, unavailable
from counterfoil.db.invoices import INSERT_COLUMNS, insert_statement

T = TypeVar("T")

_BATCH_MAX = 256
_READERS = 2
_BUSY_TIMEOUT_S = 30.0
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY")


class _Job:
    """A function that waits for its turn in the writer, and whom to answer."""

    def __init__(self, fn: Callable[[sa.Connection], Any]) -> None:
        self.fn = fn
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Hand the outcome to the waiting coroutine, from the writer's thread."""
        # The loop is closed where the program ended without waiting; then nobody waits here either.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


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
            isolation_level="AUTOCOMMIT",
        )
        self._topics = Topics()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, "sqlite-reader")
        self._reader = threading.local()
        self._reader_connections: list[sa.Connection] = []
        self._writer: sa.Connection | None = None
        self._thread: threading.Thread | None = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    async def start(self) -> None:
        """Open the file, making it where there is none."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._engine.connect()
        except (OSError, sa.exc.DatabaseError) as error:
            reason = getattr(error, "orig", error)
            message = f"The database file {self._path} cannot be opened: {reason}."
            raise SettingsError("database_unreadable", message) from None
        if not self._inline:
            self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
            self._thread.start()

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
        """Copy the file as it is, then bring the schema to this version."""
        revision = await self.read(migrate.current)
        if revision == migrate.wanted():
            return
        if revision is not None:
            copy = self._path.with_name(f"{self._path.name}.before-{migrate.wanted()}")
            copy.unlink(missing_ok=True)
            self._vacuum_into(copy)
            shutil.copymode(self._path, copy)
        await self.write(migrate.upgrade)

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
            connection = self._reader.connection = self._engine.connect()
            # Without it a function that writes would seem to work, and leave nothing behind.
            connection.exec_driver_sql("PRAGMA query_only=ON")
            self._reader_connections.append(connection)
        try:
            connection.exec_driver_sql("BEGIN")
            return fn(connection)
        except sa.exc.OperationalError as error:
            if _is_of_the_disk(error):
                raise unavailable() from error
            raise
        finally:
            if _driver(connection).in_transaction:
                connection.exec_driver_sql("ROLLBACK")

    async def write(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` in the next commit and return after it."""
        if self._inline:
            return self._write_inline(fn)
        self._writing()
        job = _Job(fn)
        self._jobs.put(job)
        result: T = await job.future
        return result

    def _write_inline(self, fn: Callable[[sa.Connection], T]) -> T:
        connection = self._writing()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            result = fn(connection)
            connection.exec_driver_sql("COMMIT")
        finally:
            if _driver(connection).in_transaction:
                connection.exec_driver_sql("ROLLBACK")
        return result

    async def insert_invoice(self, row: Mapping[str, Any]) -> int:
        """Add an invoice; many at once share one commit."""
        values = [row[column] for column in INSERT_COLUMNS]

        def insert(connection: sa.Connection) -> int:
            cursor = _driver(connection).execute(_INSERT_INVOICE, values)
            assert cursor.lastrowid is not None, "an INSERT has a row id"  # noqa: S101  # for mypy
            return cursor.lastrowid

        return await self.write(insert)

    def _writing(self) -> sa.Connection:
        if self._writer is None:
            message = "The database is not open."
            raise RuntimeError(message)
        return self._writer

    def _work(self) -> None:
        """Run jobs, as many to a commit as have come in."""
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < _BATCH_MAX and not self._jobs.empty():
                other = self._jobs.get()
                if other is None:
                    self._jobs.put(None)
                    break
                jobs.append(other)
            self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        connection = self._writing()
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            outcomes = [(job, *_in_savepoint(connection, job.fn)) for job in jobs]
            connection.exec_driver_sql("COMMIT")
        except (sa.exc.SQLAlchemyError, sqlite3.Error):
            self._recover(connection)
            for job in jobs:
                job.answer(None, unavailable())
            return
        for job, result, error in outcomes:
            job.answer(result, error)

    def _recover(self, connection: sa.Connection) -> None:
        """Undo what is left of a failed commit, on a new connection if this one is beyond help."""
        try:
            if _driver(connection).in_transaction:
                connection.exec_driver_sql("ROLLBACK")
        except (sa.exc.SQLAlchemyError, sqlite3.Error):
            connection.close()
            self._writer = self._engine.connect()

    def listen(self, topic: str) -> Bell:
        """Return a bell that rings when `topic` is woken."""
        return self._topics.listen(topic)

    def wake(self, topic: str) -> None:
        """Ring the bells of `topic` in this process, the only one."""
        self._topics.ring(topic)

    async def close(self) -> None:
        """Finish the jobs that wait, then close the file."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        # From here on a write is refused: nobody would take it up.
        writer, self._writer = self._writer, None
        self._readers.shutdown(wait=True)
        for connection in [*self._reader_connections, writer]:
            if connection is not None:
                connection.close()


_INSERT_INVOICE = insert_statement("?")


def _is_of_the_disk(error: sa.exc.OperationalError) -> bool:
    """Tell whether the disk or another process is to blame, and not the statement."""
    name: str = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY", "SQLITE_CANTOPEN"))


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection), "the engine is pysqlite"  # noqa: S101  # for mypy
    return driver


class _Savepoint:
    """One job's part of a commit: its failure undoes its own work and nobody else's.

    It keeps the error instead of passing it on: that is its caller's, and not the writer's.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.error: Exception | None = None
        self._connection = connection

    def __enter__(self) -> Self:
        self._connection.exec_driver_sql("SAVEPOINT job")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            if not _driver(self._connection).in_transaction:
                # SQLite itself has rolled back the whole commit (disk full, I/O error).
                raise sa.exc.DatabaseError("job", None, error) from error
            self._connection.exec_driver_sql("ROLLBACK TO job")
        self._connection.exec_driver_sql("RELEASE job")
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def _in_savepoint(
    connection: sa.Connection, fn: Callable[[sa.Connection], T]
) -> tuple[T | None, Exception | None]:
    result: T | None = None
    with _Savepoint(connection) as savepoint:
        result = fn(connection)
    return result, savepoint.error
