import time
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from counterfoil.core.invoice import (
    NEW,
    Assessment,
    Condition,
    EventType,
    Facts,
    Status,
    assess,
)
from tests.core.lives import DUE_AT, LOCK_UNTIL, MINUTE_MS, Told, facts, final_payment, payment

LATE = LOCK_UNTIL + 2 * MINUTE_MS + 1


def status_of(known: Facts, now: int = 10) -> Status:
    return assess(known, now).standing.status


def conditions_of(known: Facts, now: int = 10) -> list[str]:
    return [condition.value for condition in assess(known, now).standing.conditions]


# --- the first status that holds --------------------------------------------------------------


def test_nothing_has_come() -> None:
    assert assess(facts(), 10).standing == NEW


def test_seen_is_confirming_and_deep_is_paid() -> None:
    assert status_of(facts(payment())) is Status.CONFIRMING
    assert status_of(facts(payment(is_mined=True, depth=2))) is Status.CONFIRMING
    assert status_of(facts(final_payment())) is Status.PAID
    assert conditions_of(facts(final_payment())) == []


def test_where_no_confirmation_is_asked_seen_is_paid() -> None:
    assert status_of(facts(payment(depth_needed=0))) is Status.PAID
    assert status_of(facts(payment(depth_needed=0, gone_at=2_000))) is Status.UNPAID


def test_a_part_leaves_it_unpaid_and_the_rest_pays_it() -> None:
    half = {"received_atomic": 500_000}
    first = final_payment(1, **half)
    rest = payment(2, quoted_fiat=Decimal("50.00"), quoted_atomic=400_000, received_atomic=400_000)
    shop = Told()
    assert shop.look(facts(first)) == [("invoice_underpaid", "Unpaid", 1)]
    assert shop.exceptions() == ["underpaid"]
    assert shop.look(facts(first, rest)) == [("payment_detected", "Confirming", 2)]
    assert shop.exceptions() == []
    deep_rest = replace(rest, is_mined=True, depth=3, final_at=2_000)
    assert shop.look(facts(first, deep_rest)) == [("payment_confirmed", "Paid", 2)]
    assert shop.standing.seen == shop.standing.final == 100


def test_what_is_short_by_the_tolerance_is_paid() -> None:
    tolerant = facts(final_payment(received_atomic=995_000), tolerance=Decimal("0.50"))
    assert status_of(tolerant) is Status.PAID
    assert conditions_of(tolerant) == []
    short = facts(final_payment(received_atomic=994_999), tolerance=Decimal("0.50"))
    assert status_of(short) is Status.UNPAID
    assert conditions_of(short) == ["underpaid"]


def test_thirds_are_no_less_than_the_whole() -> None:
    thirds = [final_payment(n, received_atomic=1, quoted_atomic=3) for n in (1, 2, 3)]
    standing = assess(facts(*thirds), 10).standing
    assert (standing.status, standing.conditions) == (Status.PAID, ())
    assert 100 <= standing.final < 100 + Fraction(1, 10**29)
    assert status_of(facts(*thirds)) is Status.PAID


# --- expiry -----------------------------------------------------------------------------------


def test_expiry_waits_until_the_chains_are_watched_past_it() -> None:
    known = facts(due_at=DUE_AT)
    assert status_of(known, DUE_AT) is Status.UNPAID
    watched = replace(known, is_watched_past_due=True)
    assert status_of(watched, DUE_AT - 1) is Status.UNPAID
    assert status_of(watched, DUE_AT) is Status.EXPIRED


def test_expiry_waits_for_a_transfer_that_may_have_been_meant() -> None:
    known = facts(due_at=DUE_AT, is_watched_past_due=True, waits_until=DUE_AT + 50)
    assert status_of(known, DUE_AT + 49) is Status.UNPAID
    assert status_of(known, DUE_AT + 50) is Status.EXPIRED


def test_what_holds_a_part_does_not_expire() -> None:
    known = facts(payment(received_atomic=1), due_at=DUE_AT, is_watched_past_due=True)
    assert status_of(known, DUE_AT) is Status.UNPAID


def test_a_part_after_expiry_makes_it_unpaid_again_and_expiry_is_told_once() -> None:
    known = facts(due_at=DUE_AT, is_watched_past_due=True)
    part = payment(received_atomic=1)
    shop = Told()
    assert shop.look(known, DUE_AT) == [("invoice_expired", "Expired", None)]
    # Time is over, so too little is told at once.
    came = replace(known, payments=(part,))
    assert shop.look(came, DUE_AT) == [("invoice_underpaid", "Unpaid", 1)]
    went = replace(known, payments=(replace(part, gone_at=9),))
    assert shop.look(went, DUE_AT) == []
    assert shop.standing.status is Status.EXPIRED


