"""Events, and the channels that want to hear them.

An event is written in the transaction of the change that it tells of. Its place in the merchant's
log is given under the merchant's row lock, so the log has no gaps and no order but its own.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from counterfoil.core import events
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Mode
from counterfoil.db import deliveries
from counterfoil.db.schema import attempt, channel, delivery, event, merchant
from counterfoil.db.sql import chunks


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


_INSERT_EVENTS = sa.insert(event).returning(
    event.c.id, event.c.merchant_id, event.c.mode, event.c.seq
)
_MERCHANTS = (
    sa.select(merchant)
    .where(merchant.c.id.in_(sa.bindparam("merchant_ids", expanding=True)))
    .order_by(merchant.c.id)
    .with_for_update(key_share=True)
)
_CHANNELS = (
    sa.select(channel)
    .where(channel.c.merchant_id.in_(sa.bindparam("merchant_ids", expanding=True)))
    .order_by(channel.c.id)
)


def append(connection: sa.Connection, new: NewEvent, now: int) -> Place:
    """Write an event and a delivery for each channel that wants it."""
    (place,) = append_all(connection, [new], now)
    return place


def append_all(connection: sa.Connection, new: Sequence[NewEvent], now: int) -> list[Place]:
    """Write events, in this order, and a delivery of each for each channel that wants it."""
    merchant_ids = sorted({each.merchant_id for each in new})
    places = _next_places(connection, merchant_ids, new, now)
    rows = [
        {
            "merchant_id": each.merchant_id,
            "mode": each.mode.value,
            "seq": place.seq,
            "at": place.id.at,
            "number": place.id.number,
            "invoice_id": each.invoice_id,
            "type": each.type.value,
            "status": each.status.value if each.status else None,
            "payment_id": each.payment_id,
            "body": each.body(place),
        }
        for each, place in zip(new, places, strict=True)
    ]
    written = connection.execute(_INSERT_EVENTS, rows)
    ids = {(row.merchant_id, row.mode, row.seq): row.id for row in written}
    channels = _channels_of(connection, merchant_ids)
    wanted = [
        {
            "event_id": ids[each.merchant_id, each.mode, place.seq],
            "channel_id": listening.id,
            "invoice_id": deliveries.order_key(
                ids[each.merchant_id, each.mode, place.seq], each.invoice_id
            ),
            "state": deliveries.DUE,
            "attempts": 0,
            "next_at": now,
            "claim": 0,
        }
        for each, place in zip(new, places, strict=True)
        for listening in channels
        if listening.merchant_id == each.merchant_id
        and each.type in listening.events
        and each.mode in listening.modes
    ]
    if wanted:
        connection.execute(sa.insert(delivery), wanted)
    return places


def _next_places(
    connection: sa.Connection, merchant_ids: Sequence[int], new: Sequence[NewEvent], now: int
) -> list[Place]:
    """Take the next places in the logs of merchants, whose rows are locked until the commit."""
    rows = connection.execute(_MERCHANTS, {"merchant_ids": merchant_ids}).mappings()
    ends = {
        row["id"]: {
            "merchant": row["id"],
            **{name: row[name] for name in ("last_event_at", "last_event_number")},
            **{f"seq_{mode}": row[f"seq_{mode}"] for mode in Mode},
        }
        for row in rows
    }
    places = []
    for each in new:
        end = ends[each.merchant_id]
        new_id = events.next_id(events.EventID(end["last_event_at"], end["last_event_number"]), now)
        end["last_event_at"], end["last_event_number"] = new_id.at, new_id.number
        end[f"seq_{each.mode}"] += 1
        places.append(Place(new_id, end[f"seq_{each.mode}"]))
    connection.execute(
        sa.update(merchant).where(merchant.c.id == sa.bindparam("merchant")), list(ends.values())
    )
    return places


def forget_events(connection: sa.Connection, before: int, limit: int) -> int:
    """Drop events from before a time, with their deliveries and attempts; return how many.

    The numbers in the log go on as they were: the last one is kept with the merchant. Of two who
    do it at once the later one waits: past the other it would leave a hole in the log.
    """
    oldest = (
        sa.select(event.c.id)
        .where(event.c.at < before)
        .order_by(event.c.at, event.c.id)
        .limit(limit)
    )
    ids = connection.execute(oldest.with_for_update()).scalars().all()
    if ids:
        # Locked before their attempts are dropped, so that no attempt is recorded in between.
        of_events = sa.select(delivery.c.id).where(delivery.c.event_id.in_(ids))
        locked = of_events.order_by(delivery.c.id).with_for_update()
        sent = connection.execute(locked).scalars().all()
        for some in chunks(sent):
            connection.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(some)))
            connection.execute(sa.delete(delivery).where(delivery.c.id.in_(some)))
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
    return _channels_of(connection, [merchant_id])


def _channels_of(connection: sa.Connection, merchant_ids: Sequence[int]) -> list[Channel]:
    rows = connection.execute(_CHANNELS, {"merchant_ids": merchant_ids}).mappings()
    return [_channel(row) for row in rows]


def get_channel(connection: sa.Connection, channel_id: int) -> Channel | None:
    """Return a channel."""
    row = (
        connection.execute(sa.select(channel).where(channel.c.id == channel_id)).mappings().first()
    )
    return _channel(row) if row else None


def pause_channel(connection: sa.Connection, channel_id: int, reason: str, now: int) -> bool:
    """Stop sending to a channel; what happens meanwhile waits for it. False if it was paused."""
    paused = connection.execute(
        sa.update(channel)
        .where(channel.c.id == channel_id, channel.c.paused_at.is_(None))
        .values(paused_at=now, pause_reason=reason)
    )
    return paused.rowcount == 1


_IS_WELL = (
    sa.update(channel)
    .where(channel.c.id == sa.bindparam("channel"), channel.c.failing_since.is_not(None))
    .values(failing_since=None)
)


def note_well(connection: sa.Connection, channel_id: int) -> bool:
    """Record that the last attempt at a channel did not fail; tell whether the one before did."""
    return connection.execute(_IS_WELL, {"channel": channel_id}).rowcount == 1


def note_failing(connection: sa.Connection, channel_id: int, now: int) -> bool:
    """Record that an attempt at a channel has failed; False if the one before it did, too."""
    failing = connection.execute(
        sa.update(channel)
        .where(channel.c.id == channel_id, channel.c.failing_since.is_(None))
        .values(failing_since=now)
    )
    return failing.rowcount == 1


@dataclass(frozen=True, slots=True)
class Unheard:
    """A channel that does not hear what it should, and how many deliveries to it are parked."""

    channel: Channel
    merchant: str
    parked: int


_PARKED = (
    sa.select(delivery.c.channel_id, sa.func.count().label("parked"))
    .where(delivery.c.state == deliveries.PARKED)
    .group_by(delivery.c.channel_id)
    .subquery("given_up")
)
_UNHEARD = (
    sa.select(channel, merchant.c.name, sa.func.coalesce(_PARKED.c.parked, 0).label("parked"))
    .join(merchant, merchant.c.id == channel.c.merchant_id)
    .outerjoin(_PARKED, _PARKED.c.channel_id == channel.c.id)
    .where(
        sa.or_(
            channel.c.paused_at.is_not(None),
            channel.c.failing_since <= sa.bindparam("failing_before"),
            _PARKED.c.parked.is_not(None),
        )
    )
    .order_by(channel.c.id)
)


def list_unheard(connection: sa.Connection, failing_before: int) -> list[Unheard]:
    """Return the channels that are paused, fail since `failing_before`, or have parked deliveries.

    It reads all deliveries: for a person who asks, and for nobody in a hurry.
    """
    rows = connection.execute(_UNHEARD, {"failing_before": failing_before}).mappings()
    return [Unheard(_channel(row), row["name"], row["parked"]) for row in rows]
