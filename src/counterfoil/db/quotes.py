"""Destinations, and the quotes that ask for money there."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.matching import AskedQuote, Kind
from counterfoil.core.ports import Destination, Transfer
from counterfoil.db.schema import destination, invoice, payment, quote
from counterfoil.db.sql import chunks, insert_new


@dataclass(frozen=True, slots=True)
class StoredDestination:
    """A destination with its one owner, and the wallet that it was derived from, if it was."""

    id: int
    merchant_id: int
    key: bytes
    address: str
    kind: Kind
    wallet_id: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What was asked for: an amount of one method at one destination, for a share of an invoice.

    `due` is set where that was less than the least that can be sent, which was asked for then.
    """

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
    due: Decimal | None
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
        row["created_at"],
    )


def claim_new(
    connection: sa.Connection,
    merchant_id: int,
    wanted: Destination,
    kind: Kind,
    *,
    wallet_id: int | None,
    derivation_index: int | None,
    now: int,
) -> int | None:
    """Claim a destination that nobody has had and return its id; None where somebody has."""
    row = {
        "merchant_id": merchant_id,
        "key": wanted.key.hex(),
        "address": wanted.address,
        "kind": kind.value,
        "wallet_id": wallet_id,
        "derivation_index": derivation_index,
        "created_at": now,
    }
    insert = insert_new(connection, destination).returning(destination.c.id)
    new_id: int | None = connection.execute(insert, row).scalar_one_or_none()
    return new_id


def claim_destination(
    connection: sa.Connection, merchant_id: int, wanted: Destination, kind: Kind, **claim: Any
) -> StoredDestination | None:
    """Return the destination for a merchant and kind, claiming it as `claim_new` if nobody has it.

    None means that it belongs to another merchant, or serves as the other kind: the claim is for
    ever, since money may come to an address that was once shown at any time.
    """
    claim_new(connection, merchant_id, wanted, kind, **claim)
    found = find_destination(connection, wanted.key)
    assert found is not None, "it was there or has just been inserted"  # noqa: S101  # a promise of our own
    return found if (found.merchant_id, found.kind) == (merchant_id, kind) else None


_DESTINATION = sa.select(destination).where(destination.c.id == sa.bindparam("destination_id"))
_WITH_KEY = sa.select(destination).where(destination.c.key == sa.bindparam("key"))


def get_destination(connection: sa.Connection, destination_id: int) -> StoredDestination:
    """Return a destination that exists."""
    found = connection.execute(_DESTINATION, {"destination_id": destination_id})
    return _destination(found.mappings().one())


def find_destination(connection: sa.Connection, key: bytes) -> StoredDestination | None:
    """Return the destination with this key, whosever it is."""
    row = connection.execute(_WITH_KEY, {"key": key.hex()}).mappings().first()
    return _destination(row) if row else None


def _match(asked: sa.TableValuedAlias) -> sa.Select[Any]:
    statement = sa.select(destination).select_from(asked)
    return statement.join(destination, destination.c.key == asked.c.value)


