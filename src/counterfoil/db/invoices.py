"""Rows of invoices, and which of them must be assessed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from counterfoil.core.invoice import Condition, Notice, Standing, Status
from counterfoil.core.money import ceil_to_minor
from counterfoil.core.ports import Mode
from counterfoil.db.schema import chain, due_reassess, invoice, quote
from counterfoil.db.sql import insert_new

# The columns that creation fills, with their PostgreSQL types, in the order of the row.
_CREATED = {
    "merchant_id": "bigint",
    "mode": "text",
    "share_token": "text",
    "type": "text",
    "created_at": "bigint",
    "updated_at": "bigint",
    "fiat_amount": "text",
    "fiat_currency": "text",
    "tolerance": "text",
    "status": "text",
    "conditions": "text",
    "notices": "text",
    "seen": "text",
    "final": "text",
    "rev": "bigint",
    "due_at": "bigint",
    "coin_symbol": "text",
    "wallet_address": "text",
    "coins": "text",
    "memo": "text",
    "client_name": "text",
    "client_email": "text",
    "invoice_title": "text",
    "invoice_message": "text",
    "order_id": "text",
    "metadata": "text",
    "redirect_url": "text",
}
INSERT_COLUMNS = tuple(_CREATED)
INSERT_RECORD = ", ".join(f"{column} {kind}" for column, kind in _CREATED.items())


# All columns, in the order in which `find_statement` returns them.
COLUMNS = tuple(column.name for column in invoice.c)
_MODE, _AMOUNT, _TOLERANCE, _STATUS, _REV, _COINS, _METADATA = (
    COLUMNS.index(name)
    for name in ("mode", "fiat_amount", "tolerance", "status", "rev", "coins", "metadata")
)
_MODES = {mode.value: mode for mode in Mode}


def insert_statement(mark: str, count: int) -> str:
    """Return the INSERT of `count` invoices for a driver whose placeholder is `mark`."""
    row = f"({', '.join(mark for _ in INSERT_COLUMNS)})"
    rows = ", ".join(row for _ in range(count))
    return f"INSERT INTO invoice ({', '.join(INSERT_COLUMNS)}) VALUES {rows}"  # noqa: S608  # our own names


def find_statement(invoice_id: str, merchant_id: str, mode: str) -> str:
    """Return the SELECT of a merchant's invoice, with these placeholders of a driver."""
    return (
        f"SELECT {', '.join(COLUMNS)} FROM invoice "  # noqa: S608  # our own names
        f"WHERE id = {invoice_id} AND merchant_id = {merchant_id} AND mode = {mode}"
    )


class Invoice(Struct, frozen=True):
    """An invoice as it is stored: its fields are the columns, in their order.

    A struct, for one is made for every request that reads.
    """

    id: int
    merchant_id: int
    mode: Mode
    share_token: str
    type: Literal["api", "manual"]
    created_at: int
    updated_at: int
    amount: Decimal
    currency: str
    tolerance: Decimal
    standing: Standing
    rev: int
    due_at: int | None
    paid_at: int | None
    cancelled_at: int | None
    marked_at: int | None
    mark_id: int | None
    coin_symbol: str | None
    wallet_address: str | None
    coins: tuple[str, ...]
    memo: str
    client_name: str
    client_email: str
    title: str
    message: str
    order_id: str
    metadata: dict[str, str]
    redirect_url: str | None

    @property
    def deadlines(self) -> list[int]:
        """Until when money is in time, besides the locks of its quotes."""
        return [at for at in (self.due_at, self.cancelled_at) if at is not None]

    def is_overdue(self, now: int) -> bool:
        """Tell whether the due date has passed, whatever has been paid."""
        return self.due_at is not None and self.due_at <= now

    @property
    def rest(self) -> Decimal:
        """What has not been seen yet, up to a minor unit; below 0 where too much has."""
        return ceil_to_minor(Fraction(self.amount) - self.standing.seen, self.currency)


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _standing_columns(standing: Standing) -> dict[str, str]:
    return {
        "status": standing.status.value,
        "conditions": json.dumps([c.value for c in standing.conditions]),
        "notices": json.dumps(sorted(n.value for n in standing.notices)),
        "seen": _fraction(standing.seen),
        "final": _fraction(standing.final),
    }


# Most invoices stand where many others do, and fractions are slow to read: 30 us of an invoice.
@lru_cache(maxsize=1_024)
def _standing(status: str, conditions: str, notices: str, seen: str, final: str) -> Standing:
    """Return what `_standing_columns` has written."""
    return Standing(
        Status(status),
        tuple(Condition(each) for each in json.loads(conditions)),
        frozenset(Notice(each) for each in json.loads(notices)),
        Fraction(seen),
        Fraction(final),
    )


