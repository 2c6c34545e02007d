"""Thousands of random lives of invoices: whatever happens, the rules hold."""

import random
from dataclasses import replace

import pytest

from counterfoil.core.events import Happening, happenings, told
from counterfoil.core.invoice import (
    MOVES,
    NEW,
    Assessment,
    EventType,
    Facts,
    Notice,
    Standing,
    Status,
    assess,
)
from tests.core.lives import Life, Told
from tests.core.model import counts, judge

LIVES = 1_000
STEPS = 14

Lives = list[list[tuple[Facts, int, Assessment]]]


@pytest.fixture(scope="module", name="lives")
def _lives() -> Lives:
    return [
        [(known, now, assess(known, now)) for known, now in Life(seed).steps(STEPS)]
        for seed in range(LIVES)
    ]


def test_assess_says_what_the_model_says(lives: Lives) -> None:
    for seed, life in enumerate(lives):
        for known, now, found in life:
            standing, verdict = found.standing, judge(known, now)
            assert standing.status.value == verdict.status, (seed, known, now)
            assert [c.value for c in standing.conditions] == verdict.exceptions, (seed, known, now)
            assert {n.value for n in standing.notices} == verdict.notices, (seed, known, now)
            assert (standing.seen, standing.final) == (verdict.seen, verdict.final), (seed, known)


def test_every_move_of_the_table_is_made_and_no_other(lives: Lives) -> None:
    made = set()
    for life in lives:
        before = Status.UNPAID
        for _, _, found in life:
            if found.standing.status is not before:
                made.add((before, found.standing.status))
            before = found.standing.status
    assert made == set(MOVES)


def test_the_order_of_payments_does_not_matter(lives: Lives) -> None:
    chance = random.Random(0)
    for life in lives:
        known, now, found = life[-1]
        shuffled = list(known.payments)
        chance.shuffle(shuffled)
        assert assess(replace(known, payments=tuple(shuffled)), now) == found


def test_a_second_look_tells_nothing(lives: Lives) -> None:
    for life in lives:
        shop = Told()
        for _, _, found in life:
            shop.hear(found)
            assert shop.hear(found) == []


def test_who_slept_through_a_life_knows_as_much_at_its_end(lives: Lives) -> None:
    for life in lives:
        seen_all, slept = Told(), Told()
        for _, _, found in life:
            seen_all.hear(found)
        slept.hear(life[-1][2])
        once = {Notice.EXPIRED, Notice.CANCELLED}
        assert slept.standing.notices - once == seen_all.standing.notices - once
        assert replace(slept.standing, notices=frozenset()) == replace(
            seen_all.standing, notices=frozenset()
        )


def test_what_is_told_once_is_told_once(lives: Lives) -> None:
    for life in lives:
        shop = Told()
        kinds = [kind for _, _, found in life for kind, _, _ in shop.hear(found)]
        assert kinds.count("invoice_expired") <= 1
        assert kinds.count("invoice_cancelled") <= 1


def test_an_invoice_that_holds_money_is_never_expired(lives: Lives) -> None:
    for life in lives:
        for _, _, found in life:
            assert found.standing.status is not Status.EXPIRED or found.standing.seen == 0


def test_every_cause_is_a_payment_of_the_right_kind(lives: Lives) -> None:
    """An event names a payment, and one that is in the state that the event speaks of."""
    for life in lives:
        before = NEW
        for known, _, found in life:
            for event in happenings(before, found):
                _check_cause(event, known, before)
            before = replace(found.standing, notices=told(before, found.standing))


def _check_cause(event: Happening, known: Facts, before: Standing) -> None:
    if event.type in (EventType.EXPIRED, EventType.CANCELLED):
        assert event.payment_id is None
        return
    if known.marked_at is not None and event.type is EventType.CONFIRMED:
        assert event.payment_id == known.mark_id
        return
    if known.taken_id is not None and event.payment_id == known.taken_id:
        assert event.type in (EventType.FAILED, EventType.REVERSED)
        return
    (cause,) = (p for p in known.payments if p.id == event.payment_id)
    if event.type is EventType.DETECTED:
        assert cause.gone_at is None
        assert not cause.is_deep or cause.arrival_value is None
    elif event.type in (EventType.CONFIRMED, EventType.PAID_LATE):
        assert cause.is_deep
    elif event.type is EventType.REVERSED:
        assert before.status is Status.PAID
        assert not cause.is_deep or not counts(cause, known.payments)
