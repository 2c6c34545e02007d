"""The life of an invoice: one pure function from facts to status.

`assess` never reads the old status. The same facts give the same answer, in any order and any
number of times, so a reorg, a repeated message or a restart is nothing special. `MOVES` is the
table of all moves between two assessments and of the events that tell of them; the diagram in
docs/architecture.md is generated from it, and a test makes every move in it and no other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from counterfoil.core import money
from counterfoil.core.payment import Payment, counted, credit


class Status(StrEnum):
    """The status of an invoice (wire contract, section 3)."""

    UNPAID = "Unpaid"
    CONFIRMING = "Confirming"
    PAID = "Paid"
    EXPIRED = "Expired"
    CANCELLED = "Cancelled"


class Condition(StrEnum):
    """What is unusual about an invoice, in the order in which it is told."""

    REVERSED = "reversed"
    OVERPAID = "overpaid"
    MARKED = "marked"
    PAID_LATE = "paid_late"
    UNDERPAID = "underpaid"


class Notice(StrEnum):
    """What may be told beside the status, each once for as long as it holds."""

    UNDERPAID = "underpaid"
    OVERPAID = "overpaid"
    PAID_LATE = "paid_late"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class EventType(StrEnum):
    """What a shop can be told (wire contract, section 5)."""

    DETECTED = "payment_detected"
    CONFIRMED = "payment_confirmed"
    FAILED = "payment_failed"
    REVERSED = "payment_reversed"
    UNDERPAID = "invoice_underpaid"
    OVERPAID = "invoice_overpaid"
    PAID_LATE = "invoice_paid_late"
    EXPIRED = "invoice_expired"
    CANCELLED = "invoice_cancelled"
    INBOX = "inbox_received"


_UNPAID_LIKE = (Status.UNPAID, Status.EXPIRED, Status.CANCELLED)

MOVES = MappingProxyType(
    {
        **{(old, Status.CONFIRMING): (EventType.DETECTED,) for old in _UNPAID_LIKE},
        **{(old, Status.PAID): (EventType.CONFIRMED,) for old in _UNPAID_LIKE},
        (Status.CONFIRMING, Status.PAID): (EventType.CONFIRMED,),
        **{(Status.CONFIRMING, new): (EventType.FAILED,) for new in _UNPAID_LIKE},
        (Status.PAID, Status.CONFIRMING): (EventType.REVERSED, EventType.DETECTED),
        **{(Status.PAID, new): (EventType.REVERSED, EventType.FAILED) for new in _UNPAID_LIKE},
        (Status.UNPAID, Status.EXPIRED): (),
        (Status.UNPAID, Status.CANCELLED): (),
        # A part of the money came after the end: what holds money is not expired. Or another amount
        # than was asked for had come before it, and was seen only now.
        (Status.EXPIRED, Status.UNPAID): (),
        (Status.EXPIRED, Status.CANCELLED): (),
    }
)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an assessment depends on besides the clock.

    `tolerance` is less than `amount`. `mark_id` is the payment id of a settlement by hand.
    `is_watched_past_due` is whether every chain on which an amount was shown has been watched past
    `due_at`; `waits_until` is the end of the time in which it does not expire, because somebody may
    have paid it another amount than it asked for. `taken_id` is the payment or the mark that the
    merchant has just taken away: it is the cause of what is told, and of no status.
    """

    amount: Decimal
    currency: str
    tolerance: Decimal
    due_at: int | None
    cancelled_at: int | None
    marked_at: int | None
    mark_id: int | None
    is_watched_past_due: bool
    waits_until: int | None
    payments: tuple[Payment, ...]
    taken_id: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an invoice stands; what is saved of an assessment."""

    status: Status
    conditions: tuple[Condition, ...]
    notices: frozenset[Notice]
    seen: Fraction
    final: Fraction


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the facts mean, and which payment is the cause of each kind of event."""

    standing: Standing
    causes: Mapping[EventType, int | None]


@dataclass(frozen=True, slots=True)
class _Reckoning:
    """The payments by what they count for, and what they add up to.

    `present` are those that count, `settled` those of them that are final, `shallow` those that
    once were deep enough and are not now, `extra` those that came after a settlement by hand;
    `lost` are those that do not count. `excess` is final money beyond what can be overlooked.
    """

    present: tuple[Payment, ...]
    settled: tuple[Payment, ...]
    shallow: tuple[Payment, ...]
    extra: tuple[Payment, ...]
    lost: tuple[Payment, ...]
    seen: Fraction
    final: Fraction
    in_time: Fraction
    need: Fraction
    excess: Fraction
    is_over: bool


NEW = Standing(Status.UNPAID, (), frozenset(), Fraction(0), Fraction(0))


def assess(facts: Facts, now: int) -> Assessment:
    """Return what `facts` mean at `now`."""
    sums = _reckon(facts, now)
    status = _status(facts, sums)
    conditions = _conditions(facts, sums, status)
    notices = _notices(facts, sums, status, conditions)
    standing = Standing(status, conditions, notices, sums.seen, sums.final)
    return Assessment(standing, _causes(facts, sums, status))


