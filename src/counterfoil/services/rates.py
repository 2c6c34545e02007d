"""Prices: asking the sources, and the rate of a method in a fiat currency."""

from collections.abc import Sequence
from decimal import Decimal

from counterfoil.core import quote
from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Method, Mode, RateSource, Store, Tick
from counterfoil.db import rates
from counterfoil.db.engine import Connection

_SIMULATOR_RATE = Decimal(1)


def rate_of(connection: Connection, method: Method, currency: str, now: int) -> quote.Rate | None:
    """Return what a coin costs in a fiat currency, None where no honest rate is to be had.

    The simulator's coin is worth one unit of any fiat, so test invoices need no rate source.
    """
    if method.mode is Mode.TEST:
        return quote.Rate(_SIMULATOR_RATE, ("simulator",), now)
    return quote.rate_of(method.symbol, currency, rates.get_market(connection, now), now)


def _accepted(pair: quote.Pair, market: quote.Market, now: int) -> quote.Rate | None:
    """Return the rate that a quote would use of a pair, as a coin's price or as a fiat leg."""
    base, currency = pair
    if base in quote.ANCHORS:
        # One source is enough for a fiat leg, so its jumps need the guard the most.
        return quote.agreed(pair, market, now, least=1)
    return quote.rate_of(base, currency, market, now)


async def last_good_at(store: Store) -> int | None:
    """Return when a source last gave a price, None where none ever has."""
    return await store.read(rates.last_good_at)


async def refresh(store: Store, sources: Sequence[RateSource], now: int) -> dict[str, str]:
    """Ask all sources and keep what they say; return the trouble of those that said nothing.

    What a silent source said before stays until it is stale.
    """
    trouble: dict[str, str] = {}
    answers: dict[str, Sequence[Tick]] = {}
    for source in sources:
        try:
            answers[source.name] = await source.fetch(now)
        except UnavailableError as error:
            trouble[source.name] = error.message

    def save(connection: Connection) -> None:
        rates.forget_sources_except(connection, [source.name for source in sources])
        for name, ticks in answers.items():
            rates.save_ticks(connection, name, ticks)
        market = rates.get_market(connection, now)
        for pair in market.ticks:
            accepted = _accepted(pair, market, now)
            if accepted is not None and accepted.sources != (quote.FIXED_SOURCE,):
                rates.widen_range(connection, pair, accepted.price, now)

    await store.write(save)
    return trouble
