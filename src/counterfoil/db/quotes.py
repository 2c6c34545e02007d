"""Destinations, the quotes that ask for money there, and the amounts that shared ones hold."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.matching import Candidate, Kind, Known
from counterfoil.core.money import format_coin
from counterfoil.core.ports import Destination, Method, Transfer
from counterfoil.db.schema import amount_hold, chain, destination, inbox, quote, transfer
from counterfoil.db.sql import upsert

# Small enough for every SQLite's limit of bound parameters.
CHUNK = 900


@dataclass(frozen=True, slots=True)
class StoredDestination:
    """A destination with its one owner, and the wallet that it was derived from, if it was."""

    id: int
    merchant_id: int
    key: bytes
    address: str
    kind: Kind
    wallet_id: int | None


@dataclass(frozen=True, slots=True)
class Quote:
    """What was asked for: an amount of one method at one destination, for a share of an invoice."""

    id: int
    invoice_id: int
    method: str
    chain: str
    destination_id: int
    address: str
    kind: Kind
    tag: str | None
    amount_atomic: int
    fiat: Decimal
    rate: Decimal
    rate_sources: tuple[str, ...]
    rate_at: int
    created_at: int
    lock_until: int


def _destination(row: sa.RowMapping) -> StoredDestination:
    return StoredDestination(
        row["id"],
        row["merchant_id"],
        bytes.fromhex(row["key"]),
        row["address"],
        Kind(row["kind"]),
        row["wallet_id"],
    )


def claim_destination(
    connection: sa.Connection,
    merchant_id: int,
    wanted: Destination,
    kind: Kind,
    *,
    wallet_id: int | None,
    derivation_index: int | None,
    now: int,
) -> StoredDestination | None:
    """Return the destination for a merchant and kind, claiming it if nobody has it.

    None means that it belongs to another merchant, or serves as the other kind: the claim is for
    ever, since money may come to an address that was once shown at any time.
    """
    key = wanted.key.hex()
    connection.execute(
        upsert(connection, destination)
        .values(
            merchant_id=merchant_id,
            key=key,
            address=wanted.address,
            kind=kind.value,
            wallet_id=wallet_id,
            derivation_index=derivation_index,
            created_at=now,
        )
        .on_conflict_do_nothing()
    )
    found = find_destination(connection, wanted.key)
    assert found is not None, "it was there or has just been inserted"  # noqa: S101  # a promise of our own
    return found if (found.merchant_id, found.kind) == (merchant_id, kind) else None


def get_destination(connection: sa.Connection, destination_id: int) -> StoredDestination:
    """Return a destination that exists."""
    statement = sa.select(destination).where(destination.c.id == destination_id)
    return _destination(connection.execute(statement).mappings().one())


def find_destination(connection: sa.Connection, key: bytes) -> StoredDestination | None:
    """Return the destination with this key, whosever it is."""
    statement = sa.select(destination).where(destination.c.key == key.hex())
    row = connection.execute(statement).mappings().first()
    return _destination(row) if row else None


def match_destinations(
    connection: sa.Connection, keys: Collection[bytes]
) -> dict[bytes, StoredDestination]:
    """Return which of the keys are ours.

    A block pays some thousands of destinations: they are one parameter, and one join. In the order
    of the index, for then SQLite reads its pages one after the other, in half the time.
    """
    wanted = sorted({key.hex() for key in keys})
    if connection.dialect.name == "sqlite":
        values: sa.ColumnElement[Any] = sa.literal(json.dumps(wanted))
        asked = sa.func.json_each(values).table_valued("value")
    else:
        values = sa.literal(wanted, sa.ARRAY(sa.Text))
        asked = sa.func.unnest(values).table_valued("value").render_derived()
    statement = sa.select(destination).select_from(asked)
    statement = statement.join(destination, destination.c.key == asked.c.value)
    rows = connection.execute(statement).mappings()
    return {stored.key: stored for stored in map(_destination, rows)}


def insert(connection: sa.Connection, **columns: Any) -> int:
    """Add a quote and return its id."""
    columns["rate_sources"] = json.dumps(columns["rate_sources"])
    statement = sa.insert(quote).values(**columns).returning(quote.c.id)
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def list_of_invoice(connection: sa.Connection, invoice_id: int) -> list[Quote]:
    """Return an invoice's quotes, the oldest first."""
    statement = (
        sa.select(quote, destination.c.address, destination.c.kind)
        .join(destination, destination.c.id == quote.c.destination_id)
        .where(quote.c.invoice_id == invoice_id)
        .order_by(quote.c.id)
    )
    return [
        Quote(
            id=row["id"],
            invoice_id=row["invoice_id"],
            method=row["method"],
            chain=row["chain"],
            destination_id=row["destination_id"],
            address=row["address"],
            kind=Kind(row["kind"]),
            tag=row["tag"],
            amount_atomic=int(row["amount_atomic"]),
            fiat=Decimal(row["fiat"]),
            rate=Decimal(row["rate"]),
            rate_sources=tuple(json.loads(row["rate_sources"])),
            rate_at=row["rate_at"],
            created_at=row["created_at"],
            lock_until=row["lock_until"],
        )
        for row in connection.execute(statement).mappings()
    ]


