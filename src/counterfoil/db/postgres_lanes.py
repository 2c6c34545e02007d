"""The two hot statements on PostgreSQL: a connection each, and one statement for many requests.

What comes in while a statement is on its way shares the next one. Under load a round trip, and the
driver's work around it, is paid once for some dozens of invoices.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import asyncpg

from counterfoil.core.ports import Mode
from counterfoil.db.engine import unavailable
from counterfoil.db.invoices import COLUMNS, INSERT_COLUMNS, INVOICE_ARRAYS

Q = TypeVar("Q")
A = TypeVar("A")

GRACE_S = 2.0
_BATCH_MAX = 256

_ARRAYS = ", ".join(f"${n}::{kind}" for n, kind in enumerate(INVOICE_ARRAYS, 1))
_INSERT_INVOICES = (
    f"INSERT INTO invoice ({', '.join(INSERT_COLUMNS)}) SELECT * FROM unnest({_ARRAYS}) "  # noqa: S608  # our own column names
    "ON CONFLICT DO NOTHING RETURNING id, share_token"
)
_FIND_INVOICES = f"SELECT {', '.join(COLUMNS)} FROM invoice WHERE id = ANY($1::bigint[])"  # noqa: S608  # our own column names
# What stands between us and a server: it is down, it refuses us, or it went away meanwhile.
# The last of these is how the driver tells of a connection that breaks between two messages.
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# What is wrong with one row, and not with the others of its statement.
_WRONG_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class _Asked(Generic[Q, A]):
    """One question on its way into a statement, and whom to answer."""

    __slots__ = ("future", "question")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.future: asyncio.Future[A] = asyncio.get_running_loop().create_future()

    def answer(self, found: A) -> None:
        """Answer, unless that has been done or nobody waits any more."""
        if not self.future.done():
            self.future.set_result(found)

    def fail(self, error: BaseException) -> None:
        """Tell an error, unless there was an answer."""
        if not self.future.done():
            self.future.set_exception(error)


class _Lane(ABC, Generic[Q, A]):
    """One connection that puts whatever has come in since its last statement into one."""

    def __init__(self, connect: Connect) -> None:
        """Start; the connection is made when it is needed."""
        self._connect = connect
        self._queue: asyncio.Queue[_Asked[Q, A]] = asyncio.Queue()
        self._connection: asyncpg.Connection | None = None
        self._running = asyncio.create_task(self._run(), name=type(self).__name__)

    async def ask(self, question: Q) -> A:
        """Return the answer to a question, asked together with others."""
        asked = _Asked[Q, A](question)
        self._queue.put_nowait(asked)
        return await asked.future

    async def _run(self) -> None:
        """Take batches for ever; a batch that failed is told to those who wait for it."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            # A task of its own keeps whatever it raises: a lane that died of it would let all who
            # come later wait for ever.
            attempt = asyncio.create_task(self._answer(batch))
            await asyncio.wait([attempt])
            for each in batch:
                each.fail(attempt.exception() or unavailable())
                self._queue.task_done()

    @abstractmethod
    async def _answer(self, batch: Sequence[_Asked[Q, A]]) -> None:
        """Answer a batch; who is not answered is told what was raised, or that nobody knows."""

    async def _fetch(self, statement: str, *values: Sequence[Any]) -> list[asyncpg.Record]:
        """Run a statement, which the driver keeps prepared; a lost connection is dropped."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            records: list[asyncpg.Record] = await self._connection.fetch(statement, *values)
        except _WRONG_ROW:
            raise
        except LOST:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise
        return records

    async def close(self) -> None:
        """Finish what waits, then disconnect."""
        await self._queue.join()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        if self._connection is not None:
            with suppress(*LOST):
                await self._connection.close(timeout=GRACE_S)


class InsertLane(_Lane[Mapping[str, Any], int]):
    """Adds invoices: the question is a row, the answer its id."""

    async def ask(self, question: Mapping[str, Any]) -> int:
        """Return the id of a row after it is durable."""
        # What is missing is missed here, and not in the statement of others.
        return await super().ask({column: question[column] for column in INSERT_COLUMNS})

    async def _answer(self, batch: Sequence[_Asked[Mapping[str, Any], int]]) -> None:
        columns = zip(*(each.question.values() for each in batch), strict=True)
        try:
            records = await self._fetch(_INSERT_INVOICES, *columns)
        except _WRONG_ROW as error:
            # Found out one by one, so that nobody pays for a neighbour's row.
            if len(batch) == 1:
                batch[0].fail(error)
            else:
                for each in batch:
                    await self._answer([each])
            return
        except LOST:
            return
        ids = {record["share_token"]: record["id"] for record in records}
        for each in batch:
            invoice_id = ids.get(each.question["share_token"])
            if invoice_id is not None:
                each.answer(invoice_id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invoice is looked for, and whose it must be."""

    invoice_id: int
    merchant_id: int
    mode: Mode


class FindLane(_Lane[Wanted, Sequence[Any] | None]):
    """Reads invoices: the question is an id, the answer its row."""

    async def _answer(self, batch: Sequence[_Asked[Wanted, Sequence[Any] | None]]) -> None:
        ids = {each.question.invoice_id for each in batch}
        try:
            records = await self._fetch(_FIND_INVOICES, list(ids))
        except LOST:
            # The server may have hung up long ago, which shows only now; a new connection tells.
            with suppress(*LOST):
                records = await self._fetch(_FIND_INVOICES, list(ids))
                self._tell(batch, records)
            return
        self._tell(batch, records)

    @staticmethod
    def _tell(
        batch: Sequence[_Asked[Wanted, Sequence[Any] | None]],
        records: Sequence[asyncpg.Record],
    ) -> None:
        rows = {record["id"]: record for record in records}
        for each in batch:
            wanted, row = each.question, rows.get(each.question.invoice_id)
            is_theirs = (
                row is not None
                and row["merchant_id"] == wanted.merchant_id
                and row["mode"] == wanted.mode
            )
            each.answer(row if is_theirs else None)
