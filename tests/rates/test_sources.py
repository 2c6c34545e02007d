"""What the sources ask, and what they make of answers in the shapes that the providers document."""

from decimal import Decimal

import httpx2
import pytest

from counterfoil.core.currencies import MINOR_DIGITS
from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import RateSource, Tick
from counterfoil.core.quote import STALE_AFTER_MS
from counterfoil.rates.bitstamp import Bitstamp
from counterfoil.rates.coinbase import Coinbase
from counterfoil.rates.coingecko import CoinGecko
from counterfoil.rates.ecb import EuropeanCentralBank
from counterfoil.rates.kraken import Kraken
from tests.channels.receivers import reply
from tests.conftest import START_AT
from tests.rates.providers import (
    FIXED_AT,
    Market,
    bitstamp_market,
    fixing,
    json_reply,
    kraken_market,
)

TIME = str(START_AT // 1_000)
# Bitstamp and CoinGecko tell the second.
TOLD_AT = START_AT // 1_000 * 1_000


def prices(ticks: list[Tick]) -> dict[tuple[str, str], str]:
    return {(tick.base, tick.currency): str(tick.price) for tick in ticks}


async def fetched(source: RateSource) -> list[Tick]:
    return list(await source.fetch(START_AT))


async def refusal(source: RateSource) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await source.fetch(START_AT)
    return caught.value


async def test_kraken(market: Market, client: httpx2.AsyncClient) -> None:
    source = Kraken(client, ["LTC", "DOGE"], url=market.url("kraken"))
    market.prices["DOGE", "USD"] = Decimal("0.1234567")
    assert await fetched(source) == [
        Tick("kraken", "DOGE", "USD", Decimal("0.1234567"), START_AT),
        Tick("kraken", "LTC", "USD", Decimal("80.25"), START_AT),
        Tick("kraken", "LTC", "EUR", Decimal("73.5"), START_AT),
    ]
    assert market.asked == ["/kraken/0/public/Ticker?pair=XDGUSD,XDGEUR,LTCUSD,LTCEUR"]


@pytest.mark.parametrize(
    "name", ["XXBTZUSD", "XBTUSD", "XBTZUSD", "BTCUSD"], ids=["old", "asked", "half", "ours"]
)
async def test_krakens_names_of_bitcoin(
    market: Market, client: httpx2.AsyncClient, name: str
) -> None:
    result = {name: kraken_market("100000.0", "100001.0"), "XXBTZCAD.d": kraken_market("1", "1")}
    market.answers["kraken"] = json_reply({"error": [], "result": result})
    found = await fetched(Kraken(client, ["BTC"], url=market.url("kraken")))
    assert prices(found) == {("BTC", "USD"): "100000.5"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("EQuery:Unknown asset pair", " (EQuery:Unknown asset pair)"),
        ("EGeneral:Too many requests", " (EGeneral:Too many requests)"),
        ("E<script>", ""),
        (None, ""),
        ({"code": 1}, ""),
    ],
)
async def test_krakens_errors(
    market: Market, client: httpx2.AsyncClient, error: object, told: str
) -> None:
    """They come with HTTP 200, and with prices beside them they are errors all the same."""
    result = {"XLTCZUSD": kraken_market("80", "80")}
    market.answers["kraken"] = json_reply({"error": [error], "result": result})
    source = Kraken(client, ["LTC"], url=market.url("kraken"))
    assert (await refusal(source)).message == f"Kraken answered with an error{told}."
    market.answers["kraken"] = json_reply({"error": ["WGeneral:Slow"], "result": result})
    assert prices(await fetched(source)) == {("LTC", "USD"): "80"}


async def test_coinbase(market: Market, client: httpx2.AsyncClient) -> None:
    source = Coinbase(client, ["LTC"], url=market.url("coinbase"))
    market.prices["LTC", "CZK"] = Decimal(1)
    assert await fetched(source) == [
        Tick("coinbase", "LTC", "USD", Decimal("80.25"), START_AT),
        Tick("coinbase", "LTC", "EUR", Decimal("73.5"), START_AT),
        Tick("coinbase", "USD", "CZK", Decimal("22.0"), START_AT),
        Tick("coinbase", "USD", "EUR", Decimal("0.91"), START_AT),
        Tick("coinbase", "USD", "KES", Decimal("129.5"), START_AT),
    ]
    asked = [f"/coinbase/v2/exchange-rates?currency={each}" for each in ("LTC", "USD")]
    assert sorted(market.asked) == asked


async def test_coinbase_speaks_of_something_else(
    market: Market, client: httpx2.AsyncClient
) -> None:
    document = {"data": {"currency": "BTC", "rates": {"USD": "100000"}}}
    market.answers["coinbase"] = json_reply(document)
    error = await refusal(Coinbase(client, ["LTC"], url=market.url("coinbase")))
    assert error.message.startswith("Coinbase answered with something else than prices of ")


async def test_bitstamp(market: Market, client: httpx2.AsyncClient) -> None:
    source = Bitstamp(client, ["LTC"], url=market.url("bitstamp"))
    assert await fetched(source) == [
        Tick("bitstamp", "LTC", "USD", Decimal("80.25"), TOLD_AT),
        Tick("bitstamp", "LTC", "EUR", Decimal("73.5"), TOLD_AT),
    ]
    assert market.asked == ["/bitstamp/api/v2/ticker/"]


