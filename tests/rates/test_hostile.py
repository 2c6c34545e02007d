"""Providers that are away, slow, endless, rude or absurd: none of it ever becomes a rate."""

import asyncio
import time
from decimal import Decimal
from operator import itemgetter
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterfoil.channels.guard import Guard
from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import RateSource, Tick
from counterfoil.rates.feed import ANSWER_BYTES_MAX, TIMEOUT_S
from tests.channels.receivers import Names, Reply, break_off, drip, flood, guarded, hang, reply
from tests.conftest import START_AT
from tests.rates.providers import (
    EXCHANGES,
    NAMES,
    Market,
    bitstamp_market,
    json_reply,
    kraken_market,
)

HTML = b"<!DOCTYPE html><html><body>Just a moment...</body></html>"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
UNREADABLE = [b"", b" ", b"{", b'{"error":[],"result":{"XLTCZUSD":', HTML, b"\xff\xfe\x00", b"nul"]
UNREADABLE += [b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1, "a": 2}', b"[" * 100_000]
EMPTY: list[object] = [{}, [], None, 0, "", True, {"error": []}, {"data": {}}, [[]], [None]]
NO_PRICES: list[object] = [
    None, True, False, [], {}, "", " ", "0", "-80", "+80", "NaN", "Infinity", "1e400", "1e-400",
    "1e999999999", "0x50", "80,25", "8_0", " 80", "٨٠", "80 USD", "1" * 5_000, 0, -80, 1e15, "1e15",
]  # fmt: skip


def named(sources: list[RateSource], name: str) -> RateSource:
    return next(source for source in sources if source.name == name)


async def refusal(source: RateSource) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await source.fetch(START_AT)
    assert caught.value.code == "rate_unavailable"
    return caught.value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:12]))
async def test_what_cannot_be_read(
    market: Market, client: httpx2.AsyncClient, name: str, body: bytes
) -> None:
    market.answers[name] = reply(200, body)
    error = await refusal(named(market.sources(client), name))
    assert "Just a moment" not in error.message, "their words are not ours"


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("document", EMPTY, ids=repr)
async def test_what_has_no_prices_in_it(
    market: Market, client: httpx2.AsyncClient, name: str, document: object
) -> None:
    market.answers[name] = json_reply(document)
    await refusal(named(market.sources(client), name))


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("value", NO_PRICES, ids=lambda value: repr(value)[:20])
async def test_what_is_no_price(
    market: Market, client: httpx2.AsyncClient, name: str, value: Any
) -> None:
    market.answers[name] = json_reply(shapes(value)[name])
    coins = () if name == "coinbase" else ("LTC",)
    await refusal(named(market.sources(client, coins), name))


@pytest.mark.parametrize("told", [None, "", "soon", "-5", 1e20, "1" * 400, True, "1700000000.5"])
@pytest.mark.parametrize("name", ["bitstamp", "coingecko"])
async def test_a_price_without_a_time(
    market: Market, client: httpx2.AsyncClient, name: str, told: Any
) -> None:
    market.answers["bitstamp"] = json_reply([bitstamp_market("LTC/USD", "80", "80", told)])
    market.answers["coingecko"] = json_reply({"litecoin": {"usd": 80, "last_updated_at": told}})
    await refusal(named(market.sources(client), name))


@pytest.mark.parametrize(
    ("bid", "ask"), [("80", "79.9"), ("80", "81.7"), ("80", "-80"), ("0", "80"), (None, "80")]
)
@pytest.mark.parametrize("name", ["kraken", "bitstamp"])
async def test_a_market_without_a_middle(
    market: Market, client: httpx2.AsyncClient, name: str, bid: Any, ask: Any
) -> None:
    time_s = str(START_AT // 1_000)
    market.answers["bitstamp"] = json_reply([bitstamp_market("LTC/USD", bid, ask, time_s)])
    result = {"XLTCZUSD": kraken_market(bid, ask)}
    market.answers["kraken"] = json_reply({"error": [], "result": result})
    await refusal(named(market.sources(client), name))


# --- any JSON at all ---------------------------------------------------------------------------

TOKENS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([str(each) for each in NO_PRICES if isinstance(each, str)]),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
)
KEYS = st.sampled_from(
    ["error", "result", "XLTCZUSD", "LTCUSD", "a", "b", "data", "currency", "rates", "EUR", "CZK"]
) | st.sampled_from(["litecoin", "usd", "last_updated_at", "pair", "bid", "ask", "timestamp"])