# --- late money -------------------------------------------------------------------------------


def test_late_money_counts_at_the_lower_value_and_is_paid_late() -> None:
    worth_less = final_payment(arrived_at=LATE, arrival_value=Fraction(98))
    assert status_of(facts(worth_less)) is Status.UNPAID
    assert conditions_of(facts(worth_less)) == ["underpaid"]
    worth_more = final_payment(arrived_at=LATE, arrival_value=Fraction(120))
    assert status_of(facts(worth_more)) is Status.PAID
    assert conditions_of(facts(worth_more)) == ["paid_late"]
    assert assess(facts(worth_more), 10).standing.final == 100


def test_late_money_without_a_rate_is_seen_and_never_final() -> None:
    held = facts(final_payment(arrived_at=LATE, arrival_value=None))
    standing = assess(held, 10).standing
    assert standing.status is Status.CONFIRMING
    assert (standing.seen, standing.final) == (Fraction(100), Fraction(0))


def test_late_by_less_than_one_per_cent_is_paid() -> None:
    near = final_payment(arrived_at=LATE, arrival_value=Fraction("99.01"))
    assert status_of(facts(near)) is Status.PAID
    assert conditions_of(facts(near)) == ["paid_late"]
    one_per_cent = replace(near, arrival_value=Fraction(99))
    assert status_of(facts(one_per_cent)) is Status.UNPAID


def test_money_in_time_is_not_late_for_what_came_on_top() -> None:
    both = facts(final_payment(1), final_payment(2, arrived_at=LATE))
    assert conditions_of(both) == ["overpaid"]
    shop = Told()
    assert ("invoice_paid_late", "Paid", 2) not in shop.look(both)


def test_paid_late_is_told_with_the_payment_that_completed_it() -> None:
    late = payment(2, arrived_at=LATE)
    shop = Told()
    assert shop.look(facts(late)) == [("payment_detected", "Confirming", 2)]
    deep = replace(late, is_mined=True, depth=3, final_at=LATE + 1)
    assert shop.look(facts(deep)) == [
        ("payment_confirmed", "Paid", 2),
        ("invoice_paid_late", "Paid", 2),
    ]


# --- cancelling -------------------------------------------------------------------------------


def test_a_cancelled_invoice_that_is_paid_after_all() -> None:
    shop = Told()
    cancelled = facts(cancelled_at=5)
    assert shop.look(cancelled) == [("invoice_cancelled", "Cancelled", None)]
    late = payment(arrived_at=5 + 2 * MINUTE_MS + 1)
    assert shop.look(replace(cancelled, payments=(late,))) == [
        ("payment_detected", "Confirming", 1)
    ]
    deep = replace(late, is_mined=True, depth=3, final_at=9)
    assert shop.look(replace(cancelled, payments=(deep,))) == [
        ("payment_confirmed", "Paid", 1),
        ("invoice_paid_late", "Paid", 1),
    ]
    lost = replace(deep, is_mined=False, depth=0, gone_at=11)
    assert shop.look(replace(cancelled, payments=(lost,))) == [
        ("payment_reversed", "Cancelled", 1),
        ("payment_failed", "Unpaid", 1),
    ]
    assert shop.standing.status is Status.CANCELLED


def test_what_pays_a_cancelled_invoice_is_late_within_the_grace_too() -> None:
    """It counts at its price, and the shop hears that it pays what had been cancelled."""
    known = facts(final_payment(arrived_at=6), cancelled_at=5)
    assert status_of(known) is Status.PAID
    assert conditions_of(known) == ["paid_late"]
    assert assess(known, 10).standing.final == 100


def test_a_cancelled_invoice_may_hold_a_part_of_the_money() -> None:
    known = facts(final_payment(received_atomic=1), cancelled_at=5)
    assert status_of(known) is Status.CANCELLED
    assert conditions_of(known) == ["underpaid"]


def test_a_cancelled_invoice_does_not_expire() -> None:
    known = facts(cancelled_at=5, due_at=DUE_AT, is_watched_past_due=True)
    assert status_of(known, DUE_AT) is Status.CANCELLED