def new_row(standing: Standing, **columns: Any) -> dict[str, Any]:
    """Return the row of a new invoice; the insert itself is the store's (`insert_invoice`)."""
    return {**columns, **_standing_columns(standing), "rev": 1}


def insert(connection: sa.Connection, row: Mapping[str, Any]) -> int:
    """Add an invoice within a larger transaction and return its id."""
    statement = sa.insert(invoice).values(**row).returning(invoice.c.id)
    invoice_id: int = connection.execute(statement).scalar_one()
    return invoice_id


def from_row(row: Sequence[Any]) -> Invoice:
    """Return a row, all of its columns in the order of `COLUMNS`, as a value."""
    # By place and not by name: a shop asks for its invoices again and again.
    values = list(row)
    values[_MODE] = _MODES[values[_MODE]]
    values[_AMOUNT] = Decimal(values[_AMOUNT])
    values[_TOLERANCE] = Decimal(values[_TOLERANCE])
    coins, metadata = values[_COINS], values[_METADATA]
    values[_COINS] = tuple(json.loads(coins)) if coins else ()
    values[_METADATA] = json.loads(metadata) if metadata != "{}" else {}
    # Five columns are one value.
    values[_STATUS:_REV] = [_standing(*values[_STATUS:_REV])]
    return Invoice(*values)


def get_row(
    connection: sa.Connection, invoice_id: int, merchant_id: int, mode: Mode
) -> Sequence[Any] | None:
    """Return the row of a merchant's invoice; what the store's `find_invoice` does faster."""
    statement = sa.select(invoice).where(
        invoice.c.id == invoice_id,
        invoice.c.merchant_id == merchant_id,
        invoice.c.mode == mode.value,
    )
    return connection.execute(statement).first()


def get(connection: sa.Connection, invoice_id: int, merchant_id: int, mode: Mode) -> Invoice | None:
    """Return a merchant's invoice; another merchant's or mode's is None like an unknown id."""
    row = get_row(connection, invoice_id, merchant_id, mode)
    return from_row(row) if row else None


def by_id(connection: sa.Connection, invoice_id: int) -> Invoice | None:
    """Return an invoice, whoever's it is: for whoever runs the server."""
    row = connection.execute(sa.select(invoice).where(invoice.c.id == invoice_id)).first()
    return from_row(row) if row else None


def by_share_token(connection: sa.Connection, share_token: str) -> Invoice | None:
    """Return the invoice that a payer's link names."""
    statement = sa.select(invoice).where(invoice.c.share_token == share_token)
    row = connection.execute(statement).first()
    return from_row(row) if row else None


# Rows that refer to an invoice may be added while it is locked; they mark it as due for a look.
_LOCK = (
    sa.select(invoice)
    .where(invoice.c.id.in_(sa.bindparam("invoice_ids", expanding=True)))
    .order_by(invoice.c.id)
    .with_for_update(key_share=True)
)


def lock(connection: sa.Connection, invoice_id: int) -> Invoice:
    """Return an invoice and keep everybody else from changing it until the transaction ends."""
    (found,) = lock_all(connection, [invoice_id])
    return found


