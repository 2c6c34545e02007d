"""What the two databases have in common, and how to open one.

`Sqlite` and `Postgres` implement `core.ports.Store`; nothing else in the project knows which of the
two it talks to, but for a handful of statements that ask `connection.dialect.name`.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

import sqlalchemy as sa

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.core.ports import Store

Row = sa.RowMapping


class Database(Store, Protocol):
    """A store that can be started, migrated and closed; what the composition root sees."""

    async def start(self) -> None:
        """Connect, and refuse a database that does not keep what it acknowledges."""
        ...

    async def is_ready(self) -> bool:
        """Tell whether the database answers."""
        ...

    async def migrate(self) -> None:
        """Bring the schema to this version; SQLite keeps a copy of the file as it was."""
        ...

    async def check_schema(self) -> None:
        """Raise SettingsError where the schema is not the one this version works on."""
        ...

    async def copy_to(self, path: Path) -> None:
        """Write all that is stored at one moment to an empty file, as `copies.Copy` reads it."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of connections."""
        ...


class Topics:
    """Wake-up hints inside one process."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        # Weak: whoever stops listening just forgets the bell.
        self._waiting: defaultdict[str, WeakSet[Bell]] = defaultdict(WeakSet)

    def listen(self, topic: str) -> "Bell":
        """Return a bell that rings when the topic is woken."""
        bell = Bell()
        self._waiting[topic].add(bell)
        return bell

    def ring(self, topic: str) -> None:
        """Wake whoever listens to a topic."""
        for bell in self._waiting.get(topic, ()):
            bell.ring()


class Bell:
    """One listener's hint that something has changed since it last waited."""

    def __init__(self) -> None:
        """Start silent."""
        self._event = asyncio.Event()

    def ring(self) -> None:
        """End the wait, or the next one if nobody waits now."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when the bell was rung since the last wait, or after `timeout_s`."""
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the bell.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
            self._event.clear()


def open_database(url: str) -> Database:
    """Return the store that a URL names, not yet connected.

    `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user:password@host/name`.
    """
    # Each engine brings its own driver; importing only the one in use keeps the start short.
    if url.startswith("sqlite:///"):
        from counterfoil.db.sqlite import Sqlite  # noqa: PLC0415  # see above

        return Sqlite(Path(url.removeprefix("sqlite:///")))
    if url.startswith(("postgresql://", "postgres://")):
        from counterfoil.db.postgres import Postgres  # noqa: PLC0415  # see above

        return Postgres(url)
    message = "database must be sqlite:///path/to/file or postgresql://user:password@host/name."
    raise SettingsError("invalid_database", message)


def unavailable() -> UnavailableError:
    """Return what a client is told when a commit did not come through."""
    message = (
        "The database did not answer, so nobody knows whether this was stored. Send it again; "
        "with an Idempotency-Key nothing is made twice."
    )
    return UnavailableError("database_unavailable", message)


Connection = sa.Connection
