from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.payment import GRACE_MS, Credit, Payment, Progress, counted, credit, progress
from tests.core.lives import LOCK_UNTIL, payment
from tests.core.model import counts

amounts = st.integers(min_value=1, max_value=10**30)


@given(received=amounts, quoted=amounts, fiat_minor=st.integers(1, 10**15))
def test_credit_is_the_share_of_the_fiat_asked_for(
    received: int, quoted: int, fiat_minor: int
) -> None:
    fiat = Decimal(fiat_minor).scaleb(-2)
    one = payment(received_atomic=received, quoted_atomic=quoted, quoted_fiat=fiat)
    share = Fraction(fiat_minor * received, 100 * quoted)
    found = credit(one, ())
    assert found == Credit(found.value, is_late=False, is_settled=True)
    # Rounded up, by what nobody will ever miss.
    assert share <= found.value < share + Fraction(1, 10**30)
    assert received % quoted or found.value == share


@given(parts=st.lists(amounts, min_size=1, max_size=8))
def test_parts_are_worth_as_much_as_the_whole(parts: list[int]) -> None:
    whole = credit(payment(received_atomic=sum(parts), quoted_atomic=sum(parts)), ()).value
    split = [
        credit(payment(n, received_atomic=part, quoted_atomic=sum(parts)), ()).value
        for n, part in enumerate(parts)
    ]
    assert whole <= sum(split) < whole + Fraction(len(parts), 10**30)


def test_a_sum_of_many_prices_stays_a_short_number() -> None:
    """A payer can have a price for each of a thousand payments, and pay a part of each."""
    chance = Random(7)
    paid = [
        payment(n, received_atomic=chance.randrange(10**7), quoted_atomic=10**8 + n)
        for n in range(2_000)
    ]
    seen = sum((credit(one, ()).value for one in paid), Fraction(0))
    assert len(f"{seen.numerator}/{seen.denominator}") < 80


@pytest.mark.parametrize(
    ("lock_until", "deadlines"),
    [(1_000, ()), (5_000, (1_000,)), (5_000, (9_000, 1_000)), (1_000, (9_000, 8_000))],
)
def test_late_is_two_minutes_after_the_first_deadline(
    lock_until: int, deadlines: tuple[int, ...]
) -> None:
    in_time = payment(lock_until=lock_until, arrived_at=1_000 + GRACE_MS)
    assert not credit(in_time, deadlines).is_late
    late = replace(in_time, arrived_at=1_001 + GRACE_MS)
    assert credit(late, deadlines).is_late


LATE = LOCK_UNTIL + GRACE_MS + 1


@pytest.mark.parametrize(
    ("arrival_value", "expected"),
    [
        (Fraction(50), Fraction(50)),
        (Fraction(99), Fraction(99)),  # exactly one per cent is a difference
        (Fraction("99.000001"), Fraction(100)),
        (Fraction(100), Fraction(100)),
        (Fraction("100.5"), Fraction(100)),
        (Fraction(150), Fraction(100)),
    ],
)
def test_late_money_counts_at_the_lower_value(arrival_value: Fraction, expected: Fraction) -> None:
    late = payment(arrived_at=LATE, arrival_value=arrival_value)
    assert credit(late, ()) == Credit(expected, is_late=True, is_settled=True)


def test_late_money_without_a_rate_is_not_settled() -> None:
    late = payment(arrived_at=LATE, arrival_value=None)
    assert credit(late, ()) == Credit(Fraction(100), is_late=True, is_settled=False)


def test_money_in_time_needs_no_rate_at_arrival() -> None:
    assert credit(payment(arrival_value=None), ()).is_settled


@given(st.fractions(min_value=0, max_value=1_000))
def test_late_money_is_never_worth_more_than_it_was_asked_for(arrival_value: Fraction) -> None:
    late = payment(arrived_at=LATE, arrival_value=arrival_value)
    assert credit(late, ()).value <= 100
    assert credit(late, ()).value in (100, arrival_value)


def test_deep_is_in_a_block_and_under_enough_of_them() -> None:
    assert payment(is_mined=True, depth=3).is_deep
    assert not payment(is_mined=True, depth=2).is_deep
    assert not payment(is_mined=False, depth=3).is_deep
    assert payment(is_mined=False, depth=0, depth_needed=0).is_deep


SETTLED = Credit(Fraction(100), is_late=False, is_settled=True)