def lock_all(connection: sa.Connection, invoice_ids: Sequence[int]) -> list[Invoice]:
    """Lock some invoices, in the order of their ids, in which everybody does; return them."""
    rows = connection.execute(_LOCK, {"invoice_ids": invoice_ids})
    return [from_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which invoices to list; `after` is the id below which to go on."""

    status: str | None = None
    order_id: str | None = None
    text: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    after: int | None = None


def list_page(
    connection: sa.Connection, merchant_id: int, mode: Mode, wanted: Filter, limit: int
) -> list[Invoice]:
    """Return a merchant's invoices, the newest first."""
    conditions = [invoice.c.merchant_id == merchant_id, invoice.c.mode == mode.value]
    if wanted.status is not None:
        conditions.append(invoice.c.status == wanted.status)
    if wanted.order_id is not None:
        conditions.append(invoice.c.order_id == wanted.order_id)
    if wanted.text is not None:
        columns = (
            invoice.c.memo,
            invoice.c.client_name,
            invoice.c.client_email,
            invoice.c.invoice_title,
            invoice.c.invoice_message,
            invoice.c.order_id,
        )
        # A per cent sign in what is looked for is a per cent sign.
        escaped = wanted.text.replace("/", "//").replace("%", "/%").replace("_", "/_")
        pattern = sa.func.lower(f"%{escaped}%")
        conditions.append(sa.or_(*(sa.func.lower(c).like(pattern, escape="/") for c in columns)))
    if wanted.created_from is not None:
        conditions.append(invoice.c.created_at >= wanted.created_from)
    if wanted.created_to is not None:
        conditions.append(invoice.c.created_at < wanted.created_to)
    if wanted.after is not None:
        conditions.append(invoice.c.id < wanted.after)
    statement = sa.select(invoice).where(*conditions).order_by(invoice.c.id.desc()).limit(limit)
    return [from_row(row) for row in connection.execute(statement)]


def revs(connection: sa.Connection, invoice_ids: Sequence[int]) -> dict[int, int]:
    """Return the revision of each of the invoices: what open pages compare once a second."""
    statement = sa.select(invoice.c.id, invoice.c.rev).where(invoice.c.id.in_(invoice_ids))
    return {row.id: row.rev for row in connection.execute(statement)}


def save_assessments(connection: sa.Connection, assessed: Sequence[Invoice], now: int) -> None:
    """Save where invoices stand now; called by `services.payments` and nobody else."""
    rows = [
        {"invoice_id": each.id, "paid_at": each.paid_at, **_standing_columns(each.standing)}
        for each in assessed
    ]
    connection.execute(
        sa.update(invoice)
        .where(invoice.c.id == sa.bindparam("invoice_id"))
        .values(updated_at=now, rev=invoice.c.rev + 1),
        rows,
    )


_TOUCH = (
    sa.update(invoice)
    .where(invoice.c.id.in_(sa.bindparam("invoice_ids", expanding=True)))
    .values(rev=invoice.c.rev + 1)
)


def touch(connection: sa.Connection, *invoice_ids: int) -> None:
    """Note that the public view of invoices has changed, though their status has not."""
    connection.execute(_TOUCH, {"invoice_ids": invoice_ids})


def cancel(connection: sa.Connection, invoice_id: int, now: int) -> None:
    """Record the merchant's act; what it means for the status is for `reassess` to say."""
    connection.execute(
        sa.update(invoice)
        .where(invoice.c.id == invoice_id, invoice.c.cancelled_at.is_(None))
        .values(cancelled_at=now)
    )


# Made once: the clock asks it every second. `+ 0` lets no index but that of what is due lead: in
# the order of their ids, all invoices there ever were would be read.
_DUE = (
    sa.select(invoice.c.id)
    .where(invoice.c.status == Status.UNPAID.value, invoice.c.due_at <= sa.bindparam("now"))
    .where(invoice.c.id + 0 > sa.bindparam("after"))
    .where(
        ~sa.exists()
        .where(quote.c.invoice_id == invoice.c.id, chain.c.name == quote.c.chain)
        .where(chain.c.retired_at.is_(None))
        .where(sa.or_(chain.c.watched_at.is_(None), chain.c.watched_at <= invoice.c.due_at))
        .correlate(invoice)
    )
    .where(invoice.c.notices.not_like(f'%"{Notice.UNDERPAID.value}"%'))
    .order_by(invoice.c.id + 0)
    .limit(sa.bindparam("most"))
)


def list_due(connection: sa.Connection, now: int, after: int, limit: int) -> list[int]:
    """Return invoices with an id above `after` whose due date has passed while they are unpaid.

    Those that hold a part of the money stay Unpaid for good; once told, they are left out. So are
    those of which a chain has not been watched past the due date: they cannot be judged yet.
    """
    found = connection.execute(_DUE, {"now": now, "after": after, "most": limit})
    return list(found.scalars())


# --- invoices whose facts have changed ---------------------------------------------------------


def mark_due_reassess(connection: sa.Connection, invoice_ids: Sequence[int], chain: str) -> None:
    """Note that invoices must be assessed before the chain's cursor moves on."""
    rows = [{"chain": chain, "invoice_id": each} for each in sorted(set(invoice_ids))]
    if rows:
        connection.execute(insert_new(connection, due_reassess), rows)


_DUE_REASSESS = (
    sa.select(due_reassess.c.invoice_id)
    .where(
        due_reassess.c.chain == sa.bindparam("chain"),
        due_reassess.c.invoice_id.not_in(sa.bindparam("but_for", expanding=True)),
    )
    .order_by(due_reassess.c.invoice_id)
    .limit(sa.bindparam("count"))
)


def list_due_reassess(
    connection: sa.Connection, chain: str, limit: int, but_for: Collection[int] = ()
) -> list[int]:
    """Return invoices to assess for a chain, in id order."""
    asked = {"chain": chain, "count": limit, "but_for": list(but_for)}
    found = connection.execute(_DUE_REASSESS, asked)
    return list(found.scalars())


def clear_due_reassess(connection: sa.Connection, invoice_ids: Sequence[int], chain: str) -> None:
    """Note that invoices have been assessed with all that the chain has shown."""
    connection.execute(
        sa.delete(due_reassess).where(
            due_reassess.c.chain == chain, due_reassess.c.invoice_id.in_(invoice_ids)
        )
    )
