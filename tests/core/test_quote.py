import datetime as dt
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.ports import Tick
from counterfoil.core.quote import (
    FIXING_STANDS_MS,
    STALE_AFTER_MS,
    Market,
    Pair,
    Range,
    Rate,
    pairs_of,
    rate_of,
)

NOW = 1_700_000_000_000
BTC_USD = ("BTC", "USD")


def ticks(pair: Pair, at: int = NOW, **prices: str) -> dict[Pair, list[Tick]]:
    return {pair: [Tick(source, *pair, Decimal(price), at) for source, price in prices.items()]}


def usd(known: dict[Pair, list[Tick]], ranges: dict[Pair, Range] | None = None) -> Rate | None:
    return rate_of("BTC", "USD", Market(known, ranges or {}), NOW)


def range_of(low: str, high: str) -> Range:
    return Range(Decimal(low), Decimal(high))


# --- one pair ---------------------------------------------------------------------------------


def test_a_rate_is_the_median() -> None:
    rate = usd(ticks(BTC_USD, b="101", a="100", c="100.5"))
    assert rate == Rate(Decimal("100.5"), ("a", "b", "c"), NOW)


def test_the_median_of_two_lies_between_them() -> None:
    rate = usd(ticks(BTC_USD, a="100", b="101"))
    assert rate == Rate(Decimal("100.5"), ("a", "b"), NOW)


def test_nothing_is_known() -> None:
    assert usd({}) is None
    assert usd({BTC_USD: []}) is None


def test_one_source_is_not_enough() -> None:
    assert usd(ticks(BTC_USD, a="100")) is None


def test_one_source_twice_is_one_source_and_its_last_word_counts() -> None:
    twice = [
        Tick("a", "BTC", "USD", Decimal(price), NOW - age) for price, age in ((100, 0), (90, 9))
    ]
    assert usd({BTC_USD: twice}) is None
    other = Tick("b", "BTC", "USD", Decimal(100), NOW)
    for order in permutations([*twice, other]):
        assert usd({BTC_USD: list(order)}) == Rate(Decimal(100), ("a", "b"), NOW)


def test_who_is_far_from_the_median_is_left_out() -> None:
    rate = usd(ticks(BTC_USD, a="100", b="101", broken="900"))
    assert rate == Rate(Decimal("100.5"), ("a", "b"), NOW)


@pytest.mark.parametrize(("other", "agrees"), [("102", True), ("102.0001", False)])
def test_two_that_disagree_are_no_rate(other: str, *, agrees: bool) -> None:
    """Each may be two per cent from the middle of both."""
    assert (usd(ticks(BTC_USD, a="98", b=other)) is not None) is agrees


def test_two_against_two_are_no_rate() -> None:
    assert usd(ticks(BTC_USD, a="100", b="100", c="200", d="200")) is None


def test_a_rate_is_as_old_as_its_oldest_part() -> None:
    known = ticks(BTC_USD, a="100")
    known[BTC_USD] += ticks(BTC_USD, NOW - 60_000, b="100")[BTC_USD]
    rate = usd(known)
    assert rate is not None
    assert rate.at == NOW - 60_000


@pytest.mark.parametrize("age_ms", [STALE_AFTER_MS + 1, 10**12, -STALE_AFTER_MS - 1, -(10**12)])
def test_a_price_of_another_time_is_none(age_ms: int) -> None:
    known = ticks(BTC_USD, a="100")
    known[BTC_USD] += ticks(BTC_USD, NOW - age_ms, b="100")[BTC_USD]
    assert usd(known) is None


@pytest.mark.parametrize("age_ms", [STALE_AFTER_MS, 0, -STALE_AFTER_MS])
def test_five_minutes_are_allowed(age_ms: int) -> None:
    assert usd(ticks(BTC_USD, NOW - age_ms, a="100", b="100")) is not None


@pytest.mark.parametrize("price", ["0", "-100"])
def test_what_is_no_price_is_not_counted(price: str) -> None:
    assert usd(ticks(BTC_USD, a=price, b=price)) is None
    assert usd(ticks(BTC_USD, a="100", b="100", c=price)) == Rate(Decimal(100), ("a", "b"), NOW)


@given(
    st.dictionaries(
        st.sampled_from("abcdefg"), st.decimals("0.001", "1000", places=3), min_size=1, max_size=7
    )
)
def test_a_rate_lies_among_the_sources_that_it_names(prices: dict[str, Decimal]) -> None:
    known = [Tick(source, *BTC_USD, price, NOW) for source, price in prices.items()]
    rate = usd({BTC_USD: known})
    if rate is None:
        return
    named = [prices[source] for source in rate.sources]
    assert len(named) >= 2
    assert min(named) <= rate.price <= max(named)
    assert max(named) <= min(named) * Decimal("1.05")


