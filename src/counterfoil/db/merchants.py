"""Merchants, their keys and their wallets."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Mode
from counterfoil.db.schema import (
    api_key,
    chain_transaction,
    destination,
    key_check,
    merchant,
    transfer,
    wallet,
)
from counterfoil.db.sql import chunks, upsert

# What is read of a key for each request's sake, and its merchant's tolerance.
_KEY_COLUMNS = ("id", "merchant_id", "mode", "scope")

XPUB = "xpub"
ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who is paid."""

    id: int
    name: str
    currency: str
    redirect_origins: tuple[str, ...]
    created_at: int
    tolerance: Decimal
    late_money: LateMoney


def _merchant(row: sa.RowMapping) -> Merchant:
    return Merchant(
        row["id"],
        row["name"],
        row["currency"],
        tuple(json.loads(row["redirect_origins"])),
        row["created_at"],
        Decimal(row["tolerance"]),
        LateMoney(row["late_money"]),
    )


def insert(connection: sa.Connection, name: str, currency: str, now: int) -> int | None:
    """Add a merchant and return its id, None where the name is taken."""
    statement = (
        upsert(connection, merchant)
        .values(
            name=name,
            currency=currency,
            redirect_origins="[]",
            created_at=now,
            seq_live=0,
            seq_test=0,
            last_event_at=0,
            last_event_number=0,
        )
        .on_conflict_do_nothing()
        .returning(merchant.c.id)
    )
    return connection.execute(statement).scalar_one_or_none()


def list_all(connection: sa.Connection) -> list[Merchant]:
    """Return all merchants, the oldest first."""
    rows = connection.execute(sa.select(merchant).order_by(merchant.c.id)).mappings()
    return [_merchant(row) for row in rows]


def get(connection: sa.Connection, merchant_id: int) -> Merchant:
    """Return a merchant that exists."""
    statement = sa.select(merchant).where(merchant.c.id == merchant_id)
    return _merchant(connection.execute(statement).mappings().one())


_SOME = sa.select(merchant).where(merchant.c.id.in_(sa.bindparam("merchant_ids", expanding=True)))


def list_some(connection: sa.Connection, merchant_ids: Collection[int]) -> dict[int, Merchant]:
    """Return some merchants by their ids."""
    return {
        row["id"]: _merchant(row)
        for some in chunks(merchant_ids)
        for row in connection.execute(_SOME, {"merchant_ids": some}).mappings()
    }


def lock(connection: sa.Connection, merchant_id: int) -> Merchant:
    """Return a merchant and keep everybody else from changing it until the transaction ends."""
    statement = sa.select(merchant).where(merchant.c.id == merchant_id)
    row = connection.execute(statement.with_for_update(key_share=True)).mappings().one()
    return _merchant(row)


def set_redirect_origins(
    connection: sa.Connection, merchant_id: int, origins: tuple[str, ...]
) -> None:
    """Set where the pay page may send a payer back to."""
    connection.execute(
        sa.update(merchant)
        .where(merchant.c.id == merchant_id)
        .values(redirect_origins=json.dumps(origins))
    )


def set_tolerance(connection: sa.Connection, merchant_id: int, percent: Decimal) -> None:
    """Set how much of an invoice made from now on may be missing."""
    connection.execute(
        sa.update(merchant).where(merchant.c.id == merchant_id).values(tolerance=f"{percent:f}")
    )


def set_late_money(connection: sa.Connection, merchant_id: int, late_money: LateMoney) -> None:
    """Set what becomes of money that comes late from now on."""
    connection.execute(
        sa.update(merchant).where(merchant.c.id == merchant_id).values(late_money=late_money.value)
    )


# --- keys --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed: never its value."""

    id: int
    merchant_id: int
    mode: Mode
    scope: Scope
    hint: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None


