"""Who is asked for prices, by the settings and the coins that are enabled."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from counterfoil.app import parts
from counterfoil.app.rate_sources import live_sources, opened_sources
from counterfoil.core.ports import Method, Mode
from counterfoil.services import rates
from counterfoil.settings.values import RATE_SOURCES
from tests.channels.receivers import guarded
from tests.test_app import settings_of

LTC = Method("LTC", "LTC", "Litecoin", "litecoin", 8, 1, 1)
BTC = Method("BTC", "BTC", "Bitcoin", "bitcoin", 8, 1, 1)
TEST = Method("TEST", "TEST", "Test coin", "simulator", 8, 1, 1, Mode.TEST)
FIXED_LTC = {"COUNTERFOIL_RATES__FIXED__LTC_USD": "80"}
FIXED_LEG = {"COUNTERFOIL_RATES__FIXED__USD_CZK": "22"}
NODE = {"COUNTERFOIL_CHAINS__LITECOIN__RPC": "http://user:password@127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "methods", "names"),
    [
        ({}, [TEST], []),
        ({}, [TEST, LTC], RATE_SOURCES),
        (FIXED_LTC, [TEST], ["fixed"]),
        (FIXED_LTC, [TEST, LTC], ["fixed"]),
        (FIXED_LTC, [LTC, BTC], ["fixed", *RATE_SOURCES]),
        (FIXED_LEG, [LTC], ["fixed", *RATE_SOURCES]),
        ({"COUNTERFOIL_RATES__SOURCES": "ecb, kraken"}, [LTC], ["kraken", "ecb"]),
        ({"COUNTERFOIL_RATES__SOURCES": "none"}, [LTC], []),
    ],
)
async def test_who_is_asked(
    tmp_path: Path, environment: dict[str, str], methods: Iterable[Method], names: Iterable[str]
) -> None:
    async with opened_sources(settings_of(tmp_path, environment), methods) as sources:
        assert [source.name for source in sources] == list(names)


async def test_every_source_of_the_settings_is_there() -> None:
    async with guarded().client(timeout_s=None) as client:
        assert [each.name for each in live_sources(client, RATE_SOURCES, ["LTC"])] == [
            *RATE_SOURCES
        ]


async def test_an_invoice_may_be_in_what_the_sources_list(tmp_path: Path) -> None:
    async with parts.opened(settings_of(tmp_path, NODE)) as here:
        assert {"USD", "EUR", "CZK", "KES"} <= here.context.currencies
        assert "XAD" not in here.context.currencies
    async with parts.opened(settings_of(tmp_path, NODE | FIXED_LTC)) as here:
        assert here.context.currencies == {"USD"}


async def test_the_start_waits_for_nobody(tmp_path: Path) -> None:
    """What was known stays known over a restart, and what is fixed is known at once."""
    settings = settings_of(tmp_path, NODE | {"COUNTERFOIL_RATES__FIXED__USD_CZK": "22"})
    async with parts.opened(settings) as here, asyncio.timeout(5):
        await rates.enable(here.database, here.sources, here.clock.now())
        states = {state.name: state for state in await rates.list_sources(here.database)}
        assert states["fixed"].good_at is not None
        assert all(states[name].good_at is None for name in RATE_SOURCES)
        assert all(states[name].due_at == 0 for name in RATE_SOURCES)
