"""Crediting a transfer to an invoice: at which price, and how deep it must be to be final."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from counterfoil.core import money
from counterfoil.core.payment import counted
from counterfoil.core.ports import Method
from counterfoil.db import payments
from counterfoil.db.engine import Connection
from counterfoil.db.quotes import Quote
from counterfoil.services.context import Context


@dataclass(frozen=True, slots=True)
class Came:
    """A transfer as it is credited; `rate` is what a coin cost then, None where nobody knew."""

    transfer_id: int
    method: Method
    amount_atomic: int
    arrived_at: int
    rate: Decimal | None

    @property
    def worth(self) -> Fraction | None:
        """What it was worth when it came."""
        if self.rate is None:
            return None
        return money.to_fiat(self.amount_atomic, self.rate, self.method.decimals)


def credit(
    connection: Connection,
    context: Context,
    invoice_id: int,
    amount: Decimal,
    came: Came,
    price: Quote | Fraction,
    now: int,
) -> int:
    """Credit a transfer to an invoice of `amount` and return the new payment's id.

    `price` is the quote that it pays, or what it is worth where no quote says it.
    """
    if isinstance(price, Quote):
        per_atomic = Fraction(price.fiat) / price.amount_atomic
    else:
        per_atomic = price / came.amount_atomic
    coins = _coins_at_stake(connection, invoice_id, amount, came, per_atomic)
    rate, worth = came.rate, came.worth
    return payments.insert_payment(
        connection,
        invoice_id=invoice_id,
        transfer_id=came.transfer_id,
        price=price.id if isinstance(price, Quote) else price,
        arrived_at=came.arrived_at,
        arrival=None if rate is None or worth is None else (rate, worth),
        depth_needed=context.methods.chain_of(came.method).confirmations.needed(coins),
        now=now,
    )


def _coins_at_stake(
    connection: Connection, invoice_id: int, amount: Decimal, came: Came, per_atomic: Fraction
) -> Fraction:
    """Return what a reorg could take, in whole coins: the invoice, or what came if that is more.

    Fiat is turned into coin at the payment's own price, so no rate is needed now.
    """
    known = payments.list_credited(connection, invoice_id, {})
    seen = came.amount_atomic * per_atomic
    for earlier in counted([item.payment for item in known]):
        seen += earlier.quoted_value
    return Fraction(max(Fraction(amount), seen) / per_atomic, 10**came.method.decimals)
