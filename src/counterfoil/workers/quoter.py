"""Asks the rate sources, so that no request ever waits for one."""

from collections.abc import Sequence

import structlog

from counterfoil.core.ports import Clock, RateSource, Store
from counterfoil.services.rates import refresh

_EVERY_S = 30.0

_log = structlog.get_logger("counterfoil.rates")


async def ask(store: Store, sources: Sequence[RateSource], clock: Clock) -> None:
    """Refresh the rates, for ever."""
    while True:
        trouble = await refresh(store, sources, clock.now())
        for source, message in trouble.items():
            _log.warning("rate_source_failed", source=source, error=message)
        await clock.sleep(_EVERY_S)
