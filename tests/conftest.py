"""What the tests of all rooms share: a clock and chance that they turn, and the two databases.

`database` is a started and migrated store, and every test that takes it runs twice: on SQLite and
on PostgreSQL. `sqlite` and `postgres` are the two alone.
"""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.sqlite import Sqlite
from tests.postgres_server import PostgresServer

# A Tuesday, with milliseconds that are no round number.
START_AT = 1_767_700_000_123


class FakeClock:
    """A clock that stands still until a test, or a sleep, moves it on; see `core.ports.Clock`."""

    def __init__(self, at: int = START_AT) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def advance(self, milliseconds: int) -> int:
        """Move on and return the new time."""
        self.at += milliseconds
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Move on at once, and let the others run."""
        self.advance(round(seconds * 1_000))
        await asyncio.sleep(0)


class FakeEntropy:
    """Chance that is the same in every run; see `core.ports.Entropy`."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def entropy() -> FakeEntropy:
    return FakeEntropy()


async def _migrate(store: Database) -> None:
    await store.start()
    await store.migrate()
    await store.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy, which is faster than migrating each."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_migrate(Sqlite(path)))
    return path


@pytest.fixture
async def sqlite(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Sqlite]:
    """A migrated SQLite file of the test's own."""
    path = tmp_path / "counterfoil.db"
    shutil.copy(sqlite_template, path)
    store = Sqlite(path)
    await store.start()
    yield store
    await store.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session; each worker of a parallel run has its own."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a migrated database to make others from, which is faster than migrating each."""

    async def make() -> str:
        name = await postgres_server.create()
        await _migrate(Postgres(postgres_server.url(name)))
        return name

    return asyncio.run(make())


@pytest.fixture
async def empty_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The URL of a database without tables."""
    name = await postgres_server.create()
    yield postgres_server.url(name)
    await postgres_server.drop(name)


@pytest.fixture
async def postgres_url(
    postgres_server: PostgresServer, postgres_template: str
) -> AsyncIterator[str]:
    """The URL of a migrated database, for tests that connect to it more than once."""
    name = await postgres_server.create(postgres_template)
    yield postgres_server.url(name)
    await postgres_server.drop(name)


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Postgres]:
    """A migrated PostgreSQL database of the test's own."""
    store = Postgres(postgres_url)
    await store.start()
    yield store
    await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """A started and migrated store: the test runs once on each kind."""
    store: Database = request.getfixturevalue(request.param)
    return store


@pytest.fixture
async def empty_sqlite(tmp_path: Path) -> AsyncIterator[Sqlite]:
    """A SQLite file without tables."""
    store = Sqlite(tmp_path / "empty.db")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def empty_postgres(empty_postgres_url: str) -> AsyncIterator[Postgres]:
    """A PostgreSQL database without tables."""
    store = Postgres(empty_postgres_url)
    await store.start()
    yield store
    await store.close()


@pytest.fixture(params=["empty_sqlite", "empty_postgres"])
def empty(request: pytest.FixtureRequest) -> Database:
    """A started store without tables: the test runs once on each kind."""
    store: Database = request.getfixturevalue(request.param)
    return store
