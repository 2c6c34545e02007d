"""The inbox: transfers that pay no quote. What is credited by hand leaves it, and may come back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.inbox import NEAR_MS, Asked, Unasked
from counterfoil.core.invoice import Status
from counterfoil.core.matching import Kind, Reason
from counterfoil.core.payment import GRACE_MS
from counterfoil.core.ports import Mode
from counterfoil.core.quote import Rate
from counterfoil.db.payments import rate_from
from counterfoil.db.schema import (
    chain_transaction,
    claim,
    destination,
    inbox,
    invoice,
    payment,
    quote,
    transfer,
)

# Of what was asked for in the day before a transfer came, so many quotes are compared with it: the
# newest of its own address, and the newest of all.
_NEAR_MAX = 200
# Of the invoices without a price so many are looked through.
_UNASKED_READ = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """A transfer in the inbox, with all that is shown of it.

    `rates` is what a whole coin cost when it came, in the currencies that were asked about then.
    """

    id: int
    transfer_id: int
    reason: Reason
    created_at: int
    ignored_at: int | None
    chain: str
    txid: str
    place: int
    method: str
    amount_atomic: int
    destination_id: int
    address: str
    kind: Kind
    rates: Mapping[str, Rate]
    first_seen_at: int
    block_height: int | None
    gone_at: int | None


@dataclass(frozen=True, slots=True)
class NewItem:
    """A transfer that pays no quote; `rates` is as in `Item`."""

    merchant_id: int
    mode: Mode
    transfer_id: int
    reason: Reason
    rates: Mapping[str, Rate]


_SET_RATES = (
    sa.update(transfer)
    .where(transfer.c.id == sa.bindparam("transfer"))
    .values(rates=sa.bindparam("known_rates"))
)
_INSERT = sa.insert(inbox).returning(inbox.c.id, inbox.c.transfer_id)


def insert_all(connection: sa.Connection, new: Sequence[NewItem], now: int) -> dict[int, int]:
    """Keep transfers where their merchants find them; return their ids there, by transfer."""
    rates = [
        {"transfer": each.transfer_id, "known_rates": _rates_text(each.rates)}
        for each in new
        if each.rates
    ]
    if rates:
        connection.execute(_SET_RATES, rates)
    rows = [
        {
            "merchant_id": each.merchant_id,
            "mode": each.mode.value,
            "transfer_id": each.transfer_id,
            "reason": each.reason.value,
            "created_at": now,
        }
        for each in new
    ]
    return {row.transfer_id: row.id for row in connection.execute(_INSERT, rows)}


def get_rates(connection: sa.Connection, transfer_id: int) -> dict[str, Rate]:
    """Return what a coin cost when a transfer came, as far as that was written down."""
    statement = sa.select(transfer.c.rates).where(transfer.c.id == transfer_id)
    return rates_from(connection.execute(statement).scalar_one())


def _rates_text(rates: Mapping[str, Rate]) -> str:
    kept = {each: [str(rate.price), rate.sources, rate.at] for each, rate in rates.items()}
    return json.dumps(kept, sort_keys=True)


def rates_from(text: str | None) -> dict[str, Rate]:
    """Return the rates, by currency, that were written down for a transfer."""
    kept = json.loads(text or "{}")
    return {each: Rate(Decimal(price), tuple(who), at) for each, (price, who, at) in kept.items()}


def list_page(
    connection: sa.Connection,
    merchant_id: int,
    mode: Mode,
    *,
    is_ignored: bool,
    after: int | None,
    limit: int,
) -> list[Item]:
    """Return what waits in the inbox, or what was ignored; what came in last goes first."""
    statement = _items(merchant_id, mode).order_by(inbox.c.id.desc()).limit(limit)
    ignored_at = inbox.c.ignored_at
    statement = statement.where(ignored_at.is_not(None) if is_ignored else ignored_at.is_(None))
    if after is not None:
        statement = statement.where(inbox.c.id < after)
    return [_item(row) for row in connection.execute(statement).mappings()]


def take(connection: sa.Connection, item_id: int, merchant_id: int, mode: Mode) -> Item | None:
    """Take a transfer of a merchant out of the inbox and return it, None if it is not there.

    Of two who take it at once one gets it: the other waits for the end of the first's transaction.
    """
    found = find(connection, item_id, merchant_id, mode)
    if found is None:
        return None
    taken = connection.execute(sa.delete(inbox).where(inbox.c.id == item_id))
    return found if taken.rowcount == 1 else None


def find(connection: sa.Connection, item_id: int, merchant_id: int, mode: Mode) -> Item | None:
    """Return a transfer of a merchant in the inbox, None if it is not there."""
    statement = _items(merchant_id, mode).where(inbox.c.id == item_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else _item(row)


def ignore(connection: sa.Connection, item_id: int, now: int) -> bool:
    """Set a transfer aside; return whether that is new."""
    changed = connection.execute(
        sa.update(inbox)
        .where(inbox.c.id == item_id, inbox.c.ignored_at.is_(None))
        .values(ignored_at=now)
    )
    return changed.rowcount == 1


def _items(merchant_id: int, mode: Mode) -> sa.Select[Any]:
    return (
        sa.select(
            inbox,
            transfer.c.place,
            transfer.c.method,
            transfer.c.amount_atomic,
            transfer.c.rates,
            transfer.c.destination_id,
            chain_transaction.c.chain,
            chain_transaction.c.txid,
            chain_transaction.c.first_seen_at,
            chain_transaction.c.block_height,
            chain_transaction.c.gone_at,
            destination.c.address,
            destination.c.kind,
        )
        .join(transfer, transfer.c.id == inbox.c.transfer_id)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .join(destination, destination.c.id == transfer.c.destination_id)
        .where(inbox.c.merchant_id == merchant_id, inbox.c.mode == mode.value)
    )


def _item(row: sa.RowMapping) -> Item:
    return Item(
        id=row["id"],
        transfer_id=row["transfer_id"],
        reason=Reason(row["reason"]),
        created_at=row["created_at"],
        ignored_at=row["ignored_at"],
        chain=row["chain"],
        txid=row["txid"],
        place=row["place"],
        method=row["method"],
        amount_atomic=int(row["amount_atomic"]),
        destination_id=row["destination_id"],
        address=row["address"],
        kind=Kind(row["kind"]),
        rates=rates_from(row["rates"]),
        first_seen_at=row["first_seen_at"],
        block_height=row["block_height"],
        gone_at=row["gone_at"],
    )


# --- taking a payment back ---------------------------------------------------------------------


def find_invoice_of(
    connection: sa.Connection, payment_id: int, merchant_id: int, mode: Mode
) -> int | None:
    """Return the invoice of a merchant to which a payment is credited, None where it is to none."""
    statement = (
        sa.select(payment.c.invoice_id)
        .join(invoice, invoice.c.id == payment.c.invoice_id)
        .where(
            payment.c.id == payment_id,
            payment.c.detached_at.is_(None),
            invoice.c.merchant_id == merchant_id,
            invoice.c.mode == mode.value,
        )
    )
    return connection.execute(statement).scalar_one_or_none()


def detach(connection: sa.Connection, payment_id: int, now: int) -> tuple[int, Rate | None] | None:
    """Take a payment off its invoice; return its transfer and the rate when that came.

    None where it has been taken off already: of two who do it at once one gets it.
    """
    statement = (
        sa.update(payment)
        .where(payment.c.id == payment_id, payment.c.detached_at.is_(None))
        .values(detached_at=now)
        .returning(payment)
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    rate = None
    if row["arrival_rate"] is not None:
        rate = rate_from(row["arrival_rate"], row["arrival_rate_sources"], row["arrival_rate_at"])
    return row["transfer_id"], rate


# --- what it may have been meant for -----------------------------------------------------------


def list_asked(connection: sa.Connection, merchant_id: int, mode: Mode, item: Item) -> list[Asked]:
    """Return what a merchant's invoices asked for, as far as a transfer may be meant for it.

    At whatever time: the exact amount, everything at an address of one invoice alone, and what
    payers have claimed. In the day before it came: all the rest.
    """
    is_here = quote.c.destination_id == item.destination_id
    # The key of an index: at a shared address thousands of other amounts are not looked at.
    is_exact = sa.and_(
        is_here,
        quote.c.method == item.method,
        quote.c.amount_atomic == str(item.amount_atomic),
    )
    is_near = quote.c.created_at.between(
        item.first_seen_at - NEAR_MS, item.first_seen_at + GRACE_MS
    )
    claimed = _list_claimed(connection, item)
    # No index of a merchant's invoices or of an address may lead (`+ 0` keeps them out): newest
    # first, quotes are read off the index of times until there are enough. Else all of a busy day
    # is read and sorted, or by a PostgreSQL that knows nothing of its tables yet, read again and
    # again.
    is_ours = sa.exists().where(
        invoice.c.id == quote.c.invoice_id,
        invoice.c.merchant_id + 0 == merchant_id,
        invoice.c.mode == mode.value,
    )
    is_near_here = sa.and_(is_near, quote.c.destination_id + 0 == item.destination_id)
    found: dict[int, Asked] = {}
    for condition in (
        is_here if item.kind is Kind.EXCLUSIVE else is_exact,
        quote.c.invoice_id.in_(claimed),
        is_near_here,
        is_near,
    ):
        newest = (
            sa.select(quote.c.id)
            .where(condition, is_ours)
            .order_by(quote.c.created_at.desc(), quote.c.id.desc())
            .limit(_NEAR_MAX)
        )
        statement = (
            sa.select(quote, invoice.c.status, invoice.c.due_at, invoice.c.fiat_currency)
            .join(invoice, invoice.c.id == quote.c.invoice_id)
            .where(quote.c.id.in_(newest))
        )
        for row in connection.execute(statement).mappings():
            found[row["id"]] = _asked(row, is_claimed=row["invoice_id"] in claimed)
    return list(found.values())


def _list_claimed(connection: sa.Connection, item: Item) -> set[int]:
    """Return the invoices whose payers have named a transfer's transaction."""
    named = sa.select(claim.c.invoice_id).where(claim.c.txid == item.txid)
    return set(connection.execute(named).scalars())


