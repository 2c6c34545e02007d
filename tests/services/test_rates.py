"""Asking the sources and keeping what they say, on both databases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Method, Mode, Store, Tick
from counterfoil.core.quote import STALE_AFTER_MS, WINDOW_MS, Pair
from counterfoil.db.engine import Database
from counterfoil.db.schema_world import rate
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates
from tests.conftest import FakeClock
from tests.services.shop import at_once
from tests.sim.chain import COIN

COIN_USD, COIN_CZK, USD_CZK = ("COIN", "USD"), ("COIN", "CZK"), ("USD", "CZK")


@dataclass
class Source:
    """A place that knows prices; implements `core.ports.RateSource`."""

    name: str
    prices: Mapping[Pair, str]
    is_away: bool = False
    retry_after_s: int | None = None
    asked: int = 0
    every_s: int = 30
    currencies: frozenset[str] = field(default_factory=lambda: frozenset({"USD", "CZK"}))

    async def fetch(self, now: int) -> Sequence[Tick]:
        self.asked += 1
        if self.is_away:
            message = f"{self.name} does not answer."
            raise UnavailableError("rate_unavailable", message, retry_after_s=self.retry_after_s)
        return [Tick(self.name, *pair, Decimal(price), now) for pair, price in self.prices.items()]


async def price(store: Store, currency: str, now: int, method: Method = COIN) -> Decimal | None:
    found = await store.read(lambda c: rates.rate_of(c, method, currency, now))
    return found.price if found else None


async def test_two_sources_make_a_rate_and_one_does_not(
    database: Database, clock: FakeClock
) -> None:
    one, two = Source("one", {COIN_USD: "100"}), Source("two", {COIN_USD: "101"})
    assert await rates.refresh(database, [one], clock.now()) == {}
    assert await price(database, "USD", clock.now()) is None
    await rates.refresh(database, [one, two], clock.now())
    assert await price(database, "USD", clock.now()) == Decimal("100.5")
    assert [each.good_at for each in await rates.list_sources(database)] == [clock.now()] * 2


async def test_a_silent_source_is_told_and_remembered_until_it_is_stale(
    database: Database, clock: FakeClock
) -> None:
    sources = [Source("one", {COIN_USD: "100"}), Source("two", {COIN_USD: "102"})]
    await rates.refresh(database, sources, clock.now())
    sources[1].is_away = True
    clock.advance(STALE_AFTER_MS)
    assert await rates.refresh(database, sources, clock.now()) == {"two": "two does not answer."}
    assert await price(database, "USD", clock.now()) == Decimal(101)
    clock.advance(1)
    assert await price(database, "USD", clock.now()) is None


async def test_what_is_no_longer_listed_or_enabled_is_forgotten(
    database: Database, clock: FakeClock
) -> None:
    one, two = Source("one", {COIN_USD: "100", USD_CZK: "20"}), Source("two", {COIN_USD: "100"})
    await rates.refresh(database, [one, two], clock.now())
    one.prices = {COIN_USD: "100"}
    await rates.refresh(database, [one, two], clock.now())
    assert await price(database, "CZK", clock.now()) is None
    one.prices = {}
    await rates.refresh(database, [one], clock.now())
    statement = sa.select(sa.func.count()).select_from(rate)
    assert await database.read(lambda c: c.execute(statement).scalar_one()) == 0


async def test_a_fiat_leg_of_one_source_is_guarded_against_jumps(
    database: Database, clock: FakeClock
) -> None:
    leg = Source("bank", {USD_CZK: "20"})
    sources = [Source("one", {COIN_USD: "100"}), Source("two", {COIN_USD: "100"}), leg]
    await rates.refresh(database, sources, clock.now())
    assert await price(database, "CZK", clock.now()) == Decimal(2_000)
    leg.prices = {USD_CZK: "200"}
    for _ in range(3):
        await rates.refresh(database, sources, clock.advance(30_000))
        assert await price(database, "CZK", clock.now()) is None, "a slip of the decimal point"
    leg.prices = {USD_CZK: "21"}
    await rates.refresh(database, sources, clock.advance(30_000))
    assert await price(database, "CZK", clock.now()) == Decimal(2_100)
    # A day later nobody remembers what was usual.
    leg.prices = {USD_CZK: "200"}
    clock.advance(WINDOW_MS + 2 * 3_600_000)
    await rates.refresh(database, sources, clock.now())
    assert await price(database, "CZK", clock.now()) == Decimal(20_000)


async def test_the_range_of_an_hour_grows_both_ways(database: Database, clock: FakeClock) -> None:
    sources = [Source(name, {}) for name in ("one", "two")]
    # Each step is within half of what was usual before it.
    for at in ("100", "60", "140", "35", "200"):
        for source in sources:
            source.prices = {COIN_USD: at}
        await rates.refresh(database, sources, clock.advance(1_000))
        assert await price(database, "USD", clock.now()) == Decimal(at)


async def test_processes_that_refresh_at_once_do_not_fail(
    database: Database, clock: FakeClock
) -> None:
    sources = [
        Source(name, {COIN_USD: "100", COIN_CZK: "2000", USD_CZK: "20"}) for name in ("one", "two")
    ]
    for _ in range(3):
        now = clock.advance(1_000)
        made = await at_once(database, *(rates.refresh(database, sources, now) for _ in range(4)))
        assert made == [{}] * 4
    assert await price(database, "CZK", clock.now()) == Decimal(2_000)


# --- a clock that is set back ------------------------------------------------------------------

BACK_MS = 40 * 60_000


async def test_a_clock_that_is_set_back_silences_no_source(
    database: Database, clock: FakeClock
) -> None:
    sources = [Source("one", {COIN_USD: "100"}), Source("two", {COIN_USD: "100"}, every_s=90)]
    for source in sources:
        await rates.take_turn(database, source, clock.now())
    clock.advance(-BACK_MS)
    assert await price(database, "USD", clock.now()) is None, "that price has yet to come"
    for source in sources:
        source.prices = {COIN_USD: "101"}
        turn = await rates.take_turn(database, source, clock.now())
        assert turn.due_at == clock.now() + source.every_s * 1_000
    assert [source.asked for source in sources] == [2, 2]
    assert await price(database, "USD", clock.now()) == Decimal(101)


async def test_a_source_in_trouble_is_asked_by_the_clock_as_it_is(
    database: Database, clock: FakeClock
) -> None:
    source = Source("one", {COIN_USD: "100"})
    await rates.take_turn(database, source, clock.now())
    source.is_away = True
    await rates.take_turn(database, source, clock.advance(30_000))
    clock.advance(-BACK_MS)
    source.retry_after_s = 3_600
    turn = await rates.take_turn(database, source, clock.now())
    assert (source.asked, turn.due_at) == (3, clock.now() + 3_600_000)
    # What it wishes for now is heard, and when it was good is no time that has yet to come.
    assert (await rates.take_turn(database, source, clock.now())).due_at == turn.due_at
    assert source.asked == 3
    assert [each.good_at for each in await rates.list_sources(database)] == [clock.now()]


async def test_the_price_of_a_silent_source_does_not_come_back_with_its_time(
    database: Database, clock: FakeClock
) -> None:
    one, two = Source("one", {COIN_USD: "100"}), Source("two", {COIN_USD: "100"})
    await rates.refresh(database, [one, two], clock.now())
    two.is_away = True
    clock.advance(-BACK_MS)
    await rates.refresh(database, [one, two], clock.now())
    clock.advance(BACK_MS)
    await rates.refresh(database, [one, two], clock.now())
    assert await price(database, "USD", clock.now()) is None, "it is forty minutes old"


async def test_what_the_operator_fixed_stands_when_the_clock_is_set_back(
    database: Database, clock: FakeClock
) -> None:
    fixed, one = FixedRates({COIN_USD: Decimal(7)}), Source("one", {COIN_USD: "100"})
    await rates.refresh(database, [fixed, one], clock.now())
    clock.advance(-BACK_MS)
    await rates.take_turn(database, one, clock.now())
    assert await price(database, "USD", clock.now()) == Decimal(7)


@pytest.mark.parametrize("every_s", [30, 3_600])
async def test_processes_whose_clocks_differ_a_little_ask_no_more_often(
    database: Database, clock: FakeClock, every_s: int
) -> None:
    source = Source("one", {COIN_USD: "100"}, every_s=every_s)
    await rates.take_turn(database, source, clock.now() + 5_000)
    await rates.take_turn(database, source, clock.now())
    assert source.asked == 1


@pytest.mark.parametrize("currency", ["USD", "JPY"])
async def test_the_simulators_coin_is_worth_one_of_anything(
    database: Database, clock: FakeClock, currency: str
) -> None:
    test = Method("TEST", "TEST", "Test coin", "simulator", 8, 1, 1, Mode.TEST)
    assert await price(database, currency, clock.now(), test) == Decimal(1)