@pytest.mark.parametrize(
    ("facts", "worth", "expected"),
    [
        ({"is_mined": False, "depth": 0}, SETTLED, Progress.SEEN),
        ({"is_mined": True, "depth": 1}, SETTLED, Progress.CONFIRMING),
        ({"is_mined": True, "depth": 2}, SETTLED, Progress.FINAL),
        ({"is_mined": False, "depth": 0, "depth_needed": 0}, SETTLED, Progress.FINAL),
        ({"is_mined": True, "depth": 2}, replace(SETTLED, is_settled=False), Progress.CONFIRMING),
        ({"is_mined": False, "depth": 0}, None, Progress.DISPLACED),
        ({"is_mined": True, "depth": 2, "gone_at": 9}, SETTLED, Progress.GONE),
        ({"is_mined": False, "depth": 0, "gone_at": 9}, None, Progress.GONE),
    ],
)
def test_how_far_a_payment_has_come(
    facts: dict[str, Any], worth: Credit | None, expected: Progress
) -> None:
    assert progress(payment(**{"depth_needed": 2, **facts}), worth) is expected


# --- conflicts --------------------------------------------------------------------------------


def ids(payments: tuple[Payment, ...]) -> list[int]:
    return sorted(one.id for one in payments)


COIN = frozenset({"coin:0"})


def test_what_is_gone_does_not_count() -> None:
    assert ids(counted([payment(1), payment(2, gone_at=5)])) == [1]


def test_the_mined_one_counts() -> None:
    rivals = [payment(1, spends=COIN, is_mined=True), payment(2, spends=COIN)]
    assert ids(counted(rivals)) == [1]


def test_the_newest_counts_when_none_is_mined() -> None:
    rivals = [payment(1, spends=COIN), payment(2, spends=COIN)]
    assert ids(counted(rivals)) == [2]


def test_a_tie_goes_by_transaction_id() -> None:
    rivals = [payment(n, txid=txid, spends=COIN, arrived_at=5) for n, txid in ((1, "b"), (2, "a"))]
    assert ids(counted(rivals)) == [1]


def test_a_rival_that_is_gone_displaces_nothing() -> None:
    assert ids(counted([payment(1, spends=COIN), payment(2, spends=COIN, gone_at=9)])) == [1]


def test_two_outputs_of_one_transaction_both_count() -> None:
    outputs = [payment(n, txid="one", spends=COIN) for n in (1, 2)]
    assert ids(counted(outputs)) == [1, 2]


def test_a_transaction_that_was_displaced_displaces_nothing() -> None:
    """The third displaces the second, so the first has its outpoint for itself again."""
    first = payment(1, spends=frozenset({"a:0"}))
    second = payment(2, spends=frozenset({"a:0", "b:0"}))
    third = payment(3, spends=frozenset({"b:0"}))
    assert ids(counted([first, second])) == [2]
    assert ids(counted([first, second, third])) == [1, 3]


def test_what_the_best_spent_stays_spent() -> None:
    first = payment(1, spends=frozenset({"a:0"}))
    second = payment(2, spends=frozenset({"b:0"}))
    third = payment(3, spends=frozenset({"a:0"}))
    assert ids(counted([first, second, third])) == [2, 3]


def test_transactions_that_spend_nothing_we_know_are_no_rivals() -> None:
    assert ids(counted([payment(n, spends=frozenset()) for n in (1, 2)])) == [1, 2]


outpoints = st.frozensets(st.sampled_from(["a:0", "a:1", "b:0", "c:0"]), max_size=3)
transactions = st.tuples(outpoints, st.booleans(), st.integers(0, 3), st.integers(1, 3))


@given(st.lists(transactions, max_size=7), st.randoms(use_true_random=False))
def test_what_counts_is_what_the_model_says_in_any_order(
    drawn: list[tuple[frozenset[str], bool, int, int]], chance: Random
) -> None:
    payments = tuple(
        payment(
            10 * number + part,
            txid=f"tx{number}",
            spends=spends,
            is_mined=is_mined,
            arrived_at=arrived_at,
        )
        for number, (spends, is_mined, arrived_at, parts) in enumerate(drawn)
        for part in range(parts)
    )
    expected = [one.id for one in payments if counts(one, payments)]
    assert ids(counted(payments)) == expected
    shuffled = list(payments)
    chance.shuffle(shuffled)
    assert ids(counted(shuffled)) == expected
