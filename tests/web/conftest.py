"""A server on each database, and on SQLite alone where the store makes no difference."""

from collections.abc import AsyncIterator

import pytest

from counterfoil.db.engine import Database
from counterfoil.db.sqlite import Sqlite
from tests.conftest import FakeClock
from tests.web.world import World, open_world


@pytest.fixture
async def world(database: Database, clock: FakeClock) -> AsyncIterator[World]:
    """A server on each of the two databases."""
    world = await open_world(database, clock)
    yield world
    await world.close()


@pytest.fixture
async def small_world(sqlite: Sqlite, clock: FakeClock) -> AsyncIterator[World]:
    """A server on SQLite, for what does not reach the store or is the same on both."""
    world = await open_world(sqlite, clock)
    yield world
    await world.close()
