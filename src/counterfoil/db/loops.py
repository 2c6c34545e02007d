"""What the workers' loops keep: how far each chain has been read, and who may do what.

A cursor is the last header of a chain. The headers behind it are kept to find the way back to the
common ancestor after a reorg.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core.ports import Block
from counterfoil.db.schema import chain, chain_transaction, header, lease, payment, transfer
from counterfoil.db.sql import upsert

HEADERS_KEPT = 2_048
LEASE_MS = 15_000
# A chain's row is written every few seconds while it is watched; older than this, nobody looks.
_LATELY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that was read."""

    height: int
    hash: str


@dataclass(frozen=True, slots=True)
class ChainState:
    """How a chain stands: its cursor, until when it has been watched, and what ails it.

    `amounts_rest_ms` is how long it must still be watched, after a restore, before shared addresses
    ask for new amounts. `retired_at` is since when it is switched off for good.
    """

    name: str
    cursor: Cursor | None
    watched_at: int | None
    watched_ms: int
    trouble: str | None
    checked_at: int | None
    node_height: int | None
    amounts_rest_ms: int
    retired_at: int | None

    def is_watched_past(self, at: int) -> bool:
        """Tell whether all that happened up to a time is known, or is no longer waited for."""
        return self.retired_at is not None or (self.watched_at is not None and self.watched_at > at)

    def is_looked_at(self, now: int) -> bool:
        """Tell whether some process looks at the chain, whatever its node answers."""
        return self.checked_at is not None and now - self.checked_at <= _LATELY_MS

    def is_seen(self, now: int) -> bool:
        """Tell whether what happens there is seen: not so while its node is away or behind."""
        is_recent = self.watched_at is not None and now - self.watched_at <= _LATELY_MS
        return is_recent and self.trouble is None

    @property
    def height(self) -> int:
        """The height of the cursor, 0 where the chain has not been read yet."""
        return self.cursor.height if self.cursor else 0


def ensure_chain(connection: sa.Connection, name: str, network: str) -> None:
    """Make the row of a chain if there is none; one that was switched off is on again."""
    connection.execute(
        upsert(connection, chain)
        .values(name=name, network=network, watched_ms=0)
        .on_conflict_do_update(index_elements=[chain.c.name], set_={"retired_at": None})
    )


def retire(connection: sa.Connection, name: str, now: int) -> None:
    """Note that a chain is switched off for good; the first time counts."""
    connection.execute(
        sa.update(chain)
        .where(chain.c.name == name, chain.c.retired_at.is_(None))
        .values(retired_at=now)
    )


def get_network(connection: sa.Connection, name: str) -> str:
    """Return the network that a chain's rows were made for."""
    statement = sa.select(chain.c.network).where(chain.c.name == name)
    network: str = connection.execute(statement).scalar_one()
    return network


_CURSOR = (
    sa.select(header.c.height, header.c.hash)
    .where(header.c.chain == sa.bindparam("name"))
    .order_by(header.c.height.desc())
    .limit(1)
)


def get_cursor(connection: sa.Connection, name: str) -> Cursor | None:
    """Return the last block read of a chain."""
    row = connection.execute(_CURSOR, {"name": name}).first()
    return Cursor(row.height, row.hash) if row else None


_HEADER_HASH = sa.select(header.c.hash).where(
    header.c.chain == sa.bindparam("name"), header.c.height == sa.bindparam("at_height")
)


def get_header_hash(connection: sa.Connection, name: str, height: int) -> str | None:
    """Return the hash that was read at a height."""
    of_block = {"name": name, "at_height": height}
    return connection.execute(_HEADER_HASH, of_block).scalar_one_or_none()


_ANY = header.alias("any")
_HIGHEST = (
    sa.select(sa.func.max(_ANY.c.height))
    .where(_ANY.c.chain == chain.c.name)
    .correlate(chain)
    .scalar_subquery()
)
_IS_CURSOR = sa.and_(header.c.chain == chain.c.name, header.c.height == _HIGHEST)
_ALL_CHAINS = (
    sa.select(chain, header.c.height, header.c.hash)
    .select_from(chain.outerjoin(header, _IS_CURSOR))
    .order_by(chain.c.name)
)
_CHAINS = _ALL_CHAINS.where(chain.c.name.in_(sa.bindparam("names", expanding=True)))


def list_chains(connection: sa.Connection, names: Sequence[str]) -> list[ChainState]:
    """Return how the chains of these names stand, those that have a row."""
    return [_state(row) for row in connection.execute(_CHAINS, {"names": names}).mappings()]


def list_all_chains(connection: sa.Connection) -> list[ChainState]:
    """Return how all chains stand that were ever switched on."""
    return [_state(row) for row in connection.execute(_ALL_CHAINS).mappings()]


def count_open_payments(connection: sa.Connection) -> dict[str, int]:
    """Return how many payments are neither final nor gone, by chain."""
    statement = (
        sa.select(chain_transaction.c.chain, sa.func.count().label("waiting"))
        .select_from(payment)
        .join(transfer, transfer.c.id == payment.c.transfer_id)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .where(payment.c.final_at.is_(None), payment.c.detached_at.is_(None))
        .where(chain_transaction.c.gone_at.is_(None))
        .group_by(chain_transaction.c.chain)
    )
    return {row.chain: row.waiting for row in connection.execute(statement)}


def _state(row: sa.RowMapping) -> ChainState:
    return ChainState(
        name=row["name"],
        cursor=None if row["hash"] is None else Cursor(row["height"], row["hash"]),
        watched_at=row["watched_at"],
        watched_ms=row["watched_ms"],
        trouble=row["trouble"],
        checked_at=row["checked_at"],
        node_height=row["node_height"],
        amounts_rest_ms=max((row["amounts_from_ms"] or 0) - row["watched_ms"], 0),
        retired_at=row["retired_at"],
    )


