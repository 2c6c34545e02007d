"""The simulated chain: its blocks and transactions, and what becomes of them.

It behaves like a real chain as far as a watcher can tell, but for one thing: it stands still while
nobody waits for a block. Hashes are made from what they name, so the same actions at the same times
make the same chain. The genesis block is the same everywhere and needs no row: an empty table is a
chain at height 0.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core.ports import Block, Outcome, Store, Transaction, Transfer
from counterfoil.db.schema import simulator_block, simulator_transaction
from counterfoil.db.sql import chunks, insert_new

METHOD = "TEST"
GENESIS = hashlib.sha256(b"counterfoil simulator").hexdigest()
NO_PARENT = "0" * 64

REPLACED = Outcome.REPLACED.value
REORGED = Outcome.REORGED.value
# A watcher keeps so many headers that it always finds its way back from so deep a reorg.
REORG_DEPTH_MAX = 100


@dataclass(frozen=True, slots=True)
class Tip:
    """The last block."""

    height: int
    hash: str
    mined_at: int


# --- what the chain shows ----------------------------------------------------------------------


def get_tip(connection: sa.Connection) -> Tip:
    """Return the last block."""
    statement = (
        sa.select(simulator_block.c.height, simulator_block.c.hash, simulator_block.c.mined_at)
        .order_by(simulator_block.c.height.desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return Tip(row.height, row.hash, row.mined_at) if row else Tip(0, GENESIS, 0)


def get_block_hash(connection: sa.Connection, height: int) -> str | None:
    """Return the hash at a height, None if the chain is not that high."""
    if height == 0:
        return GENESIS
    statement = sa.select(simulator_block.c.hash).where(simulator_block.c.height == height)
    block_hash: str | None = connection.execute(statement).scalar_one_or_none()
    return block_hash


def get_block(connection: sa.Connection, block_hash: str) -> Block | None:
    """Return a block of the best chain; what a reorg has removed is not there any more."""
    # One statement, so that a block never shows with the transactions of the one that replaced it.
    statement = (
        sa.select(
            simulator_block.c.height,
            simulator_block.c.parent,
            simulator_block.c.mined_at,
            *_TRANSACTION,
        )
        .join_from(
            simulator_block,
            simulator_transaction,
            simulator_transaction.c.block_height == simulator_block.c.height,
            isouter=True,
        )
        .where(simulator_block.c.hash == block_hash)
        .order_by(simulator_transaction.c.id)
    )
    rows = connection.execute(statement).mappings().all()
    if not rows:
        return Block(0, GENESIS, NO_PARENT, 0, ()) if block_hash == GENESIS else None
    first = rows[0]
    return Block(
        height=first["height"],
        hash=block_hash,
        parent=first["parent"],
        mined_at=first["mined_at"],
        transactions=tuple(_transaction(row) for row in rows if row["txid"] is not None),
    )


def list_mempool(connection: sa.Connection) -> tuple[Transaction, ...]:
    """Return the transactions that wait for a block, in the order in which they came."""
    return tuple(_transaction(row) for row in connection.execute(_MEMPOOL).mappings())


_TRANSACTION = (
    simulator_transaction.c.txid,
    simulator_transaction.c.spends,
    simulator_transaction.c.destination,
    simulator_transaction.c.amount_atomic,
    simulator_transaction.c.first_seen_at,
)
_WAITING = (
    simulator_transaction.c.block_height.is_(None),
    simulator_transaction.c.dropped_at.is_(None),
)
_ALL_WAITING = sa.select(simulator_transaction).where(*_WAITING)
_MEMPOOL = sa.select(*_TRANSACTION).where(*_WAITING).order_by(simulator_transaction.c.id)


def _transaction(row: sa.RowMapping) -> Transaction:
    transfers: tuple[Transfer, ...] = ()
    if row["destination"] is not None:
        key = bytes.fromhex(row["destination"])
        transfers = (Transfer(0, key, METHOD, int(row["amount_atomic"])),)
    return Transaction(
        txid=row["txid"],
        transfers=transfers,
        spends=tuple(json.loads(row["spends"])),
        first_seen_at=row["first_seen_at"],
    )


# --- what people do to it ----------------------------------------------------------------------


def broadcast(
    connection: sa.Connection,
    destination: bytes,
    amount_atomic: int,
    now: int,
    *,
    first_seen_at: int | None = None,
    fate: str | None = None,
    fate_at: int | None = None,
) -> str:
    """Put a payment into the mempool and return its txid.

    `first_seen_at` is when it claims to have arrived, which a payment that comes late sets apart
    from `now`. `fate` is what becomes of it, once `fate_at` (at once if not given) has passed:
    REPLACED while it is unconfirmed, which it stays until then, or REORGED after it was final.
    """
    _lock(connection)
    return _insert(
        connection,
        destination=destination.hex(),
        amount_atomic=str(amount_atomic),
        first_seen_at=now if first_seen_at is None else first_seen_at,
        fate=fate,
        fate_at=now if fate is not None and fate_at is None else fate_at,
    )


def mine(connection: sa.Connection, now: int, count: int = 1) -> None:
    """Make blocks; the first takes all of the mempool but what is still to be replaced."""
    _lock(connection)
    _mine(connection, now, count)


def reorg(connection: sa.Connection, now: int, depth: int) -> None:
    """Replace the last `depth` blocks by `depth` + 1 empty ones.

    The transactions of the removed blocks are unconfirmed again. The genesis block stays.
    """
    _lock(connection)
    tip = get_tip(connection)
    depth = min(depth, tip.height)
    if depth < 1:
        return
    connection.execute(
        sa.update(simulator_transaction)
        .where(simulator_transaction.c.block_height > tip.height - depth)
        .values(block_height=None)
    )
    _rewrite(connection, tip, tip.height - depth + 1, now)


def advance(
    connection: sa.Connection, now: int, block_interval_ms: int, confirmations: int
) -> None:
    """Let happen what is due: replacements, then a reorg, then at most one block."""
    # What was seen before the lock may have been done meanwhile, by another process.
    _lock(connection)
    due = get_due(connection, now, block_interval_ms, confirmations)
    if due.replaced:
        for row in due.replaced:
            _insert_rival(connection, row, now, block_height=None)
        _drop(connection, due.replaced, now)
    if due.reorged:
        for row in due.reorged:
            _insert_rival(connection, row, now, block_height=row["block_height"])
        _drop(connection, due.reorged, now)
        lowest = min(row["block_height"] for row in due.reorged)
        _rewrite(connection, get_tip(connection), lowest, now)
    elif due.is_block_due:
        _mine(connection, now, 1)


# --- what is due -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """What has to happen now: the transactions whose fate has come, and whether a block has."""

    replaced: Sequence[sa.RowMapping]
    reorged: Sequence[sa.RowMapping]
    is_block_due: bool

    def __bool__(self) -> bool:
        """Tell whether anything has to happen."""
        return bool(self.replaced or self.reorged or self.is_block_due)


def get_due(connection: sa.Connection, now: int, block_interval_ms: int, confirmations: int) -> Due:
    """Return what has to happen at `now`."""
    tip = get_tip(connection)
    waiting = connection.execute(_ALL_WAITING).mappings().all()
    return Due(
        replaced=[row for row in waiting if row["fate"] == REPLACED and row["fate_at"] <= now],
        reorged=_list_reorged(connection, tip, now, confirmations),
        is_block_due=now - tip.mined_at >= block_interval_ms
        and (
            any(_is_ripe(row, now, block_interval_ms) for row in waiting)
            or _is_shallow(connection, tip, confirmations)
        ),
    )


def _is_ripe(row: sa.RowMapping, now: int, block_interval_ms: int) -> bool:
    """Tell whether a transaction has waited for its block as long as on a chain that never rests.

    On a chain that stands still the next block is always due, and a payment would never be seen in
    the mempool.
    """
    is_fresh = 0 <= now - row["first_seen_at"] < block_interval_ms
    return row["fate"] != REPLACED and not is_fresh


def _is_shallow(connection: sa.Connection, tip: Tip, confirmations: int) -> bool:
    """Tell whether a transaction still needs blocks on top of it to be final, and one to spare."""
    highest: int | None = connection.execute(
        sa.select(sa.func.max(simulator_transaction.c.block_height))
    ).scalar_one()
    return highest is not None and tip.height - highest < confirmations


def _list_reorged(
    connection: sa.Connection, tip: Tip, now: int, confirmations: int
) -> Sequence[sa.RowMapping]:
    statement = sa.select(simulator_transaction).where(
        simulator_transaction.c.block_height > tip.height - REORG_DEPTH_MAX,
        simulator_transaction.c.block_height <= tip.height + 1 - confirmations,
        simulator_transaction.c.fate == REORGED,
        simulator_transaction.c.fate_at <= now,
    )
    return connection.execute(statement).mappings().all()


# --- how it is done ----------------------------------------------------------------------------


_GENESIS = {"height": 0, "hash": GENESIS, "parent": NO_PARENT, "mined_at": 0}
_LOCK = sa.select(simulator_block.c.height).where(simulator_block.c.height == 0).with_for_update()


def _lock(connection: sa.Connection) -> None:
    """Let nobody else change the chain until the commit."""
    connection.execute(insert_new(connection, simulator_block), _GENESIS)
    connection.execute(_LOCK)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_INSERT = sa.insert(simulator_transaction).returning(simulator_transaction.c.id)
_NAME = sa.update(simulator_transaction).where(simulator_transaction.c.id == sa.bindparam("row_id"))


def _insert(connection: sa.Connection, spends: str | None = None, **columns: Any) -> str:
    """Add a transaction, which spends an outpoint of its own if none is given; return its txid."""
    # Its name is made from the id that it gets here.
    nameless = {"txid": "", "spends": "", **columns}
    row_id: int = connection.execute(_INSERT, nameless).scalar_one()
    contents = (row_id, *columns.values())
    if spends is None:
        spends = json.dumps([f"{_digest('outpoint', *contents)}:0"])
    txid = _digest("transaction", *contents, spends)
    connection.execute(_NAME, {"row_id": row_id, "txid": txid, "spends": spends})
    return txid


def _insert_rival(
    connection: sa.Connection, row: sa.RowMapping, now: int, block_height: int | None
) -> None:
    """Add a transaction that spends what another one spends, and pays nobody we know."""
    _insert(
        connection,
        row["spends"],
        destination=None,
        amount_atomic=row["amount_atomic"],
        first_seen_at=now,
        block_height=block_height,
    )


def _drop(connection: sa.Connection, rows: Collection[sa.RowMapping], now: int) -> None:
    for some in chunks([row["id"] for row in rows]):
        connection.execute(
            sa.update(simulator_transaction)
            .where(simulator_transaction.c.id.in_(some))
            .values(block_height=None, dropped_at=now)
        )


def _mine(connection: sa.Connection, now: int, count: int) -> None:
    tip = get_tip(connection)
    is_replaced = sa.func.coalesce(simulator_transaction.c.fate, "") == REPLACED
    connection.execute(
        sa.update(simulator_transaction)
        .where(*_WAITING, ~is_replaced)
        .values(block_height=tip.height + 1)
    )
    _add_blocks(connection, tip, tip.height + count, now)


def _rewrite(connection: sa.Connection, tip: Tip, lowest: int, now: int) -> None:
    """Make the blocks from `lowest` on anew, and one more: the longer chain is the one that counts.

    Transactions are tied to heights, so those of the old blocks are in the new ones.
    """
    parent = get_block_hash(connection, lowest - 1)
    if parent is None:
        message = f"The simulated chain has no block {lowest - 1}."
        raise RuntimeError(message)
    connection.execute(sa.delete(simulator_block).where(simulator_block.c.height >= lowest))
    below = Tip(lowest - 1, parent, tip.mined_at)
    _add_blocks(connection, below, tip.height + 1, now, instead_of=tip.hash)


def _add_blocks(
    connection: sa.Connection, tip: Tip, height: int, now: int, instead_of: str = ""
) -> None:
    """Add blocks on a tip up to a height.

    `instead_of` is the tip of a branch that they replace: it makes their hashes differ from those
    of the branch even if all else is the same.
    """
    parent, mined_at = tip.hash, max(now, tip.mined_at)
    rows = []
    for each in range(tip.height + 1, height + 1):
        block_hash = _digest("block", parent, each, mined_at, instead_of)
        rows.append({"height": each, "hash": block_hash, "parent": parent, "mined_at": mined_at})
        parent = block_hash
    if rows:
        connection.execute(sa.insert(simulator_block), rows)


# --- the port ----------------------------------------------------------------------------------


class Ledger:
    """The simulated chain of a store; implements `core.ports.SimulatorLedger`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def advance(self, now: int, block_interval_ms: int, confirmations: int) -> None:
        """Let what is due happen; where nothing is, nothing is written."""
        due = await self._store.read(
            lambda connection: get_due(connection, now, block_interval_ms, confirmations)
        )
        if due:
            await self._store.write(
                lambda connection: advance(connection, now, block_interval_ms, confirmations)
            )

    async def head(self) -> tuple[int, str, int]:
        """Return (height, hash, mined_at) of the tip."""
        tip = await self._store.read(get_tip)
        return tip.height, tip.hash, tip.mined_at

    async def block_hash(self, height: int) -> str | None:
        """Return the hash at a height of the best chain."""
        return await self._store.read(lambda connection: get_block_hash(connection, height))

    async def block(self, block_hash: str) -> Block | None:
        """Return a block of the best chain by its hash."""
        return await self._store.read(lambda connection: get_block(connection, block_hash))

    async def mempool(self) -> tuple[Transaction, ...]:
        """Return the unconfirmed transactions."""
        return await self._store.read(list_mempool)
