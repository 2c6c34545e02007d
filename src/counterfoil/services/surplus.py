"""Money that is not the merchant's to keep, and how much of it was noted as sent back."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from counterfoil.core import money
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Credit
from counterfoil.db import refunds
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
from counterfoil.db.refunds import Refund
from counterfoil.services.case import Surplus
from counterfoil.services.context import Context

_KEPT = (Status.CONFIRMING, Status.PAID)


def find_surplus(
    connection: Connection,
    context: Context,
    invoice: Invoice,
    credited: Sequence[Credited],
    worth: Mapping[int, Credit],
    *,
    is_over: bool,
) -> Surplus | None:
    """Return what is too much of a paid invoice, or all that came of one whose time `is_over`.

    `worth` is what its payments count for, by their ids.
    """
    standing = invoice.standing
    if Condition.OVERPAID in standing.conditions:
        amount = _excess(invoice, credited, worth)
    elif is_over and standing.status not in _KEPT:
        amount = standing.seen
    else:
        return None
    notes = refunds.list_all(connection, invoice.id)
    noted = sum((_value(context, note, credited, worth) for note in notes), Fraction(0))

    def text(value: Fraction) -> str | None:
        rounded = money.floor_to_minor(value, invoice.currency)
        return str(rounded) if rounded > 0 else None

    whole = text(amount)
    if whole is None:
        return None
    is_final = standing.seen == standing.final
    return Surplus(whole, text(noted), text(amount - noted), is_final=is_final)


def _excess(
    invoice: Invoice, credited: Sequence[Credited], worth: Mapping[int, Credit]
) -> Fraction:
    """Return how much too much came; all that came after a mark, which settled the whole."""
    marked_at = invoice.marked_at
    if marked_at is None:
        return invoice.standing.final - Fraction(invoice.amount)
    after = [item.payment.id for item in credited if item.payment.arrived_at > marked_at]
    return sum((worth[each].value for each in after if each in worth), Fraction(0))


def _value(
    context: Context, note: Refund, credited: Sequence[Credited], worth: Mapping[int, Credit]
) -> Fraction:
    """Return what was sent back, coin at the price at which that coin counts in the invoice."""
    if note.method is None:
        return Fraction(Decimal(note.amount))
    method = context.methods.get(note.method)
    same = [item.payment for item in credited if item.method == note.method]
    counting = [payment for payment in same if payment.id in worth]
    paid = [payment for payment in counting if payment.id == note.payment_id] or counting
    if method is None or not paid:
        # Nobody knows: what is noted then is for the merchant to see in `invoice refunds`.
        return Fraction(0)
    value = sum((worth[payment.id].value for payment in paid), Fraction(0))
    received_atomic = sum(payment.received_atomic for payment in paid)
    return value * money.parse_coin(note.amount, method) / received_atomic
