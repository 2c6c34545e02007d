"""CoinGecko: what coins cost on average over many exchanges, all in one request.

https://docs.coingecko.com/reference/simple-price: without a key it answers a few requests a minute
of one address, and takes them from its cache, so each price comes with its own time.
"""

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType

import httpx2

from counterfoil.core.ports import Tick
from counterfoil.rates.feed import TIMEOUT_S, TRADED_FIATS, Feed, at, price, unix_ms

URL = "https://api.coingecko.com"

_IDS = MappingProxyType(
    {
        "BCH": "bitcoin-cash",
        "BTC": "bitcoin",
        "DASH": "dash",
        "DOGE": "dogecoin",
        "ETH": "ethereum",
        "LTC": "litecoin",
        "SOL": "solana",
        "TON": "the-open-network",
        "TRX": "tron",
        "USDC": "usd-coin",
        "USDT": "tether",
        "XMR": "monero",
        "XRP": "ripple",
    }
)


class CoinGecko:
    """Asks CoinGecko; implements the port RateSource."""

    name = "coingecko"
    # Two failures in a row leave a price that is not yet stale.
    every_s = 90
    currencies = frozenset(TRADED_FIATS)

    def __init__(
        self,
        client: httpx2.AsyncClient,
        coins: Iterable[str],
        *,
        url: str = URL,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Take the coins to ask about."""
        self._feed = Feed(client, "CoinGecko", url, timeout_s=timeout_s)
        self._coins = [coin for coin in sorted(coins) if coin in _IDS]

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        if not self._coins:
            return []
        document = await self._feed.get_json(
            "/api/v3/simple/price",
            {
                "ids": ",".join(_IDS[coin] for coin in self._coins),
                "vs_currencies": ",".join(TRADED_FIATS).lower(),
                "include_last_updated_at": "true",
                "precision": "full",
            },
        )
        found = list(self._ticks(document))
        if not found:
            raise self._feed.broken("named no price")
        return found

    def _ticks(self, document: object) -> Iterator[Tick]:
        for coin in self._coins:
            told = at(document, _IDS[coin])
            told_at = unix_ms(at(told, "last_updated_at"))
            for fiat in TRADED_FIATS:
                amount = price(at(told, fiat.lower()))
                if amount is not None and told_at is not None:
                    yield Tick(self.name, coin, fiat, amount, told_at)