# Made once, since every block and every mempool asks.
_MATCH_SQLITE = _match(sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value"))
_MATCH_POSTGRES = _match(
    sa.func.unnest(sa.bindparam("keys", type_=sa.ARRAY(sa.Text)))
    .table_valued("value")
    .render_derived()
)


def match_destinations(
    connection: sa.Connection, keys: Collection[bytes]
) -> dict[bytes, StoredDestination]:
    """Return which of the keys are ours.

    A block pays some thousands of destinations: they are one parameter, and one join. In the order
    of the index, for then SQLite reads its pages one after the other, in half the time.
    """
    if not keys:
        return {}
    wanted = sorted({key.hex() for key in keys})
    if connection.dialect.name == "sqlite":
        found = connection.execute(_MATCH_SQLITE, {"keys": json.dumps(wanted)})
    else:
        found = connection.execute(_MATCH_POSTGRES, {"keys": wanted})
    return {stored.key: stored for stored in map(_destination, found.mappings())}


_INSERT = sa.insert(quote).returning(quote.c.id)


def insert(connection: sa.Connection, **columns: Any) -> int:
    """Add a quote and return its id."""
    columns["rate_sources"] = json.dumps(columns["rate_sources"])
    new_id: int = connection.execute(_INSERT, columns).scalar_one()
    return new_id


_OF_INVOICES = (
    sa.select(quote, destination.c.address, destination.c.kind)
    .join(destination, destination.c.id == quote.c.destination_id)
    .where(quote.c.invoice_id.in_(sa.bindparam("invoice_ids", expanding=True)))
    .order_by(quote.c.id)
)


def list_of_invoice(connection: sa.Connection, invoice_id: int) -> list[Quote]:
    """Return an invoice's quotes, the oldest first."""
    return list_of_invoices(connection, [invoice_id])[invoice_id]


def list_of_invoices(
    connection: sa.Connection, invoice_ids: Collection[int]
) -> Mapping[int, list[Quote]]:
    """Return the quotes of each of some invoices, the oldest first."""
    found: defaultdict[int, list[Quote]] = defaultdict(list)
    for some in chunks(invoice_ids):
        for row in connection.execute(_OF_INVOICES, {"invoice_ids": some}).mappings():
            found[row["invoice_id"]].append(_quote(row))
    return found


def _quote(row: sa.RowMapping) -> Quote:
    return Quote(
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
        due=Decimal(row["due"]) if row["due"] else None,
        rate=Decimal(row["rate"]),
        rate_sources=tuple(json.loads(row["rate_sources"])),
        rate_at=row["rate_at"],
        created_at=row["created_at"],
        lock_until=row["lock_until"],
    )


_UNTIL = sa.bindparam("until", type_=sa.BigInteger)
_PAID_AT = (
    sa.select(sa.func.max(payment.c.arrived_at))
    .where(payment.c.invoice_id == quote.c.invoice_id, payment.c.quote_id == quote.c.id)
    .correlate(quote)
    .scalar_subquery()
)
# None ends before it was made, which it may have been while the watcher was looking.
_END = sa.case((quote.c.created_at > _UNTIL, quote.c.created_at), else_=_UNTIL)
_SHORTEN = (
    sa.update(quote)
    .where(
        quote.c.id.in_(sa.bindparam("quote_ids", expanding=True)),
        quote.c.lock_until > _UNTIL,
        quote.c.lock_until > quote.c.created_at,
        quote.c.lock_until > sa.func.coalesce(_PAID_AT, 0),
    )
    .values(lock_until=sa.case((_PAID_AT > _END, _PAID_AT), else_=_END))
)


def shorten_locks(connection: sa.Connection, quote_ids: Collection[int], until: int) -> None:
    """Let the locks of quotes end at `until` if they would have lasted longer.

    What has been paid in time stays so, also where our clock has been set back since then.
    """
    for some in chunks(quote_ids):
        connection.execute(_SHORTEN, {"quote_ids": some, "until": until})


@dataclass(frozen=True, slots=True)
class Asked:
    """A quote that a transfer may pay: a share `fiat` of an invoice's `amount`."""

    quote: AskedQuote
    invoice_id: int
    fiat: Decimal
    amount: Decimal
    currency: str


_ASKED = sa.select(quote, invoice.c.fiat_amount, invoice.c.fiat_currency).join(
    invoice, invoice.c.id == quote.c.invoice_id
)
_AT_DESTINATIONS = _ASKED.where(
    quote.c.destination_id.in_(sa.bindparam("destination_ids", expanding=True))
).order_by(quote.c.id)
_AT_SHARED = _ASKED.where(
    quote.c.destination_id == sa.bindparam("destination_id"),
    quote.c.method == sa.bindparam("method"),
)
# Two statements: an index serves the first one to its end.
_OF_AMOUNTS = _AT_SHARED.where(quote.c.amount_atomic.in_(sa.bindparam("amounts", expanding=True)))
_OF_TAGS = _AT_SHARED.where(quote.c.tag.in_(sa.bindparam("tags", expanding=True)))
_FIRST_OF_METHODS = _ASKED.where(
    quote.c.id.in_(
        sa.select(sa.func.min(quote.c.id))
        .where(quote.c.destination_id == sa.bindparam("destination_id"))
        .group_by(quote.c.method)
    )
)


def list_asked(
    connection: sa.Connection, destination_ids: Collection[int]
) -> Mapping[int, list[Asked]]:
    """Return all the quotes at each of some exclusive destinations."""
    found: defaultdict[int, list[Asked]] = defaultdict(list)
    for some in chunks(destination_ids):
        for row in connection.execute(_AT_DESTINATIONS, {"destination_ids": some}).mappings():
            found[row["destination_id"]].append(_asked(row))
    return found


def list_asked_of_shared(
    connection: sa.Connection, destination_id: int, paid: Mapping[int, Transfer]
) -> dict[int, list[Asked]]:
    """Return the quotes that each of some transfers to a shared destination may pay, by its id.

    There are thousands, so those of the exact amount or tag are returned; where there are none,
    the first quote of each method, which tells the reason. All transfers are looked up at once.
    """
    places = {(each.method, each.amount_atomic, each.tag) for each in paid.values()}
    exact: defaultdict[tuple[str, int | str], list[Asked]] = defaultdict(list)
    for method in {method for method, _, _ in places}:
        where = {"destination_id": destination_id, "method": method}
        for some in chunks({str(amount) for each, amount, _ in places if each == method}):
            for row in connection.execute(_OF_AMOUNTS, where | {"amounts": some}).mappings():
                exact[method, int(row["amount_atomic"])].append(_asked(row))
        for some in chunks({tag for each, _, tag in places if each == method and tag is not None}):
            for row in connection.execute(_OF_TAGS, where | {"tags": some}).mappings():
                exact[method, row["tag"]].append(_asked(row))
    found = {}
    for transfer_id, each in paid.items():
        asked = [*exact.get((each.method, each.amount_atomic), ())]
        if each.tag is not None:
            asked += exact.get((each.method, each.tag), ())
        found[transfer_id] = asked
    if not all(found.values()):
        where = {"destination_id": destination_id}
        first = [_asked(row) for row in connection.execute(_FIRST_OF_METHODS, where).mappings()]
        found = {transfer_id: asked or first for transfer_id, asked in found.items()}
    return found


def _asked(row: sa.RowMapping) -> Asked:
    return Asked(
        quote=AskedQuote(
            quote_id=row["id"],
            method=row["method"],
            amount_atomic=int(row["amount_atomic"]),
            tag=row["tag"],
            created_at=row["created_at"],
            released_at=row["released_at"],
        ),
        invoice_id=row["invoice_id"],
        fiat=Decimal(row["fiat"]),
        amount=Decimal(row["fiat_amount"]),
        currency=row["fiat_currency"],
    )
