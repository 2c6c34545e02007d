"""A second account of the rules, written from the design and as plainly as can be.

It shares no code with `core` and does not care for speed: what it says is compared with `assess`.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from counterfoil.core.invoice import Facts
from counterfoil.core.payment import Payment


@dataclass(frozen=True)
class Verdict:
    """What the model says of an invoice, in the contract's own words."""

    status: str
    exceptions: list[str]
    notices: set[str]
    seen: Fraction
    final: Fraction


def counts(one: Payment, everything: tuple[Payment, ...]) -> bool:
    """Tell whether a payment counts: it is there, and no rival that counts is better."""
    if one.gone_at is not None:
        return False
    for other in everything:
        if other.txid == one.txid or not other.spends & one.spends:
            continue
        if _merit(other, everything) > _merit(one, everything) and counts(other, everything):
            return False
    return True


def _merit(one: Payment, everything: tuple[Payment, ...]) -> tuple[bool, int, str]:
    whole = [p for p in everything if p.txid == one.txid and p.gone_at is None] or [one]
    return any(p.is_mined for p in whole), max(p.arrived_at for p in whole), one.txid


def is_late(one: Payment, facts: Facts) -> bool:
    """Tell whether a payment came over two minutes after any of its deadlines."""
    deadlines = [one.lock_until, facts.due_at, facts.cancelled_at]
    return any(at is not None and one.arrived_at - at > 120_000 for at in deadlines)


def worth(one: Payment, facts: Facts) -> Fraction:
    """Return the fiat value that a payment counts for."""
    exact = Fraction(one.quoted_fiat) * Fraction(one.received_atomic, one.quoted_atomic)
    quoted = Fraction(ceil(exact * 10**30), 10**30)
    if one.due_fiat is not None and not one.received_atomic > one.quoted_atomic:
        quoted = min(quoted, Fraction(one.due_fiat))
    if not is_late(one, facts) or one.arrival_value is None:
        return quoted
    if abs(1 - one.arrival_value / quoted) < Fraction("0.01"):
        return quoted
    return min(quoted, one.arrival_value)


def judge(facts: Facts, now: int) -> Verdict:
    """Return what the rules say of an invoice."""
    there = [p for p in facts.payments if counts(p, facts.payments)]
    deep = [p for p in there if not p.depth_needed or (p.is_mined and p.depth >= p.depth_needed)]
    settled = [p for p in deep if not (is_late(p, facts) and p.arrival_value is None)]
    seen = sum((worth(p, facts) for p in there), Fraction(0))
    final = sum((worth(p, facts) for p in settled), Fraction(0))
    in_time = sum((worth(p, facts) for p in there if not is_late(p, facts)), Fraction(0))
    amount, tolerance = Fraction(facts.amount), Fraction(facts.tolerance)
    is_over = facts.due_at is not None and facts.due_at <= now and facts.is_watched_past_due
    if facts.waits_until is not None and facts.waits_until > now:
        is_over = False
    marked = facts.marked_at is not None
    extra = [p for p in there if facts.marked_at is not None and p.arrived_at > facts.marked_at]
    too_much = final - amount > max(tolerance, Fraction("0.01"))
    too_little = 0 < seen < amount - tolerance

    if marked or final >= amount - tolerance:
        status = "Paid"
    elif seen >= amount - tolerance:
        status = "Confirming"
    elif facts.cancelled_at is not None:
        status = "Cancelled"
    elif is_over and not there:
        status = "Expired"
    else:
        status = "Unpaid"

    paid = status == "Paid"
    vanished = [p for p in facts.payments if p.final_at is not None and p not in deep]
    is_too_late = in_time < amount - tolerance or facts.cancelled_at is not None
    late = paid and not marked and is_too_late
    exceptions = {
        "reversed": bool(vanished) and not paid,
        "overpaid": too_much or bool(extra),
        "marked": marked,
        "paid_late": late,
        "underpaid": too_little,
    }
    notices = {
        "underpaid": too_little
        and not paid
        and (seen == final or (is_over and status == "Unpaid")),
        "overpaid": too_much or any(p in deep for p in extra),
        "paid_late": late,
        "expired": status == "Expired",
        "cancelled": facts.cancelled_at is not None,
    }
    return Verdict(
        status,
        [name for name, holds in exceptions.items() if holds],
        {name for name, holds in notices.items() if holds},
        seen,
        final,
    )
