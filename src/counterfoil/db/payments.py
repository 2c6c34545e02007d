"""What the chains showed: transactions, their transfers, and what each transfer pays."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import sqlalchemy as sa

from counterfoil.core import payment as core_payment
from counterfoil.core.confirmations import CONFIRMATIONS_MAX
from counterfoil.core.ports import Block, Transaction, Transfer
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    payment,
    quote,
    transfer,
)
from counterfoil.db.sql import chunks, insert_new


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction that touches a destination of ours."""

    id: int
    txid: str
    spends: frozenset[str]
    first_seen_at: int
    block_height: int | None
    block_hash: str | None
    unknown_since: int | None
    gone_at: int | None


def _transaction(row: sa.RowMapping) -> StoredTransaction:
    return StoredTransaction(
        row["id"],
        row["txid"],
        frozenset(json.loads(row["spends"])),
        row["first_seen_at"],
        row["block_height"],
        row["block_hash"],
        row["unknown_since"],
        row["gone_at"],
    )


_FIND = sa.select(chain_transaction).where(
    chain_transaction.c.chain == sa.bindparam("chain"),
    chain_transaction.c.txid.in_(sa.bindparam("txids", expanding=True)),
)


def find_transactions(
    connection: sa.Connection, chain: str, txids: Collection[str]
) -> dict[str, StoredTransaction]:
    """Return those of some transactions that are known, by their txid."""
    return {
        row["txid"]: _transaction(row)
        for some in chunks(txids)
        for row in connection.execute(_FIND, {"chain": chain, "txids": some}).mappings()
    }


_PENDING = sa.select(chain_transaction).where(
    chain_transaction.c.chain == sa.bindparam("chain"), chain_transaction.c.block_height.is_(None)
)


def list_pending(connection: sa.Connection, chain: str) -> list[StoredTransaction]:
    """Return the known transactions of a chain that are in no block, gone ones included."""
    rows = connection.execute(_PENDING, {"chain": chain}).mappings()
    return [_transaction(row) for row in rows]


_INSERT_TRANSACTIONS = sa.insert(chain_transaction).returning(
    chain_transaction.c.id, chain_transaction.c.txid
)


def insert_transactions(
    connection: sa.Connection,
    chain: str,
    seen: Iterable[tuple[Transaction, int]],
    block: Block | None,
) -> dict[str, int]:
    """Add transactions, each with the time of its arrival, and return their ids by txid."""
    rows = [
        {
            "chain": chain,
            "txid": transaction.txid,
            "spends": json.dumps(transaction.spends),
            "first_seen_at": arrived_at,
            "block_height": block.height if block else None,
            "block_hash": block.hash if block else None,
        }
        for transaction, arrived_at in seen
    ]
    if not rows:
        return {}
    return {row.txid: row.id for row in connection.execute(_INSERT_TRANSACTIONS, rows)}


def set_place(
    connection: sa.Connection, transaction_ids: Collection[int], block: Block | None
) -> None:
    """Record where transactions are: in a block, or waiting for one. Seen, they are not gone."""
    for some in chunks(transaction_ids):
        connection.execute(
            sa.update(chain_transaction)
            .where(chain_transaction.c.id.in_(some))
            .values(
                block_height=block.height if block else None,
                block_hash=block.hash if block else None,
                unknown_since=None,
                gone_at=None,
            )
        )


def set_gone(connection: sa.Connection, transaction_id: int, now: int) -> None:
    """Record that a transaction has lost its place to another one, or has been dropped."""
    connection.execute(
        sa.update(chain_transaction)
        .where(chain_transaction.c.id == transaction_id, chain_transaction.c.gone_at.is_(None))
        .values(gone_at=now)
    )


def set_unknown_since(connection: sa.Connection, transaction_id: int, at: int | None) -> None:
    """Record since when the node has not known a transaction."""
    connection.execute(
        sa.update(chain_transaction)
        .where(chain_transaction.c.id == transaction_id)
        .values(unknown_since=at)
    )