def _reckon(facts: Facts, now: int) -> _Reckoning:
    """Sort the payments and add up their credits."""
    deadlines = [at for at in (facts.due_at, facts.cancelled_at) if at is not None]
    present = counted(facts.payments)
    worth = {p.id: credit(p, deadlines) for p in present}
    settled = tuple(p for p in present if p.is_deep and worth[p.id].is_settled)
    final = sum((worth[p.id].value for p in settled), Fraction(0))
    marked_at = facts.marked_at
    slack = max(facts.tolerance, money.minor_unit(facts.currency))
    return _Reckoning(
        present=present,
        settled=settled,
        shallow=tuple(p for p in present if p.final_at is not None and not p.is_deep),
        extra=tuple(p for p in present if marked_at is not None and p.arrived_at > marked_at),
        lost=tuple(p for p in facts.payments if p.id not in worth),
        seen=sum((worth[p.id].value for p in present), Fraction(0)),
        final=final,
        in_time=sum((worth[p.id].value for p in present if not worth[p.id].is_late), Fraction(0)),
        need=Fraction(facts.amount) - Fraction(facts.tolerance),
        excess=max(final - Fraction(facts.amount) - Fraction(slack), Fraction(0)),
        is_over=_is_over(facts, now),
    )


def _is_over(facts: Facts, now: int) -> bool:
    """Tell whether time is over: nothing that came in time can still be unknown to us."""
    if facts.due_at is None or now < facts.due_at or not facts.is_watched_past_due:
        return False
    return facts.waits_until is None or now >= facts.waits_until


def _status(facts: Facts, sums: _Reckoning) -> Status:
    """Return the first status that holds; the order is the rule."""
    if facts.marked_at is not None or sums.final >= sums.need:
        return Status.PAID
    if sums.seen >= sums.need:
        return Status.CONFIRMING
    if facts.cancelled_at is not None:
        return Status.CANCELLED
    if sums.is_over and sums.seen == 0:
        return Status.EXPIRED
    return Status.UNPAID


def _conditions(facts: Facts, sums: _Reckoning, status: Status) -> tuple[Condition, ...]:
    """Return all that is unusual, in the order of `Condition`."""
    is_paid = status is Status.PAID
    is_marked = facts.marked_at is not None
    # What pays in full after all what was cancelled is late, also within the minutes of grace.
    is_late = facts.cancelled_at is not None or sums.in_time < sums.need
    is_sunk = bool(sums.shallow) or any(p.final_at is not None for p in sums.lost)
    holds = {
        # A payment that a reorg took out of its block is reversed too, until it is deep again.
        Condition.REVERSED: not is_paid and is_sunk,
        Condition.OVERPAID: sums.excess > 0 or bool(sums.extra),
        Condition.MARKED: is_marked,
        # What was settled by hand was not settled by late money.
        Condition.PAID_LATE: is_paid and not is_marked and is_late,
        Condition.UNDERPAID: 0 < sums.seen < sums.need,
    }
    return tuple(condition for condition in Condition if holds[condition])


def _notices(
    facts: Facts, sums: _Reckoning, status: Status, conditions: Sequence[Condition]
) -> frozenset[Notice]:
    """Return what may be told: of money that is final, or of a time that is over."""
    # Nobody need mend what was settled by hand.
    is_short = Condition.UNDERPAID in conditions and status is not Status.PAID
    # The clock asks no more about what was cancelled, so that is told of when its money is final.
    is_over = sums.is_over and status is Status.UNPAID
    holds = {
        Notice.UNDERPAID: is_short and (sums.seen == sums.final or is_over),
        Notice.OVERPAID: sums.excess > 0 or any(p.is_deep for p in sums.extra),
        Notice.PAID_LATE: Condition.PAID_LATE in conditions,
        Notice.EXPIRED: status is Status.EXPIRED,
        Notice.CANCELLED: facts.cancelled_at is not None,
    }
    return frozenset(notice for notice in Notice if holds[notice])


def _causes(facts: Facts, sums: _Reckoning, status: Status) -> dict[EventType, int | None]:
    """Return the id of the payment behind each kind of event, were it told now."""
    settled_ids = {p.id for p in sums.settled}
    waiting = [p for p in sums.present if p.id not in settled_ids]
    lost = facts.taken_id or _last(sums.lost, lambda p: p.gone_at)
    completing = _last(sums.settled, lambda p: p.final_at)
    # While it is confirming the money is there, only less deep than it was; else it has gone.
    sunk = _last(sums.shallow, lambda p: p.final_at) if status is Status.CONFIRMING else None
    return {
        EventType.DETECTED: _last(waiting),
        EventType.CONFIRMED: facts.mark_id if facts.marked_at is not None else completing,
        EventType.FAILED: lost,
        EventType.REVERSED: lost if sunk is None else sunk,
        EventType.UNDERPAID: _last(sums.present),
        EventType.OVERPAID: _last(sums.extra or sums.settled),
        EventType.PAID_LATE: completing,
    }


def _last(
    payments: Sequence[Payment], time: Callable[[Payment], int | None] = lambda p: p.arrived_at
) -> int | None:
    """Return the payment with the latest time; what has no time yet has just happened."""

    def rank(payment: Payment) -> tuple[bool, int, int, int]:
        at = time(payment)
        return (at is None, at or 0, payment.arrived_at, payment.id)

    return max(payments, key=rank).id if payments else None
