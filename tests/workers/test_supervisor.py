"""What keeps the loops running."""

import asyncio

import structlog

from counterfoil.core.errors import UnavailableError
from counterfoil.workers.supervisor import Supervisor
from tests.conftest import FakeClock


class Loop:
    """A loop that fails a few times, each time after having run for a while, and then waits."""

    def __init__(self, clock: FakeClock, failures: int, runs_ms: int = 0) -> None:
        self.clock = clock
        self.failures = failures
        self.runs_ms = runs_ms
        self.errors: list[Exception] = []
        self.begun: list[int] = []
        self.is_well = asyncio.Event()
        self.was_stopped = False

    async def __call__(self) -> None:
        self.begun.append(self.clock.now())
        self.clock.advance(self.runs_ms)
        if len(self.begun) <= self.failures:
            raise self.errors.pop(0) if self.errors else RuntimeError("broken")
        self.is_well.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_stopped = True

    @property
    def pauses(self) -> list[int]:
        """How long it was left alone after each failure, in milliseconds."""
        ends = [at + self.runs_ms for at in self.begun]
        return [begun - end for end, begun in zip(ends, self.begun[1:], strict=False)]


async def _run(clock: FakeClock, loop: Loop) -> None:
    supervisor = Supervisor(clock)
    supervisor.start({"loop": loop})
    async with asyncio.timeout(5):
        await loop.is_well.wait()
    await supervisor.stop()


async def test_a_loop_that_fails_is_begun_again_after_ever_longer_pauses(clock: FakeClock) -> None:
    loop = Loop(clock, failures=8)
    with structlog.testing.capture_logs() as logged:
        await _run(clock, loop)
    assert loop.pauses == [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]
    assert [line["worker"] for line in logged] == ["loop"] * 8
    assert loop.was_stopped


async def test_what_is_told_to_people_leaves_no_traceback_in_the_log(clock: FakeClock) -> None:
    lost = UnavailableError("database_unavailable", "The database did not answer.")
    lost.__cause__ = OSError("disk I/O error\n[SQL: SELECT 1]")
    nameless = UnavailableError("database_unavailable", "The database did not answer.")
    nameless.__cause__ = TimeoutError()
    bug = KeyError("x")
    loop = Loop(clock, failures=4)
    loop.errors = [lost, nameless, UnavailableError("rate_unavailable", "No rate."), bug]
    with structlog.testing.capture_logs() as logged:
        await _run(clock, loop)
    common = {"event": "worker_failed", "log_level": "error", "worker": "loop"}
    told: list[dict[str, object]] = [
        {"reason": "The database did not answer.", "cause": "disk I/O error"},
        {"reason": "The database did not answer.", "cause": "TimeoutError"},
        {"reason": "No rate."},
        {"exc_info": bug},
    ]
    pauses = [0.2, 0.4, 0.8, 1.6]
    assert logged == [
        common | {"retry_in_s": pause_s} | each for pause_s, each in zip(pauses, told, strict=True)
    ]


async def test_a_failure_after_a_long_good_time_is_a_new_one(clock: FakeClock) -> None:
    loop = Loop(clock, failures=4, runs_ms=61_000)
    await _run(clock, loop)
    assert loop.pauses == [200] * 4


async def test_one_that_fails_leaves_the_others_alone(clock: FakeClock) -> None:
    broken, well = Loop(clock, failures=3), Loop(clock, failures=0)
    supervisor = Supervisor(clock)
    supervisor.start({"broken": broken, "well": well})
    async with asyncio.timeout(5):
        await broken.is_well.wait()
    assert len(well.begun) == 1
    await supervisor.stop()
    assert well.was_stopped
    await supervisor.stop()