def shorten_lock(connection: sa.Connection, quote_id: int, until: int) -> None:
    """Let a quote's lock end at `until` if it would have lasted longer."""
    connection.execute(
        sa.update(quote)
        .where(quote.c.id == quote_id, quote.c.lock_until > until)
        .values(lock_until=until)
    )


def was_shown(connection: sa.Connection, destination_id: int) -> bool:
    """Tell whether money was ever asked for at a destination."""
    statement = sa.select(quote.c.id).where(quote.c.destination_id == destination_id).limit(1)
    return connection.execute(statement).first() is not None


def list_candidates(
    connection: sa.Connection, owner: StoredDestination, paid: Transfer
) -> list[tuple[int, Candidate]]:
    """Return the quotes that a transfer to a destination may pay, each with its invoice's id.

    At an exclusive one that is any. A shared one has thousands, so those of the exact amount or tag
    are returned; where there are none, the first quote of each method, which tells the reason.
    """
    at_destination = sa.select(quote).where(quote.c.destination_id == owner.id)
    if owner.kind is Kind.EXCLUSIVE:
        return _candidates(connection, at_destination)
    is_exact = quote.c.amount_atomic == str(paid.amount_atomic)
    if paid.tag is not None:
        is_exact |= quote.c.tag == paid.tag
    exact = _candidates(connection, at_destination.where(quote.c.method == paid.method, is_exact))
    if exact:
        return exact
    first = (
        sa.select(sa.func.min(quote.c.id))
        .where(quote.c.destination_id == owner.id)
        .group_by(quote.c.method)
    )
    return _candidates(connection, sa.select(quote).where(quote.c.id.in_(first)))


def _candidates(
    connection: sa.Connection, statement: sa.Select[Any]
) -> list[tuple[int, Candidate]]:
    return [
        (
            row["invoice_id"],
            Candidate(
                quote_id=row["id"],
                method=row["method"],
                amount_atomic=int(row["amount_atomic"]),
                tag=row["tag"],
                created_at=row["created_at"],
                released_at=row["released_at"],
            ),
        )
        for row in connection.execute(statement).mappings()
    ]


# --- amounts on shared addresses ---------------------------------------------------------------


def holder_of(connection: sa.Connection, destination_id: int, amount: str) -> int | None:
    """Return the quote that holds an amount (in whole coins) at a destination, if one does."""
    statement = sa.select(amount_hold.c.quote_id).where(
        amount_hold.c.destination_id == destination_id, amount_hold.c.amount == amount
    )
    return connection.execute(statement).scalar_one_or_none()


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
    for start in range(0, len(texts), CHUNK):
        part = statement.where(column.in_(texts[start : start + CHUNK]))
        found.update(connection.execute(part).scalars())
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
    ended = sa.select(quote.c.id).where(quote.c.lock_until <= now)
    connection.execute(
        sa.update(amount_hold)
        .where(amount_hold.c.watched_from_ms.is_(None), amount_hold.c.quote_id.in_(ended))
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
