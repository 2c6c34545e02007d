"""The amounts that quotes hold at shared destinations, by which it is told who has paid."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from counterfoil.core.matching import Known
from counterfoil.core.money import format_coin
from counterfoil.core.ports import Method
from counterfoil.db.schema import amount_hold, chain, destination, inbox, invoice, quote, transfer
from counterfoil.db.sql import CHUNK, chunks, upsert


def holder_of(connection: sa.Connection, destination_id: int, amount: str) -> int | None:
    """Return the quote that holds an amount (in whole coins) at a destination, if one does."""
    statement = sa.select(amount_hold.c.quote_id).where(
        amount_hold.c.destination_id == destination_id, amount_hold.c.amount == amount
    )
    return connection.execute(statement).scalar_one_or_none()


def list_currencies(
    connection: sa.Connection, destination_ids: Collection[int]
) -> Mapping[int, set[str]]:
    """Return, by shared destination, the currencies of the invoices that hold an amount there."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for some in chunks(destination_ids):
        statement = (
            sa.select(amount_hold.c.destination_id, invoice.c.fiat_currency)
            .join(quote, quote.c.id == amount_hold.c.quote_id)
            .join(invoice, invoice.c.id == quote.c.invoice_id)
            .where(amount_hold.c.destination_id.in_(some))
            .distinct()
        )
        for row in connection.execute(statement):
            found[row.destination_id].add(row.fiat_currency)
    return found


def know_amounts(
    connection: sa.Connection, destination_id: int, method: Method, amounts: Collection[int]
) -> Known:
    """Return which of some amounts in atomic units of `method` are taken or used at a destination.

    An amount is held for all methods alike: tokens on one address are easily taken for each other.
    """
    texts = {format_coin(amount, method.decimals): amount for amount in amounts}
    held = sa.select(amount_hold.c.amount).where(amount_hold.c.destination_id == destination_id)
    taken = {texts[text] for text in _which(connection, held, amount_hold.c.amount, list(texts))}
    digits = [str(amount) for amount in amounts]
    waiting = (
        sa.select(transfer.c.amount_atomic)
        .join(inbox, inbox.c.transfer_id == transfer.c.id)
        .where(
            transfer.c.destination_id == destination_id,
            transfer.c.method == method.id,
            inbox.c.ignored_at.is_(None),
        )
    )
    taken |= {int(text) for text in _which(connection, waiting, transfer.c.amount_atomic, digits)}
    asked = sa.select(quote.c.amount_atomic).where(
        quote.c.destination_id == destination_id, quote.c.method == method.id
    )
    used = {int(text) for text in _which(connection, asked, quote.c.amount_atomic, digits)}
    return Known(taken, used)


def _which(
    connection: sa.Connection,
    statement: sa.Select[str],
    column: sa.Column[str],
    texts: Sequence[str],
) -> set[str]:
    """Return which of the texts `statement` finds in a column."""
    found: set[str] = set()
    for some in chunks(texts):
        found.update(connection.execute(statement.where(column.in_(some))).scalars())
    return found


def lock_destination(connection: sa.Connection, destination_id: int) -> None:
    """Keep everybody else from choosing an amount at a destination until the commit."""
    statement = sa.select(destination.c.id).where(destination.c.id == destination_id)
    connection.execute(statement.with_for_update(key_share=True)).one()


def hold_amount(
    connection: sa.Connection, destination_id: int, amount: str, quote_id: int, now: int
) -> None:
    """Reserve an amount for a quote: one that was free, or that an older quote of its invoice held.

    The destination must be locked. Held anew, an amount is in no quarantine. The older quote gives
    it up: else it would claim it for ever, also when the amount has long been somebody else's.
    """
    holder = (
        sa.select(amount_hold.c.quote_id)
        .where(amount_hold.c.destination_id == destination_id, amount_hold.c.amount == amount)
        .scalar_subquery()
    )
    connection.execute(sa.update(quote).where(quote.c.id == holder).values(released_at=now))
    held = {"quote_id": quote_id, "watched_from_ms": None}
    connection.execute(
        upsert(connection, amount_hold)
        .values(destination_id=destination_id, amount=amount, **held)
        .on_conflict_do_update(index_elements=["destination_id", "amount"], set_=held)
    )


def start_quarantine(connection: sa.Connection, now: int) -> None:
    """Begin to count watched time for the amounts whose lock has ended."""
    watched_ms = (
        sa.select(chain.c.watched_ms)
        .join(quote, quote.c.chain == chain.c.name)
        .where(quote.c.id == amount_hold.c.quote_id)
        .scalar_subquery()
    )
    # Looked up for each amount that is held: of all quotes ever made most are long over.
    is_ended = (
        sa.select(quote.c.id)
        .where(quote.c.id == amount_hold.c.quote_id, quote.c.lock_until <= now)
        .correlate(amount_hold)
        .exists()
    )
    connection.execute(
        sa.update(amount_hold)
        .where(amount_hold.c.watched_from_ms.is_(None), is_ended)
        .values(watched_from_ms=watched_ms)
    )


def release_holds(connection: sa.Connection, quarantine_ms: int, now: int) -> int:
    """Free the amounts that were watched long enough after their lock; return how many."""
    statement = (
        sa.select(amount_hold.c.quote_id)
        .join(quote, quote.c.id == amount_hold.c.quote_id)
        .join(chain, chain.c.name == quote.c.chain)
        .where(amount_hold.c.watched_from_ms + quarantine_ms <= chain.c.watched_ms)
        .limit(CHUNK)
    )
    ready: Sequence[int] = connection.execute(statement).scalars().all()
    if ready:
        connection.execute(sa.update(quote).where(quote.c.id.in_(ready)).values(released_at=now))
        connection.execute(sa.delete(amount_hold).where(amount_hold.c.quote_id.in_(ready)))
    return len(ready)