# --- jumps ------------------------------------------------------------------------------------

DAY = {BTC_USD: range_of("100", "200")}


@pytest.mark.parametrize("price", ["50", "100", "200", "300"])
def test_a_price_near_the_day_s_range_is_believed(price: str) -> None:
    assert usd(ticks(BTC_USD, a=price, b=price), DAY) is not None


@pytest.mark.parametrize("price", ["1", "49.99", "300.01", "9000"])
def test_a_jump_needs_three_sources(price: str) -> None:
    assert usd(ticks(BTC_USD, a=price, b=price), DAY) is None
    assert usd(ticks(BTC_USD, a=price, b=price, c=price), DAY) is not None
    assert usd(ticks(BTC_USD, a=price, b=price, broken="150"), DAY) is None


def test_another_pair_s_range_does_not_matter() -> None:
    ranges = {("LTC", "USD"): range_of("1", "2")}
    assert usd(ticks(BTC_USD, a="100", b="100"), ranges) is not None


# --- fixed by the operator --------------------------------------------------------------------


def test_a_fixed_pair_is_answered_by_that_alone() -> None:
    known = ticks(BTC_USD, 0, a="100", fixed="7", b="100")
    assert usd(known, DAY) == Rate(Decimal(7), ("fixed",), NOW)


def test_a_fixed_leg_may_be_changed_at_will() -> None:
    known = ticks(BTC_USD, a="100", b="100") | ticks(("USD", "IRR"), 0, fixed="1000000")
    ranges = {("BTC", "IRR"): range_of("4200000", "4200000")}
    rate = rate_of("BTC", "IRR", Market(known, ranges), NOW)
    assert rate == Rate(Decimal(100_000_000), ("a", "b", "fixed"), NOW)


# --- through a third currency -----------------------------------------------------------------

PRICES = [Decimal(price) for price in ("90", "100", "101")]
USD_GBP = ("USD", "GBP")
EUR_GBP = ("EUR", "GBP")
BTC_EUR = ("BTC", "EUR")
BTC_GBP = ("BTC", "GBP")


def gbp(known: dict[Pair, list[Tick]], ranges: dict[Pair, Range] | None = None) -> Rate | None:
    return rate_of("BTC", "GBP", Market(known, ranges or {}), NOW)


@given(st.data())
def test_no_other_pairs_matter_than_those_named(data: st.DataObject) -> None:
    named = pairs_of("BTC", "GBP")
    everything = {
        (base, currency)
        for base in ("BTC", "LTC", "USD", "EUR", "GBP")
        for currency in ("USD", "EUR", "GBP", "JPY")
    }
    assert named <= everything
    known = {
        pair: [Tick(source, *pair, data.draw(st.sampled_from(PRICES)), NOW) for source in "ab"]
        for pair in sorted(everything)
    }
    assert gbp(known) == gbp({pair: known[pair] for pair in named})


def test_a_pair_that_sources_list_needs_no_third_currency() -> None:
    known = (
        ticks(BTC_GBP, a="80", b="80")
        | ticks(BTC_USD, a="100", b="100")
        | ticks(USD_GBP, bank="0.5")
    )
    assert gbp(known) == Rate(Decimal(80), ("a", "b"), NOW)


def test_through_usd_with_one_source_for_the_fiat() -> None:
    known = ticks(BTC_USD, a="100", b="100") | ticks(USD_GBP, NOW - 9, bank="0.8")
    assert gbp(known) == Rate(Decimal("80.0"), ("a", "b", "bank"), NOW - 9)


def test_a_source_of_both_legs_is_named_once() -> None:
    known = ticks(BTC_USD, a="100", b="100") | ticks(USD_GBP, b="0.8", c="0.8")
    rate = gbp(known)
    assert rate is not None
    assert rate.sources == ("a", "b", "c")


def test_through_eur_where_usd_is_not_to_be_had() -> None:
    known = ticks(BTC_EUR, a="90", b="90") | ticks(EUR_GBP, bank="0.9") | ticks(USD_GBP, bank="0.8")
    assert gbp(known) == Rate(Decimal("81.0"), ("a", "b", "bank"), NOW)


def test_usd_itself_may_go_through_eur_and_eur_through_usd() -> None:
    through_eur = ticks(BTC_EUR, a="90", b="90") | ticks(("EUR", "USD"), bank="1.1")
    assert usd(through_eur) == Rate(Decimal("99.0"), ("a", "b", "bank"), NOW)
    through_usd = ticks(BTC_USD, a="100", b="100") | ticks(("USD", "EUR"), bank="0.9")
    rate = rate_of("BTC", "EUR", Market(through_usd, {}), NOW)
    assert rate == Rate(Decimal("90.0"), ("a", "b", "bank"), NOW)


