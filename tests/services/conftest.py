"""A shop on each database."""

import pytest

from counterfoil.db.engine import Database
from tests.conftest import FakeClock
from tests.services.shop import Shop, open_shop


@pytest.fixture
async def shop(database: Database, clock: FakeClock) -> Shop:
    return await open_shop(database, clock)


@pytest.fixture
async def stall(database: Database, clock: FakeClock) -> Shop:
    """A shop with one address, where the amount tells who paid."""
    return await open_shop(database, clock, wallet="w1stall")


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, database: Database) -> Database:
    """An empty store of the other kind."""
    other = "sqlite" if database.__class__.__name__ == "Postgres" else "postgres"
    store: Database = request.getfixturevalue(f"empty_{other}")
    return store
