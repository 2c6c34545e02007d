"""Asks the rate sources, so that no request ever waits for one."""

import structlog

from counterfoil.core.ports import Clock, RateSource, Store
from counterfoil.services import rates

# Between two looks at whose turn it is, also where another process's clock is ahead.
_PAUSE_LEAST_S = 1.0

_log = structlog.get_logger("counterfoil.rates")


async def ask(store: Store, source: RateSource, clock: Clock) -> None:
    """Ask one source whenever it is due, for ever; each has a loop of its own."""
    while True:
        turn = await rates.take_turn(store, source, clock.now())
        if turn.is_news and turn.trouble is not None:
            _log.warning("rate_source_failed", source=source.name, error=turn.trouble)
        elif turn.is_news:
            _log.info("rate_source_recovered", source=source.name)
        await clock.sleep(max((turn.due_at - clock.now()) / 1_000, _PAUSE_LEAST_S))