async def test_bitstamps_other_markets(market: Market, client: httpx2.AsyncClient) -> None:
    market.answers["bitstamp"] = json_reply(
        [
            bitstamp_market("LTC/USD-PERP", "1", "1", TIME),
            bitstamp_market("LTC/BTC", "1", "1", TIME),
            bitstamp_market("LTC/USD", "80", "80.5", TIME),
            bitstamp_market("LTC/GBP", "60", "70", TIME),
        ]
    )
    found = await fetched(Bitstamp(client, ["LTC"], url=market.url("bitstamp")))
    assert prices(found) == {("LTC", "USD"): "80.25"}, "a wide spread is no price"


async def test_coingecko(market: Market, client: httpx2.AsyncClient) -> None:
    body = (
        b'{"litecoin": {"usd": 80.25000000000000000001, "eur": 7.35E+1, "gbp": null,'
        b' "last_updated_at": %d}}' % (START_AT // 1_000 - 60)
    )
    market.answers["coingecko"] = reply(200, body)
    source = CoinGecko(client, ["LTC", "BTC"], url=market.url("coingecko"))
    found = await fetched(source)
    assert prices(found) == {
        ("LTC", "USD"): "80.25000000000000000001",
        ("LTC", "EUR"): "73.5",
    }
    assert {tick.at for tick in found} == {TOLD_AT - 60_000}, "a cached price tells its age"
    assert market.asked == [
        (
            "/coingecko/api/v3/simple/price?ids=bitcoin,litecoin"
            "&vs_currencies=usd,eur,gbp,cad,aud,jpy,chf&include_last_updated_at=true&precision=full"
        )
    ]


async def test_the_european_central_bank(market: Market, client: httpx2.AsyncClient) -> None:
    source = EuropeanCentralBank(client, [], url=market.url("ecb"))
    assert await fetched(source) == [
        Tick("ecb", "EUR", currency, Decimal(told), FIXED_AT, is_fixing=True)
        for currency, told in market.legs.items()
    ]
    assert market.asked == ["/ecb/stats/eurofxref/eurofxref-daily.xml"]


@pytest.mark.parametrize(
    "body",
    [
        fixing({"USD": "1.1"}, day="05.01.2026"),
        fixing({"USD": "1.1"}, day="2026-02-30"),
        fixing({"USD": "1.1"}, day=""),
        fixing({}),
        fixing({"XAU": "0.0003", "BGN": "1.9558"}),
        fixing({"USD": "-1.1", "CZK": "NaN", "GBP": "1e400", "JPY": "1,5"}),
        fixing({"USD": "1.1"}).replace(b"<Cube>", b"<Cube time='2026-01-04'>"),
        fixing({"USD": "1.1"}).replace(b"</Cube>", b"<Cube currency='USD' rate='2'/></Cube>", 1),
        fixing({"USD": "1.1"})[:-20],
        fixing({"USD": "1.1"}).replace(b"UTF-8", b"UTF-7"),
        b"<html><body>1 EUR = 1.1 USD</body></html>",
    ],
)
async def test_a_fixing_that_is_none(
    market: Market, client: httpx2.AsyncClient, body: bytes
) -> None:
    market.answers["ecb"] = reply(200, body)
    error = await refusal(EuropeanCentralBank(client, [], url=market.url("ecb")))
    assert error.message.startswith("The European Central Bank ")


LAUGHS = "".join(
    f'<!ENTITY lol{n} "{"".join(f"&lol{n - 1};" * 10)}">' if n else '<!ENTITY lol0 "lol">'
    for n in range(10)
)


@pytest.mark.parametrize(
    "doctype",
    [
        f"<!DOCTYPE lolz [{LAUGHS}]>",
        '<!DOCTYPE x [<!ENTITY rate SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
    ],
    ids=["billion laughs", "file", "remote"],
)
async def test_an_entity_is_never_unfolded(
    market: Market, client: httpx2.AsyncClient, doctype: str
) -> None:
    body = fixing({"USD": "1.1"}).replace(b"?>", b"?>" + doctype.encode(), 1)
    market.answers["ecb"] = reply(200, body.replace(b"Reference rates", b"&lol9;"))
    error = await refusal(EuropeanCentralBank(client, [], url=market.url("ecb")))
    assert error.message == "The European Central Bank did not answer with XML that can be read."


async def test_who_has_none_of_the_coins_is_not_asked(
    market: Market, client: httpx2.AsyncClient
) -> None:
    for source in (
        Kraken(client, ["COIN"], url=market.url("kraken")),
        CoinGecko(client, ["COIN"], url=market.url("coingecko")),
    ):
        assert await fetched(source) == []
    assert market.asked == []


async def test_what_is_listed_is_money_and_asked_often_enough(
    market: Market, client: httpx2.AsyncClient
) -> None:
    for source in market.sources(client, ["BTC", "LTC"]):
        assert {"USD", "EUR"} <= source.currencies <= MINOR_DIGITS.keys()
        if source.name != "ecb":
            # A failure or two may pass before the price of the time before is stale.
            assert source.every_s * 1_000 * 3 <= STALE_AFTER_MS
