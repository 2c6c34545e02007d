"""Crediting transfers to invoices: at which price, and how deep they must be to be final."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

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
    """Credit transfers to invoices; return the payments' ids by transfer."""
    made: dict[int, int] = {}
    merchants = {each.merchant_id for each in new}
    policies = confirmations.list_of_merchants(connection, merchants) if merchants else {}
    while new:
        # One to an invoice at a time: the depth that the next one needs depends on those before.
        first: dict[int, NewCredit] = {}
        for each in new:
            first.setdefault(each.invoice_id, each)
        known = payments.list_credited_of(connection, first)
        rows = [_payment(context, each, known.get(i, []), policies) for i, each in first.items()]
        made |= payments.insert_payments(connection, rows, now)
        new = [each for each in new if first[each.invoice_id] is not each]
    return made


def _payment(
    context: Context,
    new: NewCredit,
    known: Iterable[payments.Credited],
    policies: Mapping[tuple[int, str], Confirmations],
) -> payments.NewPayment:
    """Return what a transfer is to its invoice, `known` being the payments that came before it.

    It must be as deep as its merchant's policy asks, or the chain's where there is none.
    """
    came, price = new.came, new.price
    policy = policies.get((new.merchant_id, came.method.id))
    coins = _coins_at_stake(new, known)
    return payments.NewPayment(
        invoice_id=new.invoice_id,
        transfer_id=came.transfer_id,
        price=came.amount_atomic * price.per_atomic if price.quote_id is None else price.quote_id,
        arrived_at=came.arrived_at,
        arrival=came.worth,
        is_held=new.late_money is LateMoney.HOLD,
        depth_needed=(policy or context.methods.chain_of(came.method).confirmations).needed(coins),
    )


def _coins_at_stake(new: NewCredit, known: Iterable[payments.Credited]) -> Fraction:
    """Return what a reorg could take, in whole coins: the invoice, or what came if that is more.

    Fiat is turned into coin at the payment's own price, so no rate is needed now.
    """
    per_atomic = new.price.per_atomic
    seen = new.came.amount_atomic * per_atomic
    for earlier in counted([item.payment for item in known]):
        seen += earlier.quoted_value
    return Fraction(max(Fraction(new.amount), seen) / per_atomic, 10**new.came.method.decimals)