def list_unasked(
    connection: sa.Connection, merchant_id: int, mode: Mode, item: Item
) -> list[Unasked]:
    """Return the invoices for which a transfer may have come before they had any price.

    They name its address, or their payers its transaction: those are paid by whoever knows the
    address from elsewhere. Of a merchant's invoices the newest are looked at.
    """
    claimed = _list_claimed(connection, item)
    is_ours = (invoice.c.merchant_id == merchant_id, invoice.c.mode == mode.value)
    newest = sa.select(invoice.c.id).where(*is_ours).order_by(invoice.c.id.desc())
    until = item.first_seen_at + GRACE_MS
    had_a_price = sa.exists().where(quote.c.invoice_id == invoice.c.id, quote.c.created_at <= until)
    names_address = sa.and_(
        invoice.c.id.in_(newest.limit(_UNASKED_READ)),
        # Some addresses are written in capitals or not, as it pleases.
        sa.func.lower(invoice.c.wallet_address) == (item.address or "").lower(),
    )
    found: dict[int, Unasked] = {}
    for condition in (names_address, invoice.c.id.in_(claimed)):
        # `+ 0`, or all of a merchant's invoices are read in the order of its index.
        statement = (
            sa.select(invoice)
            .where(condition, invoice.c.merchant_id + 0 == merchant_id, *is_ours[1:])
            .where(invoice.c.created_at <= until, ~had_a_price)
            .order_by((invoice.c.id + 0).desc())
            .limit(_NEAR_MAX)
        )
        for row in connection.execute(statement).mappings():
            found[row["id"]] = Unasked(
                invoice_id=row["id"],
                status=Status(row["status"]),
                due_at=row["due_at"],
                currency=row["fiat_currency"],
                fiat=Decimal(row["fiat_amount"]),
                created_at=row["created_at"],
                is_claimed=row["id"] in claimed,
            )
    return list(found.values())


def _asked(row: sa.RowMapping, *, is_claimed: bool) -> Asked:
    return Asked(
        invoice_id=row["invoice_id"],
        status=Status(row["status"]),
        due_at=row["due_at"],
        currency=row["fiat_currency"],
        fiat=Decimal(row["fiat"]),
        method=row["method"],
        amount_atomic=int(row["amount_atomic"]),
        destination_id=row["destination_id"],
        created_at=row["created_at"],
        lock_until=row["lock_until"],
        is_claimed=is_claimed,
    )
