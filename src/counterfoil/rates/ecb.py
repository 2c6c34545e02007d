"""The European Central Bank: what a euro is worth, fixed once a working day.

https://www.ecb.europa.eu/stats/eurofxref/: agreed at 14:15 and published at about 16:00, Frankfurt
time, not on weekends and holidays.
"""

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NoReturn
from xml.parsers import expat

from counterfoil.core.ports import Tick
from counterfoil.rates.feed import Source, price

_EURO = "EUR"
_FIATS = """
    AUD BRL CAD CHF CNY CZK DKK GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NOK NZD PHP PLN RON SEK
    SGD THB TRY USD ZAR
"""
_CUBE = "http://www.ecb.int/vocabulary/2002-08-01/eurofxref Cube"
_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
# 14:15 in winter; in summer it is an hour later than the agreement, and still before all the world
# can read of it.
_FIXED_AT = dt.time(13, 15, tzinfo=dt.UTC)


class EuropeanCentralBank(Source):
    """Asks the European Central Bank; implements the port RateSource."""

    name = "ecb"
    title = "The European Central Bank"
    home = "https://www.ecb.europa.eu"
    every_s = 3_600
    currencies = frozenset(_FIATS.split()) | {_EURO}

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the newest fixing; raises UnavailableError."""
        body = await self._feed.get("/stats/eurofxref/eurofxref-daily.xml")
        fixing = _Fixing()
        try:
            fixing.read(body)
        except (expat.ExpatError, ValueError):
            raise self._feed.broken("did not answer with XML that can be read") from None
        if fixing.day is None or not fixing.prices:
            raise self._feed.broken("named no price")
        fixed_at = round(dt.datetime.combine(fixing.day, _FIXED_AT).timestamp()) * 1_000
        return [
            Tick(self.name, _EURO, currency, told, fixed_at, is_fixing=True)
            for currency, told in fixing.prices.items()
        ]


class _Fixing:
    """The day and the prices of a fixing, as they are met in the document."""

    def __init__(self) -> None:
        self.day: dt.date | None = None
        self.prices: dict[str, Decimal] = {}

    def read(self, body: bytes) -> None:
        """Read a document; raises ExpatError or ValueError where it is not one."""
        parser = expat.ParserCreate(namespace_separator=" ")
        # Entities that unfold to gigabytes, or that name files, can be declared there alone.
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = self._element
        parser.Parse(body, True)  # noqa: FBT003  # expat takes no name for "this is all"

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        if name != _CUBE:
            return
        day = attributes.get("time")
        if day is not None:
            if self.day is not None or not _DAY.fullmatch(day):
                raise ValueError(day)
            self.day = dt.date.fromisoformat(day)
        currency, told = attributes.get("currency"), price(attributes.get("rate"))
        if currency in _FIATS.split() and told is not None:
            if currency in self.prices:
                raise ValueError(currency)
            self.prices[currency] = told


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError
