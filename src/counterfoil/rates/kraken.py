"""Kraken: the middle of the best bid and ask, of all pairs in one request.

https://docs.kraken.com/api/docs/rest-api/get-ticker-information: public, and answers once a second.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from counterfoil.core.ports import Tick
from counterfoil.core.quote import Pair
from counterfoil.rates.feed import TRADED_FIATS, Source, at, middle

# Kraken has names of its own for two coins.
_PLAIN_CODES = "BCH DASH ETH LTC SOL TON TRX USDC USDT XMR XRP"
_CODES = MappingProxyType(
    {code: code for code in _PLAIN_CODES.split()} | {"BTC": "XBT", "DOGE": "XDG"}
)
# One pair that it does not know spoils the whole request, so only the surest are asked for.
_FIATS = MappingProxyType({"BTC": TRADED_FIATS, "ETH": TRADED_FIATS})
_USUAL_FIATS = ("USD", "EUR")
_ERROR = re.compile(r"E[A-Za-z]{1,20}:[A-Za-z ]{1,60}")


class Kraken(Source):
    """Asks Kraken; implements the port RateSource."""

    name = "kraken"
    title = "Kraken"
    home = "https://api.kraken.com"
    every_s = 30

    @cached_property
    def _pairs(self) -> Mapping[str, Pair]:
        return {
            f"{_CODES[coin]}{fiat}": (coin, fiat)
            for coin in self._coins
            if coin in _CODES
            for fiat in _FIATS.get(coin, _USUAL_FIATS)
        }

    @property
    def currencies(self) -> frozenset[str]:
        """The fiat currencies that the coins are traded in."""
        return frozenset(fiat for _, fiat in self._pairs.values())

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        if not self._pairs:
            return []
        document = await self._feed.get_json("/0/public/Ticker", {"pair": ",".join(self._pairs)})
        errors = at(document, "error")
        if not isinstance(errors, list):
            raise self._feed.broken("answered with something else than prices")
        for error in errors:
            # What is no error but a warning begins with a W.
            if not str(error).startswith("W"):
                told = f" ({error})" if _ERROR.fullmatch(str(error)) else ""
                raise self._feed.broken(f"answered with an error{told}")
        found = [
            Tick(self.name, *pair, price, now)
            for name, pair in self._pairs.items()
            for market in (self._market(document, name, pair),)
            if (price := middle(at(market, "b", 0), at(market, "a", 0))) is not None
        ]
        return self._some(found)

    def _market(self, document: object, name: str, pair: Pair) -> object:
        """Return what is said of a pair, which may be told under an older name: XXBTZUSD."""
        coin, fiat = pair
        code = _CODES[coin]
        names = (name, f"X{code}Z{fiat}", f"{code}Z{fiat}", f"{coin}{fiat}")
        told = (at(document, "result", each) for each in names)
        return next((market for market in told if market is not None), None)
