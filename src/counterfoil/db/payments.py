"""What transfers pay: their credits to invoices, and what those were worth."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from counterfoil.core import payment as core_payment
from counterfoil.core.confirmations import CONFIRMATIONS_MAX
from counterfoil.core.quote import Rate
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    header,
    payment,
    quote,
    transfer,
)
from counterfoil.db.sql import chunks


@dataclass(frozen=True, slots=True)
class Worth:
    """What coin was worth at a moment, exactly, and the rate of that with its sources and time."""

    rate: Rate
    value: Fraction


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A transfer that is credited to an invoice.

    `quote_id` is that of the quote that says what it is worth, or `value` is that where none does;
    `arrival` is what it was worth when it came, which does not count where it `is_held` for having
    come late.
    """

    invoice_id: int
    transfer_id: int
    quote_id: int | None
    value: Fraction | None
    arrived_at: int
    arrival: Worth | None
    is_held: bool
    depth_needed: int


_INSERT_PAYMENTS = sa.insert(payment).returning(payment.c.id, payment.c.transfer_id)


def insert_payments(
    connection: sa.Connection, new: Iterable[NewPayment], now: int
) -> dict[int, int]:
    """Credit transfers to invoices; return the payments' ids by transfer."""
    rows = [
        {
            "invoice_id": each.invoice_id,
            "transfer_id": each.transfer_id,
            "quote_id": each.quote_id,
            "value": None if each.value is None else _fraction(each.value),
            "created_at": now,
            "arrived_at": each.arrived_at,
            "depth_needed": each.depth_needed,
            **_evidence("arrival", each.arrival),
            "is_held": each.is_held,
        }
        for each in new
    ]
    return {row.transfer_id: row.id for row in connection.execute(_INSERT_PAYMENTS, rows)}


def _evidence(moment: str, worth: Worth | None) -> dict[str, Any]:
    """Return the columns that keep what a payment was worth at a moment, and who says so."""
    names = (f"{moment}_{name}" for name in ("rate", "value", "rate_sources", "rate_at"))
    if worth is None:
        return dict.fromkeys(names)
    rate = worth.rate
    values = (str(rate.price), _fraction(worth.value), json.dumps(rate.sources), rate.at)
    return dict(zip(names, values, strict=True))


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


_INVOICES_OF = (
    sa.select(payment.c.invoice_id)
    .join(transfer, transfer.c.id == payment.c.transfer_id)
    .where(
        transfer.c.transaction_id.in_(sa.bindparam("transaction_ids", expanding=True)),
        payment.c.detached_at.is_(None),
    )
)


def list_invoices_of(connection: sa.Connection, transaction_ids: Collection[int]) -> set[int]:
    """Return the invoices that are credited with transfers of the transactions."""
    return {
        invoice_id
        for some in chunks(transaction_ids)
        for invoice_id in connection.execute(_INVOICES_OF, {"transaction_ids": some}).scalars()
    }


_HEIGHT = sa.bindparam("height", type_=sa.BigInteger)
_RIPE_AT = chain_transaction.c.block_height + payment.c.depth_needed - 1
# Two statements in one, for one condition on both tables would keep out the index of either. Those
# that are not final are few, but for those that are gone: they lead, and `concat` keeps the chain,
# which has had all payments there ever were, from leading.
_NOT_FINAL = (
    sa.select(payment.c.invoice_id)
    .join(transfer, transfer.c.id == payment.c.transfer_id)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .where(
        payment.c.final_at.is_(None),
        payment.c.detached_at.is_(None),
        chain_transaction.c.chain.concat("") == sa.bindparam("chain"),
        _RIPE_AT <= _HEIGHT,
    )
)
# Of all others the latest blocks lead, and the one payment of a transfer is looked up for each: a
# PostgreSQL without statistics takes them for a handful, and would begin with them.
_CREDIT = (
    sa.select(payment.c.invoice_id)
    .where(
        payment.c.transfer_id == transfer.c.id,
        payment.c.detached_at.is_(None),
        _RIPE_AT == _HEIGHT,
    )
    .correlate(transfer, chain_transaction)
    .scalar_subquery()
)
_IN_LATEST_BLOCKS = (
    sa.select(_CREDIT)
    .select_from(transfer)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .where(
        chain_transaction.c.chain == sa.bindparam("chain"),
        chain_transaction.c.block_height > sa.bindparam("above"),
    )
)
_RIPE = sa.union(_NOT_FINAL, _IN_LATEST_BLOCKS)


