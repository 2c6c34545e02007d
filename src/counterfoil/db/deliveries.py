"""Deliveries: an event on its way to one channel, from its claim to what came of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from counterfoil.core import events
from counterfoil.core.invoice import EventType
from counterfoil.core.ports import Attempt
from counterfoil.db.schema import attempt, channel, delivery, event
from counterfoil.db.sql import upsert

LEASE_MS = 30_000
DUE = "due"
DELIVERED = "delivered"
PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that a courier has claimed."""

    id: int
    claim: int
    channel_id: int
    merchant_id: int
    attempts: int
    first_at: int | None
    event_id: events.EventID
    body: bytes
    kind: str
    target: str
    secret: str


def order_key(event_id: int, invoice_id: int | None) -> int:
    """Return what the deliveries have in common that wait for one another: their invoice.

    What is no invoice's waits for nothing, and nothing for it: its key is its own.
    """
    return -event_id if invoice_id is None else invoice_id


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


# What may be sent now, but for the order within an invoice, and whether its channel is paused.
_IS_DUE = (
    delivery.c.state == DUE,
    delivery.c.next_at <= sa.bindparam("now"),
    sa.or_(delivery.c.lease_until.is_(None), delivery.c.lease_until <= sa.bindparam("leases_at")),
)
# An earlier one of the invoice goes first; while that waits for its next try, so does this. Looked
# up for each: a PostgreSQL without statistics would join all of the channel's to each instead.
_SAME = delivery.alias("same")
_IS_FIRST = delivery.c.id == (
    sa.select(_SAME.c.id)
    .where(
        _SAME.c.channel_id == delivery.c.channel_id,
        _SAME.c.invoice_id == delivery.c.invoice_id,
        _SAME.c.state == DUE,
    )
    .correlate(delivery)
    .order_by(_SAME.c.id)
    .limit(1)
    .scalar_subquery()
)


def _with_some() -> sa.CTE:
    """Return the channels for which anything waits, each found from the one before it.

    So many steps are taken in an index as there are such channels. Neither what waits for them is
    read, however much it is, nor are all the channels for which nothing does.
    """
    least = sa.select(sa.func.min(delivery.c.channel_id).label("id")).where(delivery.c.state == DUE)
    some = least.cte("with_some", recursive=True)
    following = least.where(delivery.c.channel_id > some.c.id).scalar_subquery()
    return some.union_all(sa.select(following).where(some.c.id.is_not(None)))


def _waiting_channels() -> sa.Select[int]:
    """Return the statement of `list_waiting_channels`.

    The channel leads, and of each only what is due is read, from the longest waiting on to the
    first that may be sent: what waits at a paused channel, or for its next try, costs nothing.
    """
    some = _with_some()
    longest = (
        sa.select(delivery.c.next_at)
        .where(delivery.c.channel_id == channel.c.id, *_IS_DUE, _IS_FIRST)
        .correlate(channel)
        .order_by(delivery.c.next_at)
        .limit(1)
        .scalar_subquery()
    )
    waiting = (
        sa.select(channel.c.id, longest.label("since"))
        .where(
            channel.c.id.in_(sa.select(some.c.id)),
            channel.c.paused_at.is_(None),
            channel.c.id.not_in(sa.bindparam("busy", expanding=True)),
        )
        .subquery("waiting")
    )
    return (
        sa.select(waiting.c.id)
        .where(waiting.c.since.is_not(None))
        .order_by(waiting.c.since, waiting.c.id)
        .limit(sa.bindparam("count"))
    )


_WAITING_CHANNELS = _waiting_channels()


def list_waiting_channels(
    connection: sa.Connection, now: int, leases_at: int, busy: Collection[int], limit: int
) -> list[int]:
    """Return the channels to which something may be sent now, the longest waiting first.

    Channels in `busy` have as many deliveries on their way as they may and are passed over.
    """
    asked = {"now": now, "leases_at": leases_at, "busy": list(busy), "count": limit}
    return list(connection.execute(_WAITING_CHANNELS, asked).scalars())


_DUE_OF_CHANNEL = (
    sa.select(
        delivery,
        event.c.at,
        event.c.number,
        event.c.body,
        channel.c.merchant_id,
        channel.c.kind,
        channel.c.target,
        channel.c.secret,
    )
    .join(event, event.c.id == delivery.c.event_id)
    .join(channel, channel.c.id == delivery.c.channel_id)
    .where(
        delivery.c.channel_id == sa.bindparam("channel"),
        channel.c.paused_at.is_(None),
        *_IS_DUE,
        _IS_FIRST,
    )
    .order_by(delivery.c.next_at, delivery.c.id)
    .limit(sa.bindparam("count"))
    .with_for_update(skip_locked=True, of=delivery)
)
_CLAIM = (
    sa.update(delivery)
    .where(delivery.c.id.in_(sa.bindparam("delivery_ids", expanding=True)))
    .values(
        lease_until=sa.bindparam("until"),
        claim=delivery.c.claim + 1,
        first_at=sa.func.coalesce(delivery.c.first_at, sa.bindparam("begun_at")),
    )
)


