"""Events, and their deliveries to the channels that want them.

An event is written in the transaction of the change that it tells of. Its place in the merchant's
log is given under the merchant's row lock, so the log has no gaps and no order but its own.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core import events
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Attempt, Mode
from counterfoil.db.schema import attempt, channel, delivery, event, merchant
from counterfoil.db.sql import upsert

LEASE_MS = 30_000
DUE = "due"
DELIVERED = "delivered"
PARKED = "parked"


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
    deliveries = [
        {
            "event_id": event_id,
            "channel_id": listening.id,
            "invoice_id": new.invoice_id or 0,
            "state": DUE,
            "attempts": 0,
            "next_at": now,
            "claim": 0,
        }
        for listening in list_channels(connection, new.merchant_id)
        if new.type in listening.events and new.mode in listening.modes
    ]
    if deliveries:
        connection.execute(sa.insert(delivery), deliveries)
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


def resume_channel(connection: sa.Connection, channel_id: int, now: int) -> int:
    """Send to a channel again, first what was parked, in order; return how many wait."""
    # Deliveries before their channel, as where an attempt is recorded: two orders would deadlock.
    waiting = connection.execute(
        sa.update(delivery)
        .where(delivery.c.channel_id == channel_id, delivery.c.state.in_((DUE, PARKED)))
        .values(**_afresh(now))
    ).rowcount
    connection.execute(
        sa.update(channel)
        .where(channel.c.id == channel_id)
        .values(paused_at=None, pause_reason=None, failing_since=None)
    )
    return waiting


# --- deliveries --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that a courier has claimed."""

    id: int
    claim: int
    channel_id: int
    attempts: int
    first_at: int | None
    event_id: events.EventID
    body: bytes
    kind: str
    target: str
    secret: str


def _afresh(now: int) -> dict[str, Any]:
    """Return what makes a delivery due as if it had never been tried.

    Whoever is just sending it has lost the claim: a late failure must not count against the new
    beginning, nor a late success swallow what was asked for after it.
    """
    return {
        "state": DUE,
        "attempts": 0,
        "first_at": None,
        "next_at": now,
        "lease_until": None,
        "claim": delivery.c.claim + 1,
    }