# --- too much ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "tolerance", "received_atomic", "is_over"),
    [
        ("USD", "0.00", 1_000_100, False),  # by one minor unit
        ("USD", "0.00", 1_000_101, True),
        ("USD", "0.50", 1_005_000, False),  # by the tolerance
        ("USD", "0.50", 1_005_001, True),
        ("JPY", "0", 1_010_000, False),
        ("JPY", "0", 1_010_001, True),
        ("KWD", "0.000", 1_000_010, False),
        ("KWD", "0.000", 1_000_011, True),
    ],
)
def test_overpaid_is_more_than_can_be_overlooked(
    currency: str, tolerance: str, received_atomic: int, *, is_over: bool
) -> None:
    paid = final_payment(received_atomic=received_atomic)
    known = facts(paid, currency=currency, tolerance=Decimal(tolerance))
    assert status_of(known) is Status.PAID
    assert conditions_of(known) == (["overpaid"] if is_over else [])
    told = [kind for kind, _, _ in Told().look(known)]
    assert told == ["payment_confirmed"] + is_over * ["invoice_overpaid"]


def test_of_what_was_cancelled_too_little_money_is_told_when_it_is_final() -> None:
    shop = Told()
    ended = {"due_at": DUE_AT, "cancelled_at": 5, "is_watched_past_due": True}
    half = payment(received_atomic=500_000)
    assert shop.look(facts(half, **ended), DUE_AT + 1) == [("invoice_cancelled", "Cancelled", None)]
    deep = final_payment(received_atomic=500_000)
    assert shop.look(facts(deep, **ended), DUE_AT + 2) == [("invoice_underpaid", "Cancelled", 1)]


def test_overpaid_is_a_matter_of_final_money() -> None:
    known = facts(final_payment(1), payment(2))
    assert conditions_of(known) == []
    shop = Told()
    shop.look(known)
    deep = facts(final_payment(1), final_payment(2))
    assert shop.look(deep) == [("invoice_overpaid", "Paid", 2)]


def test_overpaid_names_the_extra_payment_though_another_is_under_way() -> None:
    known = facts(final_payment(1), final_payment(2), payment(3))
    assert assess(known, 10).causes[EventType.OVERPAID] == 2


# --- marked by hand ---------------------------------------------------------------------------


def test_a_mark_pays_and_has_a_payment_id_of_its_own() -> None:
    shop = Told()
    assert shop.look(facts(marked_at=5, mark_id=77)) == [("payment_confirmed", "Paid", 77)]
    assert shop.exceptions() == ["marked"]


def test_money_after_a_mark_is_too_much_and_told_when_it_is_final() -> None:
    marked = facts(marked_at=5, mark_id=77)
    shop = Told()
    shop.look(marked)
    before_it = payment(1, arrived_at=5)
    assert shop.look(replace(marked, payments=(before_it,))) == []
    after_it = payment(2, arrived_at=6, received_atomic=1)
    assert shop.look(replace(marked, payments=(before_it, after_it))) == []
    assert shop.exceptions() == ["overpaid", "marked"]
    deep = replace(after_it, is_mined=True, depth=3, final_at=7)
    assert shop.look(replace(marked, payments=(before_it, deep))) == [
        ("invoice_overpaid", "Paid", 2)
    ]


def test_too_little_is_not_told_of_what_was_marked() -> None:
    part = final_payment(received_atomic=500_000)
    known = facts(part, marked_at=5, mark_id=77, due_at=6, is_watched_past_due=True)
    standing = assess(known, 10).standing
    assert standing.conditions == (Condition.MARKED, Condition.UNDERPAID)
    assert standing.notices == frozenset()


def test_what_was_marked_is_neither_late_nor_reversed() -> None:
    lost = final_payment(1, gone_at=9, arrived_at=LATE)
    known = facts(lost, marked_at=5, mark_id=77)
    assert conditions_of(known) == ["marked"]


# --- too little -------------------------------------------------------------------------------


def test_too_little_is_told_when_it_is_final() -> None:
    part = {"received_atomic": 300_000}
    shop = Told()
    assert shop.look(facts(payment(1, **part))) == []
    assert shop.exceptions() == ["underpaid"]
    assert shop.look(facts(final_payment(1, **part))) == [("invoice_underpaid", "Unpaid", 1)]
    # More is on its way, and it is not enough either: told again when it has come.
    assert shop.look(facts(final_payment(1, **part), payment(2, **part))) == []
    both = facts(final_payment(1, **part), final_payment(2, **part))
    assert shop.look(both) == [("invoice_underpaid", "Unpaid", 2)]


def test_too_little_is_told_when_time_is_over_and_not_while_a_chain_is_behind() -> None:
    known = facts(payment(received_atomic=300_000), due_at=DUE_AT)
    shop = Told()
    assert shop.look(known, DUE_AT) == []
    watched = replace(known, is_watched_past_due=True)
    assert shop.look(watched, DUE_AT - 1) == []
    assert shop.look(watched, DUE_AT) == [("invoice_underpaid", "Unpaid", 1)]


