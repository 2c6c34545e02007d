"""Prices that the operator fixes in the settings: a shop's own price, or a test's."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from counterfoil.core.ports import Tick
from counterfoil.core.quote import FIXED_SOURCE, Pair


class FixedRates:
    """Always says the same."""

    name = FIXED_SOURCE
    every_s = 3_600

    def __init__(self, prices: Mapping[Pair, Decimal]) -> None:
        """Take prices by (coin, fiat), such as ("LTC", "USD")."""
        self._prices = prices

    @property
    def currencies(self) -> frozenset[str]:
        """The fiat currencies that a price is fixed in."""
        return frozenset(currency for _, currency in self._prices)

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the fixed prices, which are never old."""
        return [Tick(self.name, *pair, price, now) for pair, price in self._prices.items()]
