"""What a scenario stands on: a database of either kind, and a process that may die at any moment.

A moment is before or after a statement, BEGIN and COMMIT included; on PostgreSQL "after" is when
the server has done it and the answer is lost. What was not committed is gone with the process.
"""

import hashlib
import random
import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
import sqlalchemy as sa

from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import lease, metadata
from tests.crashes.line import Line
from tests.sim.process import Disk, Fuse, FusedStore, read_files
from tests.sim.server import share_compiled_statements

_NEVER = 1_000_000
# Of the moments between two commits on PostgreSQL, besides the first and the last of them.
_EVERY = 100
# What a process that died held runs out before another one goes on.
_END_LEASES = ("UPDATE lease SET until = 0", "UPDATE delivery SET lease_until = 0")
_ALL_TABLES = [table.name for table in metadata.sorted_tables]
# Who holds a lease is another one each time.
_TABLES = [table.name for table in metadata.sorted_tables if table is not lease]


class Ground(Protocol):
    """A database under a process."""

    @property
    def is_dead(self) -> bool:
        """Whether the process has died."""
        ...

    async def start(self) -> Database:
        """Start a process on what is there, and return its store."""
        ...

    async def end(self) -> None:
        """End the process as a crash does, and wait until its leases have run out."""
        ...

    async def save(self) -> None:
        """Keep what is there now."""
        ...

    async def reset(self) -> None:
        """End the process, and have there again what was kept."""
        ...

    def arm(self, moment: int) -> None:
        """Count moments from now on, and let the process die at one."""
        ...

    def rehearse(self) -> None:
        """Count moments from now on, and let the process live."""
        ...

    def end_of_rehearsal(self) -> tuple[int, list[int]]:
        """Return how many moments there were, and at which to die."""
        ...

    async def fingerprint(self) -> str:
        """Return what tells one content of the database from another."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


def _digest(rows: Sequence[Any]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()


class SqliteGround:
    """A SQLite file, and the store that runs in its caller."""

    def __init__(self, template: bytes) -> None:
        self._disk = Disk()
        self._disk.path.write_bytes(template)
        self._fuse = Fuse(random.Random(0))
        self._store: FusedStore | None = None
        self._saved: tuple[bytes, bytes] = (template, b"")

    @property
    def is_dead(self) -> bool:
        return self._fuse.is_blown

    async def start(self) -> Database:
        self._fuse.renew()
        self._store = FusedStore(self._disk.path, self._fuse)
        share_compiled_statements(self._store._engine)
        await self._store.start()
        return self._store

    async def end(self) -> None:
        files = read_files(self._disk.path)
        await self._let_go()
        self._disk.restart(files)
        connection = sqlite3.connect(self._disk.path)
        for statement in _END_LEASES:
            connection.execute(statement)
        connection.commit()
        connection.close()

    async def _let_go(self) -> None:
        # What closing it does to the file is thrown away.
        if self._store is not None:
            await self._store.close()
        self._store = None

    async def save(self) -> None:
        self._saved = read_files(self._disk.path)

    async def reset(self) -> None:
        await self._let_go()
        self._disk.restart(self._saved)

    def arm(self, moment: int) -> None:
        self._fuse.light(moment, is_power_cut=False)

    def rehearse(self) -> None:
        self.arm(_NEVER)

    def end_of_rehearsal(self) -> tuple[int, list[int]]:
        assert self._fuse.left is not None
        moments = _NEVER - self._fuse.left
        self._fuse.put_out()
        return moments, list(range(1, moments + 1))

    async def fingerprint(self) -> str:
        connection = sqlite3.connect(self._disk.path)
        rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in _TABLES]  # noqa: S608  # our own tables
        connection.close()
        return _digest(rows)

    async def close(self) -> None:
        await self._let_go()
        self._disk.throw_away()


class PostgresGround:
    """A PostgreSQL database, and the line to it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._address = sa.make_url(url)
        assert self._address.port is not None
        self._line = Line(self._address.port)
        self._store: Postgres | None = None
        # Only a process that is to die goes through the line, which makes it slow.
        self._is_risky = False
        # What the server held at each moment of the rehearsal.
        self._held: list[str] = []

    async def open(self) -> None:
        """Lay the line, and another way to the database beside it."""
        await self._line.open()
        self._beside = await asyncpg.connect(self._url)

    @property
    def is_dead(self) -> bool:
        return self._line.is_cut

    async def start(self) -> Database:
        self._line.mend()
        address = self._address.set(port=self._line.port) if self._is_risky else self._address
        self._store = Postgres(address.render_as_string(hide_password=False) + "?sslmode=disable")
        share_compiled_statements(self._store._engine.sync_engine)
        await self._store.start()
        return self._store

    async def end(self) -> None:
        await self._let_go()
        self._is_risky = False
        for statement in _END_LEASES:
            await self._beside.execute(statement)

    async def _let_go(self) -> None:
        self._line.cut()
        if self._store is not None:
            await self._store.close()
        self._store = None

    async def save(self) -> None:
        tables = "".join(f"CREATE TABLE kept.{n} AS TABLE public.{n};" for n in _ALL_TABLES)
        await self._beside.execute(
            f"DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept; {tables}"
        )
        rows = await self._beside.fetch(
            "SELECT schemaname, sequencename, last_value FROM pg_sequences"
        )
        self._sequences = [
            f"SELECT setval('{name}', {value or 1}, {'true' if value else 'false'})"
            for _, name, value in rows
        ]

    async def reset(self) -> None:
        await self._let_go()
        self._is_risky = True
        back = ";".join(
            f"DELETE FROM public.{n}; INSERT INTO public.{n} OVERRIDING SYSTEM VALUE "  # noqa: S608  # our own tables
            f"SELECT * FROM kept.{n}"
            for n in _ALL_TABLES
        )
        script = ";".join([back, *self._sequences])
        await self._beside.execute(f"SET session_replication_role = replica; {script}")

    def arm(self, moment: int) -> None:
        self._line.arm(moment)

    def rehearse(self) -> None:
        self._held = []
        self._line.arm(None, self._look)

    async def _look(self) -> None:
        self._held.append(await self.fingerprint())

    def end_of_rehearsal(self) -> tuple[int, list[int]]:
        """Leave out most moments at which the server holds what it holds before and after them.

        Through the line a run takes ten times as long as on SQLite, where every moment is tried.
        """
        held, self._line.on_moment = self._held, None
        last = len(held) - 1
        worth = [
            place + 1
            for place, state in enumerate(held)
            if place % _EVERY == 0
            or state != held[max(place - 1, 0)]
            or state != held[min(place + 1, last)]
        ]
        return len(held), worth

    async def fingerprint(self) -> str:
        each = " UNION ALL ".join(f"SELECT '{n}', t::text FROM {n} t" for n in _TABLES)  # noqa: S608  # our own tables
        return _digest(sorted(map(tuple, await self._beside.fetch(each))))

    async def close(self) -> None:
        await self._let_go()
        await self._line.close()
        await self._beside.close()