# --- reorgs and conflicts ---------------------------------------------------------------------


def test_a_reorg_takes_a_payment_out_and_brings_it_back() -> None:
    deep = final_payment(1)
    in_mempool = replace(deep, is_mined=False, depth=0)
    gone = replace(in_mempool, gone_at=50)
    shop = Told()
    assert shop.look(facts(deep)) == [("payment_confirmed", "Paid", 1)]
    assert shop.look(facts(in_mempool)) == [
        ("payment_reversed", "Confirming", 1),
        ("payment_detected", "Confirming", 1),
    ]
    assert shop.exceptions() == ["reversed"]
    assert shop.look(facts(gone)) == [("payment_failed", "Unpaid", 1)]
    assert shop.exceptions() == ["reversed"]
    assert shop.look(facts(in_mempool)) == [("payment_detected", "Confirming", 1)]
    assert shop.look(facts(deep)) == [("payment_confirmed", "Paid", 1)]
    assert shop.exceptions() == []


def test_a_part_that_a_reorg_took_is_reversed_too() -> None:
    part = final_payment(received_atomic=500_000, is_mined=False, depth=0)
    assert conditions_of(facts(part)) == ["reversed", "underpaid"]


def test_a_loss_that_leaves_enough_changes_nothing() -> None:
    lost = final_payment(2, gone_at=9)
    assert status_of(facts(final_payment(1), lost)) is Status.PAID
    assert conditions_of(facts(final_payment(1), lost)) == []


def test_of_two_transactions_that_spend_one_outpoint_one_counts() -> None:
    spends = frozenset({"coin:0"})
    old = payment(1, spends=spends)
    new = payment(2, spends=spends, received_atomic=400_000)
    shop = Told()
    assert shop.look(facts(old)) == [("payment_detected", "Confirming", 1)]
    # The replacement pays less: the one that was displaced is the one that failed.
    assert shop.look(facts(old, new)) == [("payment_failed", "Unpaid", 1)]
    assert shop.standing.seen == 40
    mined = replace(old, is_mined=True, depth=1)
    assert shop.look(facts(mined, new)) == [("payment_detected", "Confirming", 1)]


def test_a_reversal_names_what_sank_and_not_what_was_lost_long_ago() -> None:
    lost = payment(1, gone_at=9)
    sunk = final_payment(2, is_mined=False, depth=0)
    causes = assess(facts(lost, sunk), 10).causes
    assert (causes[EventType.REVERSED], causes[EventType.FAILED]) == (2, 1)
    sunk_first = final_payment(3, is_mined=False, depth=0, final_at=1)
    assert assess(facts(lost, sunk, sunk_first), 10).causes[EventType.REVERSED] == 2
    causes = assess(facts(lost, replace(sunk, received_atomic=1)), 10).causes
    assert causes[EventType.REVERSED] == 1


def test_a_failure_names_the_last_one_to_go() -> None:
    first_gone, last_gone = payment(1, gone_at=30), payment(2, gone_at=20)
    assert assess(facts(first_gone, last_gone), 40).causes[EventType.FAILED] == 1
    displaced = payment(3, spends=frozenset({"coin:0"}))
    better = payment(4, spends=frozenset({"coin:0"}))
    known = facts(first_gone, last_gone, displaced, better)
    assert assess(known, 40).causes[EventType.FAILED] == 3


def test_confirmed_names_the_payment_that_was_the_last_to_be_deep() -> None:
    slow = final_payment(1, received_atomic=500_000, final_at=99)
    fast = final_payment(2, received_atomic=500_000, final_at=50)
    assert assess(facts(slow, fast), 100).causes[EventType.CONFIRMED] == 1
    # One without a time has become final in this very look.
    just_now = replace(fast, final_at=None)
    assert assess(facts(slow, just_now), 100).causes[EventType.CONFIRMED] == 2


def test_detected_names_the_payment_that_is_not_final() -> None:
    early = payment(1, received_atomic=500_000)
    deep = final_payment(2, received_atomic=500_000)
    assert assess(facts(early, deep), 10).causes[EventType.DETECTED] == 1


def test_an_invoice_without_payments_has_no_causes() -> None:
    found: Assessment = assess(facts(), 10)
    assert set(found.causes.values()) == {None}


def test_many_payments_are_assessed_in_no_time() -> None:
    """Dust costs its sender little; it must not cost the server a quadratic time."""
    dust = [final_payment(n, received_atomic=1) for n in range(1, 5_001)]
    started_s = time.process_time()
    found = assess(facts(*dust), 10)
    assert time.process_time() - started_s < 2
    assert found.standing.final == Fraction(1, 2)
