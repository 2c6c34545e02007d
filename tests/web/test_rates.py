"""What the methods cost, over the API."""

from decimal import Decimal
from typing import Any

import pytest

from counterfoil.core.access import Scope
from counterfoil.core.ports import Mode
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import merchants, rates
from tests.web.world import World, cut_keys

NOW = "2026-01-06T11:46:40.123Z"
LTC = {"method": "LTC", "coin_symbol": "LTC"}


async def listed(world: World, query: str = "", mode: Mode = Mode.LIVE) -> dict[str, Any]:
    key = world.key(mode=mode, scope=Scope.READ)
    answer = await world.request("GET", f"/api/rates{query}", key=key)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert list(document) == ["success", "rates", "unavailable"]
    assert document.pop("success") is True
    return document


@pytest.mark.parametrize(
    ("query", "currency"),
    [("", "USD"), ("?fiat_currency=", "USD"), ("?fiat_currency=jpy", "JPY"), ("?x=1", "USD")],
)
async def test_the_currency_is_the_merchants_or_the_one_asked_for(
    world: World, query: str, currency: str
) -> None:
    rate = {**LTC, "fiat_currency": currency, "rate": "100", "sources": ["fixed"], "at": NOW}
    assert await listed(world, query) == {"rates": [rate], "unavailable": []}
    assert list(rate) == ["method", "coin_symbol", "fiat_currency", "rate", "sources", "at"]


async def test_a_price_has_no_exponent_and_loses_no_digit(small_world: World) -> None:
    for price, text in (("1E+5", "100000"), ("80.250", "80.250"), ("1.5E-7", "0.00000015")):
        source = FixedRates({("LTC", "USD"): Decimal(price)})
        await rates.refresh(small_world.store, [source], small_world.clock.now())
        (rate,) = (await listed(small_world))["rates"]
        assert rate["rate"] == text


async def test_what_cannot_be_had_is_told_with_the_reason(world: World) -> None:
    await rates.refresh(world.store, [], world.clock.now())
    assert await listed(world) == {
        "rates": [],
        "unavailable": [
            {
                **LTC,
                "fiat_currency": "USD",
                "code": "rate_unavailable",
                "message": "There is no reliable LTC price in USD now; try again in a minute.",
            }
        ],
    }


async def test_a_test_key_sees_the_simulators_coin_alone(world: World) -> None:
    (rate,) = (await listed(world, "?fiat_currency=CZK", Mode.TEST))["rates"]
    assert (rate["method"], rate["rate"], rate["sources"]) == ("TEST", "1", ["simulator"])


async def test_a_merchants_currency_that_no_source_lists_is_told(small_world: World) -> None:
    world = small_world
    world.merchants["Euro"] = await merchants.create(world.context, "Euro", "EUR", 1)
    await cut_keys(world, "Euro")
    answer = await world.request("GET", "/api/rates", key=world.key("Euro"))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "unsupported_currency"
