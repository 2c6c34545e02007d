"""Filling an empty store from a copy, and moving on from all that the lost server may have done.

Whatever was counted is counted on from far ahead. Between the copy and its end the lost server gave
out numbers, addresses and amounts of which nobody knows here.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from counterfoil.core.ports import Destination
from counterfoil.db import migrate
from counterfoil.db.copies import Copy
from counterfoil.db.merchants import Wallet
from counterfoil.db.schema import amount_hold, chain, destination, merchant, metadata, quote, wallet
from counterfoil.db.sql import upsert

# What belongs to running processes, and not to the installation.
_LEFT_OUT = frozenset({"lease"})


def is_empty(connection: sa.Connection) -> bool:
    """Tell whether nothing at all is stored; there may be no tables yet."""
    if migrate.current(connection) is None:
        return True
    made = sa.inspect(connection).get_table_names()
    return not any(
        connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
        for name, table in metadata.tables.items()
        if name in made
    )


def keep_others_out(connection: sa.Connection) -> None:
    """Let nobody else make a merchant, which everything belongs to, until the commit."""
    if connection.dialect.name != "sqlite":
        connection.execute(sa.text("LOCK TABLE merchant IN SHARE ROW EXCLUSIVE MODE"))


def load(connection: sa.Connection, copy: Copy) -> None:
    """Write all of a copy into an empty store."""
    for table in metadata.sorted_tables:
        if table.name not in _LEFT_OUT:
            for rows in copy.rows(table):
                connection.execute(sa.insert(table), rows)


def move_ids_on(connection: sa.Connection, gap: int) -> None:
    """Let the next id of every table be beyond `gap` ids after the highest."""
    for table in metadata.tables.values():
        if "id" not in table.c:
            continue
        highest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
        place = {"name": table.name, "id": highest + gap}
        if connection.dialect.name == "sqlite":
            count = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
            connection.execute(sa.delete(count).where(count.c.name == table.name))
            connection.execute(sa.insert(count).values(name=table.name, seq=place["id"]))
        else:
            statement = "SELECT setval(pg_get_serial_sequence(quote_ident(:name), 'id'), :id)"
            connection.execute(sa.text(statement), place)


def move_logs_on(connection: sa.Connection, gap: int, now: int) -> None:
    """Let the next events of every merchant have numbers that no earlier one has."""
    last = merchant.c.last_event_at
    connection.execute(
        sa.update(merchant).values(
            seq_live=merchant.c.seq_live + gap,
            seq_test=merchant.c.seq_test + gap,
            last_event_at=sa.case((last < now, now), else_=last),
            last_event_number=merchant.c.last_event_number + gap,
        )
    )


# --- addresses that may have been shown --------------------------------------------------------


def count_quotes(connection: sa.Connection, wallet_id: int, since: int) -> int:
    """Return how many quotes asked for money at addresses of a wallet from a time on."""
    statement = (
        sa.select(sa.func.count())
        .select_from(quote)
        .join(destination, destination.c.id == quote.c.destination_id)
        .where(destination.c.wallet_id == wallet_id, quote.c.created_at >= since)
    )
    count: int = connection.execute(statement).scalar_one()
    return count


def set_aside(
    connection: sa.Connection,
    owner: Wallet,
    kind: str,
    addresses: Sequence[Destination],
    now: int,
) -> None:
    """Claim a wallet's next addresses without a quote, and let it go on after them.

    They are watched like all others, so what somebody pays there is seen; `kind` is theirs.
    """
    rows = [
        {
            "merchant_id": owner.merchant_id,
            "key": each.key.hex(),
            "address": each.address,
            "kind": kind,
            "wallet_id": owner.id,
            "derivation_index": index,
            "created_at": now,
        }
        for index, each in enumerate(addresses, owner.next_index)
    ]
    connection.execute(upsert(connection, destination).on_conflict_do_nothing(), rows)
    connection.execute(
        sa.update(wallet)
        .where(wallet.c.id == owner.id)
        .values(next_index=owner.next_index + len(addresses))
    )


# --- amounts that may have been asked for ------------------------------------------------------


def let_go_of_amounts(
    connection: sa.Connection, quarantine_ms: int, made_at: int, now: int
) -> None:
    """Release, as of then, what the lost server may have given to somebody else since.

    It could do so once a quote's lock had been over for the quarantine, but not before the copy,
    which shows the amount as held.
    """
    over_at = quote.c.lock_until + quarantine_ms
    held = sa.select(amount_hold.c.quote_id)
    released_at = sa.case((over_at < made_at, made_at), else_=over_at)
    connection.execute(
        sa.update(quote).where(quote.c.id.in_(held), over_at <= now).values(released_at=released_at)
    )
    released = sa.select(quote.c.id).where(quote.c.released_at.is_not(None))
    connection.execute(sa.delete(amount_hold).where(amount_hold.c.quote_id.in_(released)))


def rest_amounts(connection: sa.Connection, rest_ms: int) -> None:
    """Give out no amounts on shared addresses until every chain has been watched for a while."""
    connection.execute(sa.update(chain).values(amounts_from_ms=chain.c.watched_ms + rest_ms))