def unconfirm_above(connection: sa.Connection, chain: str, height: int) -> list[int]:
    """Take the transactions above a height out of their blocks and return their ids.

    They are unconfirmed, not gone: the new branch usually holds them too.
    """
    above = (chain_transaction.c.chain == chain, chain_transaction.c.block_height > height)
    ids = list(connection.execute(sa.select(chain_transaction.c.id).where(*above)).scalars())
    if ids:
        connection.execute(
            sa.update(chain_transaction).where(*above).values(block_height=None, block_hash=None)
        )
    return ids


def insert_transfers(
    connection: sa.Connection, seen: Iterable[tuple[int, Transfer, int]]
) -> dict[tuple[int, int], int]:
    """Add transfers, each with the ids of its transaction and its destination.

    Return the ids of those that are new, by transaction and place: the others were matched when
    they came.
    """
    rows = [
        {
            "transaction_id": transaction_id,
            "place": each.index,
            "destination_id": destination_id,
            "method": each.method,
            "amount_atomic": str(each.amount_atomic),
            "tag": each.tag,
        }
        for transaction_id, each, destination_id in seen
    ]
    insert = insert_new(connection, transfer)
    new = connection.execute(
        insert.returning(transfer.c.id, transfer.c.transaction_id, transfer.c.place), rows
    )
    return {(row.transaction_id, row.place): row.id for row in new}


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A transfer that is credited to an invoice.

    `price` is the quote that says what it is worth, or its value where none does; `arrival_rate` is
    what a coin cost when it arrived, and `arrival_value` what it counts for if it came late.
    """

    invoice_id: int
    transfer_id: int
    price: int | Fraction
    arrived_at: int
    arrival_rate: Decimal | None
    arrival_value: Fraction | None
    depth_needed: int


_INSERT_PAYMENTS = sa.insert(payment).returning(payment.c.id, payment.c.transfer_id)


def insert_payments(
    connection: sa.Connection, new: Iterable[NewPayment], now: int
) -> dict[int, int]:
    """Credit transfers to invoices; return the payments' ids by transfer."""
    rows = []
    for each in new:
        rate, worth = each.arrival_rate, each.arrival_value
        is_quoted = isinstance(each.price, int)
        rows.append(
            {
                "invoice_id": each.invoice_id,
                "transfer_id": each.transfer_id,
                "quote_id": each.price if is_quoted else None,
                "value": None if is_quoted else _fraction(Fraction(each.price)),
                "created_at": now,
                "arrived_at": each.arrived_at,
                "arrival_rate": None if rate is None else str(rate),
                "arrival_value": None if worth is None else _fraction(worth),
                "depth_needed": each.depth_needed,
            }
        )
    return {row.transfer_id: row.id for row in connection.execute(_INSERT_PAYMENTS, rows)}


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


_RECEIVED = (
    sa.select(chain_transaction.c.txid, transfer.c.place, destination.c.merchant_id)
    .join(transfer, transfer.c.transaction_id == chain_transaction.c.id)
    .join(destination, destination.c.id == transfer.c.destination_id)
    .where(
        chain_transaction.c.chain == sa.bindparam("chain"),
        chain_transaction.c.txid.in_(sa.bindparam("txids", expanding=True)),
    )
)


def list_owners(connection: sa.Connection, chain: str, outpoints: Iterable[str]) -> dict[str, int]:
    """Return the merchants to whom the money of some outpoints came, by outpoint."""
    places: dict[tuple[str, int], str] = {}
    for outpoint in outpoints:
        txid, _, place = outpoint.rpartition(":")
        if place.isdecimal():
            places[txid, int(place)] = outpoint
    return {
        places[row.txid, row.place]: row.merchant_id
        for some in chunks(sorted({txid for txid, _ in places}))
        for row in connection.execute(_RECEIVED, {"chain": chain, "txids": some})
        if (row.txid, row.place) in places
    }


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
_RIPE = (
    sa.select(payment.c.invoice_id)
    .join(transfer, transfer.c.id == payment.c.transfer_id)
    .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
    .where(
        payment.c.detached_at.is_(None),
        chain_transaction.c.chain == sa.bindparam("chain"),
        sa.or_(
            sa.and_(payment.c.final_at.is_(None), _RIPE_AT <= _HEIGHT),
            sa.and_(chain_transaction.c.block_height > sa.bindparam("above"), _RIPE_AT == _HEIGHT),
        ),
    )
)