def list_waiting_channels(
    connection: sa.Connection, now: int, leases_at: int, busy: Collection[int], limit: int
) -> list[int]:
    """Return the channels for which something is due, the longest waiting first.

    Channels in `busy` have as many deliveries on their way as they may and are passed over.
    """
    statement = (
        sa.select(delivery.c.channel_id)
        .join(channel, channel.c.id == delivery.c.channel_id)
        .where(*_is_due(now, leases_at), delivery.c.channel_id.not_in(busy))
        .group_by(delivery.c.channel_id)
        .order_by(sa.func.min(delivery.c.next_at), delivery.c.channel_id)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def _is_due(now: int, leases_at: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of what may be sent now, but for the order within an invoice."""
    return (
        delivery.c.state == DUE,
        delivery.c.next_at <= now,
        sa.or_(delivery.c.lease_until.is_(None), delivery.c.lease_until <= leases_at),
        channel.c.paused_at.is_(None),
    )


def claim_due(
    connection: sa.Connection, channel_id: int, now: int, leases_at: int, limit: int
) -> list[Delivery]:
    """Claim a channel's deliveries that are due, for as long as a lease lasts.

    Order holds within an invoice: a delivery waits for every earlier one of its invoice to the
    same channel that is not finished. `now` is the clock that retries are planned by, `leases_at`
    the one that all processes share.
    """
    earlier = delivery.alias("earlier")
    is_first = ~sa.exists().where(
        earlier.c.channel_id == delivery.c.channel_id,
        earlier.c.invoice_id == delivery.c.invoice_id,
        earlier.c.state == DUE,
        earlier.c.id < delivery.c.id,
    )
    statement = (
        sa.select(
            delivery,
            event.c.at,
            event.c.number,
            event.c.body,
            channel.c.kind,
            channel.c.target,
            channel.c.secret,
        )
        .join(event, event.c.id == delivery.c.event_id)
        .join(channel, channel.c.id == delivery.c.channel_id)
        .where(delivery.c.channel_id == channel_id, *_is_due(now, leases_at), is_first)
        .order_by(delivery.c.next_at, delivery.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=delivery)
    )
    claimed = []
    for row in connection.execute(statement).mappings().all():
        connection.execute(
            sa.update(delivery)
            .where(delivery.c.id == row["id"])
            .values(
                lease_until=leases_at + LEASE_MS,
                claim=row["claim"] + 1,
                first_at=row["first_at"] if row["first_at"] is not None else now,
            )
        )
        claimed.append(
            Delivery(
                id=row["id"],
                claim=row["claim"] + 1,
                channel_id=row["channel_id"],
                attempts=row["attempts"],
                first_at=row["first_at"],
                event_id=events.EventID(row["at"], row["number"]),
                body=bytes(row["body"]),
                kind=row["kind"],
                target=row["target"],
                secret=row["secret"],
            )
        )
    return claimed


def record_attempt(
    connection: sa.Connection,
    claimed: Delivery,
    made: Attempt,
    *,
    state: str,
    next_at: int,
    now: int,
) -> bool:
    """Record an attempt and what follows; False if the lease ran out and another has it now.

    The attempt is listed in any case: it did happen.
    """
    connection.execute(
        sa.insert(attempt).values(
            delivery_id=claimed.id,
            at=now,
            answer=made.answer.value,
            status=made.status,
            duration_ms=made.duration_ms,
            excerpt=made.excerpt,
            error=made.error,
        )
    )
    changed = connection.execute(
        sa.update(delivery)
        .where(delivery.c.id == claimed.id, delivery.c.claim == claimed.claim)
        .values(state=state, attempts=claimed.attempts + 1, next_at=next_at, lease_until=None)
    )
    return changed.rowcount == 1


def set_failing_since(connection: sa.Connection, channel_id: int, at: int | None) -> None:
    """Record since when every attempt at a channel has failed; None: the last one did not."""
    statement = sa.update(channel).where(channel.c.id == channel_id)
    if at is not None:
        statement = statement.where(channel.c.failing_since.is_(None))
    else:
        statement = statement.where(channel.c.failing_since.is_not(None))
    connection.execute(statement.values(failing_since=at))


@dataclass(frozen=True, slots=True)
class Sent:
    """A line of a channel's log."""

    delivery_id: int
    event_id: events.EventID
    type: EventType
    invoice_id: int | None
    state: str
    attempts: int
    next_at: int
    last_status: int | None
    last_error: str | None


def list_sent(connection: sa.Connection, channel_id: int, limit: int) -> list[Sent]:
    """Return a channel's latest deliveries, the newest first, each with its last attempt."""
    last = (
        sa.select(attempt.c.delivery_id, sa.func.max(attempt.c.id).label("id"))
        .group_by(attempt.c.delivery_id)
        .subquery()
    )
    statement = (
        sa.select(
            delivery, event.c.at, event.c.number, event.c.type, attempt.c.status, attempt.c.error
        )
        .join(event, event.c.id == delivery.c.event_id)
        .outerjoin(last, last.c.delivery_id == delivery.c.id)
        .outerjoin(attempt, attempt.c.id == last.c.id)
        .where(delivery.c.channel_id == channel_id)
        .order_by(delivery.c.id.desc())
        .limit(limit)
    )
    return [
        Sent(
            delivery_id=row["id"],
            event_id=events.EventID(row["at"], row["number"]),
            type=EventType(row["type"]),
            invoice_id=row["invoice_id"] or None,
            state=row["state"],
            attempts=row["attempts"],
            next_at=row["next_at"],
            last_status=row["status"],
            last_error=row["error"],
        )
        for row in connection.execute(statement).mappings()
    ]


def redeliver(
    connection: sa.Connection, channel_id: int, event_id: events.EventID, now: int
) -> bool:
    """Make an event due again at a channel; False if the channel's merchant has no such event."""
    statement = (
        sa.select(event.c.id, event.c.invoice_id)
        .join(channel, channel.c.merchant_id == event.c.merchant_id)
        .where(
            channel.c.id == channel_id,
            event.c.at == event_id.at,
            event.c.number == event_id.number,
        )
    )
    found = connection.execute(statement).first()
    if found is None:
        return False
    afresh = _afresh(now)
    insert = upsert(connection, delivery).values(
        event_id=found.id,
        channel_id=channel_id,
        invoice_id=found.invoice_id or 0,
        **afresh | {"claim": 0},
    )
    connection.execute(
        insert.on_conflict_do_update(index_elements=["event_id", "channel_id"], set_=afresh)
    )
    return True
