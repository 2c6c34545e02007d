"""Notices that due dates have passed."""

from counterfoil.core.ports import Clock
from counterfoil.services.upkeep import DueDates

_POLL_S = 1.0


async def expire(due_dates: DueDates, clock: Clock) -> None:
    """Assess what is due, for ever."""
    while True:
        if not await due_dates.assess(clock.now()):
            await clock.sleep(_POLL_S)
