"""Many prices become one rate, or none: the guards between a price feed and a customer.

A wrong rate gives the shop away and a guessed one is a wrong one, so every doubt here ends in None,
which is told as `rate_unavailable` and tried again a little later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from counterfoil.core import money
from counterfoil.core.ports import Tick

LOCK_MS = 15 * 60_000
STALE_AFTER_MS = 5 * 60_000
# Clocks differ: a price may be from so far ahead. Further ahead, a clock has been set back since.
AHEAD_MAX_MS = STALE_AFTER_MS
# A fixing stands until the next one. From the Thursday before Easter to the Tuesday after it there
# is none for five days and the two hours that pass before it is published; the rest is reserve.
FIXING_STANDS_MS = 6 * 24 * 3_600_000
WINDOW_MS = 24 * 3_600_000
QUOTES_PER_HOUR_MAX = 20

AGREEING_SOURCES_LEAST = 2
# Of a source that is further than this from the median, one of the two is wrong.
_DISAGREEMENT_MAX = Decimal("0.02")
# Outside of the last day's range by more than this, two agreeing sources are not enough evidence.
_JUMP_MAX = Decimal("0.5")
_SOURCES_FOR_A_JUMP = 3

ANCHORS = ("USD", "EUR")
FIXED_SOURCE = "fixed"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rate:
    """What one whole coin costs in a fiat currency, and who says so since when."""

    price: Decimal
    sources: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Range:
    """The lowest and the highest rate accepted in the last day."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Market:
    """All that is known of prices at one moment."""

    ticks: Mapping[Pair, Sequence[Tick]]
    ranges: Mapping[Pair, Range]


def rate_of(base: str, currency: str, market: Market, now: int) -> Rate | None:
    """Return the rate of a coin in a fiat currency, or None where no honest one can be had.

    A pair that the operator fixed is answered by that alone. Any other is the median of at least
    two agreeing sources; where they do not list it, it goes through USD or EUR, the second leg
    being a fiat price for which a single source is enough (the sources say which). `market` needs
    no other pairs than `pairs_of` names.
    """
    direct = agreed((base, currency), market, now, least=AGREEING_SOURCES_LEAST)
    if direct is not None:
        return direct
    for anchor in ANCHORS:
        if anchor == currency:
            continue
        coin = agreed((base, anchor), market, now, least=AGREEING_SOURCES_LEAST)
        fiat = agreed((anchor, currency), market, now, least=1)
        if coin is not None and fiat is not None:
            price = money.EXACT.multiply(coin.price, fiat.price)
            sources = tuple(dict.fromkeys(coin.sources + fiat.sources))
            # The operator's word needs no second one: who fixes a leg may change it at will.
            is_fixed = FIXED_SOURCE in sources
            if is_fixed or _is_believable((base, currency), price, len(coin.sources), market):
                return Rate(price, sources, min(coin.at, fiat.at))
    return None


def pairs_of(base: str, currency: str) -> frozenset[Pair]:
    """Return the pairs that a coin's rate in a fiat currency may be made of."""
    legs = {pair for anchor in ANCHORS for pair in ((base, anchor), (anchor, currency))}
    return frozenset({(base, currency), *legs})


def agreed(pair: Pair, market: Market, now: int, *, least: int) -> Rate | None:
    """Return the median of the sources that agree, where there are at least `least`."""
    ticks = market.ticks.get(pair, ())
    fixed = [tick for tick in ticks if tick.source == FIXED_SOURCE]
    if fixed:
        return Rate(fixed[0].price, (FIXED_SOURCE,), now)
    # One source is one voice.
    usable = [tick for tick in ticks if tick.price > 0 and _is_fresh(tick, now)]
    fresh = {tick.source: tick for tick in sorted(usable, key=lambda tick: tick.at)}.values()
    if not fresh:
        return None
    middle = median(tick.price for tick in fresh)
    agreeing = [tick for tick in fresh if abs(tick.price - middle) <= middle * _DISAGREEMENT_MAX]
    if len(agreeing) < least:
        return None
    price = median(tick.price for tick in agreeing)
    if not _is_believable(pair, price, len(agreeing), market):
        return None
    sources = tuple(sorted(tick.source for tick in agreeing))
    return Rate(price, sources, min(tick.at for tick in agreeing))


def _is_fresh(tick: Tick, now: int) -> bool:
    """Tell whether a price still stands; no coin is priced by a fixing."""
    stands_ms = STALE_AFTER_MS
    if tick.is_fixing and tick.base in ANCHORS:
        stands_ms = FIXING_STANDS_MS
    # A time that has not come yet is no better than an old one.
    return -AHEAD_MAX_MS <= now - tick.at <= stands_ms


def _is_believable(pair: Pair, price: Decimal, voices: int, market: Market) -> bool:
    """Tell whether a price is near the last day's range, or enough sources say that it is not."""
    known = market.ranges.get(pair)
    if known is None or voices >= _SOURCES_FOR_A_JUMP:
        return True
    return known.low * (1 - _JUMP_MAX) <= price <= known.high * (1 + _JUMP_MAX)
