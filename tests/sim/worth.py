"""What the payments of an invoice are worth, told from the rows by other code than the server's."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

_GRACE_MS = 120_000


@dataclass(frozen=True, slots=True)
class Credit:
    """One payment: where it stands on the chain, and its fiat value.

    What came late without a rate, or is held by the merchant, `is_waiting` and settles nothing.
    """

    txid: str
    place: int
    block_height: int | None
    is_gone: bool
    depth_needed: int
    value: Fraction
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class Account:
    """An invoice: how it stands, what it needs, and its payments.

    `seen` and `final` are the sums that the server saved.
    """

    status: str
    seen: Fraction
    final: Fraction
    is_marked: bool
    need: Fraction
    credits: list[Credit] = field(default_factory=list)

    def settled(self, depth_of: Callable[[Credit], int]) -> Fraction:
        """Return what is as deep as it must be and settles the invoice."""
        deep = (each for each in self.credits if depth_of(each) >= each.depth_needed)
        return sum((each.value for each in deep if not each.is_waiting), Fraction(0))

    def is_paid(self, depth_of: Callable[[Credit], int]) -> bool:
        """Tell whether it is Paid, by hand or by money."""
        return self.is_marked or self.settled(depth_of) >= self.need


def list_accounts(rows: Callable[[str], list[Any]]) -> dict[int, Account]:
    """Return the invoices by their ids; `rows` runs a statement."""
    accounts: dict[int, Account] = {}
    deadlines: dict[int, list[int]] = {}
    for invoice_id, status, seen, final, amount, tolerance, marked_at, *ends in rows(_INVOICES):
        need = Fraction(Decimal(amount) - Decimal(tolerance))
        sums = Fraction(seen), Fraction(final)
        accounts[invoice_id] = Account(status, *sums, marked_at is not None, need)
        deadlines[invoice_id] = [at for at in ends if at is not None]
    for invoice_id, *row in rows(_CREDITS):
        accounts[invoice_id].credits.append(_credit(row, deadlines[invoice_id]))
    return accounts


def _credit(row: list[Any], deadlines: list[int]) -> Credit:
    """Apply the rule for late money: the lower of two values, unless they hardly differ."""
    txid, place, height, gone_at, needed, received, typed, *quoted, at, then, is_held = row
    asked, fiat, due, lock_until = quoted
    assert due is None, "no coin of the worlds has a least amount that is worth a minor unit"
    assert typed is not None or asked is not None, f"{txid} has no price"
    exact = Fraction(Decimal(fiat)) * int(received) / int(asked) if typed is None else typed
    value, is_waiting = Fraction(ceil(Fraction(exact) * 10**30), 10**30), False
    if typed is None and at > min([lock_until, *deadlines]) + _GRACE_MS:
        is_waiting = then is None or bool(is_held)
        lower = value if is_waiting else min(value, Fraction(then))
        value = value if value - lower < value / 100 else lower
    return Credit(txid, place, height, gone_at is not None, needed, value, is_waiting)


_INVOICES = """
    SELECT id, status, seen, final, fiat_amount, tolerance, marked_at, due_at, cancelled_at
    FROM invoice
"""
_CREDITS = """
    SELECT p.invoice_id, x.txid, t.place, x.block_height, x.gone_at, p.depth_needed,
           t.amount_atomic, p.value, q.amount_atomic, q.fiat, q.due, q.lock_until,
           p.arrived_at, p.arrival_value, p.is_held
    FROM payment p
    JOIN transfer t ON t.id = p.transfer_id
    JOIN chain_transaction x ON x.id = t.transaction_id
    LEFT JOIN quote q ON q.id = p.quote_id
    WHERE p.detached_at IS NULL
"""
