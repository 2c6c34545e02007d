"""The one thread that writes to a SQLite file.

It takes whatever has come in since its last commit, does it, commits once, and answers all. Nobody
is answered before COMMIT has returned; what fails undoes its own work alone; a failed commit is
told to everybody who shared it, whatever it failed of, and the next one is tried as if it were the
first.

Each hand-over between two threads costs more than an insert, and so does every call that lets go of
Python's lock while the event loop is busy. So jobs go over in lists, invoices go in by one
statement for many, and all answers of a commit come back in one call.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from operator import itemgetter
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa
import structlog

from counterfoil.core.errors import UnavailableError
from counterfoil.db.engine import unavailable
from counterfoil.db.invoices import INSERT_COLUMNS, insert_statement

T = TypeVar("T")

_BATCH_MAX = 256
# So many jobs do not wait for the end of the loop's turn: when dozens of requests come at once, the
# disk and the loop work side by side.
_HAND_OVER_AT = 16
# So many invoices by one statement at most; each size is a statement that SQLite keeps compiled.
_ROWS_MAX = 64
# What the driver says of a value that no column takes.
_WRONG_ROW = (sqlite3.Error, OverflowError, UnicodeError)
_VALUES = itemgetter(*INSERT_COLUMNS)
# While a disk is full every commit fails: so long a cause that has been logged is not logged again.
_LOG_AGAIN_S = 60.0

_log = structlog.get_logger("counterfoil.database")


class _Job:
    """Something to do in the next commit, what came of it, and whom to answer."""

    __slots__ = ("error", "future", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def answer(self) -> None:
        """Answer, in the event loop, unless nobody waits any more."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Function(_Job):
    """A function to run on the connection."""

    __slots__ = ("fn",)

    def __init__(self, loop: asyncio.AbstractEventLoop, fn: Callable[[sa.Connection], Any]) -> None:
        super().__init__(loop)
        self.fn = fn


class _Invoice(_Job):
    """An invoice to insert."""

    __slots__ = ("values",)

    def __init__(self, loop: asyncio.AbstractEventLoop, row: Mapping[str, Any]) -> None:
        super().__init__(loop)
        self.values = _VALUES(row)


class Writer:
    """The connection that writes, and its thread."""

    def __init__(self, connect: Callable[[], sa.Connection]) -> None:
        """Connect, and wait for jobs of the running event loop."""
        self._connect = connect
        # None after a failure: the next commit connects anew.
        self._connection: sa.Connection | None = connect()
        self._loop = asyncio.get_running_loop()
        # When each cause of a failed commit was last logged.
        self._logged_at: dict[str, float] = {}
        self._gathered: list[_Job] = []
        self._handed_over: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run a function in the next commit and return after it."""
        job = _Function(self._loop, fn)
        self._gather(job)
        result: T = await job.future
        return result

    def insert(self, row: Mapping[str, Any]) -> asyncio.Future[int]:
        """Insert an invoice in the next commit; its id is there after it."""
        job = _Invoice(self._loop, row)
        self._gather(job)
        return job.future

    async def close(self) -> None:
        """Finish what has come in, then disconnect."""
        self._hand_over()
        self._handed_over.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._disconnect()

    def _gather(self, job: _Job) -> None:
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(job)
        if len(self._gathered) >= _HAND_OVER_AT:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread what has come in."""
        jobs, self._gathered = self._gathered, []
        if jobs:
            self._handed_over.put(jobs)

    def _answer(self, jobs: Sequence[_Job], lost: BaseException | None) -> None:
        for job in jobs:
            job.answer()
        if lost is not None:
            self._note(lost, len(jobs))

    def _note(self, lost: BaseException, count: int) -> None:
        """Log why a commit has failed, unless that was done a moment ago.

        What SQLite says has a name. Of anything else nobody thought: its traceback is needed.
        """
        is_known = isinstance(lost, sqlite3.Error)
        name = getattr(lost, "sqlite_errorname", type(lost).__name__)
        now = self._loop.time()
        if now - self._logged_at.get(name, -_LOG_AGAIN_S) < _LOG_AGAIN_S:
            return
        self._logged_at[name] = now
        _log.warning(
            "commit_failed",
            cause=name,
            reason=str(lost) if is_known else "",
            writes=count,
            exc_info=None if is_known else lost,
        )

    # --- in the thread -----------------------------------------------------------------------

    def _work(self) -> None:
        is_closing = False
        while not is_closing and (jobs := self._handed_over.get()) is not None:
            while len(jobs) < _BATCH_MAX and not self._handed_over.empty():
                more = self._handed_over.get()
                is_closing = more is None
                jobs += more or []
            lost = _driver_error(_try(partial(self._commit, jobs)))
            if lost is not None:
                for job in jobs:
                    job.error = _unavailable(lost)
                if _try(self._undo) is not None:
                    _try(self._disconnect)
            # The loop is closed where the program ended without waiting; then nobody waits here.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer, jobs, lost)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Do all jobs in one transaction, so that each has its result or its error."""
        if self._connection is None:
            self._connection = self._connect()
        driver = driver_of(self._connection)
        invoices = [job for job in jobs if isinstance(job, _Invoice)]
        functions = [job for job in jobs if isinstance(job, _Function)]
        if not functions and _insert_alone(driver, invoices):
            return
        driver.execute("BEGIN IMMEDIATE")
        if invoices:
            _insert(driver, invoices)
        for function in functions:
            _run(self._connection, function)
        driver.execute("COMMIT")

    def _undo(self) -> None:
        """Undo what is left of a failed commit."""
        if self._connection is not None and driver_of(self._connection).in_transaction:
            driver_of(self._connection).execute("ROLLBACK")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _try(step: Callable[[], None]) -> BaseException | None:
    """Take a step and return what it failed of."""
    try:
        step()
    except BaseException as error:  # noqa: BLE001  # or all would wait for ever
        return error
    return None


