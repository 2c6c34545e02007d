"""The two hot statements on PostgreSQL: a connection each, and one statement for many requests.

What comes in while a statement is on its way shares the next one. Under load a round trip, and the
driver's work around it, is paid once for some dozens of invoices.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg
import msgspec

from counterfoil.core.ports import Mode
from counterfoil.db.engine import unavailable
from counterfoil.db.invoices import COLUMNS, INSERT_COLUMNS, INSERT_RECORD

Q = TypeVar("Q")
A = TypeVar("A")

GRACE_S = 2.0
_BATCH_MAX = 256
# Longer than anybody may hold a lock that such a statement waits for. Without an answer by then the
# line is as good as lost, also where it is not cut.
_ANSWER_S = 15.0

# All rows go as one text, which the server takes apart on a core of its own. As an array for each
# column the driver would encode value by value, in the event loop's thread: 20 us a row more.
_INSERT_INVOICES = (
    f"INSERT INTO invoice ({', '.join(INSERT_COLUMNS)}) "  # noqa: S608  # our own column names
    f"SELECT * FROM json_to_recordset($1::json) AS given ({INSERT_RECORD}) "
    "ON CONFLICT DO NOTHING RETURNING id, share_token"
)
_FIND_INVOICES = f"SELECT {', '.join(COLUMNS)} FROM invoice WHERE id = ANY($1::bigint[])"  # noqa: S608  # our own column names
# What stands between us and a server: it is down, it refuses us, or it went away meanwhile.
# The last of these is how the driver tells of a connection that breaks between two messages.
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# What is wrong with one row, and not with the others of its statement.
_WRONG_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_encode = msgspec.json.Encoder().encode
# Raises KeyError for a row that lacks one of them.
_complete = itemgetter(*INSERT_COLUMNS)

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class _Asked(Generic[Q, A]):
    """One question on its way into a statement, and whom to answer."""

    __slots__ = ("future", "question")

    def __init__(self, question: Q, future: asyncio.Future[A]) -> None:
        self.question = question
        self.future = future

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
        """Connect when it is needed."""
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Asked[Q, A]] = []
        self._running: asyncio.Task[None] | None = None

    def _ask(self, question: Q) -> asyncio.Future[A]:
        """Return what will be the answer to a question, asked together with others."""
        asked: _Asked[Q, A] = _Asked(question, self._loop.create_future())
        self._waiting.append(asked)
        if self._running is None:
            self._start()
        return asked.future

    def _start(self) -> None:
        # It begins a turn of the loop later, with all that comes in during this one.
        self._running = self._loop.create_task(self._run(), name=type(self).__name__)
        self._running.add_done_callback(self._rest)

    async def _run(self) -> None:
        """Send batches until nobody waits; who was not answered is told that nobody knows."""
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_MAX], self._waiting[_BATCH_MAX:]
            try:
                await self._answer(batch)
            finally:
                for each in batch:
                    if not each.future.done():
                        each.future.set_exception(unavailable())

    def _rest(self, _ended: asyncio.Task[None]) -> None:
        # Whatever a batch died of, those behind it are asked for.
        self._running = None
        if self._waiting:
            self._start()

    @abstractmethod
    async def _answer(self, batch: Sequence[_Asked[Q, A]]) -> None:
        """Answer a batch, as far as there are answers."""

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run a statement, which the driver keeps prepared; a lost connection is dropped."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            records: list[asyncpg.Record] = await self._connection.fetch(
                statement, *values, timeout=_ANSWER_S
            )
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
        while self._running is not None:
            await asyncio.wait([self._running])
        if self._connection is not None:
            with suppress(*LOST):
                await self._connection.close(timeout=GRACE_S)


class _Row(NamedTuple):
    """A row on its way, as JSON, and what its id is known by."""

    share_token: str
    json: bytes


class InsertLane(_Lane[_Row, int]):
    """Adds invoices: the question is a row, the answer its id."""

    async def ask(self, row: Mapping[str, Any]) -> int:
        """Return the id of a row after it is durable."""
        # What is missing or cannot be written is the fault of this one, and not of its statement.
        _complete(row)
        return await self._ask(_Row(row["share_token"], _encode(row)))

    async def _answer(self, batch: Sequence[_Asked[_Row, int]]) -> None:
        rows = b"[%b]" % b",".join([each.question.json for each in batch])
        try:
            records = await self._fetch(_INSERT_INVOICES, rows.decode())
        except _WRONG_ROW as error:
            # Found out one by one, so that nobody pays for a neighbour's row.
            if len(batch) == 1:
                # There the server quotes the whole row, which belongs into no log.
                error.detail = None
                batch[0].fail(error)
            else:
                for each in batch:
                    await self._answer([each])
            return
        except LOST:
            return
        ids = {record["share_token"]: record["id"] for record in records}
        for each in batch:
            invoice_id = ids.get(each.question.share_token)
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

    async def ask(self, wanted: Wanted) -> Sequence[Any] | None:
        """Return the row of an invoice, None where there is none or it is somebody else's."""
        return await self._ask(wanted)

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
