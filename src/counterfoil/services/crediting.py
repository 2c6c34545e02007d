"""Crediting transfers to invoices: at which price, and how deep they must be to be final."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from counterfoil.core import money
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.payment import LateMoney, counted
from counterfoil.core.ports import Method
from counterfoil.core.quote import Rate
from counterfoil.db import confirmations, payments
from counterfoil.db.engine import Connection
from counterfoil.db.payments import Worth
from counterfoil.services.context import Context
from counterfoil.services.rates import worth_at


@dataclass(frozen=True, slots=True)
class Came:
    """A transfer as it is credited; `rate` is the one of then, None where there was none."""

    transfer_id: int
    method: Method
    amount_atomic: int
    arrived_at: int
    rate: Rate | None

    @property
    def worth(self) -> Worth | None:
        """What it was worth when it came."""
        return worth_at(self.rate, self.method, self.amount_atomic)


@dataclass(frozen=True, slots=True)
class Price:
    """A coin's price for one transfer, and the quote that says it: None where none does."""

    per_atomic: Fraction
    quote_id: int | None

    @classmethod
    def quoted(cls, quote_id: int, fiat: Decimal, amount_atomic: int) -> "Price":
        """Return the price of a quote."""
        return cls(Fraction(fiat) / amount_atomic, quote_id)


@dataclass(frozen=True, slots=True)
class NewCredit:
    """A transfer that is to be credited to a merchant's invoice of `amount`.

    `late_money` is what becomes of it if it came late; a merchant who credits by hand accepts it.
    """

    merchant_id: int
    invoice_id: int
    amount: Decimal
    came: Came
    price: Price
    late_money: LateMoney


def credit_all(
    connection: Connection, context: Context, new: Sequence[NewCredit], now: int
) -> dict[int, int]:
    """Credit transfers to invoices; return the payments' ids by transfer.

    What an invoice holds is read once: one transaction may pay it thousands of times. Two chains
    that pay one invoice in the same moment do not see each other: then what is more than the
    invoice need be no deeper than the invoice itself. Its lock is not worth that.
    """
    if not new:
        return {}
    policies = confirmations.list_of_merchants(connection, {each.merchant_id for each in new})
    invoice_ids = {each.invoice_id for each in new}
    known = payments.list_deciding(connection, invoice_ids)
    seen = {invoice_id: _value(known.get(invoice_id, ())) for invoice_id in invoice_ids}
    rows = []
    for each in new:
        # In their order: the depth that one needs depends on those that came before it.
        seen[each.invoice_id] += money.ceil_value(each.came.amount_atomic * each.price.per_atomic)
        rows.append(_payment(context, each, seen[each.invoice_id], policies))
    return payments.insert_payments(connection, rows, now)


def _value(known: Iterable[payments.Credited]) -> Fraction:
    """Return what payments of an invoice count for at their prices."""
    return sum(
        (each.quoted_value for each in counted([item.payment for item in known])), Fraction(0)
    )


def _payment(
    context: Context,
    new: NewCredit,
    seen: Fraction,
    policies: Mapping[tuple[int, str], Confirmations],
) -> payments.NewPayment:
    """Return what a transfer is to its invoice, `seen` being the value of what came up to it.

    It must be as deep as its merchant's policy asks, or the chain's where there is none. At stake
    is what a reorg could take: the invoice, or what came if that is more. Fiat is turned into coin
    at the payment's own price, so no rate is needed now.
    """
    came, price = new.came, new.price
    policy = policies.get((new.merchant_id, came.method.id))
    at_stake = max(Fraction(new.amount), seen) / price.per_atomic
    coins = Fraction(at_stake, 10**came.method.decimals)
    return payments.NewPayment(
        invoice_id=new.invoice_id,
        transfer_id=came.transfer_id,
        quote_id=price.quote_id,
        value=came.amount_atomic * price.per_atomic if price.quote_id is None else None,
        arrived_at=came.arrived_at,
        arrival=came.worth,
        is_held=new.late_money is LateMoney.HOLD,
        depth_needed=(policy or context.methods.chain_of(came.method).confirmations).needed(coins),
    )
