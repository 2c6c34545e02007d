"""Whom a stray transfer was meant for: the order of the candidates, and the words for each."""

from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.inbox import CANDIDATES_MAX, NEAR_MS, WHY, Asked, Found, Unasked, rank
from counterfoil.core.invoice import Status
from counterfoil.core.matching import Reason

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
T = 100_000 * HOUR
FOUND = Found(
    method="LTC",
    amount_atomic=1_000_000,
    decimals=8,
    destination_id=1,
    is_exclusive=False,
    arrived_at=T,
    rates={"USD": Decimal(100)},
)


def asked(number: int = 12, **changes: Any) -> Asked:
    """Return what was asked for five minutes before at the same address, with `changes`."""
    plain = Asked(
        invoice_id=number,
        status=Status.UNPAID,
        due_at=None,
        currency="USD",
        fiat=Decimal("1.00"),
        method="LTC",
        amount_atomic=1_000_000,
        destination_id=1,
        created_at=T - 5 * MINUTE,
        lock_until=T + 10 * MINUTE,
        is_claimed=False,
    )
    return replace(plain, **changes)


def order(*some: Asked, found: Found = FOUND) -> list[int]:
    return [each.invoice_id for each in rank(found, some)]


def words(one: Asked, **changes: Any) -> str | None:
    ranked = rank(replace(FOUND, **changes), [one])
    return ranked[0].reason if ranked else None


def unasked(number: int = 12, **changes: Any) -> Unasked:
    """Return an order of a minute before without a price, with `changes`."""
    plain = Unasked(
        invoice_id=number,
        status=Status.UNPAID,
        due_at=None,
        currency="USD",
        fiat=Decimal("1.00"),
        created_at=T - MINUTE,
        is_claimed=False,
    )
    return replace(plain, **changes)


def test_orders_without_a_price_are_named_by_how_near_their_amount_is() -> None:
    some = [unasked(1, fiat=Decimal(9)), unasked(2), unasked(3, currency="EUR", fiat=Decimal(9))]
    ranked = rank(FOUND, [], some)
    # Whose currency had no rate, of that nothing speaks for or against it.
    assert [each.invoice_id for each in ranked] == [2, 3, 1]
    claimed = unasked(4, fiat=Decimal(9), is_claimed=True)
    near = asked(5, amount_atomic=1_004_016)
    elsewhere = asked(6, destination_id=2)
    ranked = rank(FOUND, [near, elsewhere], [*some[:1], claimed])
    assert [each.invoice_id for each in ranked] == [4, 5, 1, 6]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "INV 12 names this address and had asked for no amount yet"),
        ({"is_claimed": True}, "the payer of INV 12 named this transaction"),
        (
            {"status": Status.CANCELLED},
            "INV 12 names this address and had asked for no amount yet, which is cancelled",
        ),
        (
            {"is_claimed": True, "due_at": T - HOUR},
            "the payer of INV 12 named this transaction, which expired 1 hour before",
        ),
    ],
)
def test_an_order_without_a_price_in_words(changes: dict[str, Any], expected: str) -> None:
    (found,) = rank(FOUND, [], [unasked(**changes)])
    assert found.reason == expected


def test_of_orders_without_a_price_the_nearest_goes_first() -> None:
    """First by the share that is off, then in time; of two that are alike the older invoice."""
    half, double = unasked(1, fiat=Decimal("0.50")), unasked(2, fiat=Decimal(2))
    unknown = [unasked(n, currency="EUR", created_at=T - ms) for n, ms in ((3, 2), (4, 1), (5, 1))]
    ranked = rank(FOUND, [], [half, double, *unknown])
    assert [each.invoice_id for each in ranked] == [4, 5, 3, 2, 1]


def test_nobody_pays_a_price_that_came_after() -> None:
    """The words are of the price that had been made, though the later one is nearer."""
    first = asked(is_claimed=True, amount_atomic=800_000)
    later = replace(first, amount_atomic=1_000_100, created_at=T + MINUTE)
    (found,) = rank(FOUND, [later, first])
    assert found.reason == "25.0 % above INV 12, whose payer named this transaction"
    # What the look that found it began before was made in time.
    assert words(asked(created_at=T + SECOND)) == "the amount of INV 12"
    far, near = asked(amount_atomic=1_010_000), asked(amount_atomic=1_000_100, created_at=T)
    (found,) = rank(FOUND, [far, near])
    assert found.reason == "less than 0.1 % below INV 12, an exchange fee?"


