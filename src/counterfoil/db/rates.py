"""Prices as the sources last told them, and the range in which they were in the last day."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core import quote
from counterfoil.core.ports import Tick
from counterfoil.db.schema_world import rate, rate_hour, rate_source
from counterfoil.db.sql import upsert

_HOUR_MS = 3_600_000


# --- the sources -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands: when it last gave prices, and what was wrong the last time, if it was.

    It is not asked before `due_at`.
    """

    name: str
    due_at: int
    good_at: int | None
    trouble: str | None


def claim_turn(
    connection: sa.Connection, name: str, now: int, until: int, *, pause_until: int
) -> bool:
    """Take a source's turn, if it is due and no other process has taken it; the next is `until`.

    A turn that is clearly later than that was set by a clock that has been set back since, and
    counts for nothing. Only a source in trouble may have wished for more, up to `pause_until`; but
    where it gave prices at a time that is still to come, it is the clock again.
    """
    insert = upsert(connection, rate_source).values(name=name, due_at=until)
    due_at, good_at = rate_source.c.due_at, rate_source.c.good_at
    has_no_wish = sa.or_(rate_source.c.trouble.is_(None), good_at > now + quote.AHEAD_MAX_MS)
    claimed = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"due_at": until},
        where=sa.or_(
            due_at <= now,
            due_at > pause_until + quote.AHEAD_MAX_MS,
            sa.and_(due_at > until + quote.AHEAD_MAX_MS, has_no_wish),
        ),
    )
    return connection.execute(claimed.returning(rate_source.c.name)).first() is not None


def note_turn(
    connection: sa.Connection, name: str, due_at: int, *, good_at: int | None, trouble: str | None
) -> None:
    """Write down what came of a turn, and when the next one is; a failure keeps `good_at`."""
    values = {"due_at": due_at, "trouble": trouble}
    if good_at is not None:
        values["good_at"] = good_at
    insert = upsert(connection, rate_source).values(name=name, **values)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))


def list_sources(connection: sa.Connection, *, is_locking: bool = False) -> dict[str, SourceState]:
    """Return how the sources stand, by name.

    With `is_locking` nobody else writes prices until the transaction ends: whether sources agree
    can only be told when what each of them said is there to be seen.
    """
    statement = sa.select(rate_source).order_by(rate_source.c.name)
    if is_locking:
        statement = statement.with_for_update()
    rows = connection.execute(statement).mappings().all()
    return {row["name"]: SourceState(**row) for row in rows}


def enable_sources(connection: sa.Connection, names: Collection[str]) -> None:
    """Let these be the sources and no others, whose prices are dropped; new ones are due."""
    connection.execute(sa.delete(rate).where(rate.c.source.not_in(names)))
    connection.execute(sa.delete(rate_source).where(rate_source.c.name.not_in(names)))
    if names:
        rows = [{"name": name, "due_at": 0} for name in sorted(names)]
        connection.execute(upsert(connection, rate_source).on_conflict_do_nothing(), rows)


# --- prices ------------------------------------------------------------------------------------


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
            "is_fixing": tick.is_fixing,
        }
        for tick in ticks
    }
    pair = sa.tuple_(rate.c.base, rate.c.currency)
    connection.execute(sa.delete(rate).where(rate.c.source == source, pair.not_in(list(rows))))
    if rows:
        insert = upsert(connection, rate)
        told = {name: insert.excluded[name] for name in ("price", "at", "is_fixing")}
        keys = ["source", "base", "currency"]
        connection.execute(
            insert.on_conflict_do_update(index_elements=keys, set_=told),
            [rows[each] for each in sorted(rows)],
        )


def drop_ticks_ahead(connection: sa.Connection, now: int) -> None:
    """Drop prices of a time that is clearly still to come: they are from before the clock was set.

    Kept, those of a source that is silent would look fresh when that time comes. What the operator
    fixed is of no time.
    """
    connection.execute(
        sa.delete(rate).where(
            rate.c.at > now + quote.AHEAD_MAX_MS, rate.c.source != quote.FIXED_SOURCE
        )
    )


def widen_ranges(connection: sa.Connection, prices: Mapping[quote.Pair, Decimal], now: int) -> None:
    """Note accepted prices in their hour, and forget hours that no guard asks for.

    Most prices lie within what the hour has seen, and cost no more than the look.
    """
    hour = now // _HOUR_MS
    pair = sa.tuple_(rate_hour.c.base, rate_hour.c.currency)
    statement = sa.select(rate_hour).where(pair.in_(list(prices)), rate_hour.c.hour == hour)
    seen = {
        (row.base, row.currency): (Decimal(row.low), Decimal(row.high))
        for row in connection.execute(statement)
    }
    new = sorted(prices.keys() - seen.keys())
    if new:
        rows = [
            {"base": base, "currency": currency, "hour": hour, "low": text, "high": text}
            for base, currency in new
            for text in (str(prices[base, currency]),)
        ]
        connection.execute(upsert(connection, rate_hour).on_conflict_do_nothing(), rows)
        oldest = (now - quote.WINDOW_MS) // _HOUR_MS
        connection.execute(sa.delete(rate_hour).where(rate_hour.c.hour < oldest))
    outside = [each for each in seen if not seen[each][0] <= prices[each] <= seen[each][1]]
    if outside:
        # Another process may be widening the same: whoever holds the rows sees what it left.
        locked = statement.where(pair.in_(outside)).order_by(rate_hour.c.base, rate_hour.c.currency)
        for row in connection.execute(locked.with_for_update()).all():
            price = prices[row.base, row.currency]
            low, high = min(Decimal(row.low), price), max(Decimal(row.high), price)
            connection.execute(
                sa.update(rate_hour)
                .where(pair == (row.base, row.currency), rate_hour.c.hour == hour)
                .values(low=str(low), high=str(high))
            )


# Made once: every quote and every payment asks for prices.
_PAIRS: sa.BindParameter[Any] = sa.bindparam("pairs", expanding=True)
_TICKS = sa.select(rate).where(sa.tuple_(rate.c.base, rate.c.currency).in_(_PAIRS))
_HOURS = sa.select(rate_hour).where(
    sa.tuple_(rate_hour.c.base, rate_hour.c.currency).in_(_PAIRS),
    rate_hour.c.hour >= sa.bindparam("oldest"),
)


def get_market(connection: sa.Connection, pairs: Collection[quote.Pair], now: int) -> quote.Market:
    """Return all that is known of the prices of some pairs."""
    ticks: dict[quote.Pair, list[Tick]] = {}
    wanted = list(pairs)
    for row in connection.execute(_TICKS, {"pairs": wanted}).mappings():
        tick = Tick(**{**row, "price": Decimal(row["price"])})
        ticks.setdefault((tick.base, tick.currency), []).append(tick)
    ranges: dict[quote.Pair, quote.Range] = {}
    oldest = (now - quote.WINDOW_MS) // _HOUR_MS
    for hour in connection.execute(_HOURS, {"pairs": wanted, "oldest": oldest}):
        pair = (hour.base, hour.currency)
        low, high = Decimal(hour.low), Decimal(hour.high)
        known = ranges.get(pair)
        if known is not None:
            low, high = min(low, known.low), max(high, known.high)
        ranges[pair] = quote.Range(low, high)
    return quote.Market(ticks, ranges)
