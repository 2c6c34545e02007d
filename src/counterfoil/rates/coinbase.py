"""Coinbase: a coin in all fiat currencies, and the dollar in all others, a request for each.

https://docs.cdp.coinbase.com/coinbase-app/track-apis/exchange-rates: public. The dollar's answer
has coins too, but the wrong way round, and one divided by a rounded number is not what they ask.
"""

import asyncio
from collections.abc import Iterable, Sequence

from counterfoil.core.ports import Tick
from counterfoil.rates.feed import TRADED_FIATS, Source, at, price

_COINS = "BCH BTC DASH DOGE ETH LTC SOL USDC USDT XRP"
_DOLLAR = "USD"
# What it lists beside coins, as far as an invoice may be in it.
_FIATS = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
    CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ
    GYD HKD HNL HTG HUF IDR ILS INR IQD ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB
    PEN PGK PHP PKR PLN PYG QAR RON RSD RWF SAR SBD SCR SEK SGD SHP SOS SRD SSP SVC SZL THB TJS TMT
    TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW
"""


class Coinbase(Source):
    """Asks Coinbase; implements the port RateSource."""

    name = "coinbase"
    title = "Coinbase"
    home = "https://api.coinbase.com"
    every_s = 30
    currencies = frozenset(_FIATS.split())

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError."""
        asking = [
            self._ask(coin, TRADED_FIATS, now) for coin in self._coins if coin in _COINS.split()
        ]
        asking.append(self._ask(_DOLLAR, sorted(self.currencies - {_DOLLAR}), now))
        found: list[Tick] = []
        # All are waited for, so that none goes on in the background after another has failed.
        for answer in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            found += answer
        return self._some(found)

    async def _ask(self, base: str, fiats: Iterable[str], now: int) -> list[Tick]:
        document = await self._feed.get_json("/v2/exchange-rates", {"currency": base})
        if at(document, "data", "currency") != base:
            raise self._feed.broken(f"answered with something else than prices of {base}")
        return [
            Tick(self.name, base, fiat, told, now)
            for fiat in fiats
            if (told := price(at(document, "data", "rates", fiat))) is not None
        ]
