"""Notices that due dates have passed."""

from counterfoil.core.ports import Clock
from counterfoil.services.context import Context
from counterfoil.services.upkeep import assess_due

_POLL_S = 1.0


async def expire(context: Context, clock: Clock) -> None:
    """Assess what is due, for ever."""
    after = 0
    while True:
        after = await assess_due(context, clock.now(), after)
        if not after:
            await clock.sleep(_POLL_S)
