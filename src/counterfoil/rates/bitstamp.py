"""Bitstamp: the middle of the best bid and ask, of all its markets in one request.

https://www.bitstamp.net/api/#tag/Tickers: public; 10,000 requests in 10 minutes are too many.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from counterfoil.core.ports import Tick
from counterfoil.core.quote import Pair
from counterfoil.rates.feed import Source, at, middle, unix_ms

_FIATS = ("USD", "EUR", "GBP")


class Bitstamp(Source):
    """Asks Bitstamp; implements the port RateSource."""

    name = "bitstamp"
    title = "Bitstamp"
    home = "https://www.bitstamp.net"
    every_s = 30
    currencies = frozenset(_FIATS)

    @cached_property
    def _pairs(self) -> Mapping[str, Pair]:
        return {f"{coin}/{fiat}": (coin, fiat) for coin in self._coins for fiat in _FIATS}

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        document = await self._feed.get_json("/api/v2/ticker/")
        if not isinstance(document, list):
            raise self._feed.broken("answered with something else than prices")
        return self._some(self._ticks(document))

    def _ticks(self, markets: list[object]) -> Iterator[Tick]:
        for market in markets:
            name = at(market, "pair")
            pair = self._pairs.get(name) if isinstance(name, str) else None
            price = middle(at(market, "bid"), at(market, "ask"))
            told_at = unix_ms(at(market, "timestamp"))
            if pair is not None and price is not None and told_at is not None:
                yield Tick(self.name, *pair, price, told_at)