def _driver_error(error: BaseException | None) -> BaseException | None:
    """Return what the driver said, out of what SQLAlchemy and a savepoint have made of it."""
    while isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    return error


def _unavailable(cause: BaseException) -> UnavailableError:
    error = unavailable()
    error.__cause__ = cause
    return error


def _run(connection: sa.Connection, job: _Function) -> None:
    with _Savepoint(driver_of(connection)) as savepoint:
        job.result = job.fn(connection)
    job.error = savepoint.error


@cache
def _insert_many(count: int) -> str:
    return insert_statement("?", count)


def _insert_alone(driver: sqlite3.Connection, invoices: Sequence[_Invoice]) -> bool:
    """Insert invoices by a statement that is a transaction by itself; tell whether that could be.

    It lets go of Python's lock once where a transaction of several statements does five times.
    """
    if len(invoices) > _ROWS_MAX:
        return False
    try:
        _execute(driver, invoices)
    except sqlite3.OperationalError:
        # The statement is a good one, so this is about the disk: the commit has failed.
        raise
    except _WRONG_ROW:
        return False
    return True


def _insert(driver: sqlite3.Connection, invoices: Sequence[_Invoice]) -> None:
    """Insert invoices by as few statements as may be; where one is wrong, each by its own."""
    with _Savepoint(driver) as savepoint:
        for start in range(0, len(invoices), _ROWS_MAX):
            _execute(driver, invoices[start : start + _ROWS_MAX])
    if isinstance(savepoint.error, sqlite3.OperationalError):
        raise savepoint.error
    if savepoint.error is not None and len(invoices) == 1:
        invoices[0].error = savepoint.error
    elif savepoint.error is not None:
        for each in invoices:
            _insert(driver, [each])


def _execute(driver: sqlite3.Connection, invoices: Sequence[_Invoice]) -> None:
    values = [value for each in invoices for value in each.values]
    last = driver.execute(_insert_many(len(invoices)), values).lastrowid or 0
    # A statement's rows are numbered one after the other: nobody else writes meanwhile.
    for invoice_id, each in enumerate(invoices, last - len(invoices) + 1):
        each.result = invoice_id


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return the driver's connection, for statements that need nothing of SQLAlchemy."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection), "the engine is pysqlite"  # noqa: S101  # for mypy
    return driver


class _Savepoint:
    """One job's part of a commit: its failure undoes its own work and nobody else's.

    It keeps the error instead of passing it on: that is its caller's, and not the writer's.
    """

    def __init__(self, driver: sqlite3.Connection) -> None:
        self.error: Exception | None = None
        self._driver = driver

    def __enter__(self) -> Self:
        self._driver.execute("SAVEPOINT job")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            if not self._driver.in_transaction:
                # SQLite itself has rolled back the whole commit (disk full, I/O error).
                raise sa.exc.DatabaseError("job", None, error) from error
            self._driver.execute("ROLLBACK TO job")
        self._driver.execute("RELEASE job")
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None
