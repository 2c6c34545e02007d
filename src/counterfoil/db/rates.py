"""Prices as the sources last told them, and the range in which they were in the last day."""

from collections.abc import Iterable
from decimal import Decimal

import sqlalchemy as sa

from counterfoil.core import quote
from counterfoil.core.ports import Tick
from counterfoil.db.schema import rate, rate_hour
from counterfoil.db.sql import upsert

_HOUR_MS = 3_600_000


def save_ticks(connection: sa.Connection, source: str, ticks: Iterable[Tick]) -> None:
    """Let a source's prices be these and no others.

    Two processes may do this at once, so rows are written over instead of being made anew.
    """
    rows = {
        (tick.base, tick.currency): {
            "source": source,
            "base": tick.base,
            "currency": tick.currency,
            "price": str(tick.price),
            "at": tick.at,
        }
        for tick in ticks
    }
    pair = sa.tuple_(rate.c.base, rate.c.currency)
    connection.execute(sa.delete(rate).where(rate.c.source == source, pair.not_in(list(rows))))
    if rows:
        insert = upsert(connection, rate)
        told = {"price": insert.excluded.price, "at": insert.excluded.at}
        keys = ["source", "base", "currency"]
        connection.execute(
            insert.on_conflict_do_update(index_elements=keys, set_=told),
            [rows[each] for each in sorted(rows)],
        )


def forget_sources_except(connection: sa.Connection, sources: Iterable[str]) -> None:
    """Drop the prices of sources that are no longer enabled."""
    connection.execute(sa.delete(rate).where(rate.c.source.not_in(list(sources))))


def widen_range(connection: sa.Connection, pair: quote.Pair, price: Decimal, now: int) -> None:
    """Note an accepted price in its hour, and forget hours that no guard asks for."""
    base, currency = pair
    hour = now // _HOUR_MS
    key = (rate_hour.c.base == base, rate_hour.c.currency == currency)
    values = {"base": base, "currency": currency, "hour": hour, "low": str(price)}
    insert = upsert(connection, rate_hour).values(**values, high=str(price))
    is_new = connection.execute(insert.on_conflict_do_nothing().returning(rate_hour.c.hour)).first()
    statement = sa.select(rate_hour).where(*key, rate_hour.c.hour == hour)
    row = connection.execute(statement.with_for_update()).one()
    if is_new:
        oldest = (now - quote.WINDOW_MS) // _HOUR_MS
        connection.execute(sa.delete(rate_hour).where(*key, rate_hour.c.hour < oldest))
    elif not Decimal(row.low) <= price <= Decimal(row.high):
        low, high = min(Decimal(row.low), price), max(Decimal(row.high), price)
        connection.execute(
            sa.update(rate_hour)
            .where(*key, rate_hour.c.hour == hour)
            .values(low=str(low), high=str(high))
        )


def get_market(connection: sa.Connection, now: int) -> quote.Market:
    """Return all that is known of prices."""
    ticks: dict[quote.Pair, list[Tick]] = {}
    for row in connection.execute(sa.select(rate)).mappings():
        pair = (row["base"], row["currency"])
        tick = Tick(row["source"], *pair, Decimal(row["price"]), row["at"])
        ticks.setdefault(pair, []).append(tick)
    ranges: dict[quote.Pair, quote.Range] = {}
    oldest = (now - quote.WINDOW_MS) // _HOUR_MS
    statement = sa.select(rate_hour).where(rate_hour.c.hour >= oldest)
    for row in connection.execute(statement).mappings():
        pair = (row["base"], row["currency"])
        low, high = Decimal(row["low"]), Decimal(row["high"])
        known = ranges.get(pair)
        if known is not None:
            low, high = min(low, known.low), max(high, known.high)
        ranges[pair] = quote.Range(low, high)
    return quote.Market(ticks, ranges)


def last_good_at(connection: sa.Connection) -> int | None:
    """Return when a source last gave a price."""
    return connection.execute(sa.select(sa.func.max(rate.c.at))).scalar_one_or_none()