# --- in words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "the amount of INV 12"),
        ({"destination_id": 2}, "the amount of INV 12, at another address"),
        ({"amount_atomic": 1_004_016}, "0.4 % below INV 12, an exchange fee?"),
        ({"amount_atomic": 1_000_001}, "less than 0.1 % below INV 12, an exchange fee?"),
        ({"amount_atomic": 999_999}, "less than 0.1 % above INV 12"),
        ({"amount_atomic": 960_000}, "4.2 % above INV 12"),
        (
            {"is_claimed": True, "amount_atomic": 2_000_000},
            "50.0 % below INV 12, whose payer named this transaction",
        ),
        (
            {"is_claimed": True, "method": "BTC", "created_at": T - 50 * HOUR},
            "the payer of INV 12 named this transaction",
        ),
        (
            {"is_claimed": True, "amount_atomic": 4_000_000},
            "75.0 % below INV 12, whose payer named this transaction",
        ),
        ({"is_claimed": True}, "the amount of INV 12"),
        ({"status": Status.PAID}, "the amount of INV 12, which is paid"),
        ({"status": Status.CANCELLED}, "the amount of INV 12, which is cancelled"),
        (
            {"due_at": T - 3 * HOUR - MINUTE, "lock_until": T - 3 * HOUR - MINUTE},
            "the amount of INV 12, which expired 3 hours before",
        ),
        (
            {"due_at": T - 50 * HOUR, "lock_until": T - 50 * HOUR},
            "the amount of INV 12, which expired 2 days before",
        ),
        ({"due_at": T - 24 * HOUR}, "the amount of INV 12, which expired 1 day before"),
        (
            {"lock_until": T - 119 * MINUTE, "amount_atomic": 1_010_000},
            "1.0 % below INV 12, whose price ended 1 hour before, an exchange fee?",
        ),
        (
            {"lock_until": T - 20 * MINUTE},
            "the amount of INV 12, whose price ended 20 minutes before",
        ),
        # What is sent in the last minute was sent in time.
        ({"lock_until": T - 2 * MINUTE}, "the amount of INV 12"),
        ({"due_at": T - 2 * MINUTE}, "the amount of INV 12"),
        (
            {"created_at": T + MINUTE},
            "the amount of INV 12, 1 minute before it was asked for",
        ),
        ({"created_at": T + HOUR}, "the amount of INV 12, 1 hour before it was asked for"),
        (
            {"method": "BTC", "destination_id": 2, "amount_atomic": 7},
            "INV 12 is an order of that size at another coin, BTC",
        ),
    ],
)
def test_the_reason_is_said_in_words(changes: dict[str, Any], expected: str) -> None:
    assert words(asked(**changes)) == expected


def test_any_transfer_to_an_address_of_one_invoice_may_be_meant_for_it() -> None:
    assert words(asked(), is_exclusive=True) == "the amount of INV 12"
    other = asked(amount_atomic=5_000_000, created_at=T + 9 * HOUR, lock_until=T + 10 * HOUR)
    text = "sent to the address of INV 12, 9 hours before it was asked for"
    assert words(other, is_exclusive=True) == text
    assert words(asked(method="BTC"), is_exclusive=True) == "sent to the address of INV 12"
    assert words(other) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_atomic": 1_060_000},
        {"amount_atomic": 940_000},
        {"amount_atomic": 1_010_000, "destination_id": 2},
        {"amount_atomic": 1_010_000, "created_at": T - NEAR_MS - 1},
        {"amount_atomic": 1_010_000, "created_at": T + 3 * MINUTE},
        {"destination_id": 2, "created_at": T + 3 * MINUTE},
        {"created_at": T + NEAR_MS + 1},
        {"method": "BTC", "fiat": Decimal("1.06")},
        {"method": "BTC", "currency": "EUR"},
        {"method": "BTC", "created_at": T - NEAR_MS - 1},
    ],
)
def test_what_is_hardly_meant_is_no_candidate(changes: dict[str, Any]) -> None:
    assert words(asked(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": T + NEAR_MS},
        {"amount_atomic": 1_010_000, "created_at": T - NEAR_MS},
        {"amount_atomic": 1_010_000, "created_at": T + 2 * MINUTE},
        {"destination_id": 2, "created_at": T + 2 * MINUTE},
    ],
)
def test_what_may_just_be_meant_is_a_candidate(changes: dict[str, Any]) -> None:
    assert words(asked(**changes)) is not None


def test_an_exact_amount_is_known_for_ever() -> None:
    assert words(asked(created_at=T - 400 * NEAR_MS)) == "the amount of INV 12"


def test_every_reason_has_its_sentence() -> None:
    assert WHY.keys() == set(Reason)


# --- the order --------------------------------------------------------------------------------