def claim_due(
    connection: sa.Connection, channel_id: int, now: int, leases_at: int, limit: int
) -> list[Delivery]:
    """Claim a channel's deliveries that are due, for as long as a lease lasts.

    Order holds within an invoice: a delivery waits for every earlier one of its invoice to the
    same channel that is not finished. `now` is the clock that retries are planned by, `leases_at`
    the one that all processes share.
    """
    asked = {"channel": channel_id, "now": now, "leases_at": leases_at, "count": limit}
    claimed = [
        Delivery(
            id=row["id"],
            claim=row["claim"] + 1,
            channel_id=row["channel_id"],
            merchant_id=row["merchant_id"],
            attempts=row["attempts"],
            first_at=row["first_at"],
            event_id=events.EventID(row["at"], row["number"]),
            body=bytes(row["body"]),
            kind=row["kind"],
            target=row["target"],
            secret=row["secret"],
        )
        for row in connection.execute(_DUE_OF_CHANNEL, asked).mappings()
    ]
    if claimed:
        ids = [each.id for each in claimed]
        until = {"until": leases_at + LEASE_MS, "begun_at": now}
        connection.execute(_CLAIM, {"delivery_ids": ids, **until})
    return claimed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a claimed delivery: the attempt, the state that follows, and when it is due."""

    claimed: Delivery
    made: Attempt
    state: str
    next_at: int


_CLAIMS = (
    sa.select(delivery.c.id, delivery.c.claim)
    .where(delivery.c.id.in_(sa.bindparam("delivery_ids", expanding=True)))
    .order_by(delivery.c.id)
    .with_for_update(key_share=True)
)
_ATTEMPT = sa.insert(attempt)
_RECORD = (
    sa.update(delivery).where(delivery.c.id == sa.bindparam("delivery_id")).values(lease_until=None)
)


def record_attempts(connection: sa.Connection, outcomes: Sequence[Outcome], now: int) -> set[int]:
    """Record attempts and what follows; return the deliveries whose lease had not run out.

    Of the others somebody else has the claim now. Their attempts are listed too: they did happen. A
    delivery whose event has been dropped meanwhile is passed over.
    """
    ids = {"delivery_ids": [each.claimed.id for each in outcomes]}
    claims = {row.id: row.claim for row in connection.execute(_CLAIMS, ids)}
    listed = [
        {
            "delivery_id": each.claimed.id,
            "at": now,
            "answer": each.made.answer.value,
            "status": each.made.status,
            "duration_ms": each.made.duration_ms,
            "excerpt": each.made.excerpt,
            "error": each.made.error,
        }
        for each in outcomes
        if each.claimed.id in claims
    ]
    if listed:
        connection.execute(_ATTEMPT, listed)
    ours = [each for each in outcomes if claims.get(each.claimed.id) == each.claimed.claim]
    if ours:
        rows = [
            {
                "delivery_id": each.claimed.id,
                "state": each.state,
                "attempts": each.claimed.attempts + 1,
                "next_at": each.next_at,
            }
            for each in ours
        ]
        connection.execute(_RECORD, rows)
    return {each.claimed.id for each in ours}


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


def _of_last_attempt(column: sa.Column[Any]) -> sa.Label[Any]:
    """Return a column of a delivery's last attempt, of which an index finds all."""
    return (
        sa.select(column)
        .where(attempt.c.delivery_id == delivery.c.id)
        .order_by(attempt.c.id.desc())
        .limit(1)
        .correlate(delivery)
        .scalar_subquery()
        .label(column.name)
    )


def list_sent(connection: sa.Connection, channel_id: int, limit: int) -> list[Sent]:
    """Return a channel's latest deliveries, the newest first, each with its last attempt."""
    statement = (
        sa.select(
            delivery.c.id,
            delivery.c.state,
            delivery.c.attempts,
            delivery.c.next_at,
            event.c.at,
            event.c.number,
            event.c.type,
            event.c.invoice_id,
            _of_last_attempt(attempt.c.status),
            _of_last_attempt(attempt.c.error),
        )
        .join(event, event.c.id == delivery.c.event_id)
        .where(delivery.c.channel_id == channel_id)
        .order_by(delivery.c.id.desc())
        .limit(limit)
    )
    return [
        Sent(
            delivery_id=row["id"],
            event_id=events.EventID(row["at"], row["number"]),
            type=EventType(row["type"]),
            invoice_id=row["invoice_id"],
            state=row["state"],
            attempts=row["attempts"],
            next_at=row["next_at"],
            last_status=row["status"],
            last_error=row["error"],
        )
        for row in connection.execute(statement).mappings()
    ]


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


def begin_anew(connection: sa.Connection, now: int) -> None:
    """Make all that waits due at once, as if it had never been tried."""
    connection.execute(sa.update(delivery).where(delivery.c.state == DUE).values(**_afresh(now)))
    connection.execute(sa.update(channel).values(failing_since=None))


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
    # The key too: versions before this one gave a common one to all that is no invoice's.
    afresh = _afresh(now) | {"invoice_id": order_key(found.id, found.invoice_id)}
    insert = upsert(connection, delivery).values(
        event_id=found.id, channel_id=channel_id, **afresh | {"claim": 0}
    )
    connection.execute(
        insert.on_conflict_do_update(index_elements=["event_id", "channel_id"], set_=afresh)
    )
    return True
