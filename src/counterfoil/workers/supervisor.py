"""Keeps the loops running: what one of them raises is logged, and it is tried again.

The only broad `except` of the workers stands here. A loop that fails is started again after a
pause that doubles up to a limit, so a broken disk or a lost database is not called a thousand times
a second, and the loop is back soon after the cause has gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.core.ports import Clock

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
# A loop that ran for so long was well: what befalls it then is a new failure.
_HEALTHY_AFTER_MS = 60_000

_log = structlog.get_logger("counterfoil.workers")

Loop = Callable[[], Awaitable[None]]


class Supervisor:
    """Runs loops until it is stopped."""

    def __init__(self, clock: Clock) -> None:
        """Start with no loops."""
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, loops: Mapping[str, Loop]) -> None:
        """Run each loop, for ever, under its name."""
        self._tasks += [
            asyncio.create_task(self._keep(name, loop), name=name) for name, loop in loops.items()
        ]

    async def _keep(self, name: str, loop: Loop) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            begun_at = self._clock.now()
            try:
                await loop()
            except Exception as error:
                if self._clock.now() - begun_at > _HEALTHY_AFTER_MS:
                    pause_s = _FIRST_PAUSE_S
                _log.error("worker_failed", worker=name, retry_in_s=pause_s, **_told(error))
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def stop(self) -> None:
        """End the loops where they wait; what they had begun to write is finished or undone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


def _told(error: Exception) -> dict[str, Any]:
    """Return what a log says of an error.

    What is told to people says all there is in a sentence: a database that is away for an hour
    would else leave thousands of tracebacks. Of anything else nobody thought.
    """
    if not isinstance(error, UnavailableError | SettingsError):
        return {"exc_info": error}
    told = {"reason": error.message}
    if error.__cause__ is not None:
        # What stands below the first line is the statement.
        cause, *_ = str(error.__cause__).splitlines() or [type(error.__cause__).__name__]
        told["cause"] = cause
    return told
