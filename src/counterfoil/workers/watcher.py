"""Watches a chain: a look a second, at once again while there is more to read.

Pushes are only a reason to look sooner; the polling is the truth.
"""

from counterfoil.core.ports import Bell, Clock
from counterfoil.services.watching import LeaseLostError, Watch

POLL_S = 1.0
_KEEP_S = 5.0


async def follow(watch: Watch, clock: Clock, bell: Bell) -> None:
    """Look at a chain for ever; `bell` rings when there may be something new."""
    try:
        while True:
            try:
                more = await watch.look(clock.now())
            except LeaseLostError:
                more = False
            if not more:
                await bell.wait(POLL_S)
    finally:
        await watch.release()


async def keep_lease(watch: Watch, clock: Clock) -> None:
    """Keep the lease of a watch for ever: a long reorg takes longer to read than a lease lasts."""
    while True:
        await clock.sleep(_KEEP_S)
        await watch.renew(clock.now())
