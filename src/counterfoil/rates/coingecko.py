"""CoinGecko: what coins cost on average over many exchanges, all in one request.

https://docs.coingecko.com/reference/simple-price: without a key it answers a few requests a minute
of one address, and takes them from its cache, so each price comes with its own time.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from counterfoil.core.ports import Tick
from counterfoil.rates.feed import TRADED_FIATS, Source, at, price, unix_ms

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


class CoinGecko(Source):
    """Asks CoinGecko; implements the port RateSource."""

    name = "coingecko"
    title = "CoinGecko"
    home = "https://api.coingecko.com"
    # Two failures in a row leave a price that is not yet stale.
    every_s = 90
    currencies = frozenset(TRADED_FIATS)

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        ids = {coin: _IDS[coin] for coin in self._coins if coin in _IDS}
        if not ids:
            return []
        document = await self._feed.get_json(
            "/api/v3/simple/price",
            {
                "ids": ",".join(ids.values()),
                "vs_currencies": ",".join(TRADED_FIATS).lower(),
                "include_last_updated_at": "true",
                "precision": "full",
            },
        )
        return self._some(self._ticks(document, ids))

    def _ticks(self, document: object, ids: Mapping[str, str]) -> Iterator[Tick]:
        for coin, name in ids.items():
            told = at(document, name)
            told_at = unix_ms(at(told, "last_updated_at"))
            for fiat in TRADED_FIATS:
                amount = price(at(told, fiat.lower()))
                if amount is not None and told_at is not None:
                    yield Tick(self.name, coin, fiat, amount, told_at)
