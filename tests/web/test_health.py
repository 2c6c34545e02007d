"""Whether the server lives, and whether it can work."""

from collections.abc import Sequence
from typing import Any

import httpx2

from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Tick
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates
from tests.conftest import FakeClock
from tests.web.world import World, open_world

NOW = "2026-01-06T11:46:40.123Z"
NO_RATES: dict[str, Any] = {"last_good_at": None, "without_rate": [], "sources": []}
LITECOIN = {
    "name": "litecoin",
    "network": "bip122:12a765e31ffd4059bada1e25190f6e98",
    "height": 100,
    "node_height": 103,
    "lag": 3,
    "watched_at": "2026-01-06T11:46:40.123Z",
    "trouble": None,
}
SIMULATOR = {
    "name": "simulator",
    "network": "counterfoil:simulator",
    "height": 0,
    "node_height": 0,
    "lag": 0,
    "watched_at": "2026-01-06T11:46:40.123Z",
    "trouble": None,
}


async def readiness(world: World) -> tuple[int, dict[str, Any]]:
    answer: httpx2.Response = await world.request("GET", "/readyz", key=None)
    document: dict[str, Any] = answer.json()
    assert list(document) == ["ready", "database", "chains", "rates"]
    assert document["ready"] is (answer.status_code == 200)
    return answer.status_code, document


async def test_a_server_that_is_well_is_ready(world: World) -> None:
    assert await readiness(world) == (
        200,
        {
            "ready": True,
            "database": True,
            "chains": [LITECOIN, SIMULATOR],
            "rates": {
                "last_good_at": NOW,
                "without_rate": [],
                "sources": [{"name": "fixed", "good_at": NOW, "trouble": None}],
            },
        },
    )


async def test_a_lost_database_is_not_ready_but_alive(world: World) -> None:
    world.store.is_down = True
    assert await readiness(world) == (
        503,
        {"ready": False, "database": False, "chains": [], "rates": NO_RATES},
    )
    alive = await world.request("GET", "/healthz", key=None)
    assert (alive.status_code, alive.text) == (200, '{"status":"ok"}')


async def test_a_chain_in_trouble_is_not_ready(world: World) -> None:
    await world.see_litecoin("The node is still syncing.")
    status, document = await readiness(world)
    assert status == 503
    assert document["chains"] == [LITECOIN | {"trouble": "The node is still syncing."}, SIMULATOR]
    await world.see_litecoin()
    assert (await readiness(world))[0] == 200


async def test_a_chain_that_nobody_watches_is_in_trouble(world: World) -> None:
    world.clock.advance(60_000)
    assert (await readiness(world))[0] == 200
    world.clock.advance(1)
    await world.see_litecoin()
    status, document = await readiness(world)
    assert status == 503
    litecoin, simulator = document["chains"]
    assert litecoin["trouble"] is None
    assert "watched" in simulator["trouble"]
    await world.look()
    assert (await readiness(world))[0] == 200


async def test_old_prices_are_shown_and_no_reason(world: World) -> None:
    world.clock.advance(86_400_000)
    await world.see_litecoin()
    await world.look()
    status, document = await readiness(world)
    assert status == 200
    assert document["rates"]["last_good_at"] == "2026-01-06T11:46:40.123Z"


async def test_a_server_that_has_just_started_is_not_ready(
    sqlite: Sqlite, clock: FakeClock
) -> None:
    world = await open_world(sqlite, clock, is_fresh=True)
    status, document = await readiness(world)
    await world.close()
    assert status == 503
    assert [each["height"] for each in document["chains"]] == [None, None]
    assert all("not been looked at" in each["trouble"] for each in document["chains"])
    assert document["rates"] == NO_RATES | {"without_rate": ["LTC/USD"]}


async def test_a_source_in_trouble_is_told_and_no_reason(world: World) -> None:
    class Away(FixedRates):
        name = "kraken"

        async def fetch(self, now: int) -> Sequence[Tick]:
            raise UnavailableError("rate_unavailable", "Kraken cannot be reached.")

    await rates.refresh(world.store, [Away({})], world.clock.now())
    status, document = await readiness(world)
    assert status == 200
    trouble = {"name": "kraken", "good_at": None, "trouble": "Kraken cannot be reached."}
    assert document["rates"] == NO_RATES | {"without_rate": ["LTC/USD"], "sources": [trouble]}
