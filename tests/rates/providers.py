"""The five providers of prices, played by one HTTP server on loopback in their documented shapes.

async with Market() as market:
    market.prices["LTC", "USD"] = Decimal(81)
    market.answers["kraken"] = reply(503)     # instead of its prices
    ticks = await Kraken(client, ["LTC"], url=market.url("kraken")).fetch(now)
    market.asked == ["/kraken/0/public/Ticker?pair=LTCUSD,LTCEUR"]
"""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2

from counterfoil.app.rate_sources import KINDS
from counterfoil.core.ports import RateSource
from counterfoil.core.quote import Pair
from tests.channels.receivers import Reply, reply
from tests.conftest import START_AT

NAMES = ("kraken", "coinbase", "bitstamp", "coingecko", "ecb")
EXCHANGES = NAMES[:-1]
# The working day before the one on which the tests' clock stands.
FIXING_DAY = "2026-01-05"
FIXED_AT = round(dt.datetime(2026, 1, 5, 13, 15, tzinfo=dt.UTC).timestamp()) * 1_000

_KRAKEN = {"BTC": "XXBTZ", "LTC": "XLTCZ", "DOGE": "XDG"}
_COINGECKO = {"BTC": "bitcoin", "LTC": "litecoin", "DOGE": "dogecoin"}
_ECB_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" \
xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
<gesmes:subject>Reference rates</gesmes:subject>
<gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>
"""


def json_reply(document: object) -> bytes:
    return reply(200, json.dumps(document).encode(), content_type="application/json")


def kraken_market(bid: str, ask: str) -> dict[str, Any]:
    day = ["1.0", "2.0"]
    return {
        "a": [ask, "1", "1.000"],
        "b": [bid, "2", "2.000"],
        "c": [bid, "0.00067643"],
        "v": day,
        "p": day,
        "t": [6904, 12002],
        "l": day,
        "h": day,
        "o": "79.5",
    }


def bitstamp_market(pair: str, bid: str, ask: str, timestamp: str) -> dict[str, Any]:
    return {
        "timestamp": timestamp,
        "open": "79.5",
        "high": "82.1",
        "low": "78.2",
        "last": bid,
        "volume": "213.26801100",
        "vwap": "80.01",
        "bid": bid,
        "ask": ask,
        "side": "0",
        "open_24": "79.5",
        "percent_change_24": "0.57",
        "pair": pair,
        "market_type": "SPOT",
    }


def fixing(prices: dict[str, str], day: str = FIXING_DAY) -> bytes:
    cubes = "".join(f"<Cube currency='{each}' rate='{told}'/>" for each, told in prices.items())
    return f"{_ECB_HEAD}<Cube><Cube time='{day}'>{cubes}</Cube></Cube></gesmes:Envelope>".encode()


class Market:
    """What the providers say, and what they were asked.

    `prices` are told by all exchanges, `own` has what one of them tells instead. `answers` has what
    a provider sends back whatever it is asked.
    """

    def __init__(self) -> None:
        self.prices: dict[Pair, Decimal] = {
            ("LTC", "USD"): Decimal("80.25"),
            ("LTC", "EUR"): Decimal("73.5"),
        }
        self.legs = {"USD": "1.1", "CZK": "24.1", "GBP": "0.85"}
        self.dollar = {"CZK": "22.0", "EUR": "0.91", "KES": "129.5", "BTC": "0.00001"}
        self.own: dict[str, dict[Pair, Decimal]] = {}
        self.answers: dict[str, Reply] = {}
        self.asked: list[str] = []
        self.now = START_AT
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._port}/{name}"

    def sources(
        self, client: httpx2.AsyncClient, coins: Sequence[str] = ("LTC",), timeout_s: float = 10.0
    ) -> list[RateSource]:
        """Return the five sources, who take this server for their providers."""
        return [kind(client, coins, url=self.url(kind.name), timeout_s=timeout_s) for kind in KINDS]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._open.values() if task))
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                self.asked.append(unquote(target))
                answer = self._answer(target)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(reader, writer)
                    writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # Who asked has gone away.
        finally:
            del self._open[writer]
            writer.close()

    # --- what they say -------------------------------------------------------------------------

    def _answer(self, target: str) -> Reply:
        url = urlsplit(target)
        name = url.path.split("/")[1]
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if name in self.answers:
            return self.answers[name]
        prices = self.prices | self.own.get(name, {})
        say: dict[str, Callable[[dict[Pair, Decimal], dict[str, str]], bytes]] = {
            "kraken": self._kraken,
            "coinbase": self._coinbase,
            "bitstamp": self._bitstamp,
            "coingecko": self._coingecko,
            "ecb": self._ecb,
        }
        return say[name](prices, query)

    def _kraken(self, prices: dict[Pair, Decimal], query: dict[str, str]) -> bytes:
        codes = {"XBT": "BTC", "XDG": "DOGE"}
        result = {}
        for asked in query["pair"].split(","):
            pair = codes.get(asked[:-3], asked[:-3]), asked[-3:]
            if pair in prices:
                told = _KRAKEN.get(pair[0], pair[0]) + pair[1]
                result[told] = kraken_market(str(prices[pair]), str(prices[pair]))
        return json_reply({"error": [], "result": result})

    def _coinbase(self, prices: dict[Pair, Decimal], query: dict[str, str]) -> bytes:
        base = query["currency"]
        rates = {fiat: str(price) for (coin, fiat), price in prices.items() if coin == base}
        if base == "USD":
            rates = self.dollar
        return json_reply({"data": {"currency": base, "rates": rates}})

    def _bitstamp(self, prices: dict[Pair, Decimal], _: dict[str, str]) -> bytes:
        time = str(self.now // 1_000)
        markets = [
            bitstamp_market("/".join(pair), str(price), str(price), time)
            for pair, price in prices.items()
        ]
        return json_reply([*markets, bitstamp_market("SHIB/USD", "0.00001", "0.00001", time)])

    def _coingecko(self, prices: dict[Pair, Decimal], query: dict[str, str]) -> bytes:
        document: dict[str, dict[str, float | int]] = {}
        for coin, name in _COINGECKO.items():
            told = {
                fiat.lower(): float(price) for (each, fiat), price in prices.items() if each == coin
            }
            if told and name in query["ids"].split(","):
                document[name] = {**told, "last_updated_at": self.now // 1_000}
        return json_reply(document)

    def _ecb(self, _: dict[Pair, Decimal], __: dict[str, str]) -> bytes:
        return reply(200, fixing(self.legs), content_type="text/xml")