def list_ripe(connection: sa.Connection, chain: str, height: int) -> set[int]:
    """Return the invoices with a payment that becomes as deep as it must be at `height`.

    One that was that deep before, and was thrown back by a reorg, becomes so once more.
    """
    asked = {"chain": chain, "height": height, "above": height - CONFIRMATIONS_MAX}
    return set(connection.execute(_RIPE, asked).scalars())


def set_final(connection: sa.Connection, payment_ids: Collection[int], now: int) -> None:
    """Record when payments were first as deep as they must be; once set it stays."""
    for some in chunks(payment_ids):
        connection.execute(
            sa.update(payment)
            .where(payment.c.id.in_(some), payment.c.final_at.is_(None))
            .values(final_at=now)
        )


@dataclass(frozen=True, slots=True)
class Credited:
    """A payment with all that is shown of it."""

    payment: core_payment.Payment
    method: str
    chain: str
    place: int
    address: str
    first_seen_at: int
    block_height: int | None


_CREDITED = (
    sa.select(
        payment,
        transfer.c.method,
        transfer.c.place,
        transfer.c.amount_atomic.label("received_atomic"),
        chain_transaction.c.chain,
        chain_transaction.c.txid,
        chain_transaction.c.spends,
        chain_transaction.c.first_seen_at,
        chain_transaction.c.block_height,
        chain_transaction.c.gone_at,
        quote.c.amount_atomic.label("quoted_atomic"),
        quote.c.fiat,
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


def list_credited(
    connection: sa.Connection, invoice_id: int, heights: Mapping[str, int]
) -> list[Credited]:
    """Return the payments of an invoice, the first to be credited first.

    `heights` are the cursors' heights by chain: depth is counted from them.
    """
    return list_credited_of(connection, [invoice_id], heights)[invoice_id]


def list_credited_of(
    connection: sa.Connection, invoice_ids: Collection[int], heights: Mapping[str, int]
) -> Mapping[int, list[Credited]]:
    """Return the payments of each of some invoices; see `list_credited`."""
    found: defaultdict[int, list[Credited]] = defaultdict(list)
    for some in chunks(invoice_ids):
        for row in connection.execute(_CREDITED, {"invoice_ids": some}).mappings():
            found[row["invoice_id"]].append(_credited(row, heights.get(row["chain"], 0)))
    return found


def _credited(row: sa.RowMapping, height: int) -> Credited:
    mined_at_height = row["block_height"]
    is_mined = mined_at_height is not None
    received_atomic = int(row["received_atomic"])
    if row["value"] is None:
        quoted_atomic, quoted_fiat = int(row["quoted_atomic"]), Fraction(row["fiat"])
        lock_until, arrival_value = row["lock_until"], row["arrival_value"]
    else:
        # As if this had been asked for what came, until it came: it is worth that, late or not.
        quoted_atomic, quoted_fiat = received_atomic, Fraction(row["value"])
        lock_until, arrival_value = row["arrived_at"], row["value"]
    return Credited(
        payment=core_payment.Payment(
            id=row["id"],
            txid=row["txid"],
            # An account and its nonce are the same on two chains, and no rivals for that.
            spends=frozenset(f"{row['chain']}:{spend}" for spend in json.loads(row["spends"])),
            quoted_atomic=quoted_atomic,
            quoted_fiat=quoted_fiat,
            lock_until=lock_until,
            received_atomic=received_atomic,
            arrived_at=row["arrived_at"],
            arrival_value=Fraction(arrival_value) if arrival_value else None,
            is_mined=is_mined,
            depth=height - mined_at_height + 1 if is_mined else 0,
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
    )