def list_ripe(connection: sa.Connection, chain: str, height: int) -> set[int]:
    """Return the invoices with a payment that becomes as deep as it must be at `height`.

    One that was that deep before, and was thrown back by a reorg, becomes so once more.
    """
    asked = {"chain": chain, "height": height, "above": height - CONFIRMATIONS_MAX}
    return {each for each in connection.execute(_RIPE, asked).scalars() if each is not None}


def set_final(connection: sa.Connection, worths: Mapping[int, Worth | None], now: int) -> None:
    """Record when payments were first as deep as they must be, and their worth then; it stays.

    `worths` are by the payments' ids, None where no rate was known.
    """
    evidence: dict[str, Any] = {
        name: sa.bindparam(f"new_{name}") for name in _evidence("final", None)
    }
    rows = [
        {f"new_{name}": value for name, value in _evidence("final", worth).items()} | {"paid": i}
        for i, worth in worths.items()
    ]
    statement = sa.update(payment).where(
        payment.c.id == sa.bindparam("paid"), payment.c.final_at.is_(None)
    )
    connection.execute(statement.values(final_at=now, **evidence), rows)


def rate_from(price: str, sources: str | None, at: int | None) -> Rate:
    """Return a rate; payments from before this was kept have no sources and no time of it."""
    return Rate(Decimal(price), tuple(json.loads(sources or "[]")), at or 0)


@dataclass(frozen=True, slots=True)
class Credited:
    """A payment with all that is shown of it.

    `unknown_since` is since when the node has not listed it, while it is in no block. `is_valued`
    says that no quote gave it its value, and `arrival_worth` what it was worth when it came, also
    where it `is_held` for having come late.
    """

    payment: core_payment.Payment
    method: str
    chain: str
    place: int
    address: str
    first_seen_at: int
    block_height: int | None
    unknown_since: int | None
    is_valued: bool
    is_held: bool
    arrival_worth: Fraction | None


# Depth is counted from the cursor of the payment's own chain, whatever its invoice asked for.
_CURSOR_HEIGHT = (
    sa.select(sa.func.max(header.c.height))
    .where(header.c.chain == chain_transaction.c.chain)
    .correlate(chain_transaction)
    .scalar_subquery()
)
_CREDITED = (
    sa.select(
        payment,
        _CURSOR_HEIGHT.label("cursor_height"),
        transfer.c.method,
        transfer.c.place,
        transfer.c.amount_atomic.label("received_atomic"),
        transfer.c.transaction_id,
        chain_transaction.c.chain,
        chain_transaction.c.txid,
        chain_transaction.c.first_seen_at,
        chain_transaction.c.block_height,
        chain_transaction.c.unknown_since,
        chain_transaction.c.gone_at,
        quote.c.amount_atomic.label("quoted_atomic"),
        quote.c.fiat,
        quote.c.due,
        quote.c.lock_until,
        destination.c.address,
    )
    .join(transfer, transfer.c.id == payment.c.transfer_id)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .outerjoin(quote, quote.c.id == payment.c.quote_id)
    .join(destination, destination.c.id == transfer.c.destination_id)
    .where(
        payment.c.invoice_id.in_(sa.bindparam("invoice_ids", expanding=True)),
        payment.c.detached_at.is_(None),
    )
    .order_by(payment.c.id)
)
# The order of `core.invoice`: of what is gone, the last one is the cause of what is told.
_PLACE_FROM_LAST = sa.func.row_number().over(
    partition_by=(payment.c.invoice_id, chain_transaction.c.gone_at.is_(None)),
    order_by=(
        chain_transaction.c.gone_at.desc(),
        payment.c.arrived_at.desc(),
        payment.c.id.desc(),
    ),
)
_EACH = _CREDITED.add_columns(_PLACE_FROM_LAST.label("place_from_last")).order_by(None).subquery()
_DECIDING = (
    sa.select(_EACH)
    .where(
        _EACH.c.gone_at.is_(None) | _EACH.c.final_at.is_not(None) | (_EACH.c.place_from_last == 1)
    )
    .order_by(_EACH.c.id)
)


