"""PostgreSQL: any number of processes on one database.

READ COMMITTED with row locks, whatever the server's default is: a row that was waited for is read
as it is then. Deadlocks and serialisation errors run the function again. The two hot statements
have a connection each (postgres_lanes.py). One more of each process listens for wake-up hints.
"""

import asyncio
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.core.ports import Mode
from counterfoil.db import merchants, migrate
from counterfoil.db.copies import Copy
from counterfoil.db.engine import Bell, Topics, unavailable
from counterfoil.db.postgres_lanes import GRACE_S, LOST, FindLane, InsertLane, Wanted

T = TypeVar("T")

_POOL_SIZE = 8
_TRIES = 5
_NOTIFY_CHANNEL = "counterfoil"
# Class 40: the transaction was rolled back through no fault of its own; run it again.
_RETRYABLE = {"40001", "40P01"}
# Classes of errors that are not the statement's: the connection, who we are, the database's name,
# the transaction, the server's means, and its operators.
_NOT_NOW = {"08", "28", "3D", "40", "53", "57"}
_RECONNECT_AFTER_S = 1.0
# A process that stands still inside a transaction (paused with its machine, or cut off) loses it
# after this: else its row locks would keep everybody waiting for as long as it does. Shorter than a
# lease, so that whoever takes over from it can.
_STANDSTILL_MS = 10_000
# The server ends those that stand still between two statements by itself. Between the parts of one,
# which the driver sends apart when it is new, it takes them for busy: each process looks for these
# every so often.
_STANDSTILL_LOOK_S = 2.0
# A server that goes away without a word, with its machine or its network, is given up after some 20
# seconds. Else whoever waits for its answer would wait for ever, and whoever asks for 15 minutes.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 20_000}
_END_STANDSTILLS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
        AND application_name = current_setting('application_name')
        AND state = 'active' AND wait_event = 'ClientRead'
        AND state_change < clock_timestamp() - $1 * interval '1 millisecond'
