from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.ports import Answer
from counterfoil.core.retry import (
    DAY_MS,
    GIVE_UP_AFTER_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Again,
    Parked,
    after_failure,
)

WAITS_MS = [
    5 * SECOND_MS,
    30 * SECOND_MS,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    1 * HOUR_MS,
]
LATER_MS = 3 * HOUR_MS


def attempts(answer: Answer, *, jitter: int = 0, retry_after_s: int | None = None) -> list[int]:
    """Return when a delivery that always fails is tried, until it is parked."""
    now, tried_at = 0, [0]
    while True:
        after = after_failure(answer, len(tried_at), 0, now, jitter, retry_after_s)
        if isinstance(after, Parked):
            return tried_at
        now = after.at
        tried_at.append(now)


def waits(tried_at: list[int]) -> list[int]:
    return [after - before for before, after in pairwise(tried_at)]


def test_the_schedule() -> None:
    made = waits(attempts(Answer.RETRY))
    assert made[: len(WAITS_MS)] == WAITS_MS
    assert set(made[len(WAITS_MS) :]) == {LATER_MS}


def test_it_is_tried_for_three_days() -> None:
    tried_at = attempts(Answer.RETRY)
    assert GIVE_UP_AFTER_MS == 3 * DAY_MS
    assert tried_at[-2] < GIVE_UP_AFTER_MS <= tried_at[-1]
    assert len(tried_at) == 31


def test_three_days_to_the_millisecond() -> None:
    assert isinstance(
        after_failure(Answer.RETRY, 30, 1_000, 1_000 + GIVE_UP_AFTER_MS - 1, 0, None), Again
    )
    assert after_failure(Answer.RETRY, 30, 1_000, 1_000 + GIVE_UP_AFTER_MS, 0, None) == Parked()


def test_a_refusal_is_tried_six_times() -> None:
    tried_at = attempts(Answer.REFUSED)
    assert len(tried_at) == 6
    assert waits(tried_at) == WAITS_MS[:5]


def test_a_refusal_ends_after_three_days_too() -> None:
    assert after_failure(Answer.REFUSED, 2, 0, GIVE_UP_AFTER_MS, 0, None) == Parked()


@pytest.mark.parametrize(
    ("attempt", "retry_after_s", "wait_ms"),
    [
        (1, 60, MINUTE_MS),  # longer than the schedule
        (1, 1, 5 * SECOND_MS),  # never shorter
        (1, 0, 5 * SECOND_MS),
        (1, -5, 5 * SECOND_MS),
        (1, 3 * 3_600, LATER_MS),
        (1, 10**9, LATER_MS),  # and at most three hours
        (9, 60, LATER_MS),
    ],
)
def test_retry_after(attempt: int, retry_after_s: int, wait_ms: int) -> None:
    assert after_failure(Answer.RETRY, attempt, 0, 7, 0, retry_after_s) == Again(7 + wait_ms)


@given(st.integers(1, 40), st.integers(0, 999))
def test_jitter_makes_a_wait_longer_by_less_than_a_fifth(attempt: int, jitter: int) -> None:
    plain = after_failure(Answer.RETRY, attempt, 0, 0, 0, None)
    spread = after_failure(Answer.RETRY, attempt, 0, 0, jitter, None)
    assert isinstance(plain, Again)
    assert isinstance(spread, Again)
    assert plain.at <= spread.at < plain.at * 1.2
    assert isinstance(spread.at, int)


def test_jitter_spreads_over_the_whole_fifth() -> None:
    assert after_failure(Answer.RETRY, 1, 0, 0, 500, None) == Again(5_500)
    assert after_failure(Answer.RETRY, 1, 0, 0, 999, None) == Again(5_999)
    assert after_failure(Answer.RETRY, 8, 0, 0, 500, None) == Again(LATER_MS * 11 // 10)