def test_the_order_of_likeness() -> None:
    ladder = [
        asked(1),
        asked(2, amount_atomic=1_010_000),
        asked(3, destination_id=2),
        asked(4, method="BTC", destination_id=2),
    ]
    assert order(*ladder[::-1]) == [1, 2, 3, 4]
    own = replace(FOUND, is_exclusive=True)
    assert order(asked(3, destination_id=2), asked(5, method="BTC"), found=own) == [5, 3]


def test_at_another_coin_the_nearer_worth_goes_first() -> None:
    """Amounts of two coins say nothing: it is worth 1.00 USD."""
    near = asked(2, method="BTC", fiat=Decimal("1.01"), amount_atomic=7)
    far = asked(1, method="BTC", fiat=Decimal("0.97"), amount_atomic=1_000_000)
    assert order(far, near) == [2, 1]


def test_a_price_is_nearest_by_its_own_currency() -> None:
    found = replace(FOUND, rates={"USD": Decimal(100), "EUR": Decimal(50)})
    dollars = asked(1, method="BTC", fiat=Decimal("1.03"))
    euros = asked(2, method="BTC", fiat=Decimal("0.51"), currency="EUR")
    assert order(dollars, euros, found=found) == [2, 1]


def test_an_invoice_is_there_once_by_its_best_price() -> None:
    near, exact = asked(amount_atomic=1_010_000), asked()
    assert [each.reason for each in rank(FOUND, [near, exact])] == ["the amount of INV 12"]


def test_of_two_prices_that_are_alike_the_words_are_of_the_one_that_was_open_longer() -> None:
    longer, shorter = asked(lock_until=T - 20 * MINUTE), asked(lock_until=T - 3 * HOUR)
    for some in ([longer, shorter], [shorter, longer]):
        (found,) = rank(FOUND, some)
        assert found.reason == "the amount of INV 12, whose price ended 20 minutes before"
    # Of two invoices that are alike, the one that was open longer is no likelier.
    assert order(replace(longer, invoice_id=13), shorter) == [12, 13]


def test_there_are_only_so_many() -> None:
    many = [asked(number, created_at=T - number) for number in range(1, 20)]
    assert order(*many) == list(range(1, CANDIDATES_MAX + 1))


ANY = st.builds(
    asked,
    st.integers(1, 6),
    amount_atomic=st.integers(940_000, 1_060_000) | st.just(1_000_000),
    destination_id=st.integers(1, 2),
    method=st.sampled_from(["LTC", "BTC"]),
    fiat=st.sampled_from([Decimal("1.00"), Decimal("1.03"), Decimal("2.00")]),
    created_at=st.integers(T - 2 * NEAR_MS, T + 2 * HOUR),
    lock_until=st.integers(T - HOUR, T + HOUR),
)
PLACES = st.sampled_from([FOUND, replace(FOUND, is_exclusive=True)])


@given(st.lists(ANY, max_size=12), PLACES, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_that_of_the_facts(
    some: list[Asked], found: Found, chance: Random
) -> None:
    ranked = rank(found, some)
    shuffled = list(some)
    chance.shuffle(shuffled)
    assert rank(found, shuffled) == ranked
    assert len({each.invoice_id for each in ranked}) == len(ranked) <= CANDIDATES_MAX


@given(st.integers(950_000, 1_050_000), st.integers(0, NEAR_MS), st.integers(0, NEAR_MS))
def test_exact_beats_near(amount: int, exact_ms: int, near_ms: int) -> None:
    exact = asked(2, created_at=T - exact_ms)
    near = asked(1, amount_atomic=amount, created_at=T - near_ms)
    first = order(near, exact)[0]
    assert first == 2 or (amount == 1_000_000 and near_ms <= exact_ms)


@given(st.integers(0, 50_000), st.integers(0, 50_000))
def test_the_nearer_amount_beats_the_farther(one: int, two: int) -> None:
    nearer, farther = sorted((one, two))
    some = asked(1, amount_atomic=1_000_000 + farther), asked(2, amount_atomic=1_000_000 + nearer)
    assert order(*some) == ([2, 1] if nearer < farther else [1, 2])


@given(st.integers(0, NEAR_MS), st.integers(0, NEAR_MS), st.sampled_from([1_000_000, 1_020_000]))
def test_near_in_time_beats_far(one: int, two: int, amount: int) -> None:
    nearer, farther = sorted((one, two))
    some = [asked(1, created_at=T - farther), asked(2, created_at=T - nearer)]
    some = [replace(each, amount_atomic=amount) for each in some]
    assert order(*some) == ([2, 1] if nearer < farther else [1, 2])
