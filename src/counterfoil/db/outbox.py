"""Events, and the channels that want to hear them.

An event is written in the transaction of the change that it tells of. Its place in the merchant's
log is given under the merchant's row lock, so the log has no gaps and no order but its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core import events
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Mode
from counterfoil.db import deliveries
from counterfoil.db.schema import attempt, channel, delivery, event, merchant


@dataclass(frozen=True, slots=True)
class Place:
    """An event's place in its merchant's log."""

    id: events.EventID
    seq: int


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written; `body` is made when its place is known."""

    merchant_id: int
    mode: Mode
    invoice_id: int | None
    type: EventType
    status: Status | None
    payment_id: int | None
    body: Callable[[Place], bytes]


def append(connection: sa.Connection, new: NewEvent, now: int) -> Place:
    """Write an event and a delivery for each channel that wants it."""
    place = _next_place(connection, new.merchant_id, new.mode, now)
    event_id = connection.execute(
        sa.insert(event)
        .values(
            merchant_id=new.merchant_id,
            mode=new.mode.value,
            seq=place.seq,
            at=place.id.at,
            number=place.id.number,
            invoice_id=new.invoice_id,
            type=new.type.value,
            status=new.status.value if new.status else None,
            payment_id=new.payment_id,
            body=new.body(place),
        )
        .returning(event.c.id)
    ).scalar_one()
    wanted = [
        {
            "event_id": event_id,
            "channel_id": listening.id,
            "invoice_id": new.invoice_id or 0,
            "state": deliveries.DUE,
            "attempts": 0,
            "next_at": now,
            "claim": 0,
        }
        for listening in list_channels(connection, new.merchant_id)
        if new.type in listening.events and new.mode in listening.modes
    ]
    if wanted:
        connection.execute(sa.insert(delivery), wanted)
    return place


def _next_place(connection: sa.Connection, merchant_id: int, mode: Mode, now: int) -> Place:
    """Take the next place in the log; the row lock lasts until the commit."""
    statement = (
        sa.select(merchant).where(merchant.c.id == merchant_id).with_for_update(key_share=True)
    )
    row = connection.execute(statement).mappings().one()
    last = events.EventID(row["last_event_at"], row["last_event_number"])
    new_id = events.next_id(last, now)
    column = f"seq_{mode}"
    seq = row[column] + 1
    connection.execute(
        sa.update(merchant)
        .where(merchant.c.id == merchant_id)
        .values({column: seq, "last_event_at": new_id.at, "last_event_number": new_id.number})
    )
    return Place(new_id, seq)


def forget_events(connection: sa.Connection, before: int, limit: int) -> int:
    """Drop events from before a time, with their deliveries and attempts; return how many.

    The numbers in the log go on as they were: the last one is kept with the merchant.
    """
    oldest = (
        sa.select(event.c.id)
        .where(event.c.at < before)
        .order_by(event.c.at, event.c.id)
        .limit(limit)
    )
    ids = connection.execute(oldest.with_for_update(skip_locked=True)).scalars().all()
    if ids:
        sent = sa.select(delivery.c.id).where(delivery.c.event_id.in_(ids))
        connection.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(sent)))
        connection.execute(sa.delete(delivery).where(delivery.c.event_id.in_(ids)))
        connection.execute(sa.delete(event).where(event.c.id.in_(ids)))
    return len(ids)


# --- channels ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a merchant wants to be told, of what."""

    id: int
    merchant_id: int
    kind: str
    target: str
    secret: str
    events: frozenset[EventType]
    modes: frozenset[Mode]
    created_at: int
    failing_since: int | None
    paused_at: int | None
    pause_reason: str | None


def _channel(row: sa.RowMapping) -> Channel:
    return Channel(
        id=row["id"],
        merchant_id=row["merchant_id"],
        kind=row["kind"],
        target=row["target"],
        secret=row["secret"],
        events=frozenset(EventType(name) for name in json.loads(row["events"])),
        modes=frozenset(Mode(mode) for mode in row["modes"].split(",")),
        created_at=row["created_at"],
        failing_since=row["failing_since"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
    )


def insert_channel(
    connection: sa.Connection,
    *,
    merchant_id: int,
    kind: str,
    target: str,
    secret: str,
    wanted: tuple[EventType, ...],
    modes: tuple[Mode, ...],
    now: int,
) -> int:
    """Add a channel and return its id; `secret` is encrypted already."""
    statement = (
        sa.insert(channel)
        .values(
            merchant_id=merchant_id,
            kind=kind,
            target=target,
            secret=secret,
            events=json.dumps([kind.value for kind in wanted]),
            modes=",".join(mode.value for mode in modes),
            created_at=now,
        )
        .returning(channel.c.id)
    )
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def list_channels(connection: sa.Connection, merchant_id: int) -> list[Channel]:
    """Return a merchant's channels."""
    statement = (
        sa.select(channel).where(channel.c.merchant_id == merchant_id).order_by(channel.c.id)
    )
    return [_channel(row) for row in connection.execute(statement).mappings()]


def get_channel(connection: sa.Connection, channel_id: int) -> Channel | None:
    """Return a channel."""
    row = (
        connection.execute(sa.select(channel).where(channel.c.id == channel_id)).mappings().first()
    )
    return _channel(row) if row else None


def pause_channel(connection: sa.Connection, channel_id: int, reason: str, now: int) -> None:
    """Stop sending to a channel; what happens meanwhile waits for it."""
    connection.execute(
        sa.update(channel)
        .where(channel.c.id == channel_id, channel.c.paused_at.is_(None))
        .values(paused_at=now, pause_reason=reason)
    )


def set_failing_since(connection: sa.Connection, channel_id: int, at: int | None) -> None:
    """Record since when every attempt at a channel has failed; None: the last one did not."""
    statement = sa.update(channel).where(channel.c.id == channel_id)
    if at is not None:
        statement = statement.where(channel.c.failing_since.is_(None))
    else:
        statement = statement.where(channel.c.failing_since.is_not(None))
    connection.execute(statement.values(failing_since=at))
