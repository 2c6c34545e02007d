"""Bitstamp: the middle of the best bid and ask, of all its markets in one request.

https://www.bitstamp.net/api/#tag/Tickers: public; 10,000 requests in 10 minutes are too many.
"""

from collections.abc import Iterable, Iterator, Sequence

import httpx2

from counterfoil.core.ports import Tick
from counterfoil.rates.feed import TIMEOUT_S, Feed, at, middle, unix_ms

URL = "https://www.bitstamp.net"

_FIATS = ("USD", "EUR", "GBP")


class Bitstamp:
    """Asks Bitstamp; implements the port RateSource."""

    name = "bitstamp"
    every_s = 30
    currencies = frozenset(_FIATS)

    def __init__(
        self,
        client: httpx2.AsyncClient,
        coins: Iterable[str],
        *,
        url: str = URL,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Take the coins to ask about."""
        self._feed = Feed(client, "Bitstamp", url, timeout_s=timeout_s)
        self._pairs = {f"{coin}/{fiat}": (coin, fiat) for coin in coins for fiat in _FIATS}

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        document = await self._feed.get_json("/api/v2/ticker/")
        if not isinstance(document, list):
            raise self._feed.broken("answered with something else than prices")
        found = list(self._ticks(document))
        if not found:
            raise self._feed.broken("named no price")
        return found

    def _ticks(self, markets: list[object]) -> Iterator[Tick]:
        for market in markets:
            name = at(market, "pair")
            pair = self._pairs.get(name) if isinstance(name, str) else None
            price = middle(at(market, "bid"), at(market, "ask"))
            told_at = unix_ms(at(market, "timestamp"))
            if pair is not None and price is not None and told_at is not None:
                yield Tick(self.name, *pair, price, told_at)