def list_credited(connection: sa.Connection, invoice_id: int) -> list[Credited]:
    """Return the payments of an invoice, the first to be credited first."""
    rows = connection.execute(_CREDITED, {"invoice_ids": [invoice_id]}).mappings().all()
    spends = _list_spends(connection, rows)
    return [_credited(row, spends[row["transaction_id"]]) for row in rows]


def list_deciding(
    connection: sa.Connection, invoice_ids: Collection[int]
) -> Mapping[int, list[Credited]]:
    """Return the payments of each of some invoices that tell how it stands.

    Of those that are gone and never were final only the last is among them: whoever raises a fee
    again and again leaves thousands, which mean nothing any more.
    """
    found: defaultdict[int, list[Credited]] = defaultdict(list)
    for some in chunks(invoice_ids):
        rows = connection.execute(_DECIDING, {"invoice_ids": some}).mappings().all()
        spends = _list_spends(connection, rows)
        for row in rows:
            found[row["invoice_id"]].append(_credited(row, spends[row["transaction_id"]]))
    return found


_SPENDS = sa.select(
    chain_transaction.c.id, chain_transaction.c.chain, chain_transaction.c.spends
).where(chain_transaction.c.id.in_(sa.bindparam("transaction_ids", expanding=True)))


def _list_spends(
    connection: sa.Connection, paid: Iterable[sa.RowMapping]
) -> dict[int, frozenset[str]]:
    """Return what the transactions behind some payments spend, by their ids.

    Read once for all that one pays: with a thousand inputs and outputs there would be a million.
    """
    return {
        # An account and its nonce are the same on two chains, and no rivals for that.
        row.id: frozenset(f"{row.chain}:{spend}" for spend in json.loads(row.spends))
        for some in chunks({row["transaction_id"] for row in paid})
        for row in connection.execute(_SPENDS, {"transaction_ids": some})
    }


def _credited(row: sa.RowMapping, spends: frozenset[str]) -> Credited:
    mined_at_height = row["block_height"]
    is_mined = mined_at_height is not None
    received_atomic = int(row["received_atomic"])
    if row["value"] is None:
        quoted_atomic, quoted_fiat = int(row["quoted_atomic"]), Fraction(row["fiat"])
        lock_until = row["lock_until"]
        arrival_value = None if row["is_held"] else row["arrival_value"]
    else:
        # As if this had been asked for what came, until it came: it is worth that, late or not.
        quoted_atomic, quoted_fiat = received_atomic, Fraction(row["value"])
        lock_until, arrival_value = row["arrived_at"], row["value"]
    return Credited(
        payment=core_payment.Payment(
            id=row["id"],
            txid=row["txid"],
            spends=spends,
            quoted_atomic=quoted_atomic,
            quoted_fiat=quoted_fiat,
            due_fiat=Decimal(row["due"]) if row["due"] else None,
            lock_until=lock_until,
            received_atomic=received_atomic,
            arrived_at=row["arrived_at"],
            arrival_value=Fraction(arrival_value) if arrival_value else None,
            is_mined=is_mined,
            depth=row["cursor_height"] - mined_at_height + 1 if is_mined else 0,
            depth_needed=row["depth_needed"],
            final_at=row["final_at"],
            gone_at=row["gone_at"],
        ),
        method=row["method"],
        chain=row["chain"],
        place=row["place"],
        address=row["address"],
        first_seen_at=row["first_seen_at"],
        block_height=mined_at_height,
        unknown_since=row["unknown_since"],
        is_valued=row["value"] is not None,
        is_held=row["is_held"],
        arrival_worth=Fraction(row["arrival_value"]) if row["arrival_value"] else None,
    )
