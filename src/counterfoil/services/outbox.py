"""Telling: claiming what is due, and what follows from each attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from counterfoil.core import events, retry
from counterfoil.core.ports import Answer, Attempt, Store
from counterfoil.db import deliveries, loops, outbox
from counterfoil.db.engine import Connection

# What `claim` returns.
Delivery = deliveries.Delivery
# An endpoint at which every attempt has failed for this long is paused, and the merchant told.
PAUSE_AFTER_MS = 3 * retry.DAY_MS


async def claim(
    store: Store, now: int, *, limit: int, per_channel: int, sending: Mapping[int, int]
) -> list[Delivery]:
    """Claim deliveries that are due, at most `limit`.

    No channel gets more than `per_channel` at a time, those that the caller is `sending` to it
    included: one slow endpoint keeps nobody else waiting.
    """
    rooms = {channel_id: per_channel - count for channel_id, count in sending.items()}
    busy = [channel_id for channel_id, room in rooms.items() if room <= 0]

    def write(connection: Connection) -> list[Delivery]:
        leases_at = loops.database_now(connection, now)
        claimed: list[Delivery] = []
        for channel_id in deliveries.list_waiting_channels(connection, now, leases_at, busy, limit):
            room = min(rooms.get(channel_id, per_channel), limit - len(claimed))
            if room <= 0:
                break
            claimed += deliveries.claim_due(connection, channel_id, now, leases_at, room)
        return claimed

    return await store.write(write)


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt at a delivery; `jitter` is what the wait for the next one is varied by."""

    delivery: Delivery
    attempt: Attempt
    jitter: int


async def record(store: Store, made: Sequence[Made], now: int) -> None:
    """Record attempts, and decide for each whether and when there is another one."""

    def write(connection: Connection) -> None:
        outcomes = [_outcome(each, now) for each in made]
        ours = deliveries.record_attempts(connection, outcomes, now)
        heard = {
            (each.claimed.channel_id, each.made.answer, each.state == deliveries.PARKED)
            for each in outcomes
            if each.claimed.id in ours
        }
        # Channels in their order, in which all lock them, and of each its successes first: who has
        # just heard something is not paused for what it failed to hear at the same time.
        for channel_id, answer, is_given_up in sorted(
            heard, key=lambda each: (each[0], each[1] is not Answer.DELIVERED)
        ):
            _note_health(connection, channel_id, answer, now, is_given_up=is_given_up)

    await store.write(write)


def _outcome(made: Made, now: int) -> deliveries.Outcome:
    """Return what follows from an attempt."""
    claimed, answer = made.delivery, made.attempt.answer
    if answer is Answer.DELIVERED:
        return deliveries.Outcome(claimed, made.attempt, deliveries.DELIVERED, now)
    first_at = claimed.first_at if claimed.first_at is not None else now
    follows = retry.after_failure(
        answer, claimed.attempts + 1, first_at, now, made.jitter, made.attempt.retry_after_s
    )
    if isinstance(follows, retry.Again):
        return deliveries.Outcome(claimed, made.attempt, deliveries.DUE, follows.at)
    return deliveries.Outcome(claimed, made.attempt, deliveries.PARKED, now)


def _note_health(
    connection: Connection, channel_id: int, answer: Answer, now: int, *, is_given_up: bool
) -> None:
    """Pause an endpoint that wants no more, or that has failed for days.

    The latter only where a delivery is given up: one that fails for the first time after days
    without any may have met an endpoint that was away for a second.
    """
    if answer is Answer.DELIVERED:
        outbox.note_well(connection, channel_id)
        return
    if answer is Answer.GONE:
        reason = "The endpoint answered 410 Gone. Resume it when it should hear from us again."
        outbox.pause_channel(connection, channel_id, reason, now)
        return
    outbox.note_failing(connection, channel_id, now)
    found = outbox.get_channel(connection, channel_id) if is_given_up else None
    if found and found.failing_since is not None and now - found.failing_since >= PAUSE_AFTER_MS:
        reason = "Every attempt has failed for three days. Resume it when the endpoint is mended."
        outbox.pause_channel(connection, channel_id, reason, now)


async def redeliver(store: Store, channel_id: int, event_id: events.EventID, now: int) -> bool:
    """Send an event to a channel once more; False if its merchant has no such event."""
    found = await store.write(
        lambda connection: deliveries.redeliver(connection, channel_id, event_id, now)
    )
    store.wake("outbox")
    return found


async def resume(store: Store, channel_id: int, now: int) -> int:
    """Send to a paused channel again, what was parked first; return how many wait."""
    waiting = await store.write(
        lambda connection: deliveries.resume_channel(connection, channel_id, now)
    )
    store.wake("outbox")
    return waiting


async def pause(store: Store, channel_id: int, now: int) -> None:
    """Stop sending to a channel; what happens meanwhile waits for it."""
    reason = "The merchant paused it."
    await store.write(lambda connection: outbox.pause_channel(connection, channel_id, reason, now))


async def list_sent(store: Store, channel_id: int, limit: int) -> list[deliveries.Sent]:
    """Return a channel's latest deliveries, the newest first."""
    return await store.read(lambda connection: deliveries.list_sent(connection, channel_id, limit))
