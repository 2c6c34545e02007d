"""Watches a chain: a look a second, at once again while there is more to read.

Pushes are only a reason to look sooner; the polling is the truth.
"""

from counterfoil.core.ports import Bell, Clock
from counterfoil.services.watching import LeaseLostError, Watch

POLL_S = 1.0
_KEEP_S = 5.0
# A crowded mempool takes a while to read, in which requests wait: it may take a tenth of the time.
_REST = 10
_REST_MAX_S = 5.0


async def follow(watch: Watch, clock: Clock, bell: Bell) -> None:
    """Look at a chain for ever; `bell` rings when there may be something new."""
    try:
        while True:
            began_at = clock.now()
            try:
                more = await watch.look(began_at)
            except LeaseLostError:
                more = False
            if not more:
                rest_s = _REST * (clock.now() - began_at) / 1_000
                await bell.wait(min(max(POLL_S, rest_s), _REST_MAX_S))
    finally:
        await watch.release()


async def keep_lease(watch: Watch, clock: Clock) -> None:
    """Keep the lease of a watch for ever: a long reorg takes longer to read than a lease lasts."""
    while True:
        await clock.sleep(_KEEP_S)
        await watch.renew(clock.now())
