"""Prices from five providers on the wire to the database, and from there into quotes."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.chains.litecoin import litecoin
from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import InvalidError, UnavailableError
from counterfoil.core.ports import Block, Mode, RateSource
from counterfoil.core.quote import FIXING_STANDS_MS, STALE_AFTER_MS, Rate
from counterfoil.db import invoices as stored
from counterfoil.db import loops
from counterfoil.db import quotes as stored_quotes
from counterfoil.db.engine import Database
from counterfoil.db.schema_world import rate, rate_hour, rate_source
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import merchants, rates, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, create
from counterfoil.services.quotes import choose
from counterfoil.workers import quoter
from tests.channels.receivers import guarded, hang, reply
from tests.conftest import FakeClock, FakeEntropy
from tests.rates.providers import EXCHANGES, FIXED_AT, NAMES, Market
from tests.services.shop import MINUTE
from tests.workers.test_loops import run_until

ZPUB = (
    "zpub6rPo5mF47z5coVm5rvWv7fv181awb7Vckn5Cf3xQXBVKu18kuBHDhNi1Jrb4br6vVD3ZbrnXemEsWJoR18mZwk"
    "UdzwD8TQnHDUCGxqZ6swA"
)
LTC_USD = ("LTC", "USD")


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with Market() as running:
        yield running


@pytest.fixture
async def sources(market: Market) -> AsyncIterator[list[RateSource]]:
    async with guarded("127.0.0.1").client(timeout_s=None) as client:
        # None of them is slow but where a test wants it, however busy the machine is.
        yield market.sources(client, timeout_s=60)


@pytest.fixture
def context(database: Database, sources: list[RateSource]) -> Context:
    return Context(
        store=database,
        methods=Methods([litecoin("mainnet", "http://user:password@127.0.0.1:9")]),
        currencies=frozenset().union(*(source.currencies for source in sources)),
        entropy=FakeEntropy(),
        checkout_url="https://pay.example",
    )


async def rate_in(context: Context, currency: str, now: int) -> Rate | None:
    (method,) = context.methods.all
    return await context.store.read(lambda c: rates.rate_of(c, method, currency, now))


def refresh(
    context: Context, market: Market, sources: list[RateSource], now: int
) -> asyncio.Future[dict[str, str]]:
    market.now = now
    return asyncio.ensure_future(rates.refresh(context.store, sources, now))


async def test_four_exchanges_that_agree(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    market.own = {"kraken": {LTC_USD: Decimal("80.35")}, "coinbase": {LTC_USD: Decimal("80.15")}}
    assert await refresh(context, market, sources, clock.now()) == {}
    found = await rate_in(context, "USD", clock.now())
    assert found == Rate(Decimal("80.25"), tuple(sorted(EXCHANGES)), clock.now() // 1_000 * 1_000)


async def test_who_disagrees_is_left_out(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    market.own = {"kraken": {LTC_USD: Decimal(8025)}}
    await refresh(context, market, sources, clock.now())
    found = await rate_in(context, "USD", clock.now())
    assert found is not None
    assert (found.price, found.sources) == (
        Decimal("80.25"),
        ("bitstamp", "coinbase", "coingecko"),
    )


async def test_two_against_two_are_no_rate(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    del market.prices["LTC", "EUR"]
    dear = {LTC_USD: Decimal(90)}
    market.own = {"kraken": dear, "coinbase": dear}
    await refresh(context, market, sources, clock.now())
    assert await rate_in(context, "USD", clock.now()) is None


async def test_one_exchange_is_no_rate(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    for name in EXCHANGES[1:]:
        market.answers[name] = reply(503)
    trouble = await refresh(context, market, sources, clock.now())
    assert set(trouble) == set(EXCHANGES[1:])
    assert await rate_in(context, "USD", clock.now()) is None


@pytest.mark.parametrize(
    ("currency", "price", "leg"),
    [("CZK", "1765.500", "coinbase"), ("KES", "10392.375", "coinbase")],
)
async def test_another_currency_goes_through_the_dollar(
    context: Context,
    market: Market,
    sources: list[RateSource],
    clock: FakeClock,
    currency: str,
    price: str,
    leg: str,
) -> None:
    await refresh(context, market, sources, clock.now())
    found = await rate_in(context, currency, clock.now())
    assert found is not None
    assert (found.price, leg in found.sources) == (Decimal(price), True)


async def test_the_fixing_serves_where_the_live_leg_is_away(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    market.answers["coinbase"] = reply(503)
    await refresh(context, market, sources, clock.now())
    found = await rate_in(context, "CZK", clock.now())
    expected = Decimal("73.5") * Decimal("24.1")
    assert found == Rate(expected, ("bitstamp", "coingecko", "kraken", "ecb"), FIXED_AT)
    # The exchanges go on, the bank does not: its word stands over holidays, and not for ever.
    market.answers["ecb"] = reply(503)
    clock.at = FIXED_AT + FIXING_STANDS_MS
    await refresh(context, market, sources, clock.now())
    assert await rate_in(context, "CZK", clock.now()) is not None
    await refresh(context, market, sources, clock.advance(1))
    assert await rate_in(context, "CZK", clock.now()) is None


async def test_a_jump_needs_three(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    await refresh(context, market, sources, clock.now())
    del market.prices["LTC", "EUR"]
    market.prices[LTC_USD] = Decimal(8)
    for name in ("bitstamp", "coingecko"):
        market.answers[name] = reply(503)
    clock.advance(STALE_AFTER_MS + 1)
    await refresh(context, market, sources, clock.now())
    assert await rate_in(context, "USD", clock.now()) is None, "two say so"
    del market.answers["bitstamp"]
    await refresh(context, market, sources, clock.advance(30_000))
    found = await rate_in(context, "USD", clock.now())
    assert found is not None
    assert found.price == Decimal(8)


async def test_a_fixed_pair_is_answered_by_that_alone(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    fixed = FixedRates({LTC_USD: Decimal(7)})
    await refresh(context, market, [fixed, *sources], clock.now())
    assert await rate_in(context, "USD", clock.now()) == Rate(Decimal(7), ("fixed",), clock.now())


# --- into quotes -------------------------------------------------------------------------------


async def open_shop(context: Context, now: int) -> int:
    await watching.ensure_chains(context)
    tip = Block(100, "aa" * 32, "bb" * 32, now, ())
    await context.store.write(lambda c: loops.add_header(c, "litecoin", tip))
    merchant_id = await merchants.create(context, "Shop", "USD", now)
    await wallets.add(context, merchant_id, "LTC", xpub=ZPUB, next_index=0, now=now)
    return merchant_id


async def test_rates_that_go_and_come_back_by_themselves(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    merchant_id = await open_shop(context, clock.now())
    who = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
    for name in NAMES:
        market.answers[name] = reply(503)
    await refresh(context, market, sources, clock.now())
    # An outage refuses no invoice.
    made = await create(context, who, Draft(Decimal(25), "CZK"), clock.now())
    with pytest.raises(UnavailableError) as caught:
        await choose(context, made.share_token, "LTC", clock.now())
    assert caught.value.code == "rate_unavailable"
    assert "CZK" in caught.value.message
    market.answers.clear()
    await refresh(context, market, sources, clock.advance(30_000))
    await choose(context, made.share_token, "LTC", clock.now())
    (quote,) = await context.store.read(lambda c: stored_quotes.list_of_invoice(c, made.id))
    assert quote.rate == Decimal("1765.500")
    assert quote.rate_sources == (*sorted(EXCHANGES),), "the leg's one source is among them"
    with pytest.raises(InvalidError) as refused:
        await create(context, who, Draft(Decimal(25), "KPW"), clock.now())
    assert refused.value.code == "unsupported_currency"


async def test_an_outage_costs_a_request_nothing(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    """Making an invoice reads nothing of prices: it is the same without so much as their tables."""
    merchant_id = await open_shop(context, clock.now())
    who = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
    for name in NAMES:
        market.answers[name] = hang
    asking = refresh(context, market, sources, clock.now())
    await asyncio.sleep(0.05)
    first = await create(context, who, Draft(Decimal(25), "USD"), clock.now())
    with pytest.raises(UnavailableError):
        await choose(context, first.share_token, "LTC", clock.now())
    assert not asking.done(), "a request waited for a source"
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    def drop(connection: sa.Connection) -> None:
        for table in (rate, rate_hour, rate_source):
            table.drop(connection)

    await context.store.write(drop)
    made = await create(context, who, Draft(Decimal(25), "USD"), clock.now())
    found = await context.store.read(lambda c: stored.get(c, made.id, who.merchant_id, who.mode))
    assert found is not None


# --- turns -------------------------------------------------------------------------------------


async def test_a_hanging_source_delays_no_other(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    # It is the first of them, and hangs for longer than the test waits.
    market.answers["kraken"] = hang
    asking = refresh(context, market, sources, clock.now())
    async with asyncio.timeout(20):
        while await rate_in(context, "USD", clock.now()) is None:
            assert not asking.done()
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_turn_is_taken_once_by_all_processes(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    store, kraken = context.store, sources[0]
    await rates.enable(store, sources, clock.now())
    turns = await asyncio.gather(*(rates.take_turn(store, kraken, clock.now()) for _ in range(4)))
    assert len(market.asked) == 1
    assert {turn.due_at for turn in turns} == {clock.now() + 30_000}
    clock.advance(29_999)
    assert (await rates.take_turn(store, kraken, clock.now())).due_at == clock.now() + 1
    assert len(market.asked) == 1
    await rates.take_turn(store, kraken, clock.advance(1))
    assert len(market.asked) == 2
    # A clock that was an hour and more ahead is no reason to keep silent until then.
    await rates.take_turn(store, kraken, clock.now() + 30 * 24 * 60 * MINUTE)
    await rates.take_turn(store, kraken, clock.now())
    assert len(market.asked) == 4


@pytest.mark.parametrize(
    ("name", "answer", "wait_s"),
    [
        ("kraken", reply(429, retry_after="200"), 200),
        ("kraken", reply(429, retry_after="5"), 30),
        ("kraken", reply(429, retry_after="999999999"), 3_600),
        ("kraken", reply(500), 30),
        ("coingecko", reply(429), 90),
        ("ecb", reply(500), 300),
        ("ecb", reply(503, retry_after="900"), 900),
    ],
)
async def test_a_source_that_wants_to_be_left_alone_is(
    context: Context,
    market: Market,
    sources: list[RateSource],
    clock: FakeClock,
    name: str,
    answer: bytes,
    wait_s: int,
) -> None:
    source = next(each for each in sources if each.name == name)
    market.answers[name] = answer
    turn = await rates.take_turn(context.store, source, clock.now())
    assert turn.due_at == clock.now() + wait_s * 1_000
    asked = len(market.asked)
    await rates.take_turn(context.store, source, turn.due_at - 1)
    assert len(market.asked) == asked


async def test_trouble_is_logged_when_it_begins_and_when_it_ends(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    kraken = sources[0]
    await rates.enable(context.store, sources, clock.now())

    async def until(count: int) -> None:
        async def is_asked() -> bool:
            return len(market.asked) >= count

        await run_until(quoter.ask(context.store, kraken, clock), is_asked)

    with capture_logs() as lines:
        await until(3)
        assert lines == []
        market.answers["kraken"] = reply(502)
        await until(9)
        (failed,) = lines
        assert failed["event"] == "rate_source_failed"
        assert failed["error"] == "Kraken answered with HTTP 502."
        (state,) = [s for s in await rates.list_sources(context.store) if s.name == "kraken"]
        assert state.trouble == failed["error"]
        assert state.good_at is not None
        market.answers.clear()
        await until(13)
        assert [line["event"] for line in lines[1:]] == ["rate_source_recovered"]


async def test_how_prices_stand(
    context: Context, market: Market, sources: list[RateSource], clock: FakeClock
) -> None:
    await rates.enable(context.store, sources, clock.now())
    before = await rates.standing(context, clock.now())
    assert (before.last_good_at, before.without_rate) == (None, ["LTC/EUR", "LTC/USD"])
    assert sorted(each.name for each in before.sources) == sorted(NAMES)
    market.answers["ecb"] = reply(503)
    await refresh(context, market, sources, clock.now())
    after = await rates.standing(context, clock.now())
    assert (after.last_good_at, after.without_rate) == (clock.now(), [])
    assert {each.name: each.trouble for each in after.sources if each.trouble} == {
        "ecb": "The European Central Bank answered with HTTP 503."
    }