def fixing(pair: Pair, price: str, at: int) -> dict[Pair, list[Tick]]:
    return {pair: [Tick("bank", *pair, Decimal(price), at, is_fixing=True)]}


WAITS = [
    # The fixing of the Thursday before Easter until the Tuesday's is published.
    (dt.datetime(2026, 4, 2, 13, 15, tzinfo=dt.UTC), dt.datetime(2026, 4, 7, 15, tzinfo=dt.UTC)),
    # An ordinary weekend.
    (dt.datetime(2026, 4, 10, 13, 15, tzinfo=dt.UTC), dt.datetime(2026, 4, 13, 15, tzinfo=dt.UTC)),
]


@pytest.mark.parametrize(("fixed", "asked"), WAITS)
def test_a_fixing_stands_over_the_longest_holidays(fixed: dt.datetime, asked: dt.datetime) -> None:
    at, now = (round(moment.timestamp() * 1_000) for moment in (fixed, asked))
    known = ticks(BTC_EUR, now, a="90", b="90") | fixing(EUR_GBP, "0.9", at)
    rate = rate_of("BTC", "GBP", Market(known, {}), now)
    assert rate == Rate(Decimal("81.0"), ("a", "b", "bank"), at), "and its age is told"


@pytest.mark.parametrize(
    ("age_ms", "stands"),
    [
        (FIXING_STANDS_MS, True),
        (FIXING_STANDS_MS + 1, False),
        (-STALE_AFTER_MS, True),
        (-STALE_AFTER_MS - 1, False),
    ],
)
def test_a_fixing_does_not_stand_for_ever(age_ms: int, *, stands: bool) -> None:
    known = ticks(BTC_EUR, a="90", b="90") | fixing(EUR_GBP, "0.9", NOW - age_ms)
    assert (gbp(known) is not None) is stands


def test_the_live_price_of_a_leg_is_no_fixing() -> None:
    known = ticks(BTC_EUR, a="90", b="90") | ticks(EUR_GBP, NOW - STALE_AFTER_MS - 1, bank="0.9")
    assert gbp(known) is None


def test_no_coin_is_priced_by_a_fixing() -> None:
    known = ticks(BTC_USD, a="100")
    known[BTC_USD] += fixing(BTC_USD, "100", NOW - STALE_AFTER_MS - 1)[BTC_USD]
    assert usd(known) is None


def test_one_source_is_not_enough_for_the_coin() -> None:
    assert gbp(ticks(BTC_USD, a="100") | ticks(USD_GBP, a="0.8", b="0.8")) is None


def test_two_that_disagree_on_the_fiat_are_no_rate() -> None:
    known = ticks(BTC_USD, a="100", b="100")
    assert gbp(known | ticks(USD_GBP, a="0.5", b="0.8")) is None


def test_a_missing_fiat_leg_is_no_rate() -> None:
    assert gbp(ticks(BTC_USD, a="100", b="100")) is None


def test_the_long_way_round_does_not_lead_past_the_jump_guard() -> None:
    """A shop that only sells in GBP has no day's range of USD, but it has one of GBP."""
    day = {BTC_GBP: range_of("80", "80")}
    jump = ticks(BTC_USD, a="300", b="300") | ticks(USD_GBP, bank="0.8")
    assert gbp(jump) is not None
    assert gbp(jump, day) is None
    three = ticks(BTC_USD, a="300", b="300", c="300") | ticks(USD_GBP, bank="0.8")
    assert gbp(three, day) == Rate(Decimal("240.0"), ("a", "b", "c", "bank"), NOW)


def test_a_jump_by_usd_alone_is_answered_through_eur() -> None:
    day = {BTC_GBP: range_of("80", "80")}
    known = (
        ticks(BTC_USD, a="300", b="300")
        | ticks(USD_GBP, bank="0.8")
        | ticks(BTC_EUR, a="90", b="90")
        | ticks(EUR_GBP, bank="0.9")
    )
    assert gbp(known, day) == Rate(Decimal("81.0"), ("a", "b", "bank"), NOW)


def test_a_product_is_exact() -> None:
    """The default decimal context has 28 digits; a rate that is stored for ever is not cut."""
    coin, fiat = "1.0000000000000000000000001", "1.0000000000000000000000003"
    rate = gbp(ticks(BTC_USD, a=coin, b=coin) | ticks(USD_GBP, bank=fiat))
    assert rate is not None
    assert rate.price == Decimal("1.00000000000000000000000040000000000000000000000003")
