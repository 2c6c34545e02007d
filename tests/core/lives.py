"""Payments and invoices to test with, and random lives of invoices made of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from counterfoil.core.events import happenings, told
from counterfoil.core.invoice import NEW, Assessment, Facts, Status, assess
from counterfoil.core.payment import Payment

MINUTE_MS = 60_000
LOCK_UNTIL = 15 * MINUTE_MS
DUE_AT = 60 * MINUTE_MS


def payment(number: int = 1, **changes: Any) -> Payment:
    """Return an exact payment of 100.00 that has just been seen, with `changes`."""
    plain = Payment(
        id=number,
        txid=f"tx{number}",
        spends=frozenset({f"spent{number}:0"}),
        quoted_atomic=1_000_000,
        quoted_fiat=Decimal("100.00"),
        due_fiat=None,
        lock_until=LOCK_UNTIL,
        received_atomic=1_000_000,
        arrived_at=number,
        arrival_value=Fraction(100),
        is_mined=False,
        depth=0,
        depth_needed=3,
        final_at=None,
        gone_at=None,
    )
    return replace(plain, **changes)


def final_payment(number: int = 1, **changes: Any) -> Payment:
    """Return a payment that is deep enough, with `changes`."""
    deep = {"is_mined": True, "depth": 3, "final_at": 1_000 + number}
    return payment(number, **{**deep, **changes})


def facts(*payments: Payment, **changes: Any) -> Facts:
    """Return the facts of an invoice of 100.00 USD without a due date, with `changes`."""
    plain = Facts(
        amount=Decimal("100.00"),
        currency="USD",
        tolerance=Decimal("0.00"),
        due_at=None,
        cancelled_at=None,
        marked_at=None,
        mark_id=None,
        is_watched_past_due=False,
        waits_until=None,
        payments=payments,
    )
    return replace(plain, **changes)


class Told:
    """An invoice as the service keeps it: looks at the facts and tells what has changed."""

    def __init__(self) -> None:
        self.standing = NEW

    def look(self, known: Facts, now: int = 10) -> list[tuple[str, str | None, int | None]]:
        return self.hear(assess(known, now))

    def hear(self, found: Assessment) -> list[tuple[str, str | None, int | None]]:
        events = happenings(self.standing, found)
        self.standing = replace(found.standing, notices=told(self.standing, found.standing))
        return [(str(event.type), event.status, event.payment_id) for event in events]

    def exceptions(self) -> list[str]:
        return [condition.value for condition in self.standing.conditions]


class Life:
    """A random life of an invoice; the same seed lives the same life.

    Whatever chains, the clock and the merchant may do happens, a few acts at a time, so that moves
    which need two changes at once are made too.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._made = 0
        self.now = self._random.choice((0, DUE_AT - MINUTE_MS, DUE_AT))
        self.facts = facts(
            amount=Decimal("10.00"),
            tolerance=self._random.choice((Decimal("0.00"), Decimal("0.05"))),
            due_at=self._random.choice((None, DUE_AT, DUE_AT)),
        )
        self._acts: tuple[Callable[[], None], ...] = (
            self._pay,
            self._pay,
            self._add_output,
            self._replace,
            self._mine,
            self._bury,
            self._bury,
            self._unmine,
            self._lose,
            self._lose_all,
            self._return,
            self._wait,
            self._wait,
            self._watch,
            self._watch,
            self._stray,
        )

    def steps(self, count: int) -> Iterator[tuple[Facts, int]]:
        """Yield the facts and the time after each step."""
        for _ in range(count):
            for _ in range(self._random.randint(1, 3)):
                self._random.choice(self._acts)()
            # These two end most stories, so they are rarer than the rest.
            if self._random.random() < 0.04:
                self._cancel()
            if self._random.random() < 0.02:
                self._mark()
            if self._random.random() < 0.06:
                self._take_away()
            yield self.facts, self.now
            # It was the cause of what was told just now, and of nothing later.
            self.facts = replace(self.facts, taken_id=None)

    def _pay(self) -> None:
        number = self._number()
        self._add(self._payment(number, f"tx{number}", frozenset({f"spent{number}:0"})))

    def _add_output(self) -> None:
        for one in self._some():
            self._add(self._payment(self._number(), one.txid, one.spends))

    def _replace(self) -> None:
        for one in self._some():
            number = self._number()
            spends = one.spends | {f"spent{number}:0"}
            self._add(self._payment(number, f"tx{self._random.randint(0, 9)}r{number}", spends))

    def _number(self) -> int:
        """Return an id that no payment has had."""
        self._made += 1
        return self._made

    def _payment(self, number: int, txid: str, spends: frozenset[str]) -> Payment:
        asked = self._random.choice((Decimal("10.00"), Decimal("5.00"), Decimal("3.33")))
        share = self._random.choice((1, 1, 1, 2, Fraction(1, 2), Fraction(199, 200)))
        due = self._random.choice((None, None, None, Decimal("1.50")))
        value = Fraction(asked) * share
        moved = self._random.choice((Fraction(1), Fraction(1, 2), Fraction(999, 1000), Fraction(2)))
        return payment(
            number,
            txid=txid,
            spends=spends,
            quoted_fiat=asked,
            due_fiat=due,
            received_atomic=int(1_000_000 * share),
            lock_until=self.now + self._random.choice((-5, -1, 15, 15)) * MINUTE_MS,
            arrived_at=self.now,
            arrival_value=self._random.choice((None, value * moved, value * moved)),
        )

    def _mine(self) -> None:
        for one in self._some():
            self._change(one, is_mined=True, depth=1, gone_at=None)

    def _bury(self) -> None:
        for one in self._some():
            final_at = self.now if one.final_at is None else one.final_at
            self._change(one, is_mined=True, depth=3, gone_at=None, final_at=final_at)

    def _unmine(self) -> None:
        for one in self._some():
            self._change(one, is_mined=False, depth=0)

    def _lose(self) -> None:
        for one in self._some():
            self._change(one, is_mined=False, depth=0, gone_at=self.now)

    def _lose_all(self) -> None:
        for one in self.facts.payments:
            self._change(one, is_mined=False, depth=0, gone_at=self.now)

    def _return(self) -> None:
        for one in self._some():
            self._change(one, gone_at=None)

    def _wait(self) -> None:
        self.now += self._random.choice((1, 5, 30)) * MINUTE_MS

    def _watch(self) -> None:
        due_at = self.facts.due_at
        if due_at is not None and self.now >= due_at:
            self.facts = replace(self.facts, is_watched_past_due=True)

    def _stray(self) -> None:
        """Let somebody send a wrong amount to the address."""
        if self.facts.due_at is not None and self.now <= self.facts.due_at:
            self.facts = replace(self.facts, waits_until=self.now + 40 * MINUTE_MS)

    def _cancel(self) -> None:
        # The service refuses to cancel what holds enough money.
        status = assess(self.facts, self.now).standing.status
        if self.facts.cancelled_at is None and status in (Status.UNPAID, Status.EXPIRED):
            self.facts = replace(self.facts, cancelled_at=self.now)

    def _mark(self) -> None:
        if self.facts.marked_at is None:
            self.facts = replace(self.facts, marked_at=self.now, mark_id=1_000)

    def _take_away(self) -> None:
        """Take the mark off or, without one, a payment."""
        if self.facts.marked_at is not None:
            taken_id = self.facts.mark_id
            self.facts = replace(self.facts, marked_at=None, mark_id=None, taken_id=taken_id)
            return
        for one in self._some():
            kept = tuple(p for p in self.facts.payments if p.id != one.id)
            self.facts = replace(self.facts, payments=kept, taken_id=one.id)

    def _some(self) -> list[Payment]:
        """Return one payment at random, or none if there is none."""
        return [self._random.choice(self.facts.payments)] if self.facts.payments else []

    def _add(self, one: Payment) -> None:
        self.facts = replace(self.facts, payments=(*self.facts.payments, one))

    def _change(self, one: Payment, **changes: Any) -> None:
        """Change all payments of the transaction: the chain knows no less."""
        payments = tuple(
            replace(p, **changes) if p.txid == one.txid else p for p in self.facts.payments
        )
        self.facts = replace(self.facts, payments=payments)
