"""A server that dies at every statement of every scenario, on both stores: the end is the same.

Each scenario runs once to count the moments before and after its statements. Then it runs again for
each of them, and the server dies there; another one goes on with what the database holds.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.crashes.given import Scenario
from tests.crashes.ground import Ground, PostgresGround, SqliteGround
from tests.crashes.scenarios import SCENARIOS
from tests.crashes.stage import KnownError, Stage
from tests.sim import faults

pytestmark = pytest.mark.timeout(600)

# Those that run each time.
FEW = {
    "an_invoice_is_made",
    "a_price_is_asked_for",
    "events_are_told",
}


async def die_everywhere(stage: Stage, scenario: Scenario) -> tuple[str, list[str]]:
    """Let the server die at each moment of a scenario; return what was done, and what was wrong."""
    await stage.build()
    await scenario.given(stage)
    await stage.save()
    await stage.reset()
    stage.ground.rehearse()
    await scenario.play(stage)
    moments, worth = stage.ground.end_of_rehearsal()
    await stage.settle()
    wanted = await stage.picture()
    assert wanted["half there"] == []
    wrong, ends = [], 0
    for moment in worth:
        await stage.reset()
        stage.ground.arm(moment)
        try:
            await scenario.play(stage)
        except KnownError:
            continue
        ends += 1
        await stage.settle()
        found = await stage.picture()
        wrong += [
            f"{scenario.name}, moment {moment} of {moments}: {name}: {found[name]} not {what}"
            for name, what in wanted.items()
            if found[name] != what
        ]
    assert stage.deaths == len(worth)
    return f"{moments} moments, {stage.deaths} deaths, {ends} driven to the end", wrong


@pytest.fixture(scope="module")
def template(sqlite_template: Path) -> bytes:
    return sqlite_template.read_bytes()


@pytest.fixture
async def sqlite_ground(template: bytes) -> AsyncIterator[Ground]:
    ground = SqliteGround(template)
    yield ground
    await ground.close()


@pytest.fixture
async def postgres_ground(postgres_url: str) -> AsyncIterator[Ground]:
    ground = PostgresGround(postgres_url)
    await ground.open()
    yield ground
    await ground.close()


@pytest.fixture(params=["sqlite", "postgres"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """The test runs once on each kind."""
    made: Ground = request.getfixturevalue(f"{request.param}_ground")
    return made


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(each, id=each.name, marks=() if each.name in FEW else pytest.mark.long)
        for each in SCENARIOS
    ],
)
async def test_the_end_is_the_same(ground: Ground, scenario: Scenario) -> None:
    began = time.monotonic()
    # Every death is logged, with all that there is to say of it.
    with capture_logs():
        done, wrong = await die_everywhere(Stage(ground), scenario)
    print(f"{scenario.name}: {done}, {time.monotonic() - began:.1f} s")
    assert wrong == []


EVENT_AFTER_COMMIT = (faults.event_written_after_commit, "a_payment_is_seen")
CURSOR_BEFORE_COMMIT = (faults.cursor_moved_before_commit, "a_payment_is_found_deep_at_once")


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (faults.retry_dropped_at_restart, "events_are_told"),
        pytest.param(*EVENT_AFTER_COMMIT, marks=pytest.mark.long),
        pytest.param(*CURSOR_BEFORE_COMMIT, marks=pytest.mark.long),
    ],
)
async def test_a_planted_fault_is_found(
    sqlite_ground: Ground, plant: Callable[[], AbstractContextManager[None]], name: str
) -> None:
    (scenario,) = [each for each in SCENARIOS if each.name == name]
    with capture_logs(), plant():
        _, found = await die_everywhere(Stage(sqlite_ground), scenario)
    assert found
