"""Prices: asking the sources, and the rate of a method in a fiat currency.

Whoever asks for a rate reads the database and nothing else. The sources are asked by the workers,
one at a time for all processes together, so that a source which is away costs no request anything.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from counterfoil.core import money, quote
from counterfoil.core.access import Principal
from counterfoil.core.errors import InvalidError, Problem, UnavailableError
from counterfoil.core.ports import Method, Mode, RateSource, Store, Tick
from counterfoil.db import merchants, rates
from counterfoil.db.engine import Connection
from counterfoil.db.payments import Worth
from counterfoil.db.rates import SourceState
from counterfoil.services.context import Context

_SIMULATOR_RATE = Decimal(1)
# A source that is seldom asked is asked again soon after it has failed.
_RETRY_MAX_S = 300
# No source is left alone for longer than this, whatever it says.
_WAIT_MAX_S = 3_600


def rate_of(connection: Connection, method: Method, currency: str, now: int) -> quote.Rate | None:
    """Return what a coin costs in a fiat currency, None where no honest rate is to be had.

    The simulator's coin is worth one unit of any fiat, so test invoices need no rate source.
    """
    if method.mode is Mode.TEST:
        return quote.Rate(_SIMULATOR_RATE, ("simulator",), now)
    market = rates.get_market(connection, quote.pairs_of(method.symbol, currency), now)
    return quote.rate_of(method.symbol, currency, market, now)


def worth_at(rate: quote.Rate | None, method: Method, amount_atomic: int) -> Worth | None:
    """Return what an amount of coin is worth at a rate, None where there is no rate."""
    if rate is None:
        return None
    return Worth(rate, money.to_fiat(amount_atomic, rate.price, method.decimals))


def unavailable(method: Method, currency: str) -> UnavailableError:
    """Return what is said where no honest rate is to be had."""
    message = f"There is no reliable {method.symbol} price in {currency} now"
    return UnavailableError("rate_unavailable", message + "; try again in a minute.")


def unsupported_currency(context: Context, mode: Mode, currency: str) -> Problem | None:
    """Return what is wrong with a currency: live money needs one that a source lists."""
    if mode is Mode.TEST or currency in context.currencies:
        return None
    listed = ", ".join(sorted(context.currencies)) or "none"
    message = f"This server has no rate source for {currency}; it has: {listed}."
    return Problem("fiat_currency", "unsupported_currency", message)


@dataclass(frozen=True, slots=True)
class Priced:
    """A method with its rate in a currency, None where it has none now."""

    method: Method
    currency: str
    rate: quote.Rate | None


async def list_rates(
    context: Context, who: Principal, currency: str | None, now: int
) -> list[Priced]:
    """Return the methods of a key's mode with their rates in a currency, or in the merchant's own.

    Raises InvalidError where no source lists the currency.
    """

    def read(connection: Connection) -> list[Priced]:
        asked = currency or merchants.get(connection, who.merchant_id).currency
        problem = unsupported_currency(context, who.mode, asked)
        if problem is not None:
            raise InvalidError(problem)
        return [
            Priced(method, asked, rate_of(connection, method, asked, now))
            for method in context.methods.of_mode(who.mode)
        ]

    return await context.store.read(read)


# --- how the sources are -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """How the sources stand, and the live coins without a rate, such as LTC/USD."""

    sources: Sequence[SourceState]
    without_rate: Sequence[str]

    @property
    def last_good_at(self) -> int | None:
        """When a source last gave a price, None where none ever has."""
        return max((each.good_at for each in self.sources if each.good_at), default=None)


async def standing(context: Context, now: int) -> Standing:
    """Return how prices stand."""
    methods = context.methods.of_mode(Mode.LIVE)

    def read(connection: Connection) -> Standing:
        without = {
            f"{method.symbol}/{currency}"
            for method in methods
            for currency in main_currencies(context.currencies)
            if rate_of(connection, method, currency, now) is None
        }
        return Standing(list(rates.list_sources(connection).values()), sorted(without))

    return await context.store.read(read)


async def list_sources(store: Store) -> list[SourceState]:
    """Return how the sources stand, by name."""
    return list((await store.read(rates.list_sources)).values())


def main_currencies(listed: Collection[str]) -> Sequence[str]:
    """Return the currencies in which every coin should have a rate."""
    main = [currency for currency in quote.ANCHORS if currency in listed]
    # Where the operator fixes other pairs alone, those are what is asked for.
    return main or sorted(listed)


# --- asking the sources ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a source's turn: when the next one is, and what is wrong.

    `is_news` tells whether that has changed since the last turn.
    """

    due_at: int
    trouble: str | None
    is_news: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What the sources say at this moment, whatever is kept of them; `trouble` by source."""

    market: quote.Market
    trouble: Mapping[str, str]

    def rate_of(self, coin: str, currency: str, now: int) -> quote.Rate | None:
        """Return what a coin costs by this survey alone."""
        return quote.rate_of(coin, currency, self.market, now)


async def survey(sources: Sequence[RateSource], now: int) -> Survey:
    """Ask all sources at once and keep nothing: how `doctor` looks at them."""
    answers = await asyncio.gather(
        *(source.fetch(now) for source in sources), return_exceptions=True
    )
    ticks: dict[quote.Pair, list[Tick]] = {}
    trouble: dict[str, str] = {}
    for source, answer in zip(sources, answers, strict=True):
        if isinstance(answer, UnavailableError):
            trouble[source.name] = answer.message
        elif isinstance(answer, BaseException):
            raise answer
        else:
            for tick in answer:
                ticks.setdefault((tick.base, tick.currency), []).append(tick)
    return Survey(quote.Market(ticks, {}), trouble)


async def enable(store: Store, sources: Sequence[RateSource], now: int) -> None:
    """Let these be the sources and no others, and take in what needs no asking."""
    await _enable(store, sources)
    for source in sources:
        if source.name == quote.FIXED_SOURCE:
            await _ask(store, source, now)


async def refresh(store: Store, sources: Sequence[RateSource], now: int) -> dict[str, str]:
    """Let these be the sources and no others, ask all of them at once, and return their trouble.

    What a silent source said before stays until it is stale.
    """
    await _enable(store, sources)
    turns = await asyncio.gather(*(_ask(store, source, now) for source in sources))
    return {
        source.name: turn.trouble
        for source, turn in zip(sources, turns, strict=True)
        if turn.trouble is not None
    }


async def _enable(store: Store, sources: Sequence[RateSource]) -> None:
    names = [source.name for source in sources]
    await store.write(lambda connection: rates.enable_sources(connection, names))


async def take_turn(store: Store, source: RateSource, now: int) -> Turn:
    """Ask a source, if it is due and no other process asks it."""
    until, pause_until = now + source.every_s * 1_000, now + _WAIT_MAX_S * 1_000
    is_ours = await store.write(
        lambda c: rates.claim_turn(c, source.name, now, until, pause_until=pause_until)
    )
    if is_ours:
        return await _ask(store, source, now)
    state = (await store.read(rates.list_sources)).get(source.name)
    return Turn(state.due_at if state else now, state.trouble if state else None, is_news=False)


async def _ask(store: Store, source: RateSource, now: int) -> Turn:
    """Ask a source and keep what it says; the answer is written as soon as it is there."""
    ticks: Sequence[Tick] = ()
    trouble, wait_s = None, source.every_s
    try:
        ticks = await source.fetch(now)
    except UnavailableError as error:
        trouble = error.message
        wait_s = max(min(wait_s, _RETRY_MAX_S), min(error.retry_after_s or 0, _WAIT_MAX_S))
    due_at = now + wait_s * 1_000

    def save(connection: Connection) -> str | None:
        before = rates.list_sources(connection, is_locking=True).get(source.name)
        good_at = now if trouble is None else None
        if before and before.good_at and before.good_at > now + quote.AHEAD_MAX_MS:
            # The clock has been set back: by this one it was now at the latest.
            good_at = now
        rates.note_turn(connection, source.name, due_at, good_at=good_at, trouble=trouble)
        if trouble is None:
            rates.save_ticks(connection, source.name, ticks)
        rates.drop_ticks_ahead(connection, now)
        if trouble is None:
            _note_accepted(connection, ticks, now)
        return before.trouble if before else None

    told_before = await store.write(save)
    return Turn(due_at, trouble, is_news=trouble != told_before)


def _note_accepted(connection: Connection, ticks: Sequence[Tick], now: int) -> None:
    """Note the rates that quotes would use now, for the guard against jumps."""
    told = {(tick.base, tick.currency) for tick in ticks}
    pairs = set(told)
    for base, currency in told:
        if base not in quote.ANCHORS:
            pairs |= quote.pairs_of(base, currency)
    market = rates.get_market(connection, pairs, now)
    accepted = {pair: _accepted(pair, market, now) for pair in told}
    prices = {
        pair: rate.price
        for pair, rate in accepted.items()
        if rate is not None and rate.sources != (quote.FIXED_SOURCE,)
    }
    rates.widen_ranges(connection, prices, now)


def _accepted(pair: quote.Pair, market: quote.Market, now: int) -> quote.Rate | None:
    """Return the rate that a quote would use of a pair, as a coin's price or as a fiat leg."""
    base, currency = pair
    if base in quote.ANCHORS:
        # One source is enough for a fiat leg, so its jumps need the guard the most.
        return quote.agreed(pair, market, now, least=1)
    return quote.rate_of(base, currency, market, now)
