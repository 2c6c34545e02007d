"""What the chains showed: the transactions that touch destinations of ours, and their transfers."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core.ports import Block, Transaction, Transfer
from counterfoil.db.schema import chain_transaction, destination, transfer
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
    chain_transaction.c.chain == sa.bindparam("chain"),
    chain_transaction.c.block_height.is_(None),
    chain_transaction.c.gone_at.is_(None),
)


def list_pending(connection: sa.Connection, chain: str) -> list[StoredTransaction]:
    """Return the known transactions of a chain that wait for a block and are not gone."""
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


def set_block(
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


_SUMS = sa.select(
    transfer.c.transaction_id,
    transfer.c.destination_id,
    transfer.c.method,
    transfer.c.amount_atomic,
).where(transfer.c.transaction_id.in_(sa.bindparam("transaction_ids", expanding=True)))


def sum_received(
    connection: sa.Connection, transaction_ids: Collection[int]
) -> dict[int, Counter[tuple[int, str]]]:
    """Return what some transactions pay to destinations of ours, in atomic units.

    By transaction, and in it by destination and method.
    """
    sums: defaultdict[int, Counter[tuple[int, str]]] = defaultdict(Counter)
    for some in chunks(transaction_ids):
        for row in connection.execute(_SUMS, {"transaction_ids": some}):
            sums[row.transaction_id][row.destination_id, row.method] += int(row.amount_atomic)
    return sums


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