def shapes(value: Any) -> dict[str, Any]:
    """Return the documents of the exchanges, with a value where their prices stand."""
    time_s = str(START_AT // 1_000)
    return {
        "kraken": {"error": [], "result": {"XLTCZUSD": kraken_market(value, value)}},
        # With no coins it is asked about the dollar alone.
        "coinbase": {"data": {"currency": "USD", "rates": {"EUR": value, "CZK": value}}},
        "bitstamp": [bitstamp_market("LTC/USD", value, value, time_s)],
        "coingecko": {"litecoin": {"usd": value, "eur": value, "last_updated_at": time_s}},
    }


DOCUMENTS = st.recursive(
    TOKENS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
        *(inner.map(shapes).map(itemgetter(name)) for name in EXCHANGES),
    ),
    max_leaves=8,
)


async def told_by_all(document: Any) -> dict[str, list[Tick]]:
    """Return what each exchange's source makes of a document."""
    found: dict[str, list[Tick]] = {}
    async with Market() as market, guarded("127.0.0.1").client(timeout_s=None) as client:
        for name in EXCHANGES:
            coins = () if name == "coinbase" else ("LTC",)
            market.answers[name] = json_reply(document)
            try:
                found[name] = list(await named(market.sources(client, coins), name).fetch(START_AT))
            except UnavailableError:
                found[name] = []
    return found


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS)
def test_no_json_becomes_an_absurd_price(document: Any) -> None:
    for name, ticks in asyncio.run(told_by_all(document)).items():
        for tick in ticks:
            assert Decimal("1e-15") <= tick.price < Decimal("1e15")
            assert tick.source == name
            assert (tick.base, tick.currency) in {
                ("LTC", "USD"), ("LTC", "EUR"), ("USD", "EUR"), ("USD", "CZK")
            }  # fmt: skip


def test_the_shapes_above_are_the_ones_that_are_read() -> None:
    """Otherwise the property would be about nothing."""
    for name, document in shapes("80.25").items():
        told = asyncio.run(told_by_all(document))
        assert {tick.price for tick in told[name]} == {Decimal("80.25")}
        assert [other for other, ticks in told.items() if ticks] == [name]


# --- the way there -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told", "wait_s"),
    [
        (reply(429, retry_after="120"), "answered with HTTP 429.", 120),
        (reply(429), "answered with HTTP 429.", 60),
        (reply(429, retry_after="Tue, 06 Jan 2026 12:00:00 GMT"), "answered with HTTP 429.", 60),
        (reply(503, retry_after="-1"), "answered with HTTP 503.", 60),
        (reply(500, retry_after="120"), "answered with HTTP 500.", None),
        (reply(403, HTML), "answered with HTTP 403.", None),
        (reply(302, location="http://127.0.0.1:1/"), "answered with HTTP 302.", None),
        (reply(204), "answered with HTTP 204.", None),
        (break_off(), "cannot be reached.", None),
        (break_off(HEAD[:20]), "cannot be reached.", None),
        (break_off(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), "cannot be reached.", None),
    ],
)
@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_is_a_refusal(
    market: Market,
    client: httpx2.AsyncClient,
    name: str,
    answer: Reply,
    told: str,
    wait_s: int | None,
) -> None:
    market.answers[name] = answer
    error = await refusal(named(market.sources(client), name))
    assert error.message.endswith(told)
    assert error.retry_after_s == wait_s
    asked = {target.split("/")[1] for target in market.asked}
    assert asked == {name}, "a redirect is not followed"


@pytest.mark.parametrize("answer", [hang, drip(HEAD)], ids=["silent", "dripping"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_slow_answer_ends_at_the_time_limit(
    market: Market, client: httpx2.AsyncClient, name: str, answer: Reply
) -> None:
    market.answers[name] = answer
    began = time.monotonic()
    error = await refusal(named(market.sources(client, timeout_s=0.2), name))
    assert error.message.endswith("did not answer within 0.2 seconds.")
    assert time.monotonic() - began < 5
    assert TIMEOUT_S < 30, "before its next turn"


@pytest.mark.parametrize("name", NAMES)
async def test_an_endless_answer_ends_at_the_size_limit(
    market: Market, client: httpx2.AsyncClient, name: str
) -> None:
    sent: list[int] = []
    market.answers[name] = flood(HEAD, b" " * 65_536, sent)
    error = await refusal(named(market.sources(client), name))
    assert error.message.endswith("answered with more than 524,288 bytes.")
    # Beyond the limit there is what the system's buffers hold, of two connections at most.
    assert sum(sent) < ANSWER_BYTES_MAX + 20_000_000


@pytest.mark.parametrize("name", NAMES)
async def test_a_packed_answer_is_not_unpacked(
    market: Market, client: httpx2.AsyncClient, name: str
) -> None:
    market.answers[name] = reply(200, b"\x1f\x8b\x08\x00", content_encoding="gzip")
    await refusal(named(market.sources(client), name))


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_leads_to_a_private_network_is_not_followed(
    market: Market, name: str
) -> None:
    guard = Guard(resolve=Names(["127.0.0.1"]))
    async with guard.client(timeout_s=None) as client:
        error = await refusal(named(market.sources(client), name))
    assert error.message.endswith("cannot be reached.")
    assert market.asked == []
