"""What the chains showed: transactions, their transfers, and what each transfer pays."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import sqlalchemy as sa

from counterfoil.core import payment as core_payment
from counterfoil.core.confirmations import CONFIRMATIONS_MAX
from counterfoil.core.ports import Block, Mode, Transaction, Transfer
from counterfoil.db.quotes import CHUNK
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    invoice,
    payment,
    quote,
    transfer,
)


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


def get_transaction(connection: sa.Connection, chain: str, txid: str) -> StoredTransaction | None:
    """Return a known transaction."""
    statement = sa.select(chain_transaction).where(
        chain_transaction.c.chain == chain, chain_transaction.c.txid == txid
    )
    row = connection.execute(statement).mappings().first()
    return _transaction(row) if row else None


def list_pending(connection: sa.Connection, chain: str) -> list[StoredTransaction]:
    """Return the known transactions of a chain that are in no block, gone ones included."""
    statement = sa.select(chain_transaction).where(
        chain_transaction.c.chain == chain, chain_transaction.c.block_height.is_(None)
    )
    return [_transaction(row) for row in connection.execute(statement).mappings()]


def insert_transaction(
    connection: sa.Connection,
    chain: str,
    seen: Transaction,
    arrived_at: int,
    block: Block | None,
) -> int:
    """Add a transaction and return its id."""
    statement = (
        sa.insert(chain_transaction)
        .values(
            chain=chain,
            txid=seen.txid,
            spends=json.dumps(seen.spends),
            first_seen_at=arrived_at,
            block_height=block.height if block else None,
            block_hash=block.hash if block else None,
        )
        .returning(chain_transaction.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def set_place(connection: sa.Connection, transaction_id: int, block: Block | None) -> None:
    """Record where a transaction is: in a block, or waiting for one. Seen, it is not gone."""
    connection.execute(
        sa.update(chain_transaction)
        .where(chain_transaction.c.id == transaction_id)
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


def insert_transfer(
    connection: sa.Connection, transaction_id: int, seen: Transfer, destination_id: int
) -> int | None:
    """Add a transfer and return its id, None if it is known: it was matched when it came."""
    known = sa.select(transfer.c.id).where(
        transfer.c.transaction_id == transaction_id, transfer.c.place == seen.index
    )
    if connection.execute(known).first() is not None:
        return None
    statement = (
        sa.insert(transfer)
        .values(
            transaction_id=transaction_id,
            place=seen.index,
            destination_id=destination_id,
            method=seen.method,
            amount_atomic=str(seen.amount_atomic),
            tag=seen.tag,
        )
        .returning(transfer.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def insert_payment(
    connection: sa.Connection,
    *,
    invoice_id: int,
    transfer_id: int,
    price: int | Fraction,
    arrived_at: int,
    arrival: tuple[Decimal, Fraction] | None,
    depth_needed: int,
    now: int,
) -> int:
    """Credit a transfer to an invoice and return the payment's id.

    `price` is the quote that says what it is worth, or its value where none does; `arrival` is the
    rate when it came, and what it was worth then.
    """
    rate, worth = arrival or (None, None)
    statement = (
        sa.insert(payment)
        .values(
            invoice_id=invoice_id,
            transfer_id=transfer_id,
            quote_id=price if isinstance(price, int) else None,
            value=None if isinstance(price, int) else _fraction(price),
            created_at=now,
            arrived_at=arrived_at,
            arrival_rate=None if rate is None else str(rate),
            arrival_value=None if worth is None else _fraction(worth),
            depth_needed=depth_needed,
        )
        .returning(payment.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def is_from_merchant(
    connection: sa.Connection, chain: str, spends: Iterable[str], merchant_id: int
) -> bool:
    """Tell whether one of the outpoints is money that came to an address of this merchant."""
    by_txid: dict[str, set[int]] = {}
    for outpoint in spends:
        txid, _, place = outpoint.rpartition(":")
        if place.isdecimal():
            by_txid.setdefault(txid, set()).add(int(place))
    txids = sorted(by_txid)
    for start in range(0, len(txids), CHUNK):
        statement = (
            sa.select(chain_transaction.c.txid, transfer.c.place)
            .join(transfer, transfer.c.transaction_id == chain_transaction.c.id)
            .join(destination, destination.c.id == transfer.c.destination_id)
            .where(
                chain_transaction.c.chain == chain,
                chain_transaction.c.txid.in_(txids[start : start + CHUNK]),
                destination.c.merchant_id == merchant_id,
            )
        )
        if any(row.place in by_txid[row.txid] for row in connection.execute(statement)):
            return True
    return False


def list_invoices_of(connection: sa.Connection, transaction_ids: Collection[int]) -> set[int]:
    """Return the invoices that are credited with transfers of the transactions."""
    statement = (
        sa.select(payment.c.invoice_id)
        .join(transfer, transfer.c.id == payment.c.transfer_id)
        .where(transfer.c.transaction_id.in_(transaction_ids), payment.c.detached_at.is_(None))
    )
    return set(connection.execute(statement).scalars())


def list_ripe(connection: sa.Connection, chain: str, height: int) -> set[int]:
    """Return the invoices with a payment that becomes as deep as it must be at `height`.

    One that was that deep before, and was thrown back by a reorg, becomes so once more.
    """
    ripe_at = chain_transaction.c.block_height + payment.c.depth_needed - 1
    statement = (
        sa.select(payment.c.invoice_id)
        .join(transfer, transfer.c.id == payment.c.transfer_id)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .where(
            payment.c.detached_at.is_(None),
            chain_transaction.c.chain == chain,
            sa.or_(
                sa.and_(payment.c.final_at.is_(None), ripe_at <= height),
                sa.and_(
                    chain_transaction.c.block_height > height - CONFIRMATIONS_MAX, ripe_at == height
                ),
            ),
        )
    )
    return set(connection.execute(statement).scalars())


def set_final(connection: sa.Connection, payment_ids: Collection[int], now: int) -> None:
    """Record when payments were first as deep as they must be; once set it stays."""
    connection.execute(
        sa.update(payment)
        .where(payment.c.id.in_(payment_ids), payment.c.final_at.is_(None))
        .values(final_at=now)
    )


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


def detach(
    connection: sa.Connection, payment_id: int, now: int
) -> tuple[int, Decimal | None] | None:
    """Take a payment off its invoice; return its transfer and the rate when that came.

    None where it has been taken off already: of two who do it at once one gets it.
    """
    statement = (
        sa.update(payment)
        .where(payment.c.id == payment_id, payment.c.detached_at.is_(None))
        .values(detached_at=now)
        .returning(payment.c.transfer_id, payment.c.arrival_rate)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    return row.transfer_id, None if row.arrival_rate is None else Decimal(row.arrival_rate)


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


def list_credited(
    connection: sa.Connection, invoice_id: int, heights: Mapping[str, int]
) -> list[Credited]:
    """Return the payments of an invoice, the first to be credited first.

    `heights` are the cursors' heights by chain: depth is counted from them.
    """
    statement = (
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
        .where(payment.c.invoice_id == invoice_id, payment.c.detached_at.is_(None))
        .order_by(payment.c.id)
    )
    rows = connection.execute(statement).mappings()
    return [_credited(row, heights.get(row["chain"], 0)) for row in rows]


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