_ADD_HEADER = sa.insert(header)
_FORGET_HEADERS = sa.delete(header).where(
    header.c.chain == sa.bindparam("name"), header.c.height <= sa.bindparam("up_to")
)


def add_header(connection: sa.Connection, name: str, block: Block) -> None:
    """Move the cursor on to a block, and forget headers that no reorg will ask for."""
    height = block.height
    added = {"chain": name, "height": height, "hash": block.hash, "mined_at": block.mined_at}
    connection.execute(_ADD_HEADER, added)
    connection.execute(_FORGET_HEADERS, {"name": name, "up_to": height - HEADERS_KEPT})


def fill_header(connection: sa.Connection, name: str, block: Block, cursor_height: int) -> None:
    """Keep the header of a block below the cursor, if one is missing there and would be kept."""
    if cursor_height - HEADERS_KEPT < block.height < cursor_height:
        connection.execute(
            upsert(connection, header)
            .values(chain=name, height=block.height, hash=block.hash, mined_at=block.mined_at)
            .on_conflict_do_nothing()
        )


def cut_headers(connection: sa.Connection, name: str, above: int) -> None:
    """Move the cursor back: forget the headers above a height."""
    connection.execute(sa.delete(header).where(header.c.chain == name, header.c.height > above))


_SAVE_CHAIN = sa.update(chain).where(chain.c.name == sa.bindparam("of_chain"))


def save_node(
    connection: sa.Connection, name: str, *, trouble: str | None, height: int | None, now: int
) -> None:
    """Record what the node said, or why it said nothing."""
    values = {"trouble": trouble, "checked_at": now}
    if height is not None:
        values["node_height"] = height
    connection.execute(_SAVE_CHAIN, {"of_chain": name, **values})


_WATCHED = sa.select(chain.c.watched_at, chain.c.watched_ms).where(
    chain.c.name == sa.bindparam("name")
)


def save_watched(connection: sa.Connection, name: str, until: int, gap_max_ms: int) -> None:
    """Record that everything up to `until` has been seen.

    The time since the last such moment counts as watched if it is short: a longer one was a gap.
    A clock that was set back is followed: what happens until it is that late again is not seen yet.
    """
    row = connection.execute(_WATCHED, {"name": name}).one()
    gained = 0
    if row.watched_at is not None and 0 < until - row.watched_at <= gap_max_ms:
        gained = until - row.watched_at
    watched = {
        "watched_at": until,
        "watched_ms": row.watched_ms + gained,
    }
    connection.execute(_SAVE_CHAIN, {"of_chain": name, **watched})


def clamp_watched(connection: sa.Connection, now: int) -> None:
    """Let no chain be watched beyond `now`: that was by a clock that was set back since.

    What fell due before `now` has been watched past by the clock as it was then.
    """
    is_ahead = chain.c.watched_at > now
    connection.execute(sa.update(chain).where(is_ahead).values(watched_at=now))


# --- leases ------------------------------------------------------------------------------------


def database_now(connection: sa.Connection, now: int) -> int:
    """Return the time that leases are judged by: the server's, since processes' clocks differ.

    SQLite has no server, and its processes share a machine: their own time `now` serves.
    """
    if connection.dialect.name == "sqlite":
        return now
    statement = sa.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    return int(connection.execute(statement).scalar_one())


_LEASE = sa.select(lease).where(lease.c.name == sa.bindparam("name")).with_for_update()
_SAVE_LEASE = sa.update(lease).where(lease.c.name == sa.bindparam("of_lease"))


def take_lease(connection: sa.Connection, name: str, holder: str, now: int) -> int | None:
    """Take or keep a lease and return its fencing number; None while somebody else holds it.

    The number grows with every change of holder, so what a former holder does late is told from
    what the present one does.
    """
    at = database_now(connection, now)
    row = connection.execute(_LEASE, {"name": name}).first()
    if row is None:
        fresh = {"name": name, "holder": "", "until": 0, "fence": 0}
        connection.execute(upsert(connection, lease).on_conflict_do_nothing(), fresh)
        row = connection.execute(_LEASE, {"name": name}).one()
    if row.holder != holder and row.until > at:
        return None
    fence: int = row.fence + (row.holder != holder)
    kept = {"holder": holder, "until": at + LEASE_MS, "fence": fence}
    connection.execute(_SAVE_LEASE, {"of_lease": name, **kept})
    return fence


def renew_lease(connection: sa.Connection, name: str, fence: int, now: int) -> bool:
    """Keep a lease if it is still that of the fencing number, and was not given back."""
    until = database_now(connection, now) + LEASE_MS
    statement = sa.update(lease).where(
        lease.c.name == name, lease.c.fence == fence, lease.c.until > 0
    )
    return connection.execute(statement.values(until=until)).rowcount == 1


# SQLite has one writer and no locks of rows: there it is a plain SELECT.
_FENCE = (
    sa.select(lease.c.fence).where(lease.c.name == sa.bindparam("name")).with_for_update(read=True)
)


def holds_lease(connection: sa.Connection, name: str, fence: int) -> bool:
    """Tell whether a fencing number is still the present one, and keep it so until the commit."""
    return connection.execute(_FENCE, {"name": name}).scalar_one_or_none() == fence


def drop_lease(connection: sa.Connection, name: str, holder: str) -> None:
    """Give a lease back at once instead of letting it run out."""
    connection.execute(
        sa.update(lease).where(lease.c.name == name, lease.c.holder == holder).values(until=0)
    )
