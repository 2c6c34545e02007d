"""A payment: a transfer credited to an invoice, and what it is worth.

All the facts here are frozen when they are made, except for what the chain says now (`is_gone`,
`is_mined`, `depth`), so the same facts give the same credit whenever they are looked at.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from counterfoil.core import money

# A payer who pressed "send" in time is not late because of the last minute of the way.
GRACE_MS = 2 * 60_000
# Where the rate has moved by less than this, lateness has cost the merchant nothing worth a word.
_MOVED_LEAST = Fraction(1, 100)


class LateMoney(StrEnum):
    """What a merchant wants to become of money that comes late.

    It counts for the lower of two values, or it is held: seen, and final only once the merchant has
    credited it by hand.
    """

    ACCEPT = "accept"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Payment:
    """What is known of one payment.

    `quoted_atomic` of the coin were asked for `quoted_fiat` until `lock_until`, of which only
    `due_fiat` was due where that is set: less could not be sent. `received_atomic` came in at
    `arrived_at`, worth `arrival_value` in fiat then (None if there was no rate, or the merchant's
    policy holds late money). It is final at `depth_needed` confirmations; `final_at` is when that
    was first so, and stays. An outpoint of `spends` names its chain too: one account may use the
    same nonce on two chains.
    """

    id: int
    txid: str
    spends: frozenset[str]
    quoted_atomic: int
    quoted_fiat: Decimal | Fraction
    due_fiat: Decimal | None
    lock_until: int
    received_atomic: int
    arrived_at: int
    arrival_value: Fraction | None
    is_mined: bool
    depth: int
    depth_needed: int
    final_at: int | None
    gone_at: int | None

    @property
    def is_deep(self) -> bool:
        """Whether the chain holds it as deep as it must be now; in none, where none is asked."""
        return self.depth_needed == 0 or (self.is_mined and self.depth >= self.depth_needed)

    @property
    def quoted_value(self) -> Fraction:
        """What it counts for at its quote: its share of the fiat that was asked for.

        Where more had to be asked for than was due, no more than was due counts of what pays it or
        less; any larger amount is somebody's own choice, and all of it counts.
        """
        exact = Fraction(self.quoted_fiat) * self.received_atomic / self.quoted_atomic
        share = money.ceil_value(exact)
        if self.due_fiat is not None and self.received_atomic <= self.quoted_atomic:
            return min(share, Fraction(self.due_fiat))
        return share


@dataclass(frozen=True, slots=True)
class Credit:
    """What a payment counts for: fiat value, lateness, and whether it can ever be final."""

    value: Fraction
    is_late: bool
    is_settled: bool


def credit(payment: Payment, deadlines: Collection[int]) -> Credit:
    """Return what a payment counts for, given the invoice's deadlines (due, cancelled).

    In time: its value at the quote. Late: the lower of that and its value at arrival, unless the
    two differ by less than 1 %. Late without a rate is seen but not final: nobody guesses.
    """
    deadline = min((payment.lock_until, *deadlines))
    quoted = payment.quoted_value
    if payment.arrived_at <= deadline + GRACE_MS:
        return Credit(quoted, is_late=False, is_settled=True)
    if payment.arrival_value is None:
        return Credit(quoted, is_late=True, is_settled=False)
    if abs(quoted - payment.arrival_value) < quoted * _MOVED_LEAST:
        return Credit(quoted, is_late=True, is_settled=True)
    return Credit(min(quoted, payment.arrival_value), is_late=True, is_settled=True)


class Progress(StrEnum):
    """How far a payment has come; a rival counts in place of one that is displaced."""

    SEEN = "seen"
    CONFIRMING = "confirming"
    FINAL = "final"
    GONE = "gone"
    DISPLACED = "displaced"


def progress(payment: Payment, worth: Credit | None) -> Progress:
    """Return how far a payment has come; `worth` is None where a rival of it is `counted`."""
    if payment.gone_at is not None:
        return Progress.GONE
    if worth is None:
        return Progress.DISPLACED
    if payment.is_deep and worth.is_settled:
        return Progress.FINAL
    return Progress.CONFIRMING if payment.is_mined else Progress.SEEN


def counted(payments: Sequence[Payment]) -> tuple[Payment, ...]:
    """Return the payments that count: not gone, and not displaced by a rival.

    Of transactions that spend one outpoint one counts: the mined one, else the newest; ties, as of
    a raised fee with what it raises, go by transaction id. Transactions are taken from the best
    down, and one that spends what a better one has spent is left out.
    """
    parts: dict[str, list[Payment]] = {}
    for payment in payments:
        if payment.gone_at is None:
            parts.setdefault(payment.txid, []).append(payment)

    def rank(txid: str) -> tuple[bool, int, str]:
        mined = any(part.is_mined for part in parts[txid])
        return (mined, max(part.arrived_at for part in parts[txid]), txid)

    spent: set[str] = set()
    counting: list[Payment] = []
    for txid in sorted(parts, key=rank, reverse=True):
        # Each part is a transfer of the whole transaction, which spends the same for all of them.
        spends = parts[txid][0].spends
        if spent.isdisjoint(spends):
            spent |= spends
            counting += parts[txid]
    return tuple(counting)
