"""How the sources ask: one GET, within a time and a size, of an answer that nobody trusts.

What comes back is text that anybody may have written. Numbers keep the digits that they came with,
a key that stands twice is an error, and whatever is not a price is passed over: a source that says
nothing is a small thing beside one that says the wrong thing.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from decimal import Decimal
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, ClassVar, NoReturn

import httpx2

from counterfoil.core import money
from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Tick

TIMEOUT_S = 10.0
# The largest answer, all markets of Bitstamp, has some 50 KB.
ANSWER_BYTES_MAX = 512 * 1024
# The fiat currencies in which the exchanges trade coins themselves.
TRADED_FIATS = ("USD", "EUR", "GBP", "CAD", "AUD", "JPY", "CHF")

# What a source that is asked too often gets when it does not say how long to wait.
_BUSY_WAIT_S = 60
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_SECONDS = re.compile(r"[0-9]{1,9}")
_UNIX_TIME = re.compile(r"[0-9]{1,11}")
# A market whose buyers and sellers are further apart than this has no price.
_SPREAD_MAX = Decimal("0.02")


class Feed:
    """The public interface of one provider, which needs no key.

    `client` is one whose connections are guarded; `title` is what people call the provider.
    """

    def __init__(
        self, client: httpx2.AsyncClient, title: str, url: str, *, timeout_s: float
    ) -> None:
        self._client = client
        self._title = title
        self._url = url
        self._timeout_s = timeout_s
        self._headers = {
            "User-Agent": f"Counterfoil/{version('counterfoil')}",
            # Nothing is unpacked here, since a small packed answer may unpack without end.
            "Accept-Encoding": "identity",
        }

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return the body of an answer; raises UnavailableError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._get(path, query)
        except TimeoutError:
            raise self.broken(f"did not answer within {self._timeout_s:g} seconds") from None
        except (httpx2.HTTPError, OSError):
            # What TLS finds wrong after the handshake comes as a bare ssl.SSLError, an OSError.
            raise self.broken("cannot be reached") from None

    async def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return an answer's document, whose numbers are texts; raises UnavailableError."""
        body = await self.get(path, query)
        try:
            return json.loads(
                body,
                parse_float=str,
                parse_int=str,
                parse_constant=_refuse,
                object_pairs_hook=_without_repetition,
            )
        except (ValueError, RecursionError):
            raise self.broken("did not answer with JSON that can be read") from None

    def broken(self, what: str, *, retry_after_s: int | None = None) -> UnavailableError:
        """Return the error that says what the provider did, in words of ours."""
        message = f"{self._title} {what}."
        return UnavailableError("rate_unavailable", message, retry_after_s=retry_after_s)

    async def _get(self, path: str, query: Mapping[str, str] | None) -> bytes:
        asking = self._client.stream("GET", self._url + path, params=query, headers=self._headers)
        async with asking as response, aclosing(response.aiter_raw()) as parts:
            if response.status_code != HTTPStatus.OK:
                raise self._refused(response)
            body = bytearray()
            async for part in parts:
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise self.broken(f"answered with more than {ANSWER_BYTES_MAX:,} bytes")
            return bytes(body)

    def _refused(self, response: httpx2.Response) -> UnavailableError:
        wait_s = None
        if response.status_code in _BUSY:
            # A date, which HTTP also allows, is as good as nothing said.
            told = response.headers.get("retry-after", "").strip()
            wait_s = int(told) if _SECONDS.fullmatch(told) else _BUSY_WAIT_S
        return self.broken(f"answered with HTTP {response.status_code}", retry_after_s=wait_s)


class Source:
    """What the sources share; each one implements the port RateSource.

    `coins` are the coins to ask about. A test names a server of its own as `url`.
    """

    title: ClassVar[str]
    home: ClassVar[str]

    def __init__(
        self,
        client: httpx2.AsyncClient,
        coins: Iterable[str],
        *,
        url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._feed = Feed(client, self.title, url or self.home, timeout_s=timeout_s)
        self._coins = sorted(coins)

    def _some(self, ticks: Iterable[Tick]) -> list[Tick]:
        """Return what was told; raises UnavailableError where that is nothing."""
        found = list(ticks)
        if not found:
            raise self._feed.broken("named no price")
        return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


# --- reading an answer -------------------------------------------------------------------------


def at(document: Any, *path: str | int) -> Any:
    """Return what stands at a place of a document, None where there is no such place."""
    for step in path:
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        elif isinstance(step, int) and isinstance(document, list) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def price(token: Any) -> Decimal | None:
    """Return the price that a number or a text spells, None where it is none."""
    return money.parse_rate(token) if isinstance(token, str) else None


def middle(bid: Any, ask: Any) -> Decimal | None:
    """Return the price between what is bid and what is asked, None where the two are far apart.

    The last trade, which exchanges also tell, may be hours old in a quiet market.
    """
    low, high = price(bid), price(ask)
    if low is None or high is None or not low <= high <= low * (1 + _SPREAD_MAX):
        return None
    return money.EXACT.divide(money.EXACT.add(low, high), Decimal(2))


def unix_ms(token: Any) -> int | None:
    """Return a time that is told in seconds, in milliseconds."""
    is_time = isinstance(token, str) and _UNIX_TIME.fullmatch(token)
    return int(token) * 1_000 if is_time else None
