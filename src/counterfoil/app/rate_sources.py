"""Where prices come from: what the operator fixed, and the live sources as far as they are needed.

A server that needs no live price calls nobody: not in test mode alone, and not where every coin has
a fixed price. docs/decisions/008-who-is-asked-for-prices.md says why it is so.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

import httpx2

from counterfoil.channels.guard import Guard
from counterfoil.core.ports import Method, Mode, RateSource
from counterfoil.rates.bitstamp import Bitstamp
from counterfoil.rates.coinbase import Coinbase
from counterfoil.rates.coingecko import CoinGecko
from counterfoil.rates.ecb import EuropeanCentralBank
from counterfoil.rates.fixed import FixedRates
from counterfoil.rates.kraken import Kraken
from counterfoil.settings import Settings

KINDS = (Kraken, Coinbase, Bitstamp, CoinGecko, EuropeanCentralBank)


@asynccontextmanager
async def opened_sources(
    settings: Settings, methods: Iterable[Method]
) -> AsyncIterator[list[RateSource]]:
    """Yield the sources, connected to nobody yet; let go of their connections at the end."""
    sources: list[RateSource] = [FixedRates(settings.fixed_rates)] if settings.fixed_rates else []
    fixed = {coin for coin, _ in settings.fixed_rates}
    coins = {each.symbol for each in methods if each.mode is Mode.LIVE} - fixed
    if not coins or not settings.rate_sources:
        yield sources
        return
    # No source of prices is on a private network, so nothing is let through here.
    async with Guard().client(timeout_s=None) as client:
        yield [*sources, *live_sources(client, settings.rate_sources, coins)]


def live_sources(
    client: httpx2.AsyncClient, names: Collection[str], coins: Collection[str]
) -> list[RateSource]:
    """Return the sources of these names, to be asked about these coins."""
    return [kind(client, coins) for kind in KINDS if kind.name in names]