"""


class Postgres:
    """A store on a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        """Take a `postgresql://` URL."""
        self._dsn = url
        self._url = sa.make_url(url).set(drivername="postgresql+asyncpg")
        self._engine: AsyncEngine = create_async_engine(
            self._url,
            # The driver reads the URL, here as for its own connections: SQLAlchemy's reading of it
            # knows no sslmode.
            async_creator=self._connect,
            pool_size=_POOL_SIZE,
            max_overflow=0,
            pool_pre_ping=True,
            # Values, share tokens among them, belong into no log.
            hide_parameters=True,
        )
        self._topics = Topics()
        self._listener: asyncpg.Connection | None = None
        self._insert: InsertLane | None = None
        self._find: FindLane | None = None
        self._to_notify: set[str] = set()
        self._notified = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def _connect(self) -> asyncpg.Connection:
        settings = {
            "application_name": "counterfoil",
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": str(_STANDSTILL_MS),
        }
        connection = await asyncpg.connect(self._dsn, server_settings=settings)
        _keep_alive(connection)
        return connection

    async def start(self) -> None:
        """Connect; refuse a server that acknowledges before it has written."""
        try:
            setting = await self.read(
                lambda c: c.execute(sa.text("SHOW synchronous_commit")).scalar_one()
            )
        except (UnavailableError, sa.exc.SQLAlchemyError) as error:
            cause = error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).split("\n", maxsplit=1)[0]
            where = f"{self._url.host}:{self._url.port or 5432}/{self._url.database}"
            message = f"PostgreSQL at {where} cannot be reached: {reason}"
            raise SettingsError("database_unreachable", message) from None
        if setting == "off":
            message = (
                "PostgreSQL runs with synchronous_commit=off and would lose acknowledged invoices "
                "in a crash. Set it to on for this database."
            )
            raise SettingsError("database_not_durable", message)
        self._insert = InsertLane(self._connect)
        self._find = FindLane(self._connect)
        self._listening = asyncio.create_task(self._listen(), name="postgres-listen")

    async def is_ready(self) -> bool:
        """Tell whether a statement runs."""
        try:
            await self.read(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
        except (UnavailableError, sa.exc.SQLAlchemyError, OSError):
            return False
        return True

    async def check_schema(self) -> None:
        """Raise SettingsError where the schema is not the one this version works on."""
        await self.read(migrate.check)

    async def migrate(self) -> None:
        """Bring the schema to this version; a second process that does the same waits its turn."""

        def upgrade(connection: sa.Connection) -> None:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7236427)"))
            if not migrate.is_current(connection):
                migrate.upgrade(connection)

        await self.write(upgrade)

    async def copy_to(self, path: Path) -> None:
        """Write all that is stored at one moment to an empty file."""
        await self.check_schema()
        with Copy(path, is_new=True) as copy:
            try:
                async with self._engine.connect() as connection:
                    await connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                    await connection.run_sync(copy.fill)
            except (sa.exc.DBAPIError, sa.exc.TimeoutError, *LOST) as error:
                raise _told(error) from error

    async def read(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` in a transaction that is rolled back, and that the server lets only read."""
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                return await connection.run_sync(fn)
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, *LOST) as error:
            raise _told(error) from error

    async def write(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` in a transaction, again if another one was in its way."""
        tries = 0
        while True:
            tries += 1
            try:
                async with self._engine.begin() as connection:
                    return await connection.run_sync(fn)
            except (sa.exc.DBAPIError, sa.exc.TimeoutError, *LOST) as error:
                if _sqlstate(error) not in _RETRYABLE or tries >= _TRIES:
                    raise _told(error) from error

    async def insert_invoice(self, row: Mapping[str, Any]) -> int:
        """Add an invoice; many at once become one statement."""
        if self._insert is None:
            raise _not_open()
        return await self._insert.ask(row)

    async def find_invoice(
        self, invoice_id: int, merchant_id: int, mode: Mode
    ) -> Sequence[Any] | None:
        """Return the row of a merchant's invoice; many at once become one statement."""
        if self._find is None:
            raise _not_open()
        return await self._find.ask(Wanted(invoice_id, merchant_id, mode))

    async def find_key(self, digest: str) -> Sequence[Any] | None:
        """Return the row of a key in use; the keyring remembers it for a while."""
        return await self.read(lambda connection: merchants.find_key(connection, digest))

    def listen(self, topic: str) -> Bell:
        """Return a bell that rings when `topic` is woken in any process."""
        return self._topics.listen(topic)

    def wake(self, topic: str) -> None:
        """Ring the bells of `topic` here now and in the other processes soon."""
        self._topics.ring(topic)
        self._to_notify.add(topic)
        self._notified.set()

    async def _listen(self) -> None:
        """Hear the other processes' hints and send ours, reconnecting until we close."""
        while not self._closing.is_set():
            # What is lost without a connection are only hints: who waits also looks once a second.
            with suppress(*LOST):
                self._listener = await self._connect()
                self._listener.add_termination_listener(lambda _: self._notified.set())
                await self._listener.add_listener(_NOTIFY_CHANNEL, self._on_notify)
                await self._serve(self._listener)
            with suppress(*LOST):
                if self._listener is not None:
                    await self._listener.close(timeout=GRACE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECONNECT_AFTER_S):
                    await self._closing.wait()

    async def _serve(self, listener: asyncpg.Connection) -> None:
        """Send hints as they come, and now and then end what stands still, until it is closed."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while not (listener.is_closed() or self._closing.is_set()):
            with suppress(TimeoutError):
                async with asyncio.timeout_at(look_at):
                    await self._notified.wait()
            self._notified.clear()
            topics, self._to_notify = self._to_notify, set()
            for topic in topics:
                await listener.execute("SELECT pg_notify($1, $2)", _NOTIFY_CHANNEL, topic)
            if loop.time() >= look_at:
                look_at = loop.time() + _STANDSTILL_LOOK_S
                try:
                    await listener.execute(_END_STANDSTILLS, _STANDSTILL_MS)
                except asyncpg.InsufficientPrivilegeError:
                    # Our role may end no sessions: whoever waits for their locks goes on waiting.
                    look_at = math.inf

    def _on_notify(
        self, connection: asyncpg.Connection, sender_pid: int, _channel: str, topic: str
    ) -> None:
        # `wake` has rung the bells here already.
        if sender_pid != connection.get_server_pid():
            self._topics.ring(topic)

    async def close(self) -> None:
        """Finish the inserts that wait, then disconnect."""
        # From here on these are refused: nobody would take them up.
        lanes = (self._insert, self._find)
        self._insert = self._find = None
        for lane in lanes:
            if lane is not None:
                await lane.close()
        self._closing.set()
        self._notified.set()
        # The listener ends by itself. Cancelled while it connects, it would leave an error behind
        # that nobody asks for.
        if self._listening is not None:
            await asyncio.wait([self._listening], timeout=GRACE_S)
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._listener is not None:
            self._listener.terminate()
        await self._engine.dispose()


def _keep_alive(connection: asyncpg.Connection) -> None:
    """Have the kernel look now and then whether a server is still there, if it is on a network."""
    transport = connection._transport  # noqa: SLF001  # the driver has no setting for it
    end: socket.socket = transport.get_extra_info("socket")
    if end.family == socket.AF_UNIX:
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        # Not every system knows all of them.
        option = getattr(socket, name, None)
        if option is not None:
            end.setsockopt(socket.IPPROTO_TCP, option, value)


def _not_open() -> RuntimeError:
    return RuntimeError("The database is not open.")


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _told(error: Exception) -> Exception:
    """Return what the caller sees: constraint errors as they are, a lost server as 503."""
    if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError):
        return error
    if not isinstance(error, sa.exc.DBAPIError):
        return unavailable()
    if error.connection_invalidated or (_sqlstate(error) or "08")[:2] in _NOT_NOW:
        return unavailable()
    return error