def insert_key(
    connection: sa.Connection,
    *,
    merchant_id: int,
    mode: Mode,
    scope: Scope,
    digest: str,
    hint: str,
    now: int,
) -> int:
    """Add a key by its digest and return its id."""
    statement = (
        sa.insert(api_key)
        .values(
            merchant_id=merchant_id,
            mode=mode.value,
            scope=scope.value,
            digest=digest,
            hint=hint,
            created_at=now,
        )
        .returning(api_key.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def find_key(connection: sa.Connection, digest: str) -> Sequence[Any] | None:
    """Return the row of the key with this digest, if it is one of ours and not revoked.

    What the store's `find_key` does faster.
    """
    statement = (
        sa.select(*(api_key.c[name] for name in _KEY_COLUMNS), merchant.c.tolerance)
        .join(merchant, merchant.c.id == api_key.c.merchant_id)
        .where(api_key.c.digest == digest, api_key.c.revoked_at.is_(None))
    )
    return connection.execute(statement).first()


def find_key_statement(digest: str) -> str:
    """Return the SELECT of a key, with this placeholder of a driver."""
    columns = ", ".join(f"api_key.{name}" for name in _KEY_COLUMNS)
    return (
        f"SELECT {columns}, merchant.tolerance FROM api_key "  # noqa: S608  # our own names
        "JOIN merchant ON merchant.id = api_key.merchant_id "
        f"WHERE digest = {digest} AND revoked_at IS NULL"
    )


def principal(row: Sequence[Any]) -> Principal:
    """Return whose key a row is."""
    key_id, merchant_id, mode, scope, tolerance = row
    return Principal(key_id, merchant_id, Mode(mode), Scope(scope), Decimal(tolerance))


def list_keys(connection: sa.Connection, merchant_id: int) -> list[Key]:
    """Return a merchant's keys, the revoked ones too."""
    statement = (
        sa.select(api_key).where(api_key.c.merchant_id == merchant_id).order_by(api_key.c.id)
    )
    return [
        Key(
            id=row["id"],
            merchant_id=row["merchant_id"],
            mode=Mode(row["mode"]),
            scope=Scope(row["scope"]),
            hint=row["hint"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            revoked_at=row["revoked_at"],
        )
        for row in connection.execute(statement).mappings()
    ]


def revoke_key(connection: sa.Connection, merchant_id: int, key_id: int, now: int) -> bool:
    """Let a key open nothing any more; False if the merchant has no such key in use."""
    changed = connection.execute(
        sa.update(api_key)
        .where(
            api_key.c.id == key_id,
            api_key.c.merchant_id == merchant_id,
            api_key.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return changed.rowcount == 1


def save_last_used(connection: sa.Connection, used_at: Mapping[int, int]) -> None:
    """Record when keys were last used, for all that were used since the last time."""
    for key_id, at in sorted(used_at.items()):
        # Another process may have seen it later than we did.
        is_older = sa.or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < at)
        connection.execute(
            sa.update(api_key).where(api_key.c.id == key_id, is_older).values(last_used_at=at)
        )


# --- wallets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wallet:
    """What a merchant receives a method on."""

    id: int
    merchant_id: int
    method: str
    kind: str
    value: str
    next_index: int
    created_at: int


def _wallet(row: sa.RowMapping) -> Wallet:
    return Wallet(
        row["id"],
        row["merchant_id"],
        row["method"],
        row["kind"],
        row["value"],
        row["next_index"],
        row["created_at"],
    )


def put_wallet(
    connection: sa.Connection,
    *,
    merchant_id: int,
    method: str,
    kind: str,
    value: str,
    next_index: int,
    now: int,
) -> Wallet | None:
    """Add a wallet and return it, None where its extended key serves another one.

    A removed wallet of the merchant is taken into use again, and never goes back to an index that
    it had passed: its addresses were shown.
    """
    own = {"merchant_id": merchant_id, "method": method, "kind": kind, "value": value}
    higher = sa.case((wallet.c.next_index < next_index, next_index), else_=wallet.c.next_index)
    again = (
        sa.update(wallet)
        .where(*(wallet.c[name] == each for name, each in own.items()))
        .where(wallet.c.removed_at.is_not(None))
        .values(removed_at=None, next_index=higher)
    )
    new = upsert(connection, wallet).values(**own, next_index=next_index, created_at=now)
    for statement in (again, new.on_conflict_do_nothing()):
        row = connection.execute(statement.returning(wallet)).mappings().one_or_none()
        if row is not None:
            return _wallet(row)
    return None


def remove_wallet(
    connection: sa.Connection, merchant_id: int, wallet_id: int, now: int
) -> Wallet | None:
    """Take a wallet out of use and return it; None if the merchant has no such wallet in use."""
    row = (
        connection.execute(
            sa.update(wallet)
            .where(
                wallet.c.id == wallet_id,
                wallet.c.merchant_id == merchant_id,
                wallet.c.removed_at.is_(None),
            )
            .values(removed_at=now)
            .returning(wallet)
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else _wallet(row)


_WALLETS = (
    sa.select(wallet)
    .where(wallet.c.merchant_id == sa.bindparam("merchant"), wallet.c.removed_at.is_(None))
    .order_by(wallet.c.id)
)


def list_wallets(connection: sa.Connection, merchant_id: int) -> list[Wallet]:
    """Return a merchant's wallets in use."""
    rows = connection.execute(_WALLETS, {"merchant": merchant_id}).mappings()
    return [_wallet(row) for row in rows]


def find_xpub(connection: sa.Connection, value: str) -> Wallet | None:
    """Return the wallet of an extended key, whosever it is, and also if it was removed."""
    statement = sa.select(wallet).where(wallet.c.kind == XPUB, wallet.c.value == value)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _wallet(row)


def list_xpubs(connection: sa.Connection, method: str) -> list[Wallet]:
    """Return every merchant's extended keys of a method, removed ones too."""
    statement = sa.select(wallet).where(wallet.c.method == method, wallet.c.kind == XPUB)
    return [_wallet(row) for row in connection.execute(statement).mappings()]


_TAKE_INDEX = (
    sa.update(wallet)
    .where(wallet.c.id == sa.bindparam("wallet"))
    .values(next_index=wallet.c.next_index + 1)
    .returning(wallet.c.next_index)
)


def take_index(connection: sa.Connection, wallet_id: int) -> int:
    """Return the next index of a wallet; nobody else gets it."""
    next_index: int = connection.execute(_TAKE_INDEX, {"wallet": wallet_id}).scalar_one()
    return next_index - 1


@dataclass(frozen=True, slots=True)
class Use:
    """How many addresses of a wallet were shown, how many paid to, and the longest run not paid to.

    A payment counts once it is in a block: until then no wallet has to find it again.
    """

    shown: int
    paid: int
    gap: int


def use_of_wallet(connection: sa.Connection, wallet_id: int) -> Use:
    """Return the use that was made of a wallet's addresses."""
    is_paid = sa.exists().where(
        transfer.c.destination_id == destination.c.id,
        transfer.c.transaction_id == chain_transaction.c.id,
        chain_transaction.c.block_height.is_not(None),
    )
    # Places among those shown: an index that was skipped was used before, by somebody else.
    place = sa.func.row_number().over(order_by=destination.c.derivation_index).label("place")
    shown = (
        sa.select(place, is_paid.label("is_paid"))
        .where(destination.c.wallet_id == wallet_id)
        .subquery()
    )
    step = (shown.c.place - sa.func.lag(shown.c.place).over(order_by=shown.c.place)).label("step")
    paid = sa.select(shown.c.place, step).where(shown.c.is_paid).subquery()
    total = connection.execute(sa.select(sa.func.count()).select_from(shown)).scalar_one()
    count, first, last, longest = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.min(paid.c.place),
            sa.func.max(paid.c.place),
            sa.func.max(paid.c.step),
        ).select_from(paid)
    ).one()
    if not count:
        return Use(total, 0, total)
    return Use(total, count, max(first - 1, total - last, (longest or 1) - 1))


# --- the secret key's check --------------------------------------------------------------------


def get_key_check(connection: sa.Connection) -> str | None:
    """Return the text that only this database's secret key opens."""
    return connection.execute(sa.select(key_check.c.value).limit(1)).scalar_one_or_none()


def keep_key_check(connection: sa.Connection, value: str) -> str:
    """Store a text that only the secret key opens; return it, or that of who was faster."""
    row = upsert(connection, key_check).values(id=1, value=value)
    connection.execute(row.on_conflict_do_nothing())
    kept: str = connection.execute(sa.select(key_check.c.value)).scalar_one()
    return kept
